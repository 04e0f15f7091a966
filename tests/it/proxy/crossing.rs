//! Invariant I7 under load: two users and two jobs of one user, each with a credential of its own at one and
//! the same host, while tokens end all the time. No request ever carries another's token.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::Full;

use crate::harness::api::Answer;
use crate::harness::client::{connect_with, exchange, http2, http2_send, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::stage::{EVIL, Stage};

/// All requests together.
const REQUESTS: usize = 15_000;
/// Who asks: the session and how its route knows it.
const WHO: [&str; 4] = ["ann", "bob", "job-1", "job-2"];

fn login(name: &str, secret: &str) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Proxy-Authorization: Basic {}\r\n", engine.encode(format!("{name}:{secret}")))
}

struct Scene {
    stage: Stage,
    issuers: Vec<Issuer>,
    /// The lines of a CONNECT, for each of [`WHO`].
    logins: Vec<String>,
}

/// `ann` and `bob` by their sessions' user, the jobs by their sessions' names.
async fn scene() -> Scene {
    let mut issuers = Vec::new();
    for _ in WHO {
        let issuer = Issuer::start().await;
        // A token that ends after two seconds: one is minted ahead of the end, again and again.
        issuer.reply(Reply::Token { life: Some(2) });
        issuers.push(issuer);
    }
    let secret = "a-session-secret-of-32-bytes-or-more";
    let stage = Stage::valetkey_with(|mut v| {
        v = v.file("session.key", secret).proxy("client_auth = [\"session\"]");
        for (who, issuer) in WHO.iter().zip(&issuers) {
            let client = if who.starts_with("job") { "session" } else { "user" };
            v = v.minting(who, issuer).route(&format!(
                "name = {who:?}\nhost = {EVIL:?}\ncredential = {who:?}\nclients = [\"{client}:{who}\"]"
            ));
            if who.starts_with("job") {
                v = v.toml(&format!(
                    "[[sessions]]\nname = {who:?}\nsecret = {{ file = \"session.key\" }}"
                ));
            }
        }
        v
    })
    .await;
    let mut logins = Vec::new();
    for who in WHO {
        if who.starts_with("job") {
            logins.push(login(who, secret));
            continue;
        }
        let home = &stage.running().unwrap().home;
        let done = home.run(&["session", "open", "--user", who, "--json"]).await;
        let opened: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
        logins.push(login(opened["name"].as_str().unwrap(), opened["secret"].as_str().unwrap()));
    }
    Scene { stage, issuers, logins }
}

/// Sends its share of the requests on one connection, each with its own name in the path.
async fn send(scene: Arc<Scene>, who: usize, http2_too: bool, left: Arc<AtomicUsize>) {
    let take =
        || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok();
    let (name, stage) = (WHO[who], &scene.stage);
    let lines = &scene.logins[who];
    // A connection serves some, then another takes its place: pools and slots are met in every order.
    while left.load(Ordering::SeqCst) > 0 {
        let (answer, reader) =
            connect_with(stage.proxy_addr(), &format!("{EVIL}:443"), lines).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let alpn = if http2_too { "h2" } else { "http/1.1" };
        let stream = tls(reader.stream, EVIL, tls_config(stage.trust(), &[alpn])).await.unwrap();
        if http2_too {
            let sender = http2(stream).await;
            for _ in 0..10 {
                let mut streams = tokio::task::JoinSet::new();
                for _ in 0..10 {
                    let Some(n) = take() else { break };
                    let mut sender = sender.clone();
                    let request = http::Request::get(format!("https://{EVIL}/{name}/{n}"));
                    let request = request.body(Full::new(Bytes::new())).unwrap();
                    streams.spawn(async move { http2_send(&mut sender, request).await });
                }
                for answer in streams.join_all().await {
                    let answer = answer.expect("an answer");
                    assert_eq!(answer.status(), 200, "{}", answer.everything());
                    assert_eq!(answer.text(), name, "another's answer");
                }
            }
        } else {
            let mut tunnel = Reader::new(stream);
            for _ in 0..50 {
                let Some(n) = take() else { break };
                let request = format!("GET /{name}/{n} HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
                let answer = exchange(&mut tunnel, request.as_bytes()).await.expect("an answer");
                assert_eq!(answer.status(), 200, "{}", answer.everything());
                assert_eq!(answer.text(), name, "another's answer");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anothers_token() {
    let scene = Arc::new(scene().await);
    scene.stage.evil.answer(|seen| {
        let who = seen.target.split('/').nth(1).unwrap_or_default();
        Answer::ok(who.as_bytes())
    });
    let mut senders = tokio::task::JoinSet::new();
    for who in 0..WHO.len() {
        let left = Arc::new(AtomicUsize::new(REQUESTS / WHO.len()));
        for http2_too in [false, true, false, true] {
            senders.spawn(send(Arc::clone(&scene), who, http2_too, Arc::clone(&left)));
        }
    }
    senders.join_all().await;

    let minted: Vec<BTreeSet<String>> =
        scene.issuers.iter().map(|issuer| issuer.minted().into_iter().collect()).collect();
    let seen = scene.stage.evil.requests();
    assert_eq!(seen.len(), REQUESTS);
    let mut connections: HashMap<usize, &str> = HashMap::new();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for request in &seen {
        let who = request.target.split('/').nth(1).unwrap();
        let index = WHO.iter().position(|known| *known == who).unwrap();
        let token = request.one("authorization");
        let token = token.strip_prefix("Bearer ").unwrap();
        assert!(
            minted[index].contains(token),
            "{who} came with the token of another: {request:#?}"
        );
        used.entry(WHO[index]).or_default().insert(token.to_owned());
        let owner = connections.entry(request.connection).or_insert(WHO[index]);
        assert_eq!(*owner, who, "two clients on upstream connection {}", request.connection);
    }
    let rotated: Vec<_> = used.values().map(BTreeSet::len).collect();
    println!("tokens used: {rotated:?}, upstream connections: {}", connections.len());
    assert!(rotated.len() == WHO.len() && rotated.iter().all(|n| *n >= 2), "rotated: {rotated:?}");

    // And the audit says of each token whose it was.
    scene.stage.running().unwrap().sighup();
    let audit = scene.stage.running().unwrap().audit();
    let decisions = audit.iter().filter(|r| r["event"] == "decision" && r["decision"] == "inject");
    let mut owner: HashMap<String, String> = HashMap::new();
    let mut count = 0;
    for record in decisions.filter(|r| r["target"]["host"] == EVIL) {
        let (client, token) = (&record["client"], &record["token"]["fingerprint"]);
        let name = client["session"].to_string();
        let known = owner.entry(token.to_string()).or_insert_with(|| name.clone());
        assert_eq!(*known, name, "{record}");
        let path = record["target"]["path"].as_str().unwrap();
        assert_eq!(path.split('/').nth(1), record["route"].as_str(), "{record}");
        count += 1;
    }
    assert_eq!(count, REQUESTS);
}
