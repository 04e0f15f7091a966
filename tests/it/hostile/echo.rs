//! I6: an upstream that sends the token back, wherever and however it spells it, sends asterisks.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::dice::Dice;
use crate::ensure;
use crate::harness::api::{Answer, Seen};
use crate::harness::caller::Sending;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::leak::Canary;
use crate::harness::pair::{ALL, Pair};
use crate::harness::soon;
use crate::harness::stage::{EVIL, ORDERS, Stage, Verdict};
use crate::harness::upstream::Protocol;
use crate::invariant::invariant;

invariant!("I6":
    no_spelling_comes_back,
);

fn token(seen: &Seen) -> String {
    seen.all("authorization").join(",").trim_start_matches("Bearer ").to_owned()
}

/// The token in some spelling, with something before and behind it.
fn echo(token: &str, seed: u64, in_field: bool) -> String {
    let dice = &mut Dice::new(seed);
    let around =
        ["", "x", "xy:", "{\"a\":\"", "Bearer ", "t=", "=", "....", "%", "\\", "&", "0a", "AAAA"];
    let (before, after) = (dice.one(&around), dice.one(&around));
    let spelt = match dice.below(10) {
        0 => token.to_owned(),
        1 => token.bytes().map(|b| format!("{b:02x}")).collect(),
        2 => token.bytes().map(|b| format!("{b:02X}")).collect(),
        3 => STANDARD.encode(format!("{before}{token}{after}")),
        4 => URL_SAFE.encode(format!("{before}{token}{after}")),
        5 => STANDARD_NO_PAD.encode(format!("x:{token}")),
        6 => URL_SAFE_NO_PAD.encode(format!("{{\"token\":\"{token}\"}}")),
        // Text in text in text, and mail.
        7 => (0..3).fold(token.to_owned(), |text, _| in_text(&text, dice)),
        8 if !in_field => {
            let text = format!("{}{token}{after}", ".".repeat(dice.below(60)));
            let encoded = STANDARD.encode(text);
            let end = dice.one(&["\r\n", "\n", "\\n", "\\r\\n", "%0A", "\\u000a"]);
            let lines: Vec<_> = encoded.as_bytes().chunks(dice.one(&[76, 64])).collect();
            let lines = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned());
            lines.collect::<Vec<_>>().join(end)
        }
        // Each byte in a way of its own.
        _ => token
            .bytes()
            .map(|b| match dice.below(if in_field { 4 } else { 6 }) {
                0 => format!("%{b:02x}"),
                1 => format!("%{b:02X}"),
                2 => format!("\\u{b:04x}"),
                3 => format!("&#x{b:x};"),
                4 => format!("&#{b};"),
                _ => char::from(b).to_string(),
            })
            .collect(),
    };
    format!("{before}{spelt}{after}")
}

/// A text as it stands in another.
fn in_text(text: &str, dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => text.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/"),
        1 => text.replace('%', "%25").replace('/', "%2F").replace('+', "%2B").replace('-', "%2d"),
        2 => text.replace('&', "&amp;").replace('+', "&plus;").replace('-', "&#x2d;"),
        _ => text.replace('\\', "\\\\").replace('&', "\\u0026").replace('-', "\\u002d"),
    }
}

/// Asterisks where the token was, nothing of it left, and the rest as it came.
fn masked(token: &str, sent: &str, came: &str) -> Verdict {
    let found = Canary::of("the token", token).found_in(came.as_bytes());
    ensure!(found.is_none(), "{sent:?} came as {came:?}, in {found:?}");
    ensure!(sent.len() == came.len(), "{sent:?} came as {came:?}");
    let stars = came.matches('*').count();
    ensure!(stars >= token.len(), "{sent:?} came as {came:?}");
    let kept = sent.chars().zip(came.chars()).all(|(was, is)| was == is || is == '*');
    ensure!(kept, "{sent:?} came as {came:?}");
    Ok(())
}

const ROUNDS: u64 = 80;

async fn no_spelling_comes_back(stage: &mut Stage) -> Verdict {
    for round in 0..ROUNDS {
        let field = round % 2 == 0;
        stage.orders.answer(move |seen| {
            let text = echo(&token(seen), round, field);
            if field {
                Answer::ok("").header("X-Echo", format!(":{text}:"))
            } else {
                Answer::ok(text)
            }
        });
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        let token = stage.orders_issuer.token();
        let sent = echo(&token, round, field);
        if field {
            masked(&token, &format!(":{sent}:"), &answer.all("x-echo").join("|"))?;
        } else {
            masked(&token, &sent, &answer.text())?;
        }
    }
    stage.orders.answer(|_| Answer::ok("{\"ok\":true}"));
    println!("sent: {ROUNDS} echoes");
    stage.control().await
}

/// The upstream knows what it was given on another route, and what was renewed there and has not ended.
#[tokio::test]
async fn tokens_of_another_route_are_masked() {
    let (reads, writes) = (Issuer::start().await, Issuer::start().await);
    // Renewed after four fifths of that, and what is left is time enough.
    reads.reply_once(Reply::Token { life: Some(15) });
    let stage = Stage::valetkey_with(|v| {
        let route = |name: &str| {
            format!(
                "name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}/**\"]\ncredential = {name:?}"
            )
        };
        v.minting("reads", &reads)
            .minting("writes", &writes)
            .route(&route("reads"))
            .route(&route("writes"))
    })
    .await;
    let got = |target: &'static str| async {
        stage.get(EVIL, target, "").await.unwrap();
        stage.evil.requests().pop().unwrap().one("authorization")
    };
    let first = got("/reads/x").await;
    // A use late in its life renews it.
    let second = async { while got("/reads/x").await == first {} };
    soon("a request with a second token", second).await;
    assert_eq!(reads.minted().len(), 2);
    for token in reads.minted() {
        let text = token.clone();
        stage.evil.answer(move |_| Answer::ok(text.clone()).header("X-Echo", text.clone()));
        let answer = stage.get(EVIL, "/writes/x", "").await.unwrap();
        let seen = stage.evil.requests().pop().unwrap();
        assert_eq!(seen.one("authorization"), format!("Bearer {}", writes.token()));
        assert_eq!(answer.all("x-echo"), ["*".repeat(token.len())]);
        assert_eq!(answer.text(), "*".repeat(token.len()));
    }
}

/// Every place of an answer, in each pair of protocols: reason phrase, interim answer, field, body, trailer.
#[tokio::test]
async fn no_place_of_an_answer_holds_it() {
    let mut sent = 0;
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut caller = pair.caller().await;
        for round in 0..12 {
            let mut call = caller.call("GET", "/x", &[("te", "trailers")], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            let token = pair.token();
            let text = echo(&token, 1000 + round, true);
            let field = text.trim().to_owned();
            up.interim(103, &[("link", &field), ("x-early", &field)]).await;
            if upstream == Protocol::Http1 {
                let head = format!(
                    "HTTP/1.1 200 {field}\r\nx-echo: {field}\r\ntrailer: x-last\r\ntransfer-encoding: chunked\r\n\r\n\
                     {:x}\r\n{text}\r\n0\r\nx-last: {field}\r\nx-{}: y\r\n\r\n",
                    text.len(),
                    token.to_ascii_lowercase(),
                );
                up.raw(head.as_bytes()).await;
            } else {
                up.head(200, &[("x-echo", &field)]).await;
                up.send(text.as_bytes()).await;
                up.end_with(&[("x-last", &field)]).await;
            }
            let mut shown = String::new();
            loop {
                let head = call.head().await;
                shown += &format!("{} {:?}\n", head.status, head.headers);
                if head.status == 200 {
                    break;
                }
            }
            let (body, end) = call.body().await;
            masked(&token, &text, &String::from_utf8_lossy(&body)).unwrap();
            shown += &format!("{end:?}");
            let found =
                Canary::of("the token", &token).found_in(shown.to_ascii_lowercase().as_bytes());
            assert_eq!(found, None, "{client:?} {upstream:?} {text}: {shown}");
            let found = Canary::of("the token", &token).found_in(shown.as_bytes());
            assert_eq!(found, None, "{client:?} {upstream:?} {text}: {shown}");
            sent += 1;
            // HTTP/1.1 was written behind the upstream's back: it is another connection's turn.
            drop(call);
            caller = pair.caller().await;
        }
        pair.stage.control().await.unwrap();
    }
    println!("sent: {sent} answers, each with it in four places or more");
}
