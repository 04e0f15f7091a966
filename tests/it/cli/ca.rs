//! The local CA from the outside: what it shows, and what it can sign.

use std::path::PathBuf;

use crate::harness::client::{Finished, Trust, connect, finish, tls, tls_config};
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage};
use crate::harness::until;

#[tokio::test]
async fn the_root_is_constrained_to_the_routed_names() {
    let stage = Stage::valetkey().await;
    let pem = stage.ca_pem();
    assert!(!pem.contains("PRIVATE KEY"), "the bundle holds no key");
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let root = pem.parse_x509().unwrap();
    let constraints = root.name_constraints().unwrap().expect("name constraints");
    assert!(constraints.critical);
    let permitted = constraints.value.permitted_subtrees.as_ref().expect("permitted subtrees");
    let names: Vec<_> = permitted.iter().map(|s| s.base.to_string()).collect();
    for host in [ORDERS, BILLING] {
        assert!(names.iter().any(|n| n.contains(host)), "{host} in {names:?}");
    }
    assert!(!names.iter().any(|n| n == "DNSName()" || n == "DNSName(example)"), "{names:?}");
    let basic = root.basic_constraints().unwrap().unwrap();
    assert!(basic.value.ca && basic.value.path_len_constraint == Some(1));
}

/// `ca show` on a machine where nothing ran yet makes the CA or says what to do, without a panic.
#[tokio::test]
async fn show_before_the_first_start() {
    let home = crate::harness::valetkey::Valetkey::new()
        .route("name = \"a\"\nhost = \"a.example\"")
        .written();
    let done = home.run(&["ca", "show", "--pem"]).await;
    match done.code {
        Some(0) => assert!(done.stdout.contains("BEGIN CERTIFICATE"), "{done:?}"),
        _ => assert!(done.stderr.contains("hint"), "{done:?}"),
    }
}

#[tokio::test]
async fn rotate_makes_another() {
    let mut stage = Stage::valetkey().await;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let home = stage.running().unwrap().home.clone();
    let before = home.run(&["ca", "show", "--pem"]).await.stdout;
    let done = home.run(&["ca", "rotate"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let after = home.run(&["ca", "show", "--pem"]).await.stdout;
    assert_ne!(before, after);
}

/// Under `run`.
async fn run(stage: &Stage, command: &[&str]) -> Finished {
    let home = &stage.running().unwrap().home;
    let mut run = home.bare_command(&["run", "--config"]);
    finish(run.arg(&home.config).arg("--").args(command)).await
}

/// The bundle that `run` gives to a tool.
async fn handed_out(stage: &Stage) -> PathBuf {
    let done = run(stage, &["printenv", "SSL_CERT_FILE"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout.trim_end().into()
}

/// Whether a tool that trusts this bundle believes what it is shown for the host.
async fn believes(stage: &Stage, bundle: &str, host: &str) -> bool {
    let (answer, reader) = connect(stage.proxy_addr(), &format!("{host}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    tls(reader.stream, host, tls_config(Trust::Roots(bundle), &[])).await.is_ok()
}

/// Adds a route for a host that the local CA may not sign for, and waits until it holds.
async fn outgrow(stage: &Stage) {
    let home = &stage.running().unwrap().home;
    home.rewrite(|text| text + &format!("[[routes]]\nname = \"new\"\nhost = \"{EVIL}\"\n"));
    until("the reload", || {
        let loaded = |r: &serde_json::Value| r["context"]["action"] == "loaded";
        home.audit().iter().filter(|r| loaded(r)).count() >= 2
    })
    .await;
}

#[tokio::test]
async fn a_route_for_a_new_host_takes_trust_from_nobody() {
    let stage = Stage::valetkey().await;
    let path = handed_out(&stage).await;
    let read = || std::fs::read_to_string(&path).unwrap();
    let before = read();
    outgrow(&stage).await;
    // In place and at once: no `run` came in between.
    let after = read();
    for host in [ORDERS, BILLING] {
        assert!(believes(&stage, &before, host).await, "who read the old one keeps {host}");
        assert!(believes(&stage, &after, host).await, "{host}");
    }
    assert!(!believes(&stage, &before, EVIL).await, "the old one cannot know it");
    assert!(believes(&stage, &after, EVIL).await, "who reads anew has all");

    let running = stage.running().unwrap();
    let said = running.says("routes outgrew the local CA").await.unwrap();
    assert!(said.contains(EVIL), "{said}");
    let status = running.home.run(&["status"]).await.stdout;
    let row = status.lines().find(|line| line.starts_with("ca ends")).unwrap();
    assert!(row.contains("2 roots") && row.contains("permit = ["), "{row}");
}

/// A process that runs goes on with the bundle that it has read; one that starts in the same shell reads it anew.
#[tokio::test]
async fn curl_keeps_what_it_trusts_and_learns_the_rest() {
    let stage = Stage::valetkey().await;
    let path = handed_out(&stage).await;
    let held = stage.running().unwrap().home.path("held.pem");
    std::fs::copy(&path, &held).unwrap();
    outgrow(&stage).await;
    let curl = async |bundle: &PathBuf, host: &str| {
        let line = format!("exec curl -sS --cacert '{}' https://{host}/v1/x", bundle.display());
        run(&stage, &["sh", "-c", &line]).await
    };
    // 60: it does not trust the certificate.
    for (bundle, host, code) in
        [(&held, ORDERS, 0), (&held, EVIL, 60), (&path, ORDERS, 0), (&path, EVIL, 0)]
    {
        let done = curl(bundle, host).await;
        assert_eq!(done.code, Some(code), "{host} with {}: {done:?}", bundle.display());
    }
    let rotated = stage.running().unwrap().home.run(&["ca", "rotate"]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    for bundle in [&held, &path] {
        let done = curl(bundle, ORDERS).await;
        assert_eq!(done.code, Some(0), "rotated, {}: {done:?}", bundle.display());
    }
}

#[tokio::test]
async fn check_says_that_a_root_will_be_made() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let fine = home.run(&["check"]).await;
    assert!(!fine.stderr.contains("one more root"), "{fine:?}");
    let text = std::fs::read_to_string(&home.config).unwrap();
    let route = "[[routes]]\nname = \"new\"\nhost = \"api.shop.example\"\n";
    let other = home.path("other.toml");
    std::fs::write(&other, text + route).unwrap();
    let checked = finish(home.bare_command(&["check", "--config"]).arg(&other)).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for words in ["one more root", "api.shop.example", "`permit = [\"shop.example\"]` under [ca]"] {
        assert!(checked.stderr.contains(words), "{words} in {checked:?}");
    }
}

#[tokio::test]
async fn a_planned_rotation_takes_trust_from_nobody_and_a_compromise_at_once() {
    let stage = Stage::valetkey().await;
    let path = handed_out(&stage).await;
    let read = || std::fs::read_to_string(&path).unwrap();
    let before = read();
    let home = &stage.running().unwrap().home;
    let done = home.run(&["ca", "rotate"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let planned = read();
    assert_ne!(planned, before, "in place and at once");
    assert!(believes(&stage, &before, ORDERS).await);
    assert!(believes(&stage, &planned, ORDERS).await);

    let done = home.run(&["ca", "rotate", "--compromised"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let cut = read();
    assert!(!believes(&stage, &before, ORDERS).await);
    assert!(!believes(&stage, &planned, ORDERS).await, "the successor in waiting is cut as well");
    assert!(believes(&stage, &cut, ORDERS).await);
    let first = &before[..before.find("-----END").unwrap()];
    assert!(planned.contains(first) && !cut.contains(first));
}
