//! Answers before the answer: the upstream's own 100 decides, other 1xx pass, a flood of them does not.

use crate::harness::caller::Sending;
use crate::harness::pair::Pair;
use crate::harness::upstream::{Piece, Protocol};

/// Where they are carried.
const CARRIED: [(Protocol, Protocol); 1] = [(Protocol::Http1, Protocol::Http1)];

const EXPECT: [(&str, &str); 1] = [("expect", "100-continue")];

#[tokio::test]
async fn the_upstreams_own_100_decides() {
    for (client, upstream) in CARRIED {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/up", &EXPECT, Sending::Sized(4)).await;
        // The head is here, and nothing of the body has been asked for.
        let mut up = pair.upstream.next().await;
        assert_eq!(up.parts.all("expect"), ["100-continue"], "{what}: {:?}", up.parts);
        up.interim(100, &[]).await;
        assert_eq!(call.head().await.status, 100, "{what}");
        call.send(b"body").await;
        call.end().await;
        assert_eq!(up.body().await, (b"body".to_vec(), Piece::End(vec![])), "{what}");
        up.answer(201, "made").await;
        let head = call.head().await;
        assert_eq!(head.status, 201, "{what}: one 100 and no more: {head:?}");
    }
}

/// Said no without a 100: the body is never sent, and the client is told.
#[tokio::test]
async fn a_refused_expectation_saves_the_body() {
    for (client, upstream) in CARRIED {
        for status in [417, 401] {
            let what = format!("{client:?} {upstream:?} {status}");
            let mut pair = Pair::between(client, upstream).await;
            let mut call =
                pair.caller().await.call("POST", "/up", &EXPECT, Sending::Sized(1 << 20)).await;
            let up = pair.upstream.next().await;
            up.answer(status, "no").await;
            let head = call.head().await;
            assert_eq!(head.status, status, "{what}: {head:?}");
            assert_eq!(call.exactly(2).await, b"no", "{what}");
            pair.stage.control().await.unwrap();
        }
    }
}

#[tokio::test]
async fn early_hints_pass_without_the_token() {
    for (client, upstream) in CARRIED {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/page").await;
        let mut up = pair.upstream.next().await;
        let token = pair.token();
        for n in 0..3 {
            let link = format!("</{n}.css>; rel=preload");
            let hints = [("link", &*link), ("x-echo", &token), ("set-cookie", "a=b")];
            up.interim(103, &hints).await;
            let head = call.head().await;
            assert_eq!((head.status, head.all("link")), (103, vec![&*link]), "{what}: {head:?}");
            pair.stage.silent("the hint", &format!("{head:?}")).unwrap();
            assert!(head.all("set-cookie").is_empty(), "{what}: {head:?}");
        }
        up.answer(200, "the page").await;
        let head = call.head().await;
        assert_eq!(head.status, 200, "{what}: {head:?}");
        assert_eq!(call.body().await.0, b"the page", "{what}");
    }
}

/// The upstream knows the token from another request.
#[tokio::test]
async fn early_hints_of_a_bare_request_pass_without_the_token() {
    for (client, upstream) in CARRIED {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between_with(client, upstream, |v| v, "path = [\"/page\"]").await;
        let mut call = pair.caller().await.get("/page").await;
        pair.upstream.next().await.answer(200, "the page").await;
        assert_eq!(call.head().await.status, 200, "{what}");
        assert_eq!(call.body().await.0, b"the page", "{what}");
        let mut call = pair.caller().await.get("/bare").await;
        let mut up = pair.upstream.next().await;
        assert!(up.parts.all("authorization").is_empty(), "{what}: {:?}", up.parts);
        up.interim(103, &[("x-echo", &pair.token()), ("x-kept", "kept")]).await;
        let head = call.head().await;
        assert_eq!((head.status, head.all("x-kept")), (103, vec!["kept"]), "{what}: {head:?}");
        pair.stage.silent("the hint", &format!("{head:?}")).unwrap();
        up.answer(200, "bare").await;
        assert_eq!(call.head().await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_a_502() {
    for (client, upstream) in CARRIED {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/page").await;
        let mut up = pair.upstream.next().await;
        let flood = tokio::spawn(async move {
            for _ in 0..300 {
                if !up.interim(103, &[("link", "</a.css>; rel=preload")]).await {
                    return;
                }
                tokio::task::yield_now().await;
            }
            up.answer(200, "at last").await;
        });
        let head = call.final_head().await;
        assert_eq!(head.status, 502, "{what}: {head:?}");
        assert_eq!(head.code(), "upstream-answer-invalid", "{what}: {head:?}");
        flood.await.unwrap();
        pair.stage.control().await.unwrap();
    }
}
