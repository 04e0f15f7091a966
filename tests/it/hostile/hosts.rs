//! I1: whatever stands where the host should stand is that host in every place, or nothing goes upstream.

use crate::ensure;
use crate::harness::client::{connect, dial, exchange};
use crate::harness::http1::Message;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I1":
    no_other_text_is_the_host,
    no_other_text_is_the_host_of_an_absolute_form,
);

/// Characters that some reader of a host somewhere skips, ends at, or folds into others.
const STRANGE: &[char] = &[
    '\0', '\u{1}', '\u{b}', '\u{c}', '\u{1f}', '\u{7f}', ' ', '\t', '!', '"', '#', '$', '%', '&',
    '\'', '(', ')', '*', '+', ',', '/', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '^', '`',
    '{', '|', '}', '~', '\u{a0}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2024}', '\u{3002}',
    '\u{ff0e}', '\u{ff61}', '\u{feff}', '\u{131}',
];

/// Texts that are not the host, though one reader or another may take them for it.
pub fn strange() -> Vec<String> {
    let middle = ORDERS.find('.').unwrap();
    let mut all = Vec::new();
    for one in STRANGE {
        all.push(format!("{}{one}{}", &ORDERS[..middle], &ORDERS[middle..]));
        all.push(format!("{}{one}{}", &ORDERS[..middle], &ORDERS[middle + 1..]));
        all.push(format!("evil.example{one}{ORDERS}"));
        all.push(format!("{ORDERS}{one}evil.example"));
        // White space at an end is no part of a value (RFC 9110 section 5.5).
        if ![' ', '\t'].contains(one) {
            all.push(format!("{one}{ORDERS}"));
            all.push(format!("{ORDERS}{one}"));
        }
    }
    for (at, letter) in ORDERS.char_indices() {
        let (before, after) = (&ORDERS[..at], &ORDERS[at + 1..]);
        all.push(format!("{before}%{:02x}{after}", u32::from(letter)));
        let wide = char::from_u32(u32::from(letter) + 0xfee0).unwrap();
        all.push(format!("{before}{wide}{after}"));
    }
    let port = |port: &str| format!("{ORDERS}:{port}");
    all.extend(
        ["-1", "+443", "0x1bb", "443a", "443 80", "65979", "443:443", "443:", "\u{ff14}43", "4 43"]
            .map(port),
    );
    all.extend([".", "..", "", ":443", "[::1]", "a..b", "-", "xn--"].map(str::to_owned));
    let label = "a".repeat(64);
    all.extend([
        format!("{label}.{ORDERS}"),
        format!("{}.{ORDERS}", "a.".repeat(130).trim_end_matches('.')),
    ]);
    all.extend([format!("..{ORDERS}"), format!("{ORDERS}.."), format!("{ORDERS}.evil.example")]);
    all
}

/// Other spellings of the same host (RFC 3986 section 6.2.2.1, RFC 1034 section 3.1, RFC 9110 section 4.2.2).
pub fn same() -> Vec<String> {
    let turn = |(at, c): (usize, char)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c };
    let turned: String = ORDERS.char_indices().map(turn).collect();
    let mut all = vec![ORDERS.to_owned(), ORDERS.to_uppercase(), turned, format!("{ORDERS}.")];
    all.extend(all.clone().into_iter().map(|host| format!("{host}:443")));
    all
}

/// Refused by an answer of our own or by closing, with nothing upstream.
fn refused(stage: &Stage, what: &str, answer: Option<Message>) -> Verdict {
    let seen = stage.orders.requests();
    ensure!(seen.is_empty(), "{what:?}: the API got {seen:#?}");
    ensure!(stage.evil.connections() == 0, "{what:?}: somebody else was dialled");
    let Some(answer) = answer else { return Ok(()) };
    own_answer(&answer, &[400, 421], &["malformed-request", "authority-mismatch"])
        .map_err(|error| format!("{what:?}: {error}"))
}

async fn sent(stage: &Stage, request: &str) -> Result<Option<Message>, String> {
    let mut tunnel = stage.tunnel(ORDERS).await?;
    Ok(exchange(&mut tunnel, request.as_bytes()).await)
}

async fn no_other_text_is_the_host(stage: &mut Stage) -> Verdict {
    let strange = strange();
    for host in &strange {
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refused(stage, host, sent(stage, &request).await?)?;
        // The same text in CONNECT, where another host may be meant: never this one's tunnel.
        let authority = if host.contains(':') { host.clone() } else { format!("{host}:443") };
        if authority.contains(['\0', '\r', '\n']) || host.ends_with("evil.example") {
            continue;
        }
        let (answer, _) = connect(stage.proxy_addr(), &authority).await;
        ensure!(answer.status() != 200, "CONNECT {authority:?}: {}", answer.everything());
    }
    stage.control().await?;
    for host in same() {
        let before = stage.orders.requests().len();
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        sent(stage, &request).await?;
        let seen = stage.orders.request(before).await;
        ensure!(seen.authority == ORDERS, "{host}: the API is called {}", seen.authority);
        stage.injected(&seen, &stage.orders_issuer.token())?;
    }
    println!("sent: {} hosts that are none, {} that are the same", strange.len(), same().len());
    Ok(())
}

async fn no_other_text_is_the_host_of_an_absolute_form(stage: &mut Stage) -> Verdict {
    let strange = strange();
    for host in strange.iter().filter(|host| !host.contains(['\r', '\n'])) {
        for scheme in ["https", "http"] {
            let line = format!("GET {scheme}://{host}/v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
            // `host/v1` and the like are this very host, with another path.
            let other =
                host.strip_prefix(ORDERS).is_none_or(|rest| !rest.starts_with(['/', '?', '#']));
            if scheme == "https" && other {
                refused(stage, host, sent(stage, &line).await?)?;
            }
        }
    }
    let mut reader = dial(stage.proxy_addr()).await;
    let line = format!("GET http://{ORDERS}@evil.example:443/ HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut reader, line.as_bytes()).await;
    refused(stage, "userinfo in the clear", answer)?;
    stage.control().await?;
    println!("sent: {} absolute forms", strange.len());
    Ok(())
}
