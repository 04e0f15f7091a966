//! Other protocols: where the route allows WebSocket the connection turns raw after the upstream's own 101, not
//! before; elsewhere nothing is upgraded, by whichever door it asks.

use tokio::io::AsyncWriteExt as _;

use super::peers::{Server, python, tests_file};
use crate::harness::caller::{Call, Sending};
use crate::harness::client::finish;
use crate::harness::pair::{HOST, Pair};
use crate::harness::pki::Pki;
use crate::harness::soon;
use crate::harness::stage::Stage;
use crate::harness::upstream::Protocol;

pub const ASKS: [(&str, &str); 6] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "chat, superchat"),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
];
pub const AGREES: [(&str, &str); 5] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("sec-websocket-protocol", "superchat"),
    ("sec-websocket-extensions", "permessage-deflate"),
];

async fn allowed() -> Pair {
    let keys = "upgrade = [\"websocket\"]";
    Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v, keys).await
}

async fn asking(pair: &Pair) -> Call {
    pair.caller().await.call("GET", "/socket", &ASKS, Sending::Nothing).await
}

#[tokio::test]
async fn a_websocket_turns_raw_after_the_upstreams_101() {
    let mut pair = allowed().await;
    let mut call = asking(&pair).await;
    let mut up = pair.upstream.next().await;
    for (name, value) in &ASKS[1..5] {
        assert_eq!(up.parts.all(name), [*value], "{:?}", up.parts);
    }
    let token = format!("Bearer {}", pair.token());
    assert_eq!(up.parts.all("authorization"), [token], "{:?}", up.parts);
    // The first bytes of the new protocol come with the answer.
    // What packs messages is not offered on a route that masks them: they could not be read.
    assert!(up.parts.all(ASKS[5].0).is_empty(), "{:?}", up.parts);
    let head = crate::harness::upstream::lines(&AGREES[..4]);
    up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n\x01\x02raw").as_bytes()).await;
    let head = call.head().await;
    assert_eq!(head.status, 101, "{head:?}");
    for (name, value) in &AGREES[1..4] {
        assert_eq!(head.all(name), [*value], "{head:?}");
    }
    let client = call.raw();
    assert_eq!(soon("raw bytes", client.exactly(5)).await.unwrap(), b"\x01\x02raw");
    let mut server = up.into_raw();
    // What looks like HTTP is bytes now, and nothing of ours goes in.
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: mine\r\n\r\n");
    for n in 0..20u8 {
        let up = [request.as_bytes(), &[n; 10]].concat();
        client.stream.write_all(&up).await.unwrap();
        client.stream.flush().await.unwrap();
        assert_eq!(soon("raw bytes", server.exactly(up.len())).await.unwrap(), up);
        server.stream.write_all(&[n, 0, 255]).await.unwrap();
        server.stream.flush().await.unwrap();
        assert_eq!(soon("raw bytes", client.exactly(3)).await.unwrap(), [n, 0, 255]);
    }
    // One side ends, the other may still speak.
    client.stream.shutdown().await.unwrap();
    assert!(soon("the end of the client", server.rest()).await.is_empty());
    server.stream.write_all(b"last words").await.unwrap();
    server.stream.shutdown().await.unwrap();
    assert_eq!(soon("the last words", client.rest()).await, b"last words");
}

/// The upstream's no is an answer like any other, and the connection goes on as HTTP.
#[tokio::test]
async fn an_upgrade_that_the_upstream_declines_is_a_plain_answer() {
    let mut pair = allowed().await;
    let mut call = asking(&pair).await;
    pair.upstream.next().await.answer(426, "not today").await;
    let head = call.head().await;
    assert_eq!((head.status, head.code()), (426, String::new()), "{head:?}");
    assert_eq!(call.body().await.0, b"not today");
    let mut call = call.again().get("/plain").await;
    let up = pair.upstream.next().await;
    assert!(up.parts.all("upgrade").is_empty(), "{:?}", up.parts);
    up.answer(200, "plain").await;
    assert_eq!(call.head().await.status, 200);
}

/// Bytes that a client sends before the 101 are not the new protocol's, and no request either.
#[tokio::test]
async fn nothing_is_smuggled_behind_an_upgrade() {
    let mut pair = allowed().await;
    let mut call = asking(&pair).await;
    let hidden = format!("GET /v1/hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    call.raw().stream.write_all(hidden.as_bytes()).await.unwrap();
    call.raw().stream.flush().await.unwrap();
    let up = pair.upstream.next().await;
    up.answer(400, "no").await;
    assert_eq!(call.head().await.status, 400);
    // Either a request of its own, judged and with its own token, or the end of the connection.
    let next = tokio::select! {
        next = pair.upstream.next() => Some(next),
        _ = call.raw().rest() => None,
    };
    if let Some(next) = next {
        assert_eq!(next.parts.target, "/v1/hidden");
        assert_eq!(next.parts.all("authorization").len(), 1, "{:?}", next.parts);
    }
}

#[tokio::test]
async fn other_protocols_are_taken_out_even_where_websocket_is_allowed() {
    for upgrade in ["h2c", "TLS/1.0", "foo"] {
        let mut pair = allowed().await;
        let asks = [("connection", "Upgrade"), ("upgrade", upgrade)];
        let mut call = pair.caller().await.call("GET", "/x", &asks, Sending::Nothing).await;
        let up = pair.upstream.next().await;
        assert!(up.parts.all("upgrade").is_empty(), "{upgrade}: {:?}", up.parts);
        up.answer(200, "plain").await;
        assert_eq!(call.head().await.status, 200, "{upgrade}");
    }
}

/// As `kubectl exec` and `docker exec` ask: by POST, the one without a body, the other with one.
#[tokio::test]
async fn a_post_turns_raw_once_its_body_is_over() {
    for (protocol, body) in [("SPDY/3.1", &b""[..]), ("tcp", b"{\"Tty\":false}")] {
        let keys = "upgrade = [\"spdy/3.1\", \"tcp\"]";
        let mut pair = Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v, keys).await;
        let asks = [("connection", "Upgrade"), ("upgrade", protocol)];
        let sending = Sending::Sized(body.len());
        let mut call = pair.caller().await.call("POST", "/exec", &asks, sending).await;
        call.send(body).await;
        let mut up = pair.upstream.next().await;
        assert_eq!(up.body().await.0, body, "{protocol}");
        assert_eq!(up.parts.all("upgrade"), [protocol.to_ascii_lowercase()], "{:?}", up.parts);
        let agrees = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        up.raw(format!("HTTP/1.1 101 UPGRADED\r\n{agrees}\r\nraw").as_bytes()).await;
        assert_eq!(call.head().await.status, 101, "{protocol}");
        let client = call.raw();
        assert_eq!(soon("raw bytes", client.exactly(3)).await.unwrap(), b"raw");
        client.stream.write_all(b"keys").await.unwrap();
        client.stream.flush().await.unwrap();
        let mut server = up.into_raw();
        assert_eq!(soon("raw bytes", server.exactly(4)).await.unwrap(), b"keys");
    }
}

/// What is left of the body would be read as the other protocol.
#[tokio::test]
async fn a_101_in_the_middle_of_a_body_is_a_502() {
    let keys = "upgrade = [\"tcp\"]";
    let mut pair = Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v, keys).await;
    let asks = [("connection", "Upgrade"), ("upgrade", "tcp")];
    let mut call = pair.caller().await.call("POST", "/exec", &asks, Sending::Sized(100)).await;
    let mut up = pair.upstream.next().await;
    up.raw(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").await;
    let head = call.head().await;
    assert_eq!((head.status, &*head.code()), (502, "upstream-answer-invalid"), "{head:?}");
}

/// The upstream may not switch to what was not asked for.
#[tokio::test]
async fn a_101_to_something_else_is_a_502() {
    let mut pair = allowed().await;
    let mut call = asking(&pair).await;
    let mut up = pair.upstream.next().await;
    up.raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .await;
    let head = call.head().await;
    assert_eq!((head.status, &*head.code()), (502, "upstream-answer-invalid"), "{head:?}");
}

/// The client of an unmodified library, through us, to the server of the same.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_websockets_talks_through_us() {
    let pki = Pki::new();
    let host = "socket.example";
    let mut server = Server::script("websocket_serve.py", &pki.server(&[host])).await;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], server.port));
    let stage = Stage::valetkey_with(|v| {
        v.trusting(&pki).reaching(&format!("{host}:443"), addr).route(&format!(
            "name = \"socket\"\nhost = \"{host}\"\ncredential = \"orders\"\nupgrade = [\"websocket\"]"
        ))
    })
    .await;
    let script = tests_file("clients/websocket_talk.py");
    let mut client = python(&[script.as_os_str(), format!("wss://{host}/chat").as_ref()]);
    client
        .env("https_proxy", format!("http://{}", stage.proxy_addr()))
        .env("SSL_CERT_FILE", stage.ca_file());
    let done = finish(&mut client).await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert_eq!(done.stdout, "superchat 100\n", "{done:#?}");
    let line = soon("a line", server.stdout.next_line()).await.unwrap().unwrap();
    assert_eq!(line, format!("authorization 1 Bearer {}", stage.orders_issuer.token()));
}
