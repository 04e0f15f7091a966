//! What a reload no longer permits ends, although it is under way; what is still permitted does not.

use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::api::Answer;
use crate::harness::client::{connect, connect_with, http2, http2_send, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{EVIL, ORDERS, Stage, own_answer};
use crate::harness::{Gate, found, soon, until};

/// From the edit to the end of what it takes back (PRODUCT, I8).
const PROMISED: Duration = Duration::from_secs(5);

/// Sends one half of every answer, and the other when the gate opens.
fn halves(stage: &Stage) -> Gate {
    let gate = Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| Answer::ok("first ").then(&inner, "second"));
    gate
}

/// Waits until the audit has an outcome with this code.
async fn outcome(stage: &Stage, code: &str) -> serde_json::Value {
    found(&format!("an outcome with {code}"), || {
        let audit = stage.running().unwrap().audit();
        audit.into_iter().find(|r| r["event"] == "outcome" && r["code"] == code)
    })
    .await
}

fn remove_route(stage: &Stage) -> Instant {
    stage.running().unwrap().home.rewrite(|text| text.replace("/v1/**", "/v2/**"));
    Instant::now()
}

#[tokio::test]
async fn a_stream_ends_with_its_route() {
    let stage = Stage::valetkey().await;
    let gate = halves(&stage);
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    let edited = remove_route(&stage);
    let rest = soon("the end", tunnel.rest()).await;
    println!("cut after {:?}", edited.elapsed());
    assert!(edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
    // The end of the first chunk, and no last one.
    assert!(rest.is_empty() || rest == b"\r\n", "no clean end, no second half: {rest:?}");
    gate.open();
    let outcome = outcome(&stage, "no-longer-permitted").await;
    assert_eq!(outcome["outcome"]["status"], 200);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn neighbours_on_the_same_connection_live_on() {
    let keep = format!(
        "name = \"keep\"\nhost = \"{ORDERS}\"\npath = [\"/keep\"]\ncredential = \"orders\""
    );
    let stage = Stage::valetkey_with(|v| v.route(&keep)).await;
    let gate = halves(&stage);
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["h2"])).await.unwrap();
    let sender = http2(stream).await;
    let send = |path: &str| {
        let request = http::Request::get(format!("https://{ORDERS}{path}"));
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let mut sender = sender.clone();
        tokio::spawn(async move { http2_send(&mut sender, request).await })
    };
    let (ends, stays, bare) = (send("/v1/events"), send("/keep"), send("/other"));
    stage.orders.request(2).await;
    let edited = remove_route(&stage);
    let ended = soon("the stream's end", ends).await.unwrap();
    assert!(edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
    // Cut before or after its head came: never a whole answer.
    match ended {
        Ok(answer) if answer.status() == 200 => {
            assert!(!answer.complete, "{}", answer.everything())
        }
        Ok(answer) => own_answer(&answer, &[403], &["no-longer-permitted"]).unwrap(),
        Err(error) => println!("a stream error: {error}"),
    }
    gate.open();
    for neighbour in [stays, bare] {
        let answer = soon("a neighbour", neighbour).await.unwrap().unwrap();
        assert_eq!((answer.text().as_str(), answer.complete), ("first second", true));
    }
}

#[tokio::test]
async fn an_upload_ends_with_its_route() {
    let stage = Stage::valetkey().await;
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!(
        "POST /v1/upload HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: 100000\r\n\r\nhalf of it"
    );
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    until("the decision", || {
        stage.running().unwrap().audit().iter().any(|r| r["decision"] == "inject")
    })
    .await;
    let edited = remove_route(&stage);
    let answer = soon("an answer", tunnel.response()).await.unwrap();
    assert!(edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
    own_answer(&answer, &[403], &["no-longer-permitted"]).unwrap();
    outcome(&stage, "no-longer-permitted").await;
    assert!(!stage.orders.requests().iter().any(|seen| seen.body.len() > 10), "no more of it came");
}

#[tokio::test]
async fn a_tunnel_ends_when_its_host_is_routed() {
    for more in ["credential = \"orders\"", "deny = true"] {
        // So that the new route needs no new CA, and the control below knows the old one.
        let permit = format!("[ca]\npermit = [\"{EVIL}\"]\n");
        let stage = Stage::valetkey_with(|v| v.toml(&permit)).await;
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(crate::harness::client::Trust::Roots(stage.pki.pem()), &[]);
        let mut stream = tls(reader.stream, EVIL, config).await.unwrap();
        let edited = Instant::now();
        let route = format!("[[routes]]\nname = \"new\"\nhost = \"{EVIL}\"\n{more}\n");
        stage.running().unwrap().home.rewrite(|text| text + &route);
        let mut rest = Vec::new();
        let _ = soon("the tunnel's end", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty() && edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
        outcome(&stage, "no-longer-permitted").await;
        stage.control().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let entry = "[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }\n";
    let secret = "session-secret-0123456789-abcdefghijkl";
    let stage = Stage::valetkey_with(|v| v.file("ci.key", secret).toml(entry)).await;
    let _gate = halves(&stage);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("ci:{secret}"));
    let lines = format!("Proxy-Authorization: Basic {login}\r\n");
    let (_, reader) = connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &lines).await;
    let config = tls_config(stage.trust(), &["http/1.1"]);
    let mut tunnel = Reader::new(tls(reader.stream, ORDERS, config).await.unwrap());
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    let edited = Instant::now();
    stage.running().unwrap().home.rewrite(|text| text.replace(entry, ""));
    let rest = soon("the end", tunnel.rest()).await;
    assert!(edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
    assert!(rest.is_empty() || rest == b"\r\n", "no clean end, no second half: {rest:?}");
    outcome(&stage, "session-ended").await;
    stage.control().await.unwrap();
}
