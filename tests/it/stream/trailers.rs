//! Trailers: an answer's pass, cleaned like its header; a request's never become header fields.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};
use crate::harness::upstream::{Piece, Protocol};

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn trailers_of_an_answer_pass() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut both = Pair::between(client, upstream).await;
        let asks: &[(&str, &str)] = match client {
            Protocol::Http1 => &[("te", "trailers"), ("connection", "te")],
            Protocol::Http2 => &[("te", "trailers")],
        };
        let mut call = both.caller().await.call("POST", "/rpc", asks, Sending::Nothing).await;
        let mut up = both.upstream.next().await;
        up.head(200, &[("trailer", "grpc-status, grpc-message")]).await;
        up.send(b"data").await;
        let token = both.token();
        up.end_with(&[("grpc-status", "0"), ("grpc-message", &token)]).await;
        let head = call.head().await;
        assert_eq!(head.status, 200, "{what}: {head:?}");
        let (body, end) = call.body().await;
        assert_eq!(body, b"data", "{what}");
        let trailers = end.trailers();
        assert!(trailers.contains(&pair("grpc-status", "0")), "{what}: {trailers:?}");
        both.stage.silent("the trailers", &format!("{trailers:?}")).unwrap();
    }
}

/// `te: trailers` reaches an upstream over HTTP/2, which gRPC servers insist on.
#[tokio::test]
async fn te_trailers_passes_to_http2() {
    let mut both = Pair::between(Protocol::Http2, Protocol::Http2).await;
    let asks = [("te", "trailers"), ("content-type", "application/grpc")];
    let _call = both.caller().await.call("POST", "/rpc", &asks, Sending::Nothing).await;
    let up = both.upstream.next().await;
    assert_eq!(up.parts.all("te"), ["trailers"], "{:?}", up.parts);
}

/// An answer that is trailers alone, as gRPC's errors are.
#[tokio::test]
async fn an_answer_of_trailers_alone_ends_cleanly() {
    for (client, upstream) in ALL {
        let mut both = Pair::between(client, upstream).await;
        let mut call = both.caller().await.call("POST", "/rpc", &[], Sending::Nothing).await;
        let mut up = both.upstream.next().await;
        up.head(200, &[("grpc-status", "5"), ("content-type", "application/grpc")]).await;
        up.end().await;
        let head = call.head().await;
        assert_eq!(head.all("grpc-status"), ["5"], "{client:?} {upstream:?}: {head:?}");
        assert_eq!(call.receive().await, Piece::End(vec![]), "{client:?} {upstream:?}");
    }
}

#[tokio::test]
async fn trailers_of_a_request_never_become_fields() {
    let hostile = [
        ("authorization", "Bearer mine"),
        ("host", "evil.example"),
        ("content-length", "3"),
        ("te", "gzip"),
        ("x-api-key", "mine"),
        ("x-checksum", "1"),
    ];
    for (client, upstream) in ALL {
        // HTTP/2 itself forbids some of these (RFC 9113 section 8.2.2), and its client library with it.
        let trailers = match client {
            Protocol::Http1 => &hostile[..],
            Protocol::Http2 => &[hostile[0], hostile[1], hostile[4], hostile[5]],
        };
        let what = format!("{client:?} {upstream:?}");
        let mut both = Pair::between(client, upstream).await;
        let mut call = both.caller().await.call("POST", "/up", &[], Sending::Streamed).await;
        call.send(b"body").await;
        call.end_with(trailers).await;
        let mut up = both.upstream.next().await;
        let (body, end) = up.body().await;
        match end {
            Piece::End(passed) => {
                assert_eq!(body, b"body", "{what}");
                let only = passed.iter().all(|(name, _)| name == "x-checksum");
                assert!(only, "{what}: trailers went upstream: {passed:?}");
                let token = format!("Bearer {}", both.token());
                assert_eq!(up.parts.all("authorization"), [token], "{what}: {:?}", up.parts);
                assert!(up.parts.all("x-checksum").is_empty(), "{what}: {:?}", up.parts);
                assert!(up.parts.all("x-api-key").is_empty(), "{what}: {:?}", up.parts);
                up.answer(200, "fine").await;
                assert_eq!(call.head().await.status, 200, "{what}");
            }
            // Refused as a whole is as good.
            _ => assert_eq!(call.head().await.status, 400, "{what}"),
        }
        both.stage.control().await.unwrap();
    }
}
