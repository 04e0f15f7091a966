//! Upgrades that no route allows, by whichever door they ask (HOSTILE.md 25).

use crate::harness::caller::Sending;
use crate::harness::pair::Pair;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::upstream::Protocol;
use crate::torture::raw_h2::{
    END_HEADERS, Frame, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS, field, get,
};

#[tokio::test]
async fn an_upgrade_is_a_403_where_the_route_allows_none() {
    for upgrade in ["websocket", "h2c", "TLS/1.0"] {
        let mut pair = Pair::between(Protocol::Http1, Protocol::Http1).await;
        let asks = [
            ("connection", "Upgrade"),
            ("upgrade", upgrade),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut call = pair.caller().await.call("GET", "/x", &asks, Sending::Nothing).await;
        let head = call.head().await;
        assert_eq!((head.status, &*head.code()), (403, "upgrade-refused"), "{upgrade}: {head:?}");
        assert!(pair.upstream.waiting().is_none(), "{upgrade} went upstream");
        pair.stage.control().await.unwrap();
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
