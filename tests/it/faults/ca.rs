//! Files of the local CA that go away, or are not what they were, while the daemon runs: what it holds serves on, and no
//! other CA is made in silence.

use crate::harness::stage::{BILLING, ORDERS, Stage};
use crate::harness::valetkey::Home;
use crate::harness::{figure, found};

/// Waits until so many reloads ended like this.
async fn reloads(home: &Home, action: &str, count: usize) -> serde_json::Value {
    found(&format!("{count} reloads {action}"), || {
        let of = |r: &serde_json::Value| r["event"] == "config" && r["context"]["action"] == action;
        home.audit().into_iter().filter(of).nth(count - 1)
    })
    .await
}

/// Clients trust the CA as it was at the start.
async fn handshakes(stage: &Stage, what: &str) -> usize {
    for host in [ORDERS, BILLING] {
        assert!(stage.get(host, "/v1/x", "").await.is_ok(), "{what}: {host}");
    }
    2
}

#[tokio::test]
async fn a_ca_whose_files_go_away_serves_on() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let (dir, aside) = (home.state.join("ca"), home.state.join("aside"));
    let mut done = 0;
    std::fs::rename(&dir, &aside).unwrap();
    done += handshakes(&stage, "moved away").await;
    home.rewrite(|text| text.replace("/v1/**", "/v2/**"));
    stage.running().unwrap().sighup();
    assert_eq!(reloads(&home, "refused", 1).await["code"], "ca-gone");
    done += handshakes(&stage, "after a reload").await;
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::rename(&aside, &dir).unwrap();
    stage.running().unwrap().sighup();
    reloads(&home, "loaded", 2).await;
    done += handshakes(&stage, "put back").await;
    for file in std::fs::read_dir(&dir).unwrap().flatten().filter(|file| file.path().is_file()) {
        std::fs::write(file.path(), "garbage").unwrap();
    }
    done += handshakes(&stage, "garbage").await;
    home.rewrite(|text| text.replace("/v2/**", "/v1/**"));
    stage.running().unwrap().sighup();
    reloads(&home, "refused", 2).await;
    done += handshakes(&stage, "garbage and a reload").await;
    figure("ca", format!("0 of {done} handshakes failed; reloads are refused, and said (ca-gone)"));
}
