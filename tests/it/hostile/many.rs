//! I11: hosts and names without an end cost no files, no series and no leaf that nobody needs; and redirects to anywhere
//! pass as they are, for the client to judge.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::api::{Answer, Api};
use crate::harness::client::{connect, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{BILLING, ORDERS, Stage};

fn files(directory: &Path, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        }
        all.insert(path.display().to_string());
    }
}

#[tokio::test]
async fn hosts_without_an_end_leave_nothing_behind() {
    const ROUNDS: usize = 200;
    let pki = crate::harness::pki::Pki::new();
    let api = Api::tls(&pki.server(&["h0.wild.example"])).await;
    let stage = Stage::valetkey_with(|v| {
        v.trusting(&pki)
            .reaching("h0.wild.example:443", api.addr())
            .route("name = \"wild\"\nhost = \"*.wild.example\"\ncredential = \"orders\"")
    })
    .await;
    let state = stage.running().unwrap().home.state.clone();
    stage.control().await.unwrap();
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    files(&state, &mut before);
    let mut leaves = BTreeSet::new();
    for n in 0..ROUNDS {
        let host = format!("h{n}.wild.example");
        let chain = std::sync::Arc::default();
        let trust = crate::harness::client::Trust::Anyone(std::sync::Arc::clone(&chain));
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{host}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        tls(reader.stream, &host, tls_config(trust, &["h2"])).await.unwrap();
        leaves.insert(crate::harness::lock(&chain)[0].to_vec());
    }
    assert_eq!(leaves.len(), ROUNDS, "one leaf a host");
    files(&state, &mut after);
    // A file that is being replaced may be there twice.
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.len() < 3, "files that hosts left behind: {new:?}");
    let answer = stage.get("h0.wild.example", "/", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    stage.control().await.unwrap();
    println!("sent: {ROUNDS} hosts of a wildcard");
}

#[tokio::test]
async fn redirects_pass_as_they_are_and_are_not_followed() {
    let stage = Stage::valetkey().await;
    let places = [
        format!("https://{BILLING}/v1/y"),
        format!("http://{ORDERS}/v1/y"),
        format!("https://{ORDERS}:8443/v1/y"),
        format!("https://{ORDERS}@evil.example/"),
        "https://evil.example/?next=https://api.orders.example/".to_owned(),
        "//evil.example/x".to_owned(),
        "https://127.0.0.1/".to_owned(),
        "https://[::1]:1/".to_owned(),
        "/v1/../../x".to_owned(),
        "?x=y".to_owned(),
        "javascript:alert(1)".to_owned(),
        "https:/evil.example".to_owned(),
        String::new(),
    ];
    let mut tunnel: Option<Reader<_>> = None;
    let mut sent = 0;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for place in &places {
            let to = place.clone();
            stage.orders.answer(move |_| {
                let refresh = format!("0; url={to}");
                Answer::ok("").status(status).header("Location", &to).header("Refresh", refresh)
            });
            let line = format!("GET /v1/{sent} HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
            let mut open = match tunnel.take() {
                Some(open) => open,
                None => stage.tunnel(ORDERS).await.unwrap(),
            };
            let answer =
                crate::harness::client::exchange(&mut open, line.as_bytes()).await.unwrap();
            tunnel = Some(open);
            assert_eq!(answer.status(), status, "{place}: {}", answer.everything());
            assert_eq!(answer.all("location"), [place.as_str()], "{status}");
            sent += 1;
        }
    }
    let others = [&stage.billing, &stage.evil, &stage.orders_plain, &stage.orders_alt];
    assert!(others.iter().all(|api| api.connections() == 0), "a redirect was followed");
    assert_eq!(stage.orders.requests().len(), sent, "one request for each");
    // Where it led to, the client's next request is judged by its own route.
    stage.control().await.unwrap();
    println!("sent: {sent} redirects");
}
