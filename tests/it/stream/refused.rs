//! Upgrades that no route allows, by whichever door they ask (HOSTILE.md 25).

use crate::harness::caller::Sending;
use crate::harness::pair::Pair;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::upstream::Protocol;
use crate::torture::raw_h2::{
    END_HEADERS, Frame, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS, field, get,
};

const OFFER: &str = "upgrade";

#[tokio::test]
async fn a_websocket_is_a_426_where_the_route_allows_none() {
    for upgrade in ["websocket", "WebSocket", "h2c, websocket"] {
        let mut pair = Pair::between(Protocol::Http1, Protocol::Http1).await;
        let asks = [
            ("connection", "Upgrade"),
            (OFFER, upgrade),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut call = pair.caller().await.call("GET", "/x", &asks, Sending::Nothing).await;
        let head = call.head().await;
        assert_eq!((head.status, &*head.code()), (426, "upgrade-refused"), "{upgrade}: {head:?}");
        assert_eq!(head.all(OFFER), ["HTTP/1.1"], "{head:?}");
        assert!(pair.upstream.waiting().is_none(), "{upgrade} went upstream");
        pair.stage.control().await.unwrap();
    }
}

/// RFC 9110 section 7.8: a server may ignore the offer, and the request goes on without.
#[tokio::test]
async fn any_other_offer_is_taken_out() {
    for upgrade in ["h2c", "TLS/1.2", "h2c, TLS/1.0", "foo"] {
        for method in ["GET", "POST"] {
            let mut pair = Pair::between(Protocol::Http1, Protocol::Http1).await;
            let asks = [
                ("connection", "Upgrade, HTTP2-Settings"),
                (OFFER, upgrade),
                ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
            ];
            let mut call = pair.caller().await.call(method, "/x", &asks, Sending::Nothing).await;
            let up = pair.upstream.next().await;
            for gone in [OFFER, "connection", "http2-settings"] {
                assert!(up.parts.all(gone).is_empty(), "{upgrade}: {:?}", up.parts);
            }
            up.answer(200, "plain").await;
            assert_eq!(call.head().await.status, 200, "{upgrade}");
        }
    }
}

/// Extended CONNECT (RFC 8441) is not offered, and refused on its stream alone.
#[tokio::test]
async fn extended_connect_is_refused_cleanly() {
    let stage = Stage::valetkey().await;
    let mut raw = Raw::open(&stage, ORDERS, &[]).await;
    let block: Vec<u8> = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", ORDERS),
        (":path", "/v1/socket"),
    ]
    .iter()
    .flat_map(|(name, value)| field(name, value))
    .collect();
    assert!(raw.send(&[Frame::new(HEADERS, END_HEADERS, 1, block)]).await);
    let refused = tokio::select! {
        frame = raw.frame(HEADERS, 1) => frame,
        frame = raw.frame(RST_STREAM, 1) => frame,
    };
    assert!(raw.send(&[get(3, ORDERS, "/v1/x")]).await, "the connection went with it: {refused:?}");
    raw.frame(HEADERS, 3).await;
    let seen = raw.seen.all();
    assert!(seen.iter().all(|f| f.kind != GOAWAY), "{seen:?}");
    let offers = |f: &Frame| f.kind == SETTINGS && f.payload.chunks(6).any(|s| s[..2] == [0, 8]);
    assert!(!seen.iter().any(offers), "it is offered: {seen:?}");
    assert_eq!(stage.orders.requests().len(), 1, "it went upstream");
    stage.control().await.unwrap();
}
