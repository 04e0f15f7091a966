//! What an upstream was given stays masked in all that comes from it: also in an answer that was under way before, and
//! after a reload has changed the credential.

use tokio::io::AsyncWriteExt as _;

use super::upgrade::{AGREES, ASKS};
use crate::harness::caller::{Call, Sending};
use crate::harness::pair::{ALL, HOST, Pair};
use crate::harness::soon;
use crate::harness::upstream::{Exchange, Piece, Protocol, lines};
use crate::harness::valetkey::Valetkey;

/// Another route of the same host, with another credential.
fn with_another(valetkey: Valetkey) -> Valetkey {
    valetkey.route(&format!(
        "name = \"another\"\nhost = \"{HOST}\"\npath = [\"/another/**\"]\ncredential = \"billing\""
    ))
}

const KEYS: &str = "path = [\"/x/**\"]\nupgrade = [\"websocket\"]";

async fn pair(client: Protocol, upstream: Protocol) -> Pair {
    Pair::between_with(client, upstream, with_another, KEYS).await
}

async fn get(pair: &mut Pair, path: &str, asks: &[(&str, &str)]) -> (Call, Exchange, String) {
    let call = pair.caller().await.call("GET", path, asks, Sending::Nothing).await;
    let up = pair.upstream.next().await;
    let sent = up.parts.all("authorization").concat();
    let token = sent.strip_prefix("Bearer ").unwrap_or_default().to_owned();
    assert!(!token.is_empty(), "{:?}", up.parts);
    (call, up, token)
}

fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

#[tokio::test]
async fn a_token_of_another_route_is_masked_in_an_answer_under_way() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = pair(client, upstream).await;
        let (mut call, mut up, own) = get(&mut pair, "/x/events", &[]).await;
        up.head(200, &[("trailer", "x-last")]).await;
        up.send(b"before\n").await;
        assert_eq!(call.head().await.status, 200, "{what}");
        assert_eq!(call.exactly(7).await, b"before\n", "{what}");
        let (mut second, other, theirs) = get(&mut pair, "/another/x", &[]).await;
        assert_ne!(own, theirs, "{what}");
        let text = format!("{own} and {theirs}\n");
        up.send(text.as_bytes()).await;
        up.end().await;
        let (body, end) = call.body().await;
        assert_eq!(end, Piece::End(vec![]), "{what}");
        let wanted = format!("{} and {}\n", stars(&own), stars(&theirs));
        assert_eq!(String::from_utf8_lossy(&body), wanted, "{what}");
        other.answer(200, &own).await;
        assert_eq!(second.head().await.status, 200, "{what}");
        assert_eq!(second.body().await.0, stars(&own).as_bytes(), "{what}");
    }
}

#[tokio::test]
async fn it_is_masked_in_a_websocket_that_was_open_before() {
    let mut pair = pair(Protocol::Http1, Protocol::Http1).await;
    let (mut call, mut up, _) = get(&mut pair, "/x/socket", &ASKS).await;
    let head = lines(&AGREES[..4]);
    up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n").as_bytes()).await;
    assert_eq!(call.head().await.status, 101);
    let (client, mut server) = (call.raw(), up.into_raw());
    let (_second, _other, theirs) = get(&mut pair, "/another/x", &[]).await;
    let frame = |text: &str| [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    server.stream.write_all(&frame(&theirs)).await.unwrap();
    server.stream.flush().await.unwrap();
    let wanted = frame(&stars(&theirs));
    let got = soon("a message", client.exactly(wanted.len())).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
}

#[tokio::test]
async fn a_token_of_before_a_reload_is_masked_after_it() {
    let mut pair = pair(Protocol::Http1, Protocol::Http1).await;
    let (mut call, up, before) = get(&mut pair, "/x/1", &[]).await;
    up.answer(200, "done").await;
    assert_eq!(call.head().await.status, 200);
    assert_eq!(call.body().await.0, b"done");
    let running = pair.stage.running().unwrap();
    running
        .home
        .rewrite(|text| text.replace("[credentials.orders]", "[credentials.orders]\nttl = \"4m\""));
    running.sighup();
    running.says("config reloaded").await;
    let (mut call, up, after) = get(&mut pair, "/x/2", &[]).await;
    assert_ne!(before, after);
    up.answer(200, &format!("{before} {after}")).await;
    assert_eq!(call.head().await.status, 200);
    let wanted = format!("{} {}", stars(&before), stars(&after));
    assert_eq!(String::from_utf8_lossy(&call.body().await.0), wanted);
}
