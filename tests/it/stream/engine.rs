//! What the contract asks for and the engine does not do yet.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};
use crate::harness::until;
use crate::harness::upstream::Protocol;

#[tokio::test]
async fn a_client_that_vanishes_ends_its_request_upstream() {
    for (client, upstream) in ALL {
        // In the middle of its upload, waiting for the head, in the middle of the answer.
        for stage in ["upload", "head", "answer"] {
            for gives_up_only in [true, false] {
                let mut pair = Pair::between(client, upstream).await;
                let sending = if stage == "upload" { Sending::Streamed } else { Sending::Nothing };
                let mut call = pair.caller().await.call("POST", "/x", &[], sending).await;
                let mut up = pair.upstream.next().await;
                match stage {
                    "upload" => {
                        call.send(b"some").await;
                        up.receive().await.data();
                    }
                    "answer" => {
                        up.head(200, &[]).await;
                        up.send(b"some").await;
                        assert_eq!(call.head().await.status, 200);
                        assert_eq!(call.exactly(4).await, b"some");
                    }
                    _ => {}
                }
                println!("{client:?} {upstream:?} {stage}, gives up only: {gives_up_only}");
                let rest = if gives_up_only {
                    call.give_up()
                } else {
                    call.vanish();
                    None
                };
                up.given_up().await;
                // What shares the connection goes on.
                if let Some(caller) = rest {
                    let mut call = caller.get("/next").await;
                    pair.upstream.next().await.answer(200, "next").await;
                    assert_eq!(call.head().await.status, 200);
                }
                pair.stage.control().await.unwrap();
            }
        }
    }
}

/// An upload that its client gives up is not taken for a whole one by the upstream.
#[tokio::test]
async fn an_upload_that_is_given_up_has_no_clean_end() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Streamed).await;
        call.send(b"the first half").await;
        let mut up = pair.upstream.next().await;
        assert_eq!(up.receive().await.data(), b"the first half", "{what}");
        let _rest = call.give_up();
        let end = up.receive().await;
        assert!(end.is_broken(), "{what}: a clean end: {end:?}");
    }
}

/// RST_STREAM before END_STREAM is a broken body, whatever its code says (RFC 9113 section 8.1).
#[tokio::test]
async fn a_reset_answer_has_no_clean_end_whatever_its_code() {
    for client in [Protocol::Http1, Protocol::Http2] {
        for code in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::REFUSED_STREAM] {
            let what = format!("{client:?} {code:?}");
            let mut pair = Pair::between(client, Protocol::Http2).await;
            let mut call = pair.caller().await.get("/x").await;
            let mut up = pair.upstream.next().await;
            up.head(200, &[]).await;
            up.send(b"the first half").await;
            assert_eq!(call.head().await.status, 200, "{what}");
            assert_eq!(call.exactly(14).await, b"the first half", "{what}");
            up.reset(code);
            let end = call.receive().await;
            assert!(end.is_broken(), "{what}: a clean end: {end:?}");
        }
    }
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
        until("the files to be closed", || {
            // One for each HTTP/2 connection of a worker may live: only the streams of it ended.
            crate::torture::vitals::of(&pair.stage).files <= before + 2
        })
        .await;
    }
}
