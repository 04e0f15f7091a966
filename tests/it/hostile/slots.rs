//! I5: no spelling of an owned slot keeps the client's value, and no field by which an upstream takes another
//! request than was judged passes, over HTTP/1.1 and HTTP/2.

use super::dice::Dice;
use crate::ensure;
use crate::harness::caller::{Caller, Sending};
use crate::harness::leak::Canary;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::harness::upstream::Protocol;
use crate::invariant::invariant;

invariant!("I5":
    no_spelling_of_an_owned_field_stays,
    no_spelling_of_an_owned_parameter_stays,
    no_override_stays,
    no_spelling_of_a_placeholder_stays,
);

/// A name with letters of any case and dashes that are underscores.
fn spelt(name: &str, dice: &mut Dice) -> String {
    let each = |c: char| match c {
        '-' if dice.coin() => '_',
        c if dice.coin() => c.to_ascii_uppercase(),
        c => c,
    };
    name.chars().map(each).collect()
}

fn value(key: &str, dice: &mut Dice) -> String {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{key}"));
    let schemes = ["Bearer ", "bearer  ", "token ", "", "Digest username=", "ApiKey ", "Bearer\t"];
    if dice.below(4) == 0 {
        format!("{}{basic}", dice.one(&["Basic ", "basic\t", "BASIC  "]))
    } else {
        format!("{}{key}", dice.one(&schemes))
    }
}

fn lines(key: &str, dice: &mut Dice) -> Vec<(String, String)> {
    let names = ["authorization", "x-api-key"];
    let count = 1 + dice.below(5);
    let mut lines: Vec<_> =
        (0..count).map(|_| (spelt(dice.one(&names), dice), value(key, dice))).collect();
    lines.insert(dice.below(count + 1), ("x-other".into(), "kept".into()));
    lines
}

/// Nothing of the client's key in any plain form, its neighbour, and one token.
async fn arrived(stage: &Stage, at: usize, what: &str) -> Verdict {
    use base64::Engine as _;
    let seen = stage.orders.requests();
    let Some(seen) = seen.get(at) else { return Err(format!("{what}: nothing came")) };
    stage.injected(seen, &stage.orders_issuer.token()).map_err(|e| format!("{what}: {e}"))?;
    let pair =
        base64::engine::general_purpose::STANDARD.encode(format!("x:{}", stage.standing_key));
    ensure!(seen.count(&pair) == 0, "{what}: the key as Basic: {seen:#?}");
    ensure!(seen.all("x-other") == ["kept"], "{what}: its neighbour is gone: {seen:#?}");
    Ok(())
}

const ROUNDS: usize = 60;

async fn no_spelling_of_an_owned_field_stays(stage: &mut Stage) -> Verdict {
    let (key, mut dice) = (stage.standing_key.clone(), Dice::new(27));
    let mut tunnel = stage.tunnel(ORDERS).await?;
    for _ in 0..ROUNDS {
        let before = stage.orders.requests().len();
        let lines: String =
            lines(&key, &mut dice).iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{lines}\r\n");
        let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
        ensure!(answer.is_some_and(|a| a.status() == 200), "{lines}: no answer");
        arrived(stage, before, &lines).await?;
    }
    println!("sent: {ROUNDS} heads of owned fields");
    stage.control().await
}

/// A parameter's name with escapes, once or twice, in any case, with what some frameworks cut off.
fn parameter(name: &str, dice: &mut Dice) -> String {
    let mut out = String::new();
    for c in name.chars() {
        let c = if dice.coin() { c.to_ascii_uppercase() } else { c };
        match dice.below(5) {
            0 => out += &format!("%{:02x}", u32::from(c)),
            1 => out += &format!("%{:02X}", u32::from(c)),
            2 => out += &format!("%25{:02x}", u32::from(c)),
            _ => out.push(c),
        }
    }
    out + dice.one(&["", "", "[]", "%5B%5D", "[0]", "+", "%20"])
}

async fn no_spelling_of_an_owned_parameter_stays(stage: &mut Stage) -> Verdict {
    let (key, mut dice) = (stage.standing_key.clone(), Dice::new(28));
    let mut tunnel = stage.tunnel(ORDERS).await?;
    for _ in 0..ROUNDS {
        let before = stage.orders.requests().len();
        let mut parts = vec!["page=2".to_owned()];
        for _ in 0..=dice.below(3) {
            let part = format!("{}={key}", parameter("api_key", &mut dice));
            parts.insert(dice.below(parts.len() + 1), part);
        }
        let query = parts.join(dice.one(&["&", "&", ";", "&&"]));
        let request =
            format!("GET /v1/x?{query} HTTP/1.1\r\nHost: {ORDERS}\r\nX-Other: kept\r\n\r\n");
        let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
        ensure!(answer.is_some_and(|a| a.status() == 200), "{query}: no answer");
        arrived(stage, before, &query).await?;
        let target = stage.orders.request(before).await.target;
        ensure!(target.contains("page=2"), "its neighbour is gone: {target}");
    }
    println!("sent: {ROUNDS} queries");
    stage.control().await
}

/// Fields by which upstreams and what stands before them take another method, path, host or client.
const OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-real-ip",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-anything",
    "x-envoy-original-path",
    "x-envoy-internal",
    "x-envoy-anything",
    "x-vault-token",
    "x-vault-namespace",
    "x-vault-anything",
];

async fn no_override_stays(stage: &mut Stage) -> Verdict {
    let mut dice = Dice::new(33);
    let mut tunnel = stage.tunnel(ORDERS).await?;
    let mut sent = 0;
    for name in OVERRIDES {
        for _ in 0..3 {
            let before = stage.orders.requests().len();
            let name = spelt(name, &mut dice);
            let request = format!(
                "GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{name}: /canary-override\r\nX-Other: kept\r\n\r\n"
            );
            let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
            ensure!(answer.is_some_and(|a| a.status() == 200), "{name}: no answer");
            arrived(stage, before, &name).await?;
            let seen = stage.orders.request(before).await;
            ensure!(seen.count("canary-override") == 0, "{name} went upstream: {seen:#?}");
            sent += 1;
        }
    }
    println!("sent: {sent} overrides");
    stage.control().await
}

/// A placeholder as it may stand in some text, escaped or encoded.
fn disguised(placeholder: &str, dice: &mut Dice) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let (before, after) = (dice.one(&["", "x", "user:", "??"]), dice.one(&["", "z", ":x"]));
    let text = format!("{before}{placeholder}{after}");
    match dice.below(9) {
        0 => text,
        1 => STANDARD.encode(text),
        2 => URL_SAFE_NO_PAD.encode(text),
        3 => format!("Basic\t{}", URL_SAFE_NO_PAD.encode(text)),
        4 => text.bytes().map(|b| format!("{b:02x}")).collect(),
        5 => text.bytes().map(|b| format!("%{b:02X}")).collect(),
        6 => text.replace('-', "%252D"),
        7 => text.replace('-', "\\u002d"),
        _ => text.replace('-', "&#45;"),
    }
}

async fn no_spelling_of_a_placeholder_stays(stage: &mut Stage) -> Verdict {
    let (placeholder, mut dice) = (stage.placeholder.clone(), Dice::new(35));
    let canary = Canary::whole("the placeholder", placeholder.as_bytes());
    let mut tunnel = stage.tunnel(ORDERS).await?;
    for _ in 0..ROUNDS {
        let before = stage.orders.requests().len();
        let field = disguised(&placeholder, &mut dice);
        // What would end the parameter is not in it.
        let parameter = loop {
            let text = disguised(&placeholder, &mut dice);
            if !text.contains(['&', '#', '?', '\t', '\\']) {
                break text;
            }
        };
        let name =
            if dice.coin() { placeholder.to_ascii_lowercase() } else { "x-plain".to_owned() };
        let request = format!(
            "GET /v1/x?page=2&note={parameter}&q HTTP/1.1\r\nHost: {ORDERS}\r\nX-Note: {field}\r\n\
             Sec-WebSocket-Protocol: one.{field}, two\r\n{name}: 1\r\nX-Other: kept\r\n\r\n"
        );
        let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
        ensure!(answer.is_some_and(|a| a.status() == 200), "{request}: no answer");
        arrived(stage, before, &request).await?;
        let seen = stage.orders.request(before).await;
        ensure!(seen.target == "/v1/x?page=2&q", "{parameter} went upstream in {}", seen.target);
        ensure!(seen.all("x-note").is_empty(), "{field} went upstream: {seen:#?}");
        ensure!(seen.all("sec-websocket-protocol") == ["two"], "{field}: {seen:#?}");
        let found = canary.found_in(format!("{seen:?}").to_ascii_lowercase().as_bytes());
        ensure!(found.is_none(), "in {found:?}: {seen:#?}");
    }
    println!("sent: {ROUNDS} requests with a placeholder in four places");
    stage.control().await
}

/// The same over HTTP/2, where names are in lower case and nothing else differs.
#[tokio::test]
async fn nor_over_http2() {
    let stage = Stage::valetkey().await;
    let (key, mut dice) = (stage.standing_key.clone(), Dice::new(2));
    let mut caller = Caller::open(&stage, ORDERS, Protocol::Http2).await;
    for round in 0..ROUNDS {
        let mut pairs = lines(&key, &mut dice);
        pairs.push((
            spelt(OVERRIDES[round % OVERRIDES.len()], &mut dice),
            "/canary-override".into(),
        ));
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.to_ascii_lowercase(), v)).collect();
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let path = format!("/v1/x?{}={key}&page=2", parameter("api_key", &mut dice));
        let mut call = caller.call("GET", &path, &pairs, Sending::Nothing).await;
        assert_eq!(call.final_head().await.status, 200, "{pairs:?}");
        call.body().await;
        arrived(&stage, round, &format!("{path} {pairs:?}")).await.unwrap();
        let seen = stage.orders.request(round).await;
        assert_eq!(seen.count("canary-override"), 0, "{pairs:?}: {seen:#?}");
        assert!(seen.target.ends_with("?page=2"), "{}", seen.target);
        caller = call.again();
    }
    stage.control().await.unwrap();
    println!("sent: {ROUNDS} requests over HTTP/2");
}
