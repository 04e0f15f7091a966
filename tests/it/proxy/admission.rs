//! Who may use the proxy: sessions, the uid of the socket's owner, and nobody else.

use base64::Engine as _;
use tokio::io::AsyncWriteExt;

use crate::harness::api::Answer;
use crate::harness::client::{
    connect, connect_answer, connect_with, dial, exchange, finish, tls, tls_config,
};
use crate::harness::http1::{Message, Reader};
use crate::harness::not_run;
use crate::harness::soon;
use crate::harness::stage::{BILLING, ORDERS, Stage, own_answer};

const SECRET: &str = "a-session-secret-of-32-bytes-or-more";

async fn stage_with_sessions(proxy_keys: &str) -> Stage {
    Stage::valetkey_with(|v| {
        v.file("session.key", &format!("{SECRET}\n")).proxy(proxy_keys).toml(
            "[[sessions]]\nname = \"ci\"\nsecret = { file = \"session.key\" }\n\
             [[sessions]]\nname = \"narrow\"\nsecret = { file = \"session.key\" }\nroutes = [\"orders\"]",
        )
    })
    .await
}

fn basic(user: &str, secret: &str) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Proxy-Authorization: Basic {}\r\n", engine.encode(format!("{user}:{secret}")))
}

fn is_407(answer: &Message, code: &str) {
    own_answer(answer, &[407], &[code]).unwrap();
    let challenge = answer.all("proxy-authenticate").join(", ");
    assert!(challenge.starts_with("Basic"), "{}", answer.everything());
    let close = answer.all("connection").iter().any(|v| v.eq_ignore_ascii_case("close"));
    assert!(!close, "the connection is kept: {}", answer.everything());
}

#[tokio::test]
async fn wrong_credentials_are_refused_whatever_the_uid() {
    let stage = stage_with_sessions("").await;
    let authority = format!("{ORDERS}:443");
    let mut bodies = Vec::new();
    for (user, secret) in [("ci", "wrong"), ("nobody", SECRET), ("", ""), ("ci", "")] {
        let (answer, mut reader) =
            connect_with(stage.proxy_addr(), &authority, &basic(user, secret)).await;
        is_407(&answer, "proxy-auth-failed");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        bodies.push((problem["code"].clone(), problem["detail"].clone()));
        // The same connection, now right: the tool may ask again.
        let again = format!("CONNECT {authority} HTTP/1.1\r\n{}\r\n", basic("ci", SECRET));
        reader.stream.write_all(again.as_bytes()).await.unwrap();
        assert_eq!(connect_answer(&mut reader).await.status(), 200);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "unknown user and wrong secret look the same: {bodies:?}");
    assert_eq!(stage.orders.connections(), 0);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn malformed_credentials_are_wrong_credentials() {
    let stage = stage_with_sessions("").await;
    for lines in [
        "Proxy-Authorization: Bearer abc\r\n".to_owned(),
        "Proxy-Authorization: Basic !!!\r\n".to_owned(),
        "Proxy-Authorization: Basic\r\n".to_owned(),
        basic("ci", SECRET) + &basic("ci", "wrong"),
    ] {
        let (answer, _) = connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &lines).await;
        assert!(matches!(answer.status(), 400 | 407), "{lines}: {}", answer.everything());
    }
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_session_admits_where_the_uid_does_not() {
    let stage = stage_with_sessions("client_auth = [\"session\"]").await;
    let authority = format!("{ORDERS}:443");
    let (answer, mut reader) = connect(stage.proxy_addr(), &authority).await;
    is_407(&answer, "proxy-auth-required");
    let again = format!("CONNECT {authority} HTTP/1.1\r\n{}\r\n", basic("ci", SECRET));
    reader.stream.write_all(again.as_bytes()).await.unwrap();
    assert_eq!(connect_answer(&mut reader).await.status(), 200);
    // Absolute form is asked as well.
    let mut reader = dial(stage.proxy_addr()).await;
    let request = "GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n";
    let answer = exchange(&mut reader, request.as_bytes()).await.unwrap();
    is_407(&answer, "proxy-auth-required");
}

async fn through(stage: &Stage, host: &str, lines: &str) -> Message {
    let authority = format!("{host}:443");
    let (answer, reader) = connect_with(stage.proxy_addr(), &authority, lines).await;
    if answer.status() != 200 {
        return answer;
    }
    let config = tls_config(stage.trust(), &["http/1.1"]);
    let stream = tls(reader.stream, host, config).await.unwrap();
    let mut reader = Reader::new(stream);
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(&mut reader, request.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn a_session_is_bound_to_its_routes() {
    let stage = stage_with_sessions("").await;
    let answer = through(&stage, BILLING, &basic("narrow", SECRET)).await;
    own_answer(&answer, &[403], &["route-not-in-session"]).unwrap();
    let said = answer.everything();
    assert!(said.contains("--only") && said.contains("session `narrow`"), "{said}");
    assert!(stage.billing.requests().is_empty());
    let answer = through(&stage, ORDERS, &basic("narrow", SECRET)).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
    let audit = stage.running().unwrap().audit();
    let inject = audit.iter().find(|r| r["decision"] == "inject").unwrap();
    assert_eq!(inject["client"]["session"], "narrow");
}

/// A process of another user. Needs root to become one.
#[tokio::test]
async fn another_uid_is_refused_unless_it_has_a_session() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can act as another user");
    }
    let stage = stage_with_sessions("").await;
    let curl = |user: &str| {
        let mut command = tokio::process::Command::new("setpriv");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sk"])
            .args(["-o", "/dev/null", "-w", "%{http_connect} %{http_code}", "--max-time", "10"])
            .arg("--proxy")
            .arg(format!("http://{user}{}", stage.proxy_addr()))
            .arg(format!("https://{ORDERS}/v1/x"))
            .current_dir("/");
        command
    };
    let refused = finish(&mut curl("")).await;
    assert!(refused.stdout.starts_with("407 "), "{refused:?}");
    let admitted = finish(&mut curl(&format!("ci:{SECRET}@"))).await;
    assert_eq!(admitted.stdout, "200 200", "{admitted:?}");
    assert_eq!(stage.orders.requests().len(), 1);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn allow_uids_admits_another_uid() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can act as another user");
    }
    let stage = stage_with_sessions("allow_uids = [65534]").await;
    let mut command = tokio::process::Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "curl",
            "-sk",
            "-o",
            "/dev/null",
        ])
        .args(["-w", "%{http_connect} %{http_code}", "--max-time", "10", "--proxy"])
        .arg(format!("http://{}", stage.proxy_addr()))
        .arg(format!("https://{ORDERS}/v1/x"))
        .current_dir("/");
    let admitted = finish(&mut command).await;
    assert_eq!(admitted.stdout, "200 200", "{admitted:?}");
}

#[tokio::test]
async fn guessing_is_throttled() {
    let stage = stage_with_sessions("").await;
    let authority = format!("{ORDERS}:443");
    let mut last = Message::default();
    for n in 0..200 {
        let lines = basic("ci", &format!("guess-{n}"));
        (last, _) = connect_with(stage.proxy_addr(), &authority, &lines).await;
        if last.status() == 429 {
            break;
        }
    }
    own_answer(&last, &[429, 407], &["proxy-auth-throttled"]).unwrap();
    assert!(!last.all("retry-after").is_empty(), "{}", last.everything());
}

#[tokio::test]
async fn python_sends_connect_1_0_without_host() {
    let stage = Stage::valetkey().await;
    let mut reader = dial(stage.proxy_addr()).await;
    let request = format!("CONNECT {ORDERS}:443 HTTP/1.0\r\n\r\n");
    reader.stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(connect_answer(&mut reader).await.status(), 200);
}

#[tokio::test]
async fn what_is_no_proxy_request_is_told_so() {
    let stage = Stage::valetkey().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "POST /v1/status HTTP/1.1\r\nHost: rebind.evil\r\nContent-Length: 0\r\n\r\n",
        "GET /wpad.dat HTTP/1.1\r\nHost: wpad\r\n\r\n",
    ] {
        let mut reader = dial(stage.proxy_addr()).await;
        let answer = exchange(&mut reader, request.as_bytes()).await.unwrap();
        own_answer(&answer, &[400], &["not-a-proxy-request", "malformed-request"]).unwrap();
    }
    let other: [&[u8]; 3] = [b"\x05\x01\0", b"\x16\x03\x01\0\x05hello", b"\0\0\0\0\r\n\r\n"];
    for bytes in other {
        let mut reader = dial(stage.proxy_addr()).await;
        reader.stream.write_all(bytes).await.unwrap();
        let _ = reader.stream.shutdown().await;
        let came = soon("the connection to end", reader.rest()).await;
        let text = String::from_utf8_lossy(&came);
        assert!(came.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    }
    stage.control().await.unwrap();
}

/// The end of a session ends what it is still being sent, within 5 s.
#[tokio::test]
async fn an_ended_session_ends_its_streams() {
    let stage = stage_with_sessions("").await;
    let never = crate::harness::Gate::closed();
    stage.orders.answer(move |_| Answer::ok("first ").then(&never, "second"));
    let authority = format!("{ORDERS}:443");
    let (answer, reader) = connect_with(stage.proxy_addr(), &authority, &basic("ci", SECRET)).await;
    assert_eq!(answer.status(), 200);
    let config = tls_config(stage.trust(), &["http/1.1"]);
    let mut tunnel = Reader::new(tls(reader.stream, ORDERS, config).await.unwrap());
    let request = format!("GET /v1/stream HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the head", tunnel.until(b"first ")).await.unwrap();
    let begun = std::time::Instant::now();
    let home = &stage.running().unwrap().home;
    home.rewrite(|text| text.replace("name = \"ci\"", "name = \"other\""));
    stage.running().unwrap().sighup();
    soon("the end of the stream", tunnel.rest()).await;
    assert!(begun.elapsed().as_secs() <= 5, "{:?}", begun.elapsed());
}

/// A client that was admitted by its uid is not, once the config no longer admits uids.
#[tokio::test]
async fn admission_is_judged_with_each_request() {
    let stage = stage_with_sessions("").await;
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut tunnel, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let running = stage.running().unwrap();
    running
        .home
        .rewrite(|text| text.replace("[proxy]\n", "[proxy]\nclient_auth = [\"session\"]\n"));
    running.sighup();
    running.says("config reloaded").await;
    let answer = exchange(&mut tunnel, request.as_bytes()).await.unwrap();
    own_answer(&answer, &[403], &["session-ended"]).unwrap();
    assert_eq!(stage.orders.requests().len(), 1);
}
