//! `/metrics`, `/healthz` and `/readyz` from outside: what they say, that labels stay few, and that
//! neither a browser nor a scraper that means harm gets further.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;

use crate::harness::client::{connect, dial, exchange, finish};
use crate::harness::http1::Message;
use crate::harness::issuer::Reply;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, forms};
use crate::harness::valetkey::{Running, Valetkey};
use crate::harness::{Gate, api::Answer, soon};

const ADMIN: &str = "[admin]\nmetrics = \"127.0.0.1:0\"";

pub(crate) async fn observed() -> (Stage, SocketAddr) {
    let stage = Stage::valetkey_with(|v| v.toml(ADMIN)).await;
    let address = address(stage.running().unwrap()).await;
    (stage, address)
}

/// Where the log says that metrics are.
pub(crate) async fn address(running: &Running) -> SocketAddr {
    let line = running.says("metrics on http://").await.expect("an address in the log");
    let rest = line.split("metrics on http://").nth(1).unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> Message {
    let mut reader = dial(address).await;
    exchange(&mut reader, request.as_bytes()).await.expect("an answer")
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Message {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await
}

/// Samples by name and labels, each family with its help and type before it (text format 0.0.4).
pub(crate) async fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let kind = answer.all("content-type");
    assert_eq!(kind, ["text/plain; version=0.0.4; charset=utf-8"]);
    parsed(&answer.text())
}

fn parsed(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let name = sample.split('{').next().unwrap();
        let suffix = name.strip_prefix(&family.0).unwrap_or_else(|| panic!("astray: {line}"));
        let allowed: &[&str] =
            if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(allowed.contains(&suffix), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
    }
    assert!(samples.len() > 20, "{text}");
    samples
}

fn requests(route: &str, decision: &str, code: &str) -> String {
    format!("valetkey_requests_total{{route=\"{route}\",decision=\"{decision}\",code=\"{code}\"}}")
}

/// Waits until a sample has a value: outcomes are counted when the answer is through.
async fn becomes(address: SocketAddr, sample: &str, value: f64) -> BTreeMap<String, f64> {
    soon(&format!("{sample} {value}"), async {
        loop {
            let samples = scrape(address).await;
            if samples.get(sample) == Some(&value) {
                return samples;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_scrape_shows_what_happened() {
    let (stage, address) = observed().await;
    let before = scrape(address).await;
    assert_eq!(before["valetkey_upstream_connections"], 0.0);
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    stage.get(ORDERS, "/v1/y", "").await.unwrap();
    stage.get(ORDERS, "/elsewhere", "").await.unwrap();
    becomes(address, &requests("orders", "inject", "ok"), 2.0).await;
    let after = becomes(address, &requests("(none)", "pass", "ok"), 1.0).await;
    assert_eq!(after["valetkey_mints_total{credential=\"orders\",code=\"ok\"}"], 1.0);
    let life = after["valetkey_token_remaining_seconds{credential=\"orders\"}"];
    assert!((200.0..=300.0).contains(&life), "{life}");
    for (part, count) in [("proxy", 3.0), ("mint", 1.0), ("upstream", 3.0)] {
        let name = format!("valetkey_request_seconds_count{{part=\"{part}\"}}");
        assert_eq!(after[&name], count, "{part}");
    }
    let days = after["valetkey_ca_remaining_seconds"] / 86_400.0;
    assert!((29.0..=30.1).contains(&days), "{days}");
    assert!(after["valetkey_upstream_connections"] >= 1.0);
    assert_eq!(after["valetkey_reloads_total{result=\"loaded\"}"], 1.0);
    assert_eq!(after["valetkey_policy_generation"], 0.0);
    stage.control().await.unwrap();
}

/// Clients choose hosts, paths and methods; none of it becomes a label.
#[tokio::test]
async fn ten_thousand_inventions_make_no_series() {
    let (stage, address) = observed().await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let shout = |n: u32| format!("M{n} /v1/p{n}?q={n} HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    exchange(&mut tunnel, shout(0).as_bytes()).await.unwrap();
    connect(stage.proxy_addr(), "h0.invalid:443").await;
    becomes(address, &requests("(none)", "deny", "upstream-name-unresolved"), 1.0).await;
    let before: BTreeSet<_> =
        becomes(address, &requests("(none)", "pass", "ok"), 1.0).await.into_keys().collect();
    for n in 1..=5_000 {
        exchange(&mut tunnel, shout(n).as_bytes()).await.unwrap();
    }
    let mut plain = dial(stage.proxy_addr()).await;
    for n in 1..=5_000 {
        let request = format!("GET http://{ORDERS}/p{n} HTTP/1.1\r\nHost: h{n}.invalid\r\n\r\n");
        if exchange(&mut plain, request.as_bytes()).await.is_none() {
            plain = dial(stage.proxy_addr()).await;
        }
    }
    let after = becomes(address, &requests("(none)", "pass", "ok"), 5_001.0).await;
    let new: Vec<_> = after.keys().filter(|key| !before.contains(*key)).collect();
    // One code more that was not seen before, and no name of a client's.
    assert!(new.len() <= 2, "{new:?}");
    let all = after.into_keys().collect::<Vec<_>>().join("\n");
    for invented in ["M1", "/v1", "invalid", ORDERS, "p17"] {
        assert!(!all.contains(invented), "{invented} in {all}");
    }
}

#[tokio::test]
async fn a_failed_mint_is_counted_by_its_code() {
    let (stage, address) = observed().await;
    stage.orders_issuer.reply(Reply::json(401, "{\"error\":\"invalid_client\"}"));
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    let samples = becomes(address, &requests("orders", "deny", "issuer-refused"), 1.0).await;
    let mints: Vec<_> =
        samples.iter().filter(|(n, _)| n.starts_with("valetkey_mints_total")).collect();
    assert_eq!(mints.len(), 1, "{mints:?}");
    assert!(mints[0].0.contains("orders") && !mints[0].0.contains("\"ok\""), "{mints:?}");
    let status = stage.running().unwrap().home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let code = status["credentials"].as_array().unwrap().iter().find(|c| c["name"] == "orders");
    let code = code.unwrap()["last_mint"]["code"].as_str().unwrap();
    assert!(mints[0].0.contains(&format!("code=\"{code}\"")), "{code}: {mints:?}");
}

#[tokio::test]
async fn reloads_are_counted_and_counts_go_on() {
    let (stage, address) = observed().await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    becomes(address, &requests("orders", "inject", "ok"), 1.0).await;
    let running = stage.running().unwrap();
    let good = std::fs::read_to_string(&running.home.config).unwrap();
    running.home.rewrite(|_| "config_version = 2".into());
    running.sighup();
    becomes(address, "valetkey_reloads_total{result=\"refused\"}", 1.0).await;
    running.home.rewrite(|_| good.replace("name = \"billing\"", "name = \"other\""));
    running.sighup();
    let samples = becomes(address, "valetkey_policy_generation", 1.0).await;
    assert_eq!(samples[&requests("orders", "inject", "ok")], 1.0);
    assert_eq!(get(address, "/readyz").await.status(), 200);
}

/// Nothing of value stands in what anyone may read, nor in `status`.
#[tokio::test]
async fn nothing_that_opens_a_door_is_shown() {
    let secret = crate::harness::canary("session");
    let stage = Stage::valetkey_with(|v| {
        v.file("ci.key", &secret)
            .toml(ADMIN)
            .toml("[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }")
    })
    .await;
    let running = stage.running().unwrap();
    let address = address(running).await;
    stage.get(ORDERS, "/v1/x", &format!("X-Api-Key: {}\r\n", stage.standing_key)).await.unwrap();
    stage.get(BILLING, "/v1/x", "").await.unwrap();
    let mut shown = String::new();
    for path in ["/metrics", "/healthz", "/readyz", "/nothing"] {
        shown += &get(address, path).await.everything();
    }
    for arguments in [&["status"][..], &["status", "--json"]] {
        let done = running.home.run(arguments).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        shown += &done.stdout;
    }
    assert!(shown.contains("orders") && shown.contains("ci"), "{shown}");
    stage.silent("what is shown", &shown).unwrap();
    for canary in
        [&secret, &stage.placeholder, &stage.standing_key, &"test-client-secret".to_owned()]
    {
        for form in forms(canary) {
            assert!(!shown.contains(&form), "{form} in {shown}");
        }
    }
}

#[tokio::test]
async fn it_is_not_ready_before_it_can_serve() {
    let valetkey = Valetkey::new();
    let slow = valetkey.home().join("slow");
    // A helper that waits for the other end of a pipe: a start that takes as long as the test wants.
    let exec = format!("secret = {{ exec = {{ command = [\"/bin/cat\", {slow:?}] }} }}");
    let home = valetkey
        .toml(ADMIN)
        .toml(&format!("[[sessions]]\nname = \"slow\"\n{exec}"))
        .route("name = \"a\"\nhost = \"a.example\"")
        .written();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &slow, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut running = home.spawn(home.command(&["serve"]));
    let address = address(&running).await;
    let answer = get(address, "/readyz").await;
    assert_eq!(answer.status(), 503, "{}", answer.everything());
    assert!(answer.text().contains("starting"), "{}", answer.text());
    assert_eq!(get(address, "/healthz").await.status(), 200);
    parsed_while_starting(&get(address, "/metrics").await.text());
    let secret = crate::harness::canary("secret");
    tokio::task::spawn_blocking(move || std::fs::write(slow, secret)).await.unwrap().unwrap();
    running.listening().await;
    assert_eq!(get(address, "/readyz").await.status(), 200);
}

fn parsed_while_starting(text: &str) {
    assert!(text.contains("valetkey_build_info{version="), "{text}");
    assert!(!text.contains("\nvaletkey_connections "), "no fact is invented: {text}");
}

#[tokio::test]
async fn it_is_not_ready_while_it_drains() {
    let (mut stage, address) = observed().await;
    assert_eq!(get(address, "/readyz").await.text(), "{\"failing\":[],\"ready\":true}");
    assert_eq!(get(address, "/healthz").await.status(), 200);
    let gate = Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| Answer::ok("first ").then(&inner, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    stage.running().unwrap().sigterm();
    soon("not to be ready", async {
        while get(address, "/readyz").await.text() != "{\"failing\":[\"stopping\"],\"ready\":false}"
        {
        }
    })
    .await;
    assert_eq!(get(address, "/readyz").await.status(), 503);
    assert_eq!(get(address, "/healthz").await.status(), 200, "alive while it drains");
    gate.open();
    soon("the second half", tunnel.until(b"second")).await.unwrap();
    assert_eq!(stage.running_mut().ended().await, Some(0));
}

#[tokio::test]
async fn it_is_not_ready_while_the_audit_fails() {
    let stage = Stage::valetkey_with(|v| v.ignoring_file_size_signal().toml(ADMIN)).await;
    let address = address(stage.running().unwrap()).await;
    let pid = stage.running().unwrap().pid().unwrap().to_string();
    let limit = async |bytes: &str| {
        let mut command = tokio::process::Command::new("prlimit");
        let done =
            finish(command.args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")])).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    limit("1").await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    let answer = get(address, "/readyz").await;
    assert_eq!(
        (answer.status(), answer.text().contains("audit")),
        (503, true),
        "{}",
        answer.text()
    );
    let samples = scrape(address).await;
    assert_eq!(samples["valetkey_audit_failing"], 1.0);
    assert!(samples["valetkey_audit_failures_total"] >= 1.0);
    assert!(samples["valetkey_audit_lost_total"] >= 1.0);
    limit("unlimited").await;
    soon("to be ready again", async { while get(address, "/readyz").await.status() != 200 {} })
        .await;
    stage.control().await.unwrap();
}

/// What a page in a browser can send, and other ways to ask for more than there is.
#[tokio::test]
async fn browsers_and_strange_requests_get_nothing() {
    let (_stage, address) = observed().await;
    let host = format!("Host: {address}");
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: rebind.evil\r\n\r\n".to_owned(), 403),
        ("GET /metrics HTTP/1.1\r\nHost: 127.evil.com\r\n\r\n".to_owned(), 403),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), 403),
        (format!("GET /metrics HTTP/1.1\r\n{host}\r\nOrigin: null\r\n\r\n"), 403),
        (format!("GET /metrics HTTP/1.1\r\n{host}\r\nSec-Fetch-Site: cross-site\r\n\r\n"), 403),
        (format!("GET http://rebind.evil/metrics HTTP/1.1\r\n{host}\r\n\r\n"), 403),
        (format!("POST /metrics HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\n\r\n"), 405),
        (format!("OPTIONS /metrics HTTP/1.1\r\n{host}\r\n\r\n"), 405),
        (format!("GET /v1/status HTTP/1.1\r\n{host}\r\n\r\n"), 404),
        (format!("GET /metrics/.. HTTP/1.1\r\n{host}\r\n\r\n"), 404),
        (format!("GET / HTTP/1.1\r\n{host}\r\nX: {}\r\n\r\n", "a".repeat(9000)), 431),
    ] {
        let answer = ask(address, &request).await;
        assert_eq!(answer.status(), status, "{request:.80}: {}", answer.everything());
        assert!(!answer.text().contains("valetkey_"), "{}", answer.text());
        assert!(answer.all("access-control-allow-origin").is_empty());
    }
    let localhost = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(localhost.status(), 200);
    assert_eq!(localhost.all("cross-origin-resource-policy"), ["same-origin"]);
}

/// One that says nothing holds its place for a while, not all places.
#[tokio::test]
async fn silent_scrapers_do_not_keep_others_out() {
    let (stage, address) = observed().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(dial(address).await);
    }
    assert_eq!(get(address, "/healthz").await.status(), 200, "after they were shown out");
    stage.control().await.unwrap();
}

/// The listener is one of our own: nobody gets there through us.
#[tokio::test]
async fn the_proxy_leads_nobody_to_it() {
    let (stage, address) = observed().await;
    let (answer, _) = connect(stage.proxy_addr(), &address.to_string()).await;
    assert_eq!(answer.status(), 403, "{}", answer.everything());
    assert!(answer.everything().contains("address-refused"), "{}", answer.everything());
    let (answer, _) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    assert_eq!(answer.status(), 200, "others are reached");
}

#[tokio::test]
async fn an_address_for_all_is_warned_of() {
    let home = Valetkey::new().toml("[admin]\nmetrics = \"0.0.0.0:9383\"").written();
    let done = home.run(&["check"]).await;
    assert!(done.stdout.contains("warning[metrics-beyond-loopback]"), "{done:?}");
    let home = Valetkey::new().toml("[admin]\nmetrics = \"9383\"").written();
    let done = home.run(&["check"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stdout.contains("error[bad-address]"), "{done:?}");
}

/// A real parser reads the page.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_python_client_parses_it() {
    let (stage, address) = observed().await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    becomes(address, &requests("orders", "inject", "ok"), 1.0).await;
    let page = stage.running().unwrap().home.path("metrics.txt");
    std::fs::write(&page, get(address, "/metrics").await.text()).unwrap();
    let script = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        for family in parse(open(sys.argv[1]).read()):\n\
        \x20   assert family.documentation and family.type in ('counter', 'gauge', 'histogram'), family\n\
        \x20   print(family.name, family.type, len(family.samples))\n";
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.peers/venv/bin/python");
    let mut command = tokio::process::Command::new(python);
    let done = finish(command.env_clear().args(["-c", script]).arg(&page)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("valetkey_requests counter 1"), "{done:?}");
    assert!(done.stdout.contains("valetkey_request_seconds histogram"), "{done:?}");
}
