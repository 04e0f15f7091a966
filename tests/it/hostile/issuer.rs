//! I10: whatever an issuer says that is not plainly a bearer token of the kind that was asked for, nothing leaves, and
//! nothing of what it said is told.

use crate::harness::issuer::Reply;
use crate::harness::stage::{ORDERS, Stage, own_answer};
use crate::harness::valetkey::Valetkey;

const GOOD: &str =
    "{\"access_token\":\"abcdefghijklmnop\",\"token_type\":\"Bearer\",\"expires_in\":60}";
/// Stands in every answer, and may stand in nothing of ours.
const FOREIGN: &str = "foreign-detail-5d21";

/// Bodies of a 200 that are no such answer.
fn bodies() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    // Broken off at any place.
    all.extend((0..GOOD.len()).step_by(9).map(|end| GOOD.as_bytes()[..end].to_vec()));
    let text = |text: String| text.into_bytes();
    all.push([b"\xef\xbb\xbf", GOOD.as_bytes()].concat());
    all.push(GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect());
    all.push(text(format!("{GOOD}{GOOD}")));
    all.push(text(format!("{GOOD}x")));
    all.push(text(format!("[{GOOD}]")));
    all.push(text(format!("\"{}\"", GOOD.replace('"', "\\\""))));
    all.push(text(format!("/* */{GOOD}")));
    all.push(text(GOOD.replace('"', "'")));
    all.push(text(GOOD.replace(",\"token_type\"", ",,\"token_type\"")));
    all.push(text("[".repeat(20_000)));
    all.push(text(format!("{{\"x\":{}1{},{}", "[".repeat(5000), "]".repeat(5000), &GOOD[1..])));
    // Members twice, also where the second is written in another way.
    for twice in ["access_token", "access\\u005ftoken", "\\u0061ccess_token"] {
        all.push(text(GOOD.replace('}', &format!(",\"{twice}\":\"zyxwvutsrqponm\"}}"))));
    }
    all.push(text(GOOD.replace('}', ",\"token_type\":\"Bearer\"}")));
    // Members of another kind.
    for token in ["null", "17", "[]", "{}", "true", "[\"abcdefghijklmnop\"]", "\"\""] {
        all.push(text(GOOD.replace("\"abcdefghijklmnop\"", token)));
    }
    for kind in [
        "\"mac\"",
        "\"DPoP\"",
        "\"N_A\"",
        "\"PoP\"",
        "\"bearer \"",
        "\" Bearer\"",
        "\"Bearer\\u0000\"",
        "\"Bearer,mac\"",
        "\"\"",
        "null",
        "1",
        "[\"Bearer\"]",
        "\"B\\u0435arer\"",
    ] {
        all.push(text(GOOD.replace("\"Bearer\"", kind)));
    }
    all.push(text(GOOD.replace("\"token_type\":\"Bearer\",", "")));
    for end in ["0", "-1", "-1e9", "\"\"", "\"x\"", "\"-5\"", "{}", "[60]", "true", "0.0"] {
        all.push(text(GOOD.replace(":60", &format!(":{end}"))));
    }
    // Tokens that no field may hold (RFC 6750 section 2.1, RFC 9110 section 5.5).
    for byte in (0..=0x20u32).chain([0x22, 0x2c, 0x5c, 0x7f, 0x80, 0xa0, 0xe9, 0x3002, 0xfeff]) {
        for token in
            [format!("abcdefgh\\u{byte:04x}ijklmnop"), format!("abcdefghijklmnop\\u{byte:04x}")]
        {
            // Allowed by some, and harmless in a field.
            if ![0x22, 0x2c, 0x5c].contains(&byte) {
                all.push(text(GOOD.replace("abcdefghijklmnop", &token)));
            }
        }
    }
    // More than was asked for, or no list of words (RFC 6749 section 3.3).
    for scope in [
        "\"orders:read admin\"",
        "\"orders:write\"",
        "\"ORDERS:READ\"",
        "\"orders:read\\u0000\"",
        "17",
        "[\"orders:read\"]",
    ] {
        all.push(text(GOOD.replace('}', &format!(",\"scope\":{scope}}}"))));
    }
    all.push(text(GOOD.replace("abcdefghijklmnop", "\\ud800abcdefghijkl")));
    all.push(text(GOOD.replace("abcdefghijklmnop", &"a".repeat(8 * 1024 + 1))));
    all.push(text(GOOD.replace("abcdefghijklmnop", &"a".repeat(64 * 1024))));
    all
}

fn replies() -> Vec<(String, Reply)> {
    let bodies = bodies().into_iter().map(|body| {
        let name = String::from_utf8_lossy(&body).chars().take(120).collect();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        (name, Reply::Raw { status: 200, headers, body })
    });
    let mut all: Vec<_> = bodies.collect();
    let with = |name: &str, value: &str| Reply::json(200, GOOD).header(name, value);
    all.push(("in gzip".into(), with("Content-Encoding", "gzip")));
    all.push(("in a code of its own".into(), with("Content-Encoding", "x-own")));
    for status in [201, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 418] {
        let elsewhere = Reply::json(status, GOOD).header("Location", "https://evil.example/token");
        all.push((format!("status {status}"), elsewhere));
    }
    all.push(("a page".into(), Reply::html(200, GOOD)));
    all
}

#[tokio::test]
async fn what_is_no_answer_mints_nothing() {
    let replies = replies();
    let fakes = Stage::naive().await;
    let issuer = &fakes.orders_issuer;
    // A credential for each, so that no failure stands in another's way.
    let stage = Stage::valetkey_with(|v| {
        (0..=replies.len()).fold(v, |v: Valetkey, n| {
            let scope = "scope = [\"orders:read\"]";
            v.credential_at(&format!("c{n}"), &issuer.token_url(), scope).route(&format!(
                "name = \"c{n}\"\nhost = \"{ORDERS}\"\npath = [\"/c{n}/**\"]\ncredential = \"c{n}\""
            ))
        })
    })
    .await;
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    for (n, (name, reply)) in replies.iter().enumerate() {
        issuer.reply(reply.clone().header("X-Foreign", FOREIGN));
        let request = format!("GET /c{n}/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer for {name:?}"));
        let codes = ["issuer-answer-invalid", "issuer-refused", "issuer-unreachable"];
        own_answer(&answer, &[502, 503], &codes).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        let told = answer.everything();
        for foreign in [FOREIGN, "abcdefgh", "zyxwvu", "evil.example"] {
            assert!(!told.contains(foreign), "{name:?} told: {told}");
        }
        assert!(stage.orders.requests().is_empty(), "{name:?}: something left");
    }
    issuer.reply(Reply::json(200, GOOD));
    let last = format!("GET /c{}/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n", replies.len());
    let answer = crate::harness::client::exchange(&mut tunnel, last.as_bytes()).await.unwrap();
    assert_eq!(answer.status(), 200, "the good one: {}", answer.everything());
    assert_eq!(stage.orders.requests()[0].one("authorization"), "Bearer abcdefghijklmnop");
    let said = stage.running().unwrap().output();
    assert!(!said.contains(FOREIGN) && !said.contains("zyxwvu"), "{said}");
    stage.control().await.unwrap();
    println!("sent: {} answers that are none", replies.len());
}
