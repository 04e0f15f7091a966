//! What a changed config takes back ends on both sides within 5 s (I8), in each combination of protocols and
//! however a client resists.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::upgrade::{AGREES, ASKS};
use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, HOST, Pair};
use crate::harness::soon;
use crate::harness::upstream::{Protocol, lines};

const PROMISED: Duration = Duration::from_secs(5);

fn deny(pair: &Pair) -> Instant {
    let injects = format!("host = \"{HOST}\"\ncredential = \"orders\"");
    let denies = format!("host = \"{HOST}\"\ndeny = true");
    edit(pair, &injects, &denies)
}

fn edit(pair: &Pair, from: &str, to: &str) -> Instant {
    pair.stage.running().unwrap().home.rewrite(|text| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    });
    Instant::now()
}

fn in_time(edited: Instant, what: &str) {
    assert!(edited.elapsed() < PROMISED, "{what}: {:?}", edited.elapsed());
}

#[tokio::test]
async fn an_answer_breaks_off() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/events").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[("content-type", "text/event-stream")]).await;
        assert!(up.send(b"data: 1\n\n").await);
        assert_eq!(call.head().await.status, 200);
        call.exactly(9).await;
        let edited = deny(&pair);
        assert!(soon("the break", call.receive()).await.is_broken(), "{client:?} {upstream:?}");
        in_time(edited, "the client's side");
        soon("the upstream's side", up.given_up()).await;
        in_time(edited, "the upstream's side");
    }
}

#[tokio::test]
async fn an_upload_gets_its_answer_and_goes_no_further() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/up", &[], Sending::Streamed).await;
        let mut up = pair.upstream.next().await;
        assert!(call.send(b"first").await);
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend(up.receive().await.data());
        }
        let edited = deny(&pair);
        let head = call.head().await;
        assert_eq!((head.status, head.code()), (403, "no-longer-permitted".into()), "{head:?}");
        in_time(edited, "the answer");
        call.send(b"second").await;
        let (rest, end) = soon("the upload's end", up.body()).await;
        assert!(rest.is_empty() && end.is_broken(), "{client:?} {upstream:?}: {rest:?} {end:?}");
        in_time(edited, "the upload");
    }
}

#[tokio::test]
async fn a_conversation_ends_in_both_directions() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.call("POST", "/talk", &[], Sending::Streamed).await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[]).await;
        assert_eq!(call.head().await.status, 200);
        assert!(call.send(b"ping").await && up.send(b"pong").await);
        assert_eq!(call.exactly(4).await, b"pong");
        assert_eq!(up.receive().await.data(), b"ping");
        let edited = deny(&pair);
        assert!(soon("the break", call.receive()).await.is_broken(), "{client:?} {upstream:?}");
        call.send(b"more").await;
        let (rest, end) = soon("the upload's end", up.body()).await;
        assert!(rest.is_empty() && end.is_broken(), "{client:?} {upstream:?}: {rest:?} {end:?}");
        in_time(edited, "both directions");
    }
}

/// Nobody takes the answer, so nobody asks its body for more: the upstream is rid of it all the same.
#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/flood").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[]).await;
        assert_eq!(call.head().await.status, 200);
        let piece = vec![0; 64 * 1024];
        // Until every window and buffer on the way is full.
        while tokio::time::timeout(Duration::from_millis(500), up.send(&piece)).await.is_ok() {}
        let edited = deny(&pair);
        soon("the upstream's side", up.given_up()).await;
        println!("{client:?} {upstream:?}: {:?}", edited.elapsed());
        in_time(edited, "the upstream's side");
    }
}

/// With its route, and with the route's leave to upgrade alone.
#[tokio::test]
async fn a_websocket_ends() {
    let key = "upgrade = [\"websocket\"]";
    for (from, to) in
        [(key, ""), ("host = \"pair.example\"\ncredential", "host = \"a.example\"\ncredential")]
    {
        let permit = "[ca]\npermit = [\"a.example\"]";
        let mut pair =
            Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v.toml(permit), key).await;
        let mut call = pair.caller().await.call("GET", "/socket", &ASKS, Sending::Nothing).await;
        let mut up = pair.upstream.next().await;
        let head = lines(&AGREES[..4]);
        up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\nraw").as_bytes()).await;
        assert_eq!(call.head().await.status, 101);
        let client = call.raw();
        assert_eq!(soon("raw bytes", client.exactly(3)).await.unwrap(), b"raw");
        let mut server = up.into_raw();
        let edited = edit(&pair, from, to);
        assert!(soon("the client's end", client.rest()).await.is_empty());
        assert!(soon("the server's end", server.rest()).await.is_empty());
        let _ = client.stream.shutdown().await;
        in_time(edited, "the socket");
    }
}
