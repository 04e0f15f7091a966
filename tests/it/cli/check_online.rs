//! `check --online`: issuers, upstreams and clocks, tried as the daemon would meet them.

use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::client::Finished;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::pki::Pki;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::{Home, Valetkey};

/// Exit code, and the codes of one kind of check.
fn codes(done: &Finished, check: &str) -> (Option<i32>, Vec<String>) {
    let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    let online = report["online"].as_array().unwrap_or_else(|| panic!("{done:?}"));
    let of = online.iter().filter(|finding| finding["check"] == check);
    (done.code, of.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect())
}

async fn online(home: &Home) -> Finished {
    home.run(&["check", "--online", "--json"]).await
}

#[tokio::test]
async fn what_works_is_fine_and_no_token_is_shown() {
    let revoking = Issuer::start().await;
    let more = revoking.revoking();
    let stage =
        Stage::valetkey_with(|v| v.credential_at("gone", &revoking.token_url(), &more)).await;
    let home = &stage.running().unwrap().home;
    let done = home.run(&["check", "--online"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    let issuer = format!("fine: issuer http://{}: answers (", stage.orders_issuer.addr());
    for line in [
        issuer.as_str(),
        "fine: upstream api.orders.example:443: answers over TLS (",
        "fine: upstream api.billing.example:443: answers over TLS (",
        "fine: mint billing: a token was minted; unused, it ends in 5m",
        "fine: mint gone: a token for 5m was minted, and revoked again",
    ] {
        assert!(
            done.stdout.lines().any(|said| said.starts_with(line)),
            "{line} in {}",
            done.stdout
        );
    }
    for issuer in [&stage.orders_issuer, &stage.billing_issuer, &revoking] {
        assert!(!done.stdout.contains(&issuer.token()), "{}", done.stdout);
    }
    revoking.revoked(&revoking.token()).await;
    stage.silent("check --online", &done.stdout).unwrap();
    // Nothing of ours went to the API: neither token nor placeholder.
    let seen = stage.orders.request(0).await;
    assert_eq!((seen.method.as_str(), seen.count("authorization")), ("HEAD", 0), "{seen:?}");
    let done = online(home).await;
    assert_eq!(codes(&done, "mint"), (Some(0), vec!["ok".to_owned(); 3]));
}

#[tokio::test]
async fn an_issuer_that_fails_is_named_with_what_to_do() {
    let mut stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home().clone();
    stage.billing_issuer.stop();
    stage.orders_issuer.reply(Reply::json(401, r#"{"error":"invalid_client"}"#));
    let done = home.run(&["check", "--online"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    let line = |start: &str| {
        let found = done.stdout.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("{start} in {}", done.stdout)).to_owned()
    };
    assert!(line("error[unreachable]: issuer http://").contains("upstream.parent"));
    assert!(line("error[unreachable]: mint billing: ").contains("upstream.parent"));
    assert!(
        line("error[issuer-refused-invalid-client]: mint orders: the issuer refused")
            .contains("; ")
    );
    line("fine: issuer http://");
    line("fine: upstream api.orders.example:443");
}

#[tokio::test]
async fn an_upstream_is_met_as_the_daemon_would() {
    let pki = Pki::new();
    let api = Api::tls(&pki.server(&[ORDERS])).await;
    let name = |host: &str| host.trim_start_matches("*.").to_owned();
    let route = |host: &str| format!("name = {:?}\nhost = {host:?}", name(host));
    let home = |trusted: bool| {
        let home = if trusted { Valetkey::new().trusting(&pki) } else { Valetkey::new() };
        home.reaching(&format!("{ORDERS}:443"), api.addr())
            .reaching("other.example:443", api.addr())
            .route(&route(ORDERS))
            .route(&route("*.wild.example"))
    };
    let done = online(&home(false).written()).await;
    assert_eq!(codes(&done, "upstream"), (Some(1), vec!["tls-invalid".into(), "skipped".into()]));
    assert!(done.stdout.contains("upstream.extra_roots"), "{done:?}");
    let done = online(&home(true).written()).await;
    assert_eq!(codes(&done, "upstream"), (Some(0), vec!["ok".into(), "skipped".into()]));
    // A name that is not the certificate's.
    let done = online(&home(true).route(&route("other.example")).written()).await;
    let found = codes(&done, "upstream");
    assert_eq!(found, (Some(1), vec!["ok".into(), "tls-invalid".into(), "skipped".into()]));
    assert!(done.stdout.contains("a name that the certificate has"), "{done:?}");
}

#[tokio::test]
async fn a_clock_that_differs_is_said() {
    let issuer = Issuer::start().await;
    issuer.reply(Reply::json(503, "{}").header("date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let home = Valetkey::new().minting("orders", &issuer).written();
    let done = online(&home).await;
    assert_eq!(codes(&done, "clock"), (Some(1), vec!["clock-skewed".to_owned()]));
    assert_eq!(codes(&done, "mint").1, ["issuer-busy"]);
    assert!(done.stdout.contains("ahead of its"), "{done:?}");
}

/// A login that is missing is a mint that fails; a config that is wrong is not looked at online.
#[tokio::test]
async fn a_missing_login_and_a_wrong_config() {
    let issuer = Issuer::start().await;
    let device = format!(
        "[credentials.me]\ngrant = \"device\"\nissuer = \"http://{}\"\nclient_id = \"x\"",
        issuer.addr()
    );
    let done = online(&Valetkey::new().toml(&device).written()).await;
    assert_eq!(codes(&done, "mint"), (Some(1), vec!["login-required".to_owned()]));
    assert!(done.stdout.contains("type: valetkey login me"), "{done:?}");
    let wrong = Valetkey::new().toml(&device).toml("[nonsense]").written();
    let done = online(&wrong).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(!done.stdout.contains("online"), "{done:?}");
}
