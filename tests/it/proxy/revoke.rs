//! `valetkey revoke`: refused from now on, cut within seconds, revoked at the issuer, and so after a restart.

use std::time::{Duration, Instant};

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::caller::Sending;
use crate::harness::client::{Finished, connect, connect_with, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::issuer::Issuer;
use crate::harness::pair::{ALL, Pair};
use crate::harness::stage::{EVIL, Stage, Tunnel, own_answer};
use crate::harness::upstream::{Protocol, lines};
use crate::harness::{soon, until};
use crate::stream::upgrade::{AGREES, ASKS};

const SECRET: &str = "a-session-secret-of-32-bytes-or-more";
/// From the order to the end of what it ends (PRODUCT, I8).
const PROMISED: Duration = Duration::from_secs(5);

/// A stage whose host [`EVIL`] is routed, with an issuer that revokes, and two sessions.
pub(super) async fn stage(issuer: &Issuer) -> Stage {
    Stage::valetkey_with(|v| {
        let sessions = ["ci", "other"].map(|name| {
            format!("[[sessions]]\nname = {name:?}\nsecret = {{ file = \"session.key\" }}\n")
        });
        v.file("session.key", SECRET)
            .toml(&sessions.concat())
            .credential_at("mine", &issuer.token_url(), &issuer.revoking())
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
    })
    .await
}

async fn valetkey(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.running().unwrap().home.run(arguments).await
}

pub(super) async fn revoke(stage: &Stage, arguments: &[&str]) -> Finished {
    let done = valetkey(stage, &[&["revoke"], arguments].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

fn login(session: &str) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Proxy-Authorization: Basic {}\r\n", engine.encode(format!("{session}:{SECRET}")))
}

/// A tunnel to `host`, with these lines in its CONNECT.
async fn tunnel(stage: &Stage, host: &str, lines: &str) -> Result<Tunnel, Message> {
    let (answer, reader) = connect_with(stage.proxy_addr(), &format!("{host}:443"), lines).await;
    if answer.status() != 200 {
        return Err(answer);
    }
    let config = tls_config(stage.trust(), &["http/1.1"]);
    Ok(Reader::new(tls(reader.stream, host, config).await.unwrap()))
}

pub(super) async fn get(tunnel: &mut Tunnel, host: &str) -> Message {
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(tunnel, request.as_bytes()).await.expect("an answer")
}

pub(super) fn bearer(stage: &Stage) -> String {
    let seen = stage.evil.requests();
    let value = seen.last().unwrap().one("authorization");
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

async fn killed_and_started_again(stage: &mut Stage) {
    stage.running_mut().sigkill().await;
    let home = stage.running().unwrap().home.clone();
    stage.restart(&home).await;
}

#[tokio::test]
async fn a_session_of_the_config_is_shut_out_and_stays_so() {
    let issuer = Issuer::start().await;
    let mut stage = stage(&issuer).await;
    let mut open = tunnel(&stage, EVIL, &login("ci")).await.unwrap();
    let mut neighbour = tunnel(&stage, EVIL, &login("other")).await.unwrap();
    assert_eq!(get(&mut open, EVIL).await.status(), 200);
    let token = bearer(&stage);
    assert_eq!(get(&mut neighbour, EVIL).await.status(), 200);
    let theirs = bearer(&stage);
    assert_ne!(token, theirs);

    let ordered = Instant::now();
    let done = revoke(&stage, &["--session", "ci"]).await;
    assert!(done.stdout.contains("session ci is revoked: 1 sessions"), "{done:?}");
    let answer = get(&mut open, EVIL).await;
    own_answer(&answer, &[403], &["session-ended"]).unwrap();
    assert!(soon("the tunnel's end", open.rest()).await.is_empty());
    let refused = tunnel(&stage, EVIL, &login("ci")).await.err().expect("a refusal");
    own_answer(&refused, &[407], &["proxy-auth-failed"]).unwrap();
    println!("403, closed and 407 within {:?}", ordered.elapsed());
    assert!(ordered.elapsed() < PROMISED);
    issuer.revoked(&token).await;

    assert_eq!(get(&mut neighbour, EVIL).await.status(), 200);
    assert_eq!(bearer(&stage), theirs, "nobody else's token went");
    let status = valetkey(&stage, &["status"]).await;
    assert!(status.stdout.contains("REVOKED     session ci"), "{status:?}");
    let audit = stage.running().unwrap().audit();
    let of = |action: &str| {
        audit.iter().filter(|r| r["context"]["action"] == action).cloned().collect::<Vec<_>>()
    };
    let session = of("revoked").into_iter().find(|r| r["client"]["session"] == "ci").unwrap();
    assert_eq!(session["event"], "session");
    assert!(
        of("revoked")
            .iter()
            .any(|r| r["context"]["session"] == "ci" && r["context"]["by"].is_string())
    );

    // A reload and a restart change nothing.
    stage.running().unwrap().sighup();
    stage.running().unwrap().says("config reloaded").await;
    assert_eq!(tunnel(&stage, EVIL, &login("ci")).await.err().unwrap().status(), 407);
    killed_and_started_again(&mut stage).await;
    assert_eq!(tunnel(&stage, EVIL, &login("ci")).await.err().unwrap().status(), 407);
    assert!(tunnel(&stage, EVIL, &login("other")).await.is_ok());

    revoke(&stage, &["--session", "ci", "--undo"]).await;
    let mut open = tunnel(&stage, EVIL, &login("ci")).await.unwrap();
    assert_eq!(get(&mut open, EVIL).await.status(), 200);
    let again = valetkey(&stage, &["revoke", "--session", "ci", "--undo"]).await;
    assert!(again.code == Some(1) && again.stderr.contains("error[not-revoked]"), "{again:?}");
}

#[tokio::test]
async fn a_session_of_env_is_gone_for_good() {
    let issuer = Issuer::start().await;
    let mut stage = stage(&issuer).await;
    let opened = valetkey(&stage, &["session", "open", "--json"]).await;
    let opened: serde_json::Value = serde_json::from_str(&opened.stdout).expect("JSON");
    let (name, secret) = (opened["name"].as_str().unwrap(), opened["secret"].as_str().unwrap());
    let engine = base64::engine::general_purpose::STANDARD;
    let login =
        format!("Proxy-Authorization: Basic {}\r\n", engine.encode(format!("{name}:{secret}")));
    killed_and_started_again(&mut stage).await;
    let mut open = tunnel(&stage, EVIL, &login).await.expect("it survives a restart");
    assert_eq!(get(&mut open, EVIL).await.status(), 200);
    let token = bearer(&stage);
    revoke(&stage, &["--session", name]).await;
    issuer.revoked(&token).await;
    assert_eq!(tunnel(&stage, EVIL, &login).await.err().unwrap().status(), 407);
    killed_and_started_again(&mut stage).await;
    assert_eq!(tunnel(&stage, EVIL, &login).await.err().unwrap().status(), 407);
    let unknown = valetkey(&stage, &["revoke", "--session", name]).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("unknown-session"), "{unknown:?}");
}

#[tokio::test]
async fn a_credential_is_refused_and_stays_so() {
    let issuer = Issuer::start().await;
    let mut stage = stage(&issuer).await;
    let mut open = stage.tunnel(EVIL).await.unwrap();
    assert_eq!(get(&mut open, EVIL).await.status(), 200);
    let token = bearer(&stage);
    revoke(&stage, &["--credential", "mine"]).await;
    own_answer(&get(&mut open, EVIL).await, &[403], &["credential-revoked"]).unwrap();
    issuer.revoked(&token).await;
    stage.audited("credential-revoked", 1).await;
    let denied = stage.running().unwrap().audit();
    let denied = denied.iter().find(|r| r["code"] == "credential-revoked").unwrap();
    assert_eq!((&denied["decision"], &denied["credential"]), (&"deny".into(), &"mine".into()));
    // The same connection still passes what carries nothing, and neighbours get their own.
    stage.control().await.unwrap();
    killed_and_started_again(&mut stage).await;
    let mut open = stage.tunnel(EVIL).await.unwrap();
    own_answer(&get(&mut open, EVIL).await, &[403], &["credential-revoked"]).unwrap();
    assert_eq!(issuer.minted().len(), 1, "nothing more was minted");
    assert_eq!(stage.evil.requests().len(), 1, "nothing more was sent");
    stage.control().await.unwrap();
    revoke(&stage, &["--credential", "mine", "--undo"]).await;
    assert_eq!(get(&mut open, EVIL).await.status(), 200);
    let unknown = valetkey(&stage, &["revoke", "--credential", "nobody"]).await;
    assert!(unknown.stderr.contains("error[unknown-credential]"), "{unknown:?}");
}

/// The issuer is asked, and takes its time: whoever waits is refused, and what it mints at last is revoked.
#[tokio::test]
async fn a_revocation_during_a_mint_wins() {
    let issuer = Issuer::start().await;
    let cases: [(&str, &[&str], &str); 3] = [
        ("other", &["--credential", "mine"], "credential-revoked"),
        ("ci", &["--session", "ci"], "session-ended"),
        ("other", &["--all"], "client-revoked"),
    ];
    for (session, order, code) in cases {
        let stage = stage(&issuer).await;
        let (asked, minted) = (issuer.calls().len(), issuer.minted().len());
        let gate = issuer.hold();
        let mut open = tunnel(&stage, EVIL, &login(session)).await.unwrap();
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
        open.stream.write_all(request.as_bytes()).await.unwrap();
        issuer.call(asked).await;
        revoke(&stage, order).await;
        let answer = soon("an answer", open.response()).await.unwrap();
        own_answer(&answer, &[403], &[code]).unwrap();
        assert_eq!(issuer.minted().len(), minted, "not minted yet");
        gate.open();
        until("the token", || issuer.minted().len() != minted).await;
        issuer.revoked(&issuer.token()).await;
        assert!(stage.evil.requests().is_empty(), "{code}: it went nowhere");
        let status = valetkey(&stage, &["status", "--json"]).await;
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(status["tokens"], serde_json::json!([]), "{code}: none is held");
    }
}

#[tokio::test]
async fn streams_of_a_credential_end_on_both_sides() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let mut events = pair.caller().await.get("/events").await;
        let mut events_up = pair.upstream.next().await;
        events_up.head(200, &[("content-type", "text/event-stream")]).await;
        assert!(events_up.send(b"data: 1\n\n").await);
        assert_eq!(events.head().await.status, 200);
        events.exactly(9).await;
        let mut upload = pair.caller().await.call("POST", "/up", &[], Sending::Streamed).await;
        let mut upload_up = pair.upstream.next().await;
        assert!(upload.send(b"first").await);
        assert_eq!(upload_up.receive().await.data(), b"first");
        let mut passed = pair.pass_caller().await.get("/events").await;
        let mut passed_up = pair.upstream.next().await;
        passed_up.head(200, &[]).await;
        assert_eq!(passed.head().await.status, 200);

        let ordered = Instant::now();
        revoke(&pair.stage, &["--credential", "orders"]).await;
        assert!(soon("the break", events.receive()).await.is_broken(), "{what}");
        soon("the upstream's side", events_up.given_up()).await;
        let head = upload.head().await;
        assert_eq!((head.status, head.code()), (403, "credential-revoked".into()), "{what}");
        upload.send(b"second").await;
        let (rest, end) = soon("the upload's end", upload_up.body()).await;
        assert!(rest.is_empty() && end.is_broken(), "{what}: {rest:?} {end:?}");
        println!("{what}: all cut within {:?}", ordered.elapsed());
        assert!(ordered.elapsed() < PROMISED, "{what}: {:?}", ordered.elapsed());

        assert!(passed_up.send(b"still here").await);
        assert_eq!(passed.exactly(10).await, b"still here", "{what}: who has no token of it");
    }
}

#[tokio::test]
async fn a_websocket_of_a_credential_ends() {
    // Unmasked, what follows the 101 need not be frames.
    let keys = "upgrade = [\"websocket\"]\nredact = false";
    let mut pair = Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v, keys).await;
    let mut call = pair.caller().await.call("GET", "/socket", &ASKS, Sending::Nothing).await;
    let mut up = pair.upstream.next().await;
    let head = lines(&AGREES);
    up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\nraw").as_bytes()).await;
    assert_eq!(call.head().await.status, 101);
    assert_eq!(soon("raw bytes", call.raw().exactly(3)).await.unwrap(), b"raw");
    let mut server = up.into_raw();
    let ordered = Instant::now();
    revoke(&pair.stage, &["--credential", "orders"]).await;
    assert!(soon("the client's end", call.raw().rest()).await.is_empty());
    assert!(soon("the server's end", server.rest()).await.is_empty());
    println!("cut within {:?}", ordered.elapsed());
    assert!(ordered.elapsed() < PROMISED, "{:?}", ordered.elapsed());
}

/// Everybody, and the one user that tests run as: processes without a session, tunnels, new sessions.
#[tokio::test]
async fn a_user_and_everybody_are_shut_out() {
    let issuer = Issuer::start().await;
    let user = crate::harness::client::finish(tokio::process::Command::new("id").arg("-un")).await;
    let user = user.stdout.trim().to_owned();
    let unrouted = "raw.example:443";
    for order in [vec!["--user", &user], vec!["--all"]] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut stage = Stage::valetkey_with(|v| {
            v.reaching(unrouted, addr)
                .credential_at("mine", &issuer.token_url(), &issuer.revoking())
                .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
        })
        .await;
        let mut open = stage.tunnel(EVIL).await.unwrap();
        assert_eq!(get(&mut open, EVIL).await.status(), 200);
        let token = bearer(&stage);
        let (answer, mut raw) = connect(stage.proxy_addr(), unrouted).await;
        assert_eq!(answer.status(), 200);
        let (mut peer, _) = soon("a connection", listener.accept()).await.unwrap();

        let ordered = Instant::now();
        revoke(&stage, &order).await;
        let mut rest = Vec::new();
        let _ = soon("the tunnel's end", raw.stream.read_to_end(&mut rest)).await;
        let _ = soon("the other end", peer.read_to_end(&mut rest)).await;
        assert!(rest.is_empty() && ordered.elapsed() < PROMISED, "{:?}", ordered.elapsed());
        own_answer(&get(&mut open, EVIL).await, &[403], &["client-revoked"]).unwrap();
        issuer.revoked(&token).await;

        for restarted in [false, true] {
            if restarted {
                killed_and_started_again(&mut stage).await;
            }
            let mut open = stage.tunnel(EVIL).await.unwrap();
            own_answer(&get(&mut open, EVIL).await, &[403], &["client-revoked"]).unwrap();
            let (answer, _) = connect(stage.proxy_addr(), unrouted).await;
            own_answer(&answer, &[403], &["client-revoked"]).unwrap();
            let plain = b"GET http://raw.example/ HTTP/1.1\r\nHost: raw.example\r\n\r\n";
            let mut reader = crate::harness::client::dial(stage.proxy_addr()).await;
            let answer = exchange(&mut reader, plain).await.unwrap();
            own_answer(&answer, &[403], &["client-revoked"]).unwrap();
            let refused = valetkey(&stage, &["env", "--shell", "posix"]).await;
            assert_eq!(refused.code, Some(3), "{refused:?}");
            assert!(refused.stderr.contains("error[client-revoked]"), "{refused:?}");
        }
        assert_eq!(stage.evil.requests().len(), 1);
        revoke(&stage, &[&order[..], &["--undo"]].concat()).await;
        let mut open = stage.tunnel(EVIL).await.unwrap();
        assert_eq!(get(&mut open, EVIL).await.status(), 200);
        assert_eq!(valetkey(&stage, &["env", "--shell", "posix"]).await.code, Some(0));
    }
}

/// A list that cannot be read lets nobody in; one that cannot be written is said, and holds until the end.
#[tokio::test]
async fn a_list_that_cannot_be_read_or_written() {
    let issuer = Issuer::start().await;
    let mut stage = stage(&issuer).await;
    let list = stage.running().unwrap().home.state.join("revoked.json");
    std::fs::create_dir_all(list.join("in-the-way")).unwrap();
    let done = valetkey(&stage, &["revoke", "--credential", "mine"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("error[revocation-not-saved]"), "{done:?}");
    let mut open = stage.tunnel(EVIL).await.unwrap();
    own_answer(&get(&mut open, EVIL).await, &[403], &["credential-revoked"]).unwrap();
    stage.running_mut().sigkill().await;
    let home = stage.running().unwrap().home.clone();
    let done = home.run(&["serve"]).await;
    assert!(done.code == Some(1) && done.stderr.contains("error[revoked-unreadable]"), "{done:?}");
    std::fs::remove_dir_all(&list).unwrap();
    std::fs::write(&list, "{\"all\":").unwrap();
    let done = home.run(&["serve"]).await;
    assert!(done.stderr.contains("error[revoked-unreadable]"), "{done:?}");
    std::fs::remove_file(&list).unwrap();
    stage.restart(&home).await;
    stage.control().await.unwrap();
}

/// The end of a session that nobody revoked: its tokens are revoked as well.
#[tokio::test]
async fn the_end_of_a_session_revokes_its_tokens() {
    let issuer = Issuer::start().await;
    let stage = stage(&issuer).await;
    let script = format!("curl -sS -o /dev/null -w '%{{http_code}}' https://{EVIL}/v1/x");
    let done = valetkey_run(&stage, &script).await;
    assert_eq!(done.stdout, "200", "{done:?}");
    issuer.revoked(&bearer(&stage)).await;
    let opened = valetkey(&stage, &["session", "open", "--for", "3s", "--json"]).await;
    let opened: serde_json::Value = serde_json::from_str(&opened.stdout).expect("JSON");
    let url = opened["url"].as_str().unwrap();
    let ca = stage.ca_file();
    let curl = ["--cacert", ca.to_str().unwrap(), "--proxy", url, "-sS", "-o", "/dev/null"];
    let mut command = tokio::process::Command::new("curl");
    command.env_clear().args(curl).args(["-w", "%{http_code}"]).arg(format!("https://{EVIL}/v1/x"));
    let done = crate::harness::client::finish(&mut command).await;
    assert_eq!(done.stdout, "200", "{done:?}");
    issuer.revoked(&bearer(&stage)).await;
}

async fn valetkey_run(stage: &Stage, script: &str) -> Finished {
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(["--", "sh", "-c", script]);
    crate::harness::client::finish(&mut command).await
}
