//! I3, parse once: what has two readings is refused, or becomes exactly one plain request and the
//! connection closes.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::harness::client::{dial, exchange};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage, own_answer};

/// How long Valetkey waits for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Each is a first request, in which a second (`/v1/smuggled`) may hide.
fn cases() -> Vec<(&'static str, String)> {
    let inner = format!("GET /v1/smuggled HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let post = |fields: &str, body: &str| {
        format!("POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{fields}\r\n{body}")
    };
    let length = inner.len();
    let chunked = format!("0\r\n\r\n{inner}");
    let both = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n");
    vec![
        ("CL and TE", post(&both, &chunked)),
        ("TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &chunked)),
        (
            "TE twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked),
        ),
        ("TE list", post("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("TE unknown", post("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("TE with vertical tab", post("Transfer-Encoding: \u{b}chunked\r\n", &chunked)),
        ("TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", &chunked)),
        ("TE with space before colon", post("Transfer-Encoding : chunked\r\n", &chunked)),
        ("CL twice", post(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), &inner)),
        ("CL list", post(&format!("Content-Length: 0, {length}\r\n"), &inner)),
        ("CL plus", post(&format!("Content-Length: +{length}\r\n"), &inner)),
        ("CL twin", post(&format!("Content_Length: {length}\r\n"), &inner)),
        ("TE twin", post("Transfer_Encoding: chunked\r\n", &inner)),
        ("CL hex", post("Content-Length: 0x5\r\n", &inner)),
        ("CL negative", post("Content-Length: -1\r\n", &inner)),
        ("CL overflow", post("Content-Length: 18446744073709551617\r\n", &inner)),
        (
            "chunk overflow",
            post("Transfer-Encoding: chunked\r\n", &format!("10000000000000000\r\n{inner}")),
        ),
        (
            "chunk size with LF",
            post("Transfer-Encoding: chunked\r\n", &format!("0;a\nb\r\n\r\n{inner}")),
        ),
        ("chunk not hex", post("Transfer-Encoding: chunked\r\n", &format!("zz\r\n{inner}"))),
        ("obs-fold", post("X-A: b\r\n Transfer-Encoding: chunked\r\n", "")),
        ("space before colon", post("X-Api-Key : x\r\n", "")),
        ("NUL in value", post("X-A: b\0c\r\n", "")),
        ("bare CR in value", post("X-A: b\rTransfer-Encoding: chunked\r\n", "")),
        ("name with space", post("X A: b\r\n", "")),
        ("empty name", post(": b\r\n", "")),
        ("no colon", post("nonsense\r\n", "")),
        (
            "TE on 1.0",
            format!(
                "POST /v1/x HTTP/1.0\r\nHost: {ORDERS}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
            ),
        ),
        ("bare LF", format!("GET /v1/x HTTP/1.1\nHost: {ORDERS}\n\n")),
        ("HTTP/1.2", format!("GET /v1/x HTTP/1.2\r\nHost: {ORDERS}\r\n\r\n")),
        ("HTTP/2.0 in text", format!("GET /v1/x HTTP/2.0\r\nHost: {ORDERS}\r\n\r\n")),
        ("space in target", format!("GET /v1/x y HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n")),
        ("two spaces", format!("GET  /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n")),
        ("CONNECT inside", format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n")),
    ]
}

#[tokio::test]
async fn what_has_two_readings_never_becomes_two_requests() {
    let stage = Stage::valetkey().await;
    let mut wrong = Vec::new();
    for (n, (name, bytes)) in cases().into_iter().enumerate() {
        // A path of its own, because the end of a broken upload may be seen late.
        let path = format!("/v1/case-{n}-");
        let bytes = bytes.replace("/v1/x", &path);
        let before = stage.orders.requests().len();
        let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
        tunnel.stream.write_all(bytes.as_bytes()).await.unwrap();
        let _ = tunnel.stream.shutdown().await;
        let came = soon(name, tunnel.rest()).await;
        let came = String::from_utf8_lossy(&came).into_owned();
        let seen = stage.orders.requests()[before..].to_vec();
        let smuggled = seen.iter().any(|s| s.target.contains("smuggled"));
        let seen: Vec<_> = seen.into_iter().filter(|s| s.target.starts_with(&path)).collect();
        let both = seen
            .iter()
            .any(|s| !s.all("content-length").is_empty() && !s.all("transfer-encoding").is_empty());
        if seen.len() > 1 || smuggled || both {
            wrong.push(format!("{name}: the API got {seen:#?}"));
        } else if seen.is_empty() && !came.is_empty() && !refusal(&came) {
            wrong.push(format!("{name}: answered {came}"));
        } else if came.matches("HTTP/1.1 ").count() > 1 {
            wrong.push(format!("{name}: the connection stayed open: {came}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.control().await.unwrap();
}

fn refusal(answer: &str) -> bool {
    ["400", "403", "405", "411", "413", "431", "501", "502", "505"]
        .iter()
        .any(|status| answer.starts_with(&format!("HTTP/1.1 {status} ")))
}

/// Two honest requests in one segment: each is judged on its own.
#[tokio::test]
async fn pipelined_requests_are_judged_separately() {
    let stage = Stage::valetkey().await;
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let both = format!(
        "GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\nGET /v2/y HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n"
    );
    tunnel.stream.write_all(both.as_bytes()).await.unwrap();
    for _ in 0..2 {
        let answer = soon("an answer", tunnel.response()).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    let seen = stage.orders.requests();
    let token = stage.orders_issuer.token();
    assert_eq!((seen[0].count(&token), seen[1].count(&token)), (1, 0));
}

#[tokio::test]
async fn too_long_a_uri_is_414() {
    let stage = Stage::valetkey().await;
    let long = format!("/v1/{}", "a".repeat(9000));
    let answer = stage.get(ORDERS, &long, "").await.unwrap();
    own_answer(&answer, &[414], &["uri-too-long"]).unwrap();
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

#[tokio::test]
async fn too_large_a_header_is_431() {
    let stage = Stage::valetkey().await;
    let big = format!("X-Big: {}\r\n", "b".repeat(70_000));
    let answer = stage.get(ORDERS, "/v1/x", &big).await.unwrap();
    own_answer(&answer, &[431], &["headers-too-large"]).unwrap();
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

#[tokio::test]
async fn too_many_fields_are_431() {
    let stage = Stage::valetkey().await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = stage.get(ORDERS, "/v1/x", &many).await.unwrap();
    own_answer(&answer, &[431], &["headers-too-large"]).unwrap();
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

/// What the HTTP library itself cannot read is told in our words too, and written down.
#[tokio::test]
async fn what_cannot_be_parsed_is_answered_and_recorded() {
    let stage = Stage::valetkey().await;
    for request in [
        format!("GET /v1/x\ty HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n"),
        format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nX A: b\r\n\r\n"),
        // At once, though the end that it should have never comes.
        format!("GET /v1/x HTTP/1.1\nHost: {ORDERS}\n\n"),
        format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nA: b\n\n"),
    ] {
        let at_once = stage.send(ORDERS, &request);
        let answer = timeout(HEAD_TIMEOUT / 2, at_once).await.expect(&request).unwrap();
        own_answer(&answer, &[400], &["malformed-request"]).unwrap();
    }
    let connect = format!("CONNECT {ORDERS}:443 HTTP/1.1\nHost: {ORDERS}:443\n\n");
    let mut proxy = dial(stage.proxy_addr()).await;
    let at_once = exchange(&mut proxy, connect.as_bytes());
    let answer = timeout(HEAD_TIMEOUT / 2, at_once).await.expect(&connect).unwrap();
    own_answer(&answer, &[400], &["malformed-request"]).unwrap();
    stage.audited("malformed-request", 5).await;
    let audit = stage.running().unwrap().audit();
    let refused: Vec<_> = audit.iter().filter(|r| r["code"] == "malformed-request").collect();
    let in_tunnel = refused.iter().filter(|r| {
        r["target"]["host"] == ORDERS && r["target"]["port"] == 443 && r["policy"].is_string()
    });
    assert_eq!(in_tunnel.count(), 4, "what the tunnel was to is known: {refused:#?}");
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

/// A body that breaks off in bad chunks is the client's fault, not the API's.
#[tokio::test]
async fn a_broken_upload_is_the_clients_fault() {
    let stage = Stage::valetkey().await;
    let request = format!(
        "POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    );
    let answer = stage.send(ORDERS, &request).await.unwrap();
    own_answer(&answer, &[400], &["malformed-request"]).unwrap();
    stage.control().await.unwrap();
}
