//! I4: a path is sent as it was judged, byte for byte, or not at all; one that some reader takes for another
//! carries no token.

use super::dice::Dice;
use crate::ensure;
use crate::harness::caller::{Caller, Sending};
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::harness::upstream::Protocol;
use crate::invariant::invariant;

invariant!("I4":
    no_path_is_read_in_two_ways,
);

const SEGMENTS: &[&str] = &[
    "v1",
    "v1",
    "admin",
    "a",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    ".%2e",
    "%2e.",
    "..%2f",
    "%2f..",
    "a%2Fb",
    "%2f",
    "%5c",
    "%5C..",
    "\\",
    "..\\",
    "..;",
    "..;x=1",
    "..%20",
    "%20..",
    "...",
    "..%20.",
    "..%2f..;",
    "a;b=c",
    ";",
    "%3b",
    "",
    "",
    "%00",
    "%ff",
    "%c0%ae",
    "%252e%252e",
    "%252f",
    "%3f",
    "%23",
    "~",
    "%7e",
    "%41",
    "*",
    "%zz",
    "%",
    "%u002e",
    "a:b",
    "@",
    "v1%20",
    "v1.",
    "V1",
    "%76%31",
];

fn path(dice: &mut Dice) -> String {
    let count = 1 + dice.below(4);
    let mut path = String::new();
    // Most begin inside the route, so that there is a token to lose.
    if dice.below(4) > 0 {
        path += "/v1";
    }
    for _ in 0..count {
        path.push('/');
        path += dice.one(SEGMENTS);
    }
    path + dice.one(&["", "", "/", "?", "?x=../..", "?a=%2e%2e/"])
}

/// Bytes with their escapes taken off once; `None` where one is broken.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    Some(out)
}

/// What every reader agrees on: no segment is, or decodes to, or hides one that walks.
fn has_two_readings(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| {
        let Some(bytes) = decoded(segment) else { return true };
        let parts = bytes.split(|b| *b == b'/').collect::<Vec<_>>();
        bytes.contains(&b'\\')
            || parts.iter().any(|part| {
                let bare = part.split(|b| *b == b';').next().unwrap_or_default();
                // Windows drops spaces and dots at the end.
                let spaced = part.contains(&b' ') && part.contains(&b'.');
                *part == b"."
                    || *part == b".."
                    || spaced && part.iter().all(|byte| b". ".contains(byte))
                    || parts.len() > 1 && (bare == b"." || bare == b"..")
            })
    })
}

/// The path with escapes of letters and the like taken off: the same path (RFC 3986 section 6.2.2.2).
fn normal(target: &str) -> String {
    let same = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let mut out = String::new();
    let mut rest = target;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        let escape = rest.get(at..at + 3).unwrap_or(&rest[at..]);
        let code = escape.get(1..).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.map(char::from).filter(|c| same(*c)) {
            Some(c) => out.push(c),
            None => out += &escape.to_ascii_uppercase(),
        }
        rest = &rest[at + escape.len()..];
    }
    out + rest
}

/// Judges what came, if anything did, for a path.
fn judged(stage: &Stage, before: usize, path: &str, status: Option<u16>) -> Verdict {
    let seen = stage.orders.requests();
    let Some(seen) = seen.get(before) else {
        ensure!(matches!(status, None | Some(400)), "{path}: {status:?}, and not sent");
        return Ok(());
    };
    ensure!(!has_two_readings(path), "{path} went upstream as {}", seen.target);
    ensure!(normal(&seen.target) == normal(path), "{path} became {}", seen.target);
    let bearing = stage.tokens().iter().any(|token| seen.count(token) > 0);
    let plain = normal(path.split('?').next().unwrap_or_default());
    let inside = plain == "/v1" || plain.starts_with("/v1/");
    ensure!(!bearing || inside, "a token for {path}");
    Ok(())
}

const ROUNDS: usize = 150;

async fn no_path_is_read_in_two_ways(stage: &mut Stage) -> Verdict {
    let mut dice = Dice::new(37);
    for _ in 0..ROUNDS {
        let path = path(&mut dice);
        let before = stage.orders.requests().len();
        let answer = stage.get(ORDERS, &path, "").await;
        judged(stage, before, &path, answer.ok().map(|answer| answer.status()))?;
    }
    let injected =
        stage.orders.requests().iter().filter(|s| !s.all("authorization").is_empty()).count();
    ensure!(injected > 10, "{injected} of them carried a token");
    println!("sent: {ROUNDS} paths, {injected} with a token");
    stage.control().await
}

#[tokio::test]
async fn nor_over_http2() {
    let stage = Stage::valetkey().await;
    let mut dice = Dice::new(38);
    let mut caller = Caller::open(&stage, ORDERS, Protocol::Http2).await;
    let mut sent = 0;
    while sent < ROUNDS {
        let path = path(&mut dice);
        // What the test's own library would not write; `http2.rs` does.
        if path.parse::<http::uri::PathAndQuery>().is_err() {
            continue;
        }
        let before = stage.orders.requests().len();
        let mut call = caller.call("GET", &path, &[], Sending::Nothing).await;
        let head = call.final_head().await;
        call.body().await;
        judged(&stage, before, &path, Some(head.status)).unwrap();
        caller = call.again();
        sent += 1;
    }
    stage.control().await.unwrap();
    println!("sent: {ROUNDS} paths over HTTP/2");
}

#[test]
fn what_has_two_readings() {
    for path in
        ["/v1/..", "/v1/%2e/x", "/v1/..%2fx", "/v1/%5c", "/v1/a\\b", "/v1/%", "/v1/.%2e;a/../x"]
    {
        assert!(has_two_readings(path), "{path}");
    }
    for path in ["/v1/a%2Fb", "/v1/...", "/v1/x?../..", "/v1//x", "/v1/%252e%252e"] {
        assert!(!has_two_readings(path), "{path}");
    }
    assert_eq!(normal("/%76%31/%c0%ae"), "/v1/%C0%AE");
}
