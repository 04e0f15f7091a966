//! A changed config is taken up by itself, whole or not at all, and no request ever mixes two.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use valetkey::model::secret::Secret;

use super::observe::{observed, scrape};
use crate::harness::client::{connect, connect_with, exchange, http2, http2_send, tls, tls_config};
use crate::harness::figure;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::Home;
use crate::harness::{look_again, soon, until};

/// The promise is 1 s; a crowded test machine gets more.
const NOTICED: Duration = Duration::from_secs(5);

fn records(home: &Home, action: &str) -> Vec<Value> {
    let of_config = |r: &Value| r["event"] == "config" && r["context"]["action"] == action;
    home.audit().into_iter().filter(of_config).collect()
}

/// Waits until the audit has `count` config records of this kind.
pub(super) async fn reloads(home: &Home, action: &str, count: usize) {
    until(&format!("{count} configs {action}"), || records(home, action).len() >= count).await;
    assert_eq!(records(home, action).len(), count, "{action}");
}

fn rename_over(home: &Home, text: &str) {
    let next = home.path("next.toml");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, &home.config).unwrap();
}

fn swap_symlink(home: &Home, name: &str, text: &str) {
    std::fs::write(home.path(name), text).unwrap();
    let link = home.path("next-link");
    std::os::unix::fs::symlink(home.path(name), &link).unwrap();
    std::fs::rename(link, &home.config).unwrap();
}

#[tokio::test]
async fn an_edited_file_is_noticed_however_it_is_written() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let one = std::fs::read_to_string(&home.config).unwrap();
    let two = one.replace("/v1/**", "/v2/**");
    type Write = fn(&Home, &str);
    let ways: [(&str, Write); 4] = [
        ("in place", |home, text| std::fs::write(&home.config, text).unwrap()),
        ("renamed over", rename_over),
        ("behind a symlink", |home, text| swap_symlink(home, "target-a.toml", text)),
        ("another symlink", |home, text| swap_symlink(home, "target-b.toml", text)),
    ];
    for (turn, (way, write)) in ways.into_iter().enumerate() {
        let text = if turn % 2 == 0 { &two } else { &one };
        let started = Instant::now();
        write(&home, text);
        reloads(&home, "loaded", turn + 2).await;
        figure("config", format!("{way}: {:.1?}", started.elapsed()));
        assert!(started.elapsed() < NOTICED, "{way}: {:?}", started.elapsed());
        let path = if turn % 2 == 0 { "/v2/x" } else { "/v1/x" };
        let before = stage.orders.requests().len();
        stage.get(ORDERS, path, "").await.unwrap();
        let seen = stage.orders.request(before).await;
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    }
    assert!(records(&home, "refused").is_empty());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_once_and_the_old_one_stands() {
    let (stage, metrics) = observed().await;
    let home = stage.running().unwrap().home.clone();
    let good = std::fs::read_to_string(&home.config).unwrap();
    let half = &good[..good.find("[[routes]]").unwrap() + 9];
    for (turn, bad) in ["", half, "config_version = 1\nwhat = \"is this\"\n"].iter().enumerate() {
        std::fs::write(&home.config, bad).unwrap();
        reloads(&home, "refused", turn + 1).await;
        stage.control().await.unwrap();
    }
    std::fs::remove_file(&home.config).unwrap();
    reloads(&home, "refused", 4).await;
    let codes: Vec<_> = records(&home, "refused").iter().map(|r| r["code"].clone()).collect();
    assert_eq!(codes.last().unwrap(), "config-unreadable", "{codes:?}");
    stage.control().await.unwrap();
    // The running one again: nothing to do. Then another one, in good order.
    std::fs::write(&home.config, &good).unwrap();
    soon("a word", stage.running().unwrap().says("again the one that runs")).await.unwrap();
    std::fs::write(&home.config, good.replace("/v1/**", "/v2/**")).unwrap();
    reloads(&home, "loaded", 2).await;
    reloads(&home, "refused", 4).await;
    let samples = scrape(metrics).await;
    let counted = |result| samples[&format!("valetkey_reloads_total{{result=\"{result}\"}}")];
    assert_eq!((counted("loaded"), counted("refused")), (2.0, 4.0));
}

#[tokio::test]
async fn a_changed_session_secret_takes_effect() {
    use base64::Engine as _;
    let (old, new) = ("session-secret-0123456789-old", "session-secret-0123456789-new");
    let entry = "[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }\n";
    let stage = Stage::valetkey_with(|v| v.file("ci.key", old).toml(entry)).await;
    let home = &stage.running().unwrap().home;
    let admits = async |secret: &str| {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("ci:{secret}"));
        let lines = format!("Proxy-Authorization: Basic {login}\r\n");
        connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &lines).await.0.status()
    };
    assert_eq!((admits(old).await, admits(new).await), (200, 407));
    std::fs::write(home.path("ci.key"), new).unwrap();
    reloads(home, "loaded", 2).await;
    assert_eq!((admits(new).await, admits(old).await), (200, 407));
    let audit = home.audit();
    let ended = |r: &&Value| r["event"] == "session" && r["client"]["session"] == "ci";
    assert!(audit.iter().any(|r| ended(&r) && r["context"]["action"] == "ended"), "{audit:#?}");
}

/// A pull of a repository must not run commands or spend secrets.
#[tokio::test]
async fn a_projects_own_config_is_taken_up_only_as_it_is_trusted() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let trust = async || {
        let file = home.config.to_str().unwrap();
        let done = crate::harness::client::finish(&mut home.bare_command(&["trust", file])).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    trust().await;
    home.rewrite(|text| text.replace("/v1/**", "/v2/**"));
    reloads(home, "refused", 1).await;
    assert_eq!(records(home, "refused")[0]["code"], "config-untrusted");
    trust().await;
    soon("the reload", async {
        while records(home, "loaded").len() < 2 {
            // The list of what is trusted is not watched: whoever asks is believed.
            stage.running().unwrap().sighup();
            look_again().await;
        }
    })
    .await;
}

/// A request that waits for its token is judged again, and its record is the new policy's.
#[tokio::test]
async fn who_waits_for_a_token_is_judged_by_the_policy_that_comes_meanwhile() {
    let path = "path = [\"/v1/**\"]\ncredential = \"orders\"";
    for (to, status, decision) in [
        ("path = [\"/v2/**\"]\ncredential = \"orders\"", 200, "pass"),
        ("path = [\"/v1/**\"]\ndeny = true", 403, "deny"),
        ("path = [\"/v1/**\"]\ncredential = \"billing\"", 200, "inject"),
    ] {
        let stage = Stage::valetkey().await;
        let home = &stage.running().unwrap().home;
        let gate = stage.orders_issuer.hold();
        let (answer, ()) = tokio::join!(stage.get(ORDERS, "/v1/x", ""), async {
            stage.orders_issuer.call(0).await;
            home.rewrite(|text| {
                assert!(text.contains(path), "{text}");
                text.replace(path, to)
            });
            reloads(home, "loaded", 2).await;
        });
        gate.open();
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status, "{to}: {}", answer.everything());
        let audit = home.audit();
        let decided: Vec<_> = audit.iter().filter(|r| r["event"] == "decision").collect();
        assert_eq!(decided.len(), 1, "{decided:#?}");
        assert_eq!(decided[0]["decision"], decision, "{decided:#?}");
        assert_eq!(decided[0]["policy"], records(home, "loaded")[1]["policy"]);
        if decision == "inject" {
            let seen = stage.orders.request(0).await;
            stage.injected(&seen, &stage.billing_issuer.token()).unwrap();
        }
    }
}

/// Fingerprints of all that an issuer minted.
fn fingerprints(tokens: Vec<String>) -> HashSet<String> {
    let of = |token| Secret::new(token).fingerprint().as_str().to_owned();
    tokens.into_iter().map(of).collect()
}

/// Requests for `path` on tunnels of HTTP/1.1, until told to stop.
async fn load_http1(stage: Arc<Stage>, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>, path: &str) {
    let must_pass = path == "/v1";
    while !stop.load(Ordering::Relaxed) {
        let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
        while !stop.load(Ordering::Relaxed) {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let request = format!("GET {path}/{n} HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
            let answer = exchange(&mut tunnel, request.as_bytes()).await;
            if must_pass {
                let answer = answer.unwrap_or_else(|| panic!("{path}/{n} was dropped"));
                assert!(answer.status() == 200 && answer.complete, "{}", answer.everything());
            } else if answer.is_none_or(|answer| !answer.complete) {
                break;
            }
        }
    }
}

/// Four streams at a time on one connection of HTTP/2, until told to stop.
async fn load_http2(stage: Arc<Stage>, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["h2"])).await.unwrap();
    let sender = http2(stream).await;
    let mut streams = tokio::task::JoinSet::new();
    for lane in 0..4 {
        let (mut sender, stop, count) = (sender.clone(), Arc::clone(&stop), Arc::clone(&count));
        let path = if lane == 0 { "/flip" } else { "/v1" };
        streams.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let n = count.fetch_add(1, Ordering::Relaxed);
                let request = http::Request::get(format!("https://{ORDERS}{path}/{n}"));
                let request = request.body(Full::new(Bytes::new())).unwrap();
                let answer = http2_send(&mut sender, request).await;
                if path == "/v1" {
                    let answer = answer.unwrap_or_else(|e| panic!("{path}/{n}: {e}"));
                    assert!(answer.status() == 200 && answer.complete, "{}", answer.everything());
                }
            }
        });
    }
    streams.join_all().await;
}

/// Waits for the next request upstream whose path begins so.
async fn reaches(stage: &Stage, path: &str) {
    let mut index = stage.orders.requests().len();
    while !stage.orders.request(index).await.target.starts_with(path) {
        index += 1;
    }
}

const TAKEN_UP: &str = "config reloaded";

/// Two policies take turns 200 times under load. `/flip` is injected by one and denied by the other;
/// `/v1` is injected by both, but the credential's issuer is another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_flips_under_load_mix_nothing_and_drop_nothing() {
    let flip = format!(
        "name = \"flip\"\nhost = \"{ORDERS}\"\npath = [\"/flip/**\"]\ncredential = \"orders\"\n"
    );
    let stage = Arc::new(Stage::valetkey_with(|v| v.route(&flip)).await);
    let running = stage.running().unwrap();
    let one = std::fs::read_to_string(&running.home.config).unwrap();
    let two = one
        .replace(&flip, &flip.replace("credential = \"orders\"", "deny = true"))
        .replace(&stage.orders_issuer.token_url(), &stage.billing_issuer.token_url());
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for path in ["/v1", "/flip"] {
        let (stage, stop, count) = (Arc::clone(&stage), Arc::clone(&stop), Arc::clone(&count));
        load.spawn(async move { load_http1(stage, stop, count, path).await });
    }
    load.spawn(load_http2(Arc::clone(&stage), Arc::clone(&stop), Arc::clone(&count)));
    let started = Instant::now();
    for turn in 0..200 {
        let before = running.stderr_text().matches(TAKEN_UP).count();
        rename_over(&running.home, if turn % 2 == 0 { &two } else { &one });
        running.sighup();
        tokio::time::timeout(Duration::from_secs(20), async {
            // Not in a spin: each look copies the whole log under the lock that its reader needs.
            loop {
                let text = running.stderr_text();
                if text.matches(TAKEN_UP).count() > before {
                    break;
                }
                running.says_more_than(text.len()).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("turn {turn}: {}", running.stderr_text()));
        // A policy stands until it let a request through, however slow the machine: one that is gone before
        // the first token is minted decides nothing.
        reaches(&stage, if turn % 2 == 0 { "/v1/" } else { "/flip/" }).await;
    }
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    let audit = running.audit();
    let seen = stage.orders.requests();
    println!("{} requests, {} upstream, in {took:?}", count.load(Ordering::Relaxed), seen.len());

    let loaded = records(&running.home, "loaded");
    let policies: Vec<_> = loaded.iter().map(|r| r["policy"].as_str().unwrap()).collect();
    assert!(policies.len() > 200 && policies.iter().collect::<HashSet<_>>().len() == 2);
    let first = policies[0];
    let tokens = [&stage.orders_issuer, &stage.billing_issuer].map(|i| fingerprints(i.minted()));
    // Refusals beyond a thousand are counted together.
    let own = |r: &&Value| r["event"] == "decision" && r["context"]["refusals"].is_null();
    let decided: Vec<&Value> = audit.iter().filter(own).collect();
    let mut kinds = BTreeMap::<(bool, &str, &str), usize>::new();
    let mut sent = HashMap::new();
    for record in &decided {
        let path = record["target"]["path"].as_str().unwrap();
        let decision = record["decision"].as_str().unwrap();
        let of_first = record["policy"] == first;
        let area = if path.starts_with("/flip") { "flip" } else { "v1" };
        *kinds.entry((of_first, area, decision)).or_default() += 1;
        if decision == "inject" {
            let fingerprint = record["token"]["fingerprint"].as_str().unwrap();
            let issuer = usize::from(!of_first);
            assert!(tokens[issuer].contains(fingerprint), "another policy's token: {record}");
            sent.insert(path, fingerprint);
        }
    }
    println!("{kinds:?}");
    let found: Vec<_> = kinds.keys().copied().collect();
    let expected = [
        (false, "flip", "deny"),
        (false, "v1", "inject"),
        (true, "flip", "inject"),
        (true, "v1", "inject"),
    ];
    assert_eq!(found, expected, "one decision for each policy and path: {kinds:?}");
    for request in seen {
        let slot = request.one("authorization");
        let token = slot.strip_prefix("Bearer ").unwrap().to_owned();
        let went = Secret::new(token).fingerprint();
        assert_eq!(sent[request.target.as_str()], went.as_str(), "{}", request.target);
    }
}
