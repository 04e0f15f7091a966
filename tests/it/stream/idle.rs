//! Kept upstream connections: what the upstream has closed is given back, and nobody is asked for ever.

use crate::harness::pair::Pair;
use crate::harness::soon;
use crate::harness::upstream::Protocol;

/// A GET is tried again once, not for ever.
#[tokio::test]
async fn an_upstream_that_kills_every_request_is_a_502() {
    let mut pair = Pair::between(Protocol::Http1, Protocol::Http1).await;
    let mut call = pair.caller().await.get("/first").await;
    pair.upstream.next().await.answer(200, "ok").await;
    assert_eq!(call.head().await.status, 200);
    call.body().await;
    let mut call = call.again().get("/doomed").await;
    let mut tries = 0;
    let head = loop {
        tokio::select! {
            biased;
            head = call.head() => break head,
            up = pair.upstream.next() => {
                tries += 1;
                assert!(tries <= 3, "tried {tries} times");
                up.reset(h2::Reason::NO_ERROR);
            }
        }
    };
    assert_eq!(head.status, 502, "{head:?}");
}

/// What the upstream has closed does not stay open on our side until somebody asks for it.
#[tokio::test]
async fn closed_connections_are_given_back_to_the_machine() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(Protocol::Http1, upstream).await;
        let before = crate::torture::vitals::of(&pair.stage).files;
        let mut calls = Vec::new();
        for n in 0..20 {
            let call = pair.caller().await.get(&format!("/{n}")).await;
            calls.push((call, pair.upstream.next().await));
        }
        let mut ups = Vec::new();
        for (mut call, mut up) in calls {
            up.head(200, &[("content-length", "2")]).await;
            up.send(b"ok").await;
            assert_eq!(call.head().await.status, 200);
            call.exactly(2).await;
            ups.push(up);
        }
        // The clients are gone; now the upstream closes what was kept.
        for up in ups {
            up.close().await;
        }
        soon("the files to be closed", async {
            // One for each HTTP/2 connection of a worker may live: only the streams of it ended.
            while crate::torture::vitals::of(&pair.stage).files > before + 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
