//! Whoever may do nothing cannot have the records of others rotated away by being refused without an end.

use base64::Engine as _;

use crate::harness::client::{connect_with, dial, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{BILLING, ORDERS, Stage, own_answer};
use crate::harness::valetkey::Valetkey;

const INJECTED: usize = 1_000;
/// Of each kind. Their records would fill the audit more than once.
const REFUSED: usize = 5_000;
/// Records that the refusals of one client with one code have of their own.
const BURST: usize = 1_000;

fn login(session: &str) -> String {
    let pair = format!("{session}:{session}-secret-0123456789");
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Proxy-Authorization: Basic {pair}\r\n")
}

fn sessions(mut v: Valetkey) -> Valetkey {
    v = v.proxy("client_auth = [\"session\"]").toml("[audit]\nmax_size = \"1MiB\"\nkeep = 4");
    for (name, routes) in [("rich", ""), ("poor", "routes = [\"billing\"]")] {
        v = v.file(&format!("{name}.key"), &format!("{name}-secret-0123456789")).toml(&format!(
            "[[sessions]]\nname = {name:?}\nsecret = {{ file = \"{name}.key\" }}\n{routes}"
        ));
    }
    v
}

/// So many requests on one connection, each with this answer.
async fn ask(stage: &Stage, session: &str, host: &str, count: usize, status: u16) {
    let (answer, reader) =
        connect_with(stage.proxy_addr(), &format!("{host}:443"), &login(session)).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let config = tls_config(stage.trust(), &["http/1.1"]);
    let mut tunnel = Reader::new(tls(reader.stream, host, config).await.unwrap());
    for n in 0..count {
        let request = format!("GET /v1/{n} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = exchange(&mut tunnel, request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status(), status, "{}", answer.everything());
    }
}

/// So many CONNECTs without credentials, some on each connection.
async fn challenged(stage: &Stage, count: usize) {
    const EACH: usize = 8;
    for _ in 0..count / EACH {
        let mut reader = dial(stage.proxy_addr()).await;
        for _ in 0..EACH {
            let answer = exchange(&mut reader, b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await;
            own_answer(&answer.unwrap(), &[407], &["proxy-auth-required"]).unwrap();
        }
    }
}

/// All files of the audit.
fn records(stage: &Stage) -> Vec<serde_json::Value> {
    let state = &stage.running().unwrap().home.state;
    let mut records = Vec::new();
    for file in std::fs::read_dir(state).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("audit.jsonl") {
            let text = std::fs::read_to_string(file.path()).unwrap();
            records.extend(
                text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()),
            );
        }
    }
    records
}

#[tokio::test]
async fn refusals_without_an_end_turn_no_audit_over() {
    let mut stage = Stage::valetkey_with(sessions).await;
    ask(&stage, "rich", ORDERS, INJECTED, 200).await;
    ask(&stage, "poor", ORDERS, REFUSED, 403).await;
    challenged(&stage, REFUSED).await;
    // What is let through beside them is never counted together.
    ask(&stage, "poor", BILLING, 1, 200).await;
    stage.running().unwrap().sigterm();
    assert_eq!(stage.running_mut().ended().await, Some(0));
    let records = records(&stage);
    let injects = records.iter().filter(|r| r["decision"] == "inject").count();
    assert_eq!(injects, INJECTED + 1, "each has its record still");
    for (code, who) in [("route-not-in-session", "session"), ("proxy-auth-required", "uid")] {
        let all: Vec<_> =
            records.iter().filter(|r| r["event"] == "decision" && r["code"] == code).collect();
        let (counted, own): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|r| r["context"]["refusals"].is_u64());
        let beyond: u64 = counted.iter().filter_map(|r| r["context"]["refusals"].as_u64()).sum();
        println!("{code}: {} records, {beyond} more counted in {}", own.len(), counted.len());
        assert_eq!(own.len() as u64 + beyond, REFUSED as u64, "{code}: none is forgotten");
        assert!(own.len() >= BURST && own.len() < BURST + 100, "{code}: {}", own.len());
        for record in counted {
            assert_eq!(record["decision"], "deny", "{record}");
            assert!(!record["client"][who].is_null(), "{record}");
        }
    }
    let verified = stage.running().unwrap().home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
