//! Bodies: each piece passes before the next is sent, whatever their number and size.

use bytes::Bytes;

use crate::harness::caller::{Caller, Sending};
use crate::harness::pair::{ALL, HOST, Pair};
use crate::harness::soon;
use crate::harness::upstream::{Piece, Protocol};

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/events").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[("content-type", "text/event-stream")]).await;
        let head = call.head().await;
        assert_eq!(head.status, 200, "{client:?} {upstream:?}: {head:?}");
        assert_eq!(head.all("content-type"), ["text/event-stream"]);
        assert!(head.all("content-length").is_empty(), "{head:?}");
        for n in 0..50 {
            // One byte at times: even that must not wait for more.
            let event = if n % 3 == 0 { "\n".to_owned() } else { format!("data: {n}\n\n") };
            assert!(up.send(event.as_bytes()).await);
            let got = call.exactly(event.len()).await;
            assert_eq!(got, event.as_bytes(), "{client:?} {upstream:?}: event {n}");
        }
        up.end().await;
        assert_eq!(call.receive().await, Piece::End(vec![]), "{client:?} {upstream:?}");
    }
}

#[tokio::test]
async fn uploads_pass_piece_by_piece() {
    for (client, upstream) in ALL {
        for sending in [Sending::Streamed, Sending::Sized(500)] {
            let mut pair = Pair::between(client, upstream).await;
            let mut call = pair.caller().await.call("POST", "/up", &[], sending).await;
            let mut up = pair.upstream.next().await;
            for n in 0..50u8 {
                let piece = [n; 10];
                assert!(call.send(&piece).await);
                let mut got = Vec::new();
                while got.len() < piece.len() {
                    got.extend(up.receive().await.data());
                }
                assert_eq!(got, piece, "{client:?} {upstream:?} {sending:?}");
            }
            call.end().await;
            assert_eq!(up.receive().await, Piece::End(vec![]), "{client:?} {upstream:?}");
            up.answer(200, "done").await;
            assert_eq!(call.head().await.status, 200);
            assert_eq!(call.body().await, (b"done".to_vec(), Piece::End(vec![])));
        }
    }
}

/// Both directions at once, as in a bidirectional call of gRPC: each piece is answered before the next.
#[tokio::test]
async fn a_conversation_over_http2_is_not_held_back() {
    let mut pair = Pair::between(Protocol::Http2, Protocol::Http2).await;
    let mut call = pair.caller().await.call("POST", "/talk", &[], Sending::Streamed).await;
    let mut up = pair.upstream.next().await;
    up.head(200, &[]).await;
    assert_eq!(call.head().await.status, 200);
    for n in 0..50u8 {
        call.send(&[n; 100]).await;
        let asked = up.receive().await.data();
        assert_eq!(asked, [n; 100]);
        up.send(&asked).await;
        assert_eq!(call.exactly(100).await, asked);
    }
    call.end().await;
    assert_eq!(up.receive().await, Piece::End(vec![]));
    up.end().await;
    assert_eq!(call.receive().await, Piece::End(vec![]));
}

#[tokio::test]
async fn large_bodies_pass_whole_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    let body: Bytes = (0..SIZE).map(|n| (n % 251) as u8).collect();
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/big", &[], Sending::Sized(SIZE)).await;
        let mut up = pair.upstream.next().await;
        assert_eq!(up.parts.all("content-length"), [SIZE.to_string()], "{client:?} {upstream:?}");
        let sending = async {
            for piece in body.chunks(60_000) {
                assert!(call.send(piece).await);
            }
            call.end().await;
        };
        let ((), (got, end)) = tokio::join!(sending, up.body());
        assert!(got == body && end == Piece::End(vec![]), "{client:?} {upstream:?}: {end:?}");
        up.head(200, &[]).await;
        assert_eq!(call.head().await.status, 200);
        let sending = async {
            for piece in body.chunks(60_000) {
                assert!(up.send(piece).await);
            }
            up.end().await;
        };
        let ((), (got, end)) = tokio::join!(sending, call.body());
        assert!(got == body && end == Piece::End(vec![]), "{client:?} {upstream:?}: {end:?}");
    }
}

#[tokio::test]
async fn many_bodies_share_a_connection() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut caller = pair.caller().await;
        for n in 0..40 {
            let mut call = caller.call("POST", "/many", &[], Sending::Sized(n * 100)).await;
            call.send(&vec![7; n * 100]).await;
            call.end().await;
            let mut up = pair.upstream.next().await;
            let (body, end) = up.body().await;
            assert_eq!((body.len(), end), (n * 100, Piece::End(vec![])), "{client:?} {upstream:?}");
            up.head(200, &[]).await;
            up.send(&body).await;
            up.end().await;
            assert_eq!(call.head().await.status, 200);
            assert_eq!(call.body().await.0, body, "{client:?} {upstream:?}");
            caller = call.again();
        }
        let opened = pair.upstream.connections();
        assert!(opened <= 2, "{client:?} {upstream:?}: {opened} upstream connections");
    }
}

/// An answer that has no body says how long one would be; the connection goes on after it.
#[tokio::test]
async fn answers_without_a_body_keep_their_length() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut caller = pair.caller().await;
        for (method, status, length) in
            [("HEAD", 200, Some("1234")), ("GET", 204, None), ("HEAD", 404, Some("5"))]
        {
            let what = format!("{client:?} {upstream:?}: {method} {status}");
            let mut call = caller.call(method, "/none", &[], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            assert_eq!(up.parts.method, method);
            let pairs: Vec<_> = length.iter().map(|v| ("content-length", *v)).collect();
            up.head(status, &pairs).await;
            up.end().await;
            let head = call.head().await;
            assert_eq!(head.status, status, "{what}: {head:?}");
            assert_eq!(
                head.all("content-length"),
                length.into_iter().collect::<Vec<_>>(),
                "{what}"
            );
            assert_eq!(call.receive().await, Piece::End(vec![]), "{what}");
            caller = call.again();
        }
        let mut call = caller.get("/after").await;
        pair.upstream.next().await.answer(200, "still here").await;
        assert_eq!(call.head().await.status, 200);
        assert_eq!(call.body().await.0, b"still here", "{client:?} {upstream:?}");
    }
}

/// A server may say no before it has read everything (RFC 9110 section 9.3.3 and RFC 9113 section 8.1).
#[tokio::test]
async fn an_early_answer_passes_while_the_upload_goes_on() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/up", &[], Sending::Sized(1 << 30)).await;
        call.send(&[1; 1000]).await;
        let mut up = pair.upstream.next().await;
        up.receive().await.data();
        up.head(413, &[("content-length", "9")]).await;
        up.send(b"too large").await;
        let head = call.head().await;
        assert_eq!((head.status, head.code()), (413, String::new()), "{what}: {head:?}");
        assert_eq!(call.exactly(9).await, b"too large", "{what}");
        pair.stage.control().await.unwrap();
    }
}

/// Says no more about waiting than the client did: without `Expect` the body goes at once.
#[tokio::test]
async fn nobody_waits_where_nobody_expects() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/up", &[], Sending::Sized(4)).await;
        call.send(b"body").await;
        call.end().await;
        let mut up = pair.upstream.next().await;
        assert!(up.parts.all("expect").is_empty(), "{:?}", up.parts);
        assert_eq!(up.body().await.0, b"body");
        up.answer(200, "ok").await;
        assert_eq!(call.head().await.status, 200, "{client:?} {upstream:?}");
    }
}

/// A tunnel that is not intercepted carries one direction after the other has ended.
#[tokio::test]
async fn a_half_closed_tunnel_carries_the_other_half() {
    use crate::harness::client::connect;
    use crate::harness::stage::Stage;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stage = Stage::valetkey_with(|v| v.reaching("raw.example:443", addr)).await;
    for client_ends_first in [true, false] {
        let (answer, mut client) = connect(stage.proxy_addr(), "raw.example:443").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let (mut server, _) = soon("a connection", listener.accept()).await.unwrap();
        let (first, second) = match client_ends_first {
            true => (&mut client.stream, &mut server),
            false => (&mut server, &mut client.stream),
        };
        first.write_all(b"all I have to say").await.unwrap();
        first.shutdown().await.unwrap();
        let mut heard = Vec::new();
        soon("the first half", second.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"all I have to say");
        second.write_all(b"and the answer").await.unwrap();
        second.shutdown().await.unwrap();
        heard.clear();
        soon("the second half", first.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"and the answer");
    }
}

/// Fifty streams of one client at once, their pieces interleaved, none held up by its neighbour that stalls.
#[tokio::test]
async fn streams_do_not_wait_for_each_other() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(Protocol::Http2, upstream).await;
        let first = pair.caller().await;
        let mut stalled = first.beside().get("/stalled").await;
        let mut stalled_up = pair.upstream.next().await;
        stalled_up.head(200, &[]).await;
        assert_eq!(stalled.head().await.status, 200);
        let mut streams = Vec::new();
        for n in 0..50 {
            let call = first.beside().get(&format!("/{n}")).await;
            let up = pair.upstream.next().await;
            streams.push((call, up));
        }
        for (call, up) in &mut streams {
            up.head(200, &[]).await;
            assert_eq!(call.head().await.status, 200);
        }
        for round in 0..5u8 {
            for (call, up) in &mut streams {
                up.send(&[round; 20]).await;
                assert_eq!(call.exactly(20).await, [round; 20], "{upstream:?}");
            }
        }
        stalled_up.send(b"late").await;
        assert_eq!(stalled.exactly(4).await, b"late");
    }
}

/// A stream for as long as `VALETKEY_TEST_SSE_MINUTES` says: an event every second, none late.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_long_event_stream_lives() {
    let minutes: f64 = std::env::var("VALETKEY_TEST_SSE_MINUTES")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0.05);
    tokio::join!(
        long_stream(Protocol::Http1, Protocol::Http1, minutes),
        long_stream(Protocol::Http2, Protocol::Http2, minutes)
    );
}

async fn long_stream(client: Protocol, upstream: Protocol, minutes: f64) {
    let mut pair = Pair::between(client, upstream).await;
    let mut call = Caller::open(&pair.stage, HOST, client).await.get("/events").await;
    let mut up = pair.upstream.next().await;
    up.head(200, &[("content-type", "text/event-stream")]).await;
    assert_eq!(call.head().await.status, 200);
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    let end = std::time::Instant::now() + std::time::Duration::from_secs_f64(minutes * 60.0);
    let mut events = 0;
    while std::time::Instant::now() < end {
        ticks.tick().await;
        assert!(up.send(b"data: tick\n\n").await, "cut after {events} events");
        assert_eq!(call.exactly(12).await, b"data: tick\n\n");
        events += 1;
    }
    println!("{client:?} to {upstream:?}: {events} events in {minutes} minutes");
    up.end().await;
    assert_eq!(call.receive().await, Piece::End(vec![]));
}
