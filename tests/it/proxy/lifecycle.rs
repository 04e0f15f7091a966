//! A daemon's life: reload, drain, and two of them where one may be.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::api::Answer;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::Valetkey;
use crate::harness::{Gate, soon};

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
