//! The main job: an unmodified curl whose only setting is a placeholder reaches the API with a
//! fresh token, and the audit says so before the token leaves.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use valetkey::model::secret::Secret;

use crate::harness::api::Answer;
use crate::harness::client::{Finished, curl};
use crate::harness::lock;
use crate::harness::stage::{BILLING, ORDERS, Stage};

async fn curl_orders(stage: &Stage, more: &[&str]) -> Finished {
    let key = &stage.placeholder;
    let (bearer, own) = (format!("Authorization: Bearer {key}"), format!("X-Api-Key: {key}"));
    let url = format!("https://{ORDERS}/v1/orders?page=2&api_key={key}");
    let mut arguments = vec!["-i", "-H", &bearer, "-H", &own, &url];
    arguments.extend_from_slice(more);
    curl(stage.proxy_addr(), &stage.ca_file(), &arguments).await
}

#[tokio::test]
async fn curl_with_a_placeholder_arrives_with_a_token() {
    let mut stage = Stage::valetkey().await;
    for (at, protocol) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let done = curl_orders(&stage, &[protocol]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let body = done.stdout.lines().last().unwrap();
        assert_eq!(body, "{\"ok\":true}", "{done:?}");
        let seen = stage.orders.request(at).await;
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
        assert_eq!(seen.target, "/v1/orders?page=2");
        assert_eq!(seen.sni.as_deref(), Some(ORDERS));
        assert!(seen.all("x-api-key").is_empty());
    }
    assert_eq!(stage.orders_issuer.calls().len(), 1, "the second request had a token waiting");
    stage.running_mut().sigterm();
    assert_eq!(stage.running_mut().ended().await, Some(0));

    let audit = stage.running().unwrap().audit();
    let inject: Vec<_> = audit.iter().filter(|r| r["decision"] == "inject").collect();
    assert_eq!(inject.len(), 2, "{audit:#?}");
    for decision in inject {
        let fingerprint = Secret::new(stage.orders_issuer.token()).fingerprint();
        assert_eq!(decision["event"], "decision");
        assert_eq!(decision["token"]["fingerprint"], fingerprint.as_str());
        assert_eq!(decision["route"], "orders");
        assert_eq!(decision["credential"], "orders");
        assert_eq!(decision["target"]["host"], ORDERS);
        assert_eq!(decision["target"]["port"], 443);
        assert_eq!(decision["target"]["path"], "/v1/orders");
        assert_eq!(decision["target"]["method"], "GET");
        assert_eq!(decision["client"]["uid"], rustix::process::getuid().as_raw());
        let outcome =
            audit.iter().find(|r| r["event"] == "outcome" && r["request"] == decision["request"]);
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome in {audit:#?}"));
        assert!(outcome["seq"].as_u64() > decision["seq"].as_u64(), "{audit:#?}");
        assert_eq!(outcome["outcome"]["status"], 200);
    }
    let verified = stage.running().unwrap().home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    nothing_written(&stage);
}

/// The leak test: neither a token nor a secret in anything that Valetkey wrote.
fn nothing_written(stage: &Stage) {
    let running = stage.running().unwrap();
    let mut written = vec![("output".to_owned(), running.output())];
    let mut directories = vec![running.home.state.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                let name = entry.path().display().to_string();
                written.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    for (name, text) in written {
        stage.silent(&name, &text).unwrap();
        assert!(!text.contains("test-client-secret"), "{name} holds the client secret");
        assert!(!text.contains(&stage.placeholder), "{name} holds a query or header value");
    }
}

#[tokio::test]
async fn the_decision_is_on_disk_before_the_token_leaves() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let at_arrival = Arc::new(Mutex::new(Vec::new()));
    let inner = Arc::clone(&at_arrival);
    stage.orders.answer(move |seen| {
        let path = seen.target.clone();
        let audit = home.audit();
        let found = audit.iter().any(|r| r["decision"] == "inject" && r["target"]["path"] == *path);
        lock(&inner).push(found);
        Answer::ok("{}")
    });
    for n in 0..20 {
        stage.get(ORDERS, &format!("/v1/{n}"), "").await.unwrap();
    }
    assert_eq!(*lock(&at_arrival), vec![true; 20]);
}

#[tokio::test]
async fn basic_injection_is_what_git_needs() {
    let host = "git.example";
    let fakes = Stage::naive().await;
    let api = crate::harness::api::Api::tls(&fakes.pki.server(&[host])).await;
    let addr = api.addr();
    let pem = fakes.pki.pem().to_owned();
    let stage = Stage::valetkey_with(|v| {
        v.reaching(&format!("{host}:443"), addr)
            .file("git-root.pem", &pem)
            .route(&format!(
                "name = \"git\"\nhost = \"{host}\"\ncredential = \"orders\"\n\
                 inject = {{ basic = {{ user = \"x-access-token\" }} }}"
            ))
            .also_trusting("git-root.pem")
    })
    .await;
    // git sends no credentials at first, whatever the URL holds.
    for lines in ["", "Authorization: Basic eDp2ay1wbGFjZWhvbGRlci1hYmM=\r\n"] {
        let request = format!("GET /x.git/info/refs HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        let answer = stage.send(host, &request).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let expected = engine.encode(format!("x-access-token:{}", stage.orders_issuer.token()));
    for seen in api.requests() {
        assert_eq!(seen.one("authorization"), format!("Basic {expected}"));
    }
    assert_eq!(api.requests().len(), 2);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_static_key_is_stripped_and_never_forwarded() {
    let stage = Stage::valetkey().await;
    let request = format!(
        "POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nX-Api-Key: real-standing-key-81\r\nContent-Length: 5\r\n\r\nhello"
    );
    let answer = stage.send(ORDERS, &request).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let seen = stage.orders.request(0).await;
    assert_eq!(seen.count("real-standing-key-81"), 0);
    assert_eq!(seen.body, b"hello");
    stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
}

/// Outside the slots of a route it passes as it came, and is written down: the inventory has it.
#[tokio::test]
async fn a_real_key_is_seen_wherever_it_stands() {
    let stage = Stage::valetkey().await;
    // Made here, so that no scanner finds a key in this file.
    let random = "abcdefghijklmnopqrstuvwxyz0123";
    let key = format!("gh{}_{random}{}", "p", valetkey::model::placeholder::checksum(random));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{key}"));
    let cases = [
        ("/v1/x", format!("X-Other: {key}\r\n")),
        ("/v1/x", format!("Cookie: a=b; t={key}\r\n")),
        (&format!("/v1/x?other={key}"), String::new()),
        ("/v2/unrouted", format!("Authorization: Bearer {key}\r\n")),
        ("/v2/unrouted", format!("Authorization: Basic {basic}\r\n")),
        // Refused, and sent all the same.
        ("/v1/../x", format!("X-Other: {key}\r\n")),
    ];
    for (target, lines) in &cases {
        stage.get(ORDERS, target, lines).await.unwrap();
    }
    let none = format!("POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: 40\r\n\r\n{key}");
    stage.send(ORDERS, &none).await.unwrap();
    let audit = stage.running().unwrap().audit();
    let decisions: Vec<_> = audit
        .iter()
        .filter(|r| r["decision"].is_string() && r["target"]["method"] != "CONNECT")
        .collect();
    assert_eq!(decisions.len(), cases.len() + 1);
    for (decision, case) in decisions.iter().zip(&cases) {
        assert_eq!(decision["static_key"]["kind"], "github", "{case:?}: {decision}");
    }
    assert!(decisions[cases.len()]["static_key"].is_null(), "a body is nobody's business");
    let home = &stage.running().unwrap().home;
    assert!(!std::fs::read_to_string(home.state.join("audit.jsonl")).unwrap().contains(&key));
    let inventory = home.run(&["audit", "inventory", "--json"]).await;
    assert!(inventory.stdout.contains("github"), "{}", inventory.stdout);
}

#[tokio::test]
async fn the_issuer_is_asked_as_configured() {
    let stage = Stage::valetkey().await;
    stage.get(BILLING, "/v1/x", "").await.unwrap();
    let call = stage.billing_issuer.call(0).await;
    assert_eq!(call.first_line, "POST /token HTTP/1.1");
    assert!(call.text().contains("grant_type=client_credentials"), "{}", call.everything());
    let engine = base64::engine::general_purpose::STANDARD;
    let expected = format!("Basic {}", engine.encode("billing-cli:test-client-secret"));
    assert_eq!(call.all("authorization"), [expected]);
}
