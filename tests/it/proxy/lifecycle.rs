//! A daemon's life: reload, drain, and two of them where one may be.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::api::Answer;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::Valetkey;
use crate::harness::{Gate, soon, until};

#[tokio::test]
async fn a_good_file_takes_effect() {
    let stage = Stage::valetkey().await;
    stage.get(ORDERS, "/v2/x", "").await.unwrap();
    stage.bare("the API before", &stage.orders).unwrap();
    let running = stage.running().unwrap();
    running.home.rewrite(|text| text.replace("/v1/**", "/v2/**"));
    running.sighup();
    soon("the new route", async {
        loop {
            stage.get(ORDERS, "/v2/x", "").await.unwrap();
            let last = stage.orders.requests().pop().unwrap();
            if !stage.orders_issuer.minted().is_empty() {
                return stage.injected(&last, &stage.orders_issuer.token()).unwrap();
            }
        }
    })
    .await;
    let before = stage.orders.requests().len();
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    let seen = stage.orders.request(before).await;
    assert!(seen.all("authorization").is_empty(), "the old route is gone: {seen:#?}");
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_one_standing() {
    let stage = Stage::valetkey().await;
    let running = stage.running().unwrap();
    for bad in ["", "config_version = 1\n[routes", "config_version = 1\nwhat = \"is this\"\n"] {
        let before = running.stderr_text().len();
        running.home.rewrite(|_| bad.to_owned());
        running.sighup();
        running.says_more_than(before).await;
        stage.control().await.unwrap();
    }
    std::fs::remove_file(&running.home.config).unwrap();
    let before = running.stderr_text().len();
    running.sighup();
    running.says_more_than(before).await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}

#[tokio::test]
async fn sigterm_lets_an_answer_finish() {
    let mut stage = Stage::valetkey().await;
    let gate = Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| Answer::ok("first ").then(&inner, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    stage.running().unwrap().sigterm();
    let proxy = stage.proxy_addr();
    soon("the listener to close", async { while TcpStream::connect(proxy).await.is_ok() {} }).await;
    gate.open();
    let rest = soon("the second half", tunnel.until(b"second")).await;
    assert!(rest.is_some(), "the answer was cut");
    assert_eq!(stage.running_mut().ended().await, Some(0));
}

#[tokio::test]
async fn a_port_in_use_is_said_and_nothing_is_touched() {
    let stage = Stage::valetkey().await;
    let port = stage.proxy_addr().port();
    let second = Valetkey::new().proxy(&format!("listen = [\"127.0.0.1:{port}\"]")).written();
    let done = second.run(&["serve"]).await;
    assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
    assert!(done.stderr.contains(&port.to_string()), "{done:?}");
    assert!(done.stderr.contains("hint"), "{done:?}");
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_state_directory_serves_one_daemon() {
    let stage = Stage::valetkey().await;
    let running = stage.running().unwrap();
    let done = running.home.run(&["serve"]).await;
    assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
    assert!(done.stderr.contains("hint"), "{done:?}");
    stage.control().await.unwrap();
    let verified = running.home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert_eq!(running.ca_pem().await, stage.ca_pem(), "the CA is the same");
}

/// The key's file and directory are ours alone, or nothing is served.
#[tokio::test]
async fn a_loose_key_file_stops_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let mut stage = Stage::valetkey().await;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let home = stage.running().unwrap().home.clone();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.state), 0o700);
    let keys = private_keys(&home.state);
    assert!(!keys.is_empty(), "there is a key file");
    for key in keys {
        assert_eq!(mode(&key), 0o600, "{key:?}");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
        let done = home.run(&["serve"]).await;
        assert!(matches!(done.code, Some(1 | 2)), "{key:?}: {done:?}");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(&home.state, PermissionsExt::from_mode(0o755)).unwrap();
    let done = home.run(&["serve"]).await;
    assert!(matches!(done.code, Some(1 | 2)), "a loose directory: {done:?}");
    std::fs::set_permissions(&home.state, PermissionsExt::from_mode(0o700)).unwrap();
    stage.restart(&home).await;
    stage.control().await.unwrap();
}

fn private_keys(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(private_keys(&path));
        } else if std::fs::read(&path).is_ok_and(|b| b.windows(11).any(|w| w == b"PRIVATE KEY")) {
            found.push(path);
        }
    }
    found
}

/// The CA survives a restart: tools keep trusting it.
#[tokio::test]
async fn the_ca_survives_a_restart() {
    let mut stage = Stage::valetkey().await;
    let before = stage.ca_pem().to_owned();
    stage.running_mut().sigkill().await;
    let home = stage.running().unwrap().home.clone();
    stage.restart(&home).await;
    assert_eq!(stage.running().unwrap().ca_pem().await, before);
    stage.control().await.unwrap();
}

/// Policies A (inject) and B (pass) take turns under load: every record names one policy, and its decision
/// is that policy's.
#[tokio::test]
async fn no_record_mixes_two_policies() {
    let mut stage = Stage::valetkey().await;
    for turn in 0..20 {
        let running = stage.running().unwrap();
        let (from, to) = if turn % 2 == 0 { ("/v1/**", "/v2/**") } else { ("/v2/**", "/v1/**") };
        running.home.rewrite(|text| text.replace(from, to));
        running.sighup();
        soon("the other policy", async {
            loop {
                stage.get(ORDERS, "/v1/x", "").await.unwrap();
                let last = stage.orders.requests().pop().unwrap();
                if last.all("authorization").is_empty() == (turn % 2 == 0) {
                    break;
                }
            }
        })
        .await;
    }
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let audit = stage.running().unwrap().audit();
    let mut decisions =
        std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for record in
        audit.iter().filter(|r| r["event"] == "decision" && r["target"]["path"] == "/v1/x")
    {
        let policy = record["policy"].as_str().expect("a policy").to_owned();
        let decision = record["decision"].as_str().expect("a decision").to_owned();
        decisions.entry(policy).or_default().insert(decision);
    }
    assert_eq!(decisions.len(), 2, "two policies: {decisions:?}");
    assert!(decisions.values().all(|d| d.len() == 1), "mixed: {decisions:?}");
}

/// A session that the config no longer names ends, in open tunnels too.
#[tokio::test]
async fn a_removed_session_ends_its_open_tunnels() {
    use base64::Engine as _;
    let entry = "[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }\n";
    let secret = "session-secret-0123456789-abcdefghijkl";
    let stage = Stage::valetkey_with(|v| v.file("ci.key", secret).toml(entry)).await;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("ci:{secret}"));
    let lines = format!("Proxy-Authorization: Basic {login}\r\n");
    let authority = format!("{ORDERS}:443");
    let (answer, reader) =
        crate::harness::client::connect_with(stage.proxy_addr(), &authority, &lines).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let config = crate::harness::client::tls_config(stage.trust(), &["http/1.1"]);
    let stream = crate::harness::client::tls(reader.stream, ORDERS, config).await.unwrap();
    let mut tunnel = crate::harness::http1::Reader::new(stream);
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());

    let running = stage.running().unwrap();
    running.home.rewrite(|text| text.replace(entry, ""));
    running.sighup();
    soon("the session to end", async {
        loop {
            match crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await {
                Some(answer) if answer.status() == 200 => {}
                Some(answer) => {
                    let codes = ["session-ended"];
                    return crate::harness::stage::own_answer(&answer, &[403], &codes).unwrap();
                }
                // It ended while an answer was on its way, which is cut.
                None => return,
            }
        }
    })
    .await;
    let (answer, _) =
        crate::harness::client::connect_with(stage.proxy_addr(), &authority, &lines).await;
    assert_eq!(answer.status(), 407, "{}", answer.everything());
    stage.control().await.unwrap();
}

/// Whoever read the log is gone: that is no reason to stop, or to drop what is in flight.
#[tokio::test]
async fn a_log_that_nobody_reads_any_more_harms_nothing() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let home = Valetkey::new().written();
    let mut command = home.command(&["serve"]);
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("listening on ") {
            break;
        }
    }
    drop(lines);
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let loaded = || home.audit().iter().filter(|r| r["context"]["action"] == "loaded").count();
    until("the reload", || loaded() >= 2 || child.try_wait().unwrap().is_some()).await;
    assert_eq!(child.try_wait().unwrap(), None, "it still runs");
    assert_eq!(loaded(), 2);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = soon("the end", child.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(0));
}
