//! What is said of logins: by `status` where no daemon runs, and ahead of their end.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use valetkey::config::{LoginProtection, Logins as Config};
use valetkey::model::id::CredentialName;
use valetkey::model::secret::Secret;
use valetkey::store::logins::{Login, Logins, Whose};

use super::keyring::{latest, log_in, ways};
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::leak::{Canary, Sinks};
use crate::harness::soon;
use crate::harness::stage::{EVIL, Stage};
use crate::harness::valetkey::{Home, Valetkey};
use crate::proxy::observe::{address, scrape};

#[tokio::test]
async fn status_shows_logins_where_no_daemon_runs() {
    let idp = Idp::start().await;
    let mut stage = Stage::valetkey_with(|builder| ways(builder, &idp, "")).await;
    let home = stage.running().unwrap().home().clone();
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let none = home.run(&["status"]).await;
    let line = |text: &str| text.lines().find(|line| line.starts_with("mine ")).map(str::to_owned);
    assert_eq!(line(&none.stdout).as_deref(), Some("mine       none"), "{}", none.stdout);
    log_in(&home, &idp).await;
    let some = home.run(&["status"]).await;
    // Probes ask this: it stays a failure.
    assert_eq!(some.code, Some(1));
    assert!(some.stderr.contains("error[daemon-absent]"), "{}", some.stderr);
    let said = line(&some.stdout).unwrap();
    assert!(said.starts_with("mine       logged-in  ") && said.ends_with("not said"), "{said}");
    let json = home.run(&["status", "--json"]).await.stdout;
    let all: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&all["pid"], &all["logins"][0]["state"]), (&Value::Null, &"logged-in".into()));
    assert_eq!(all["logins"][0]["scope"], "a b c d e f g h");
    let mut sinks = Sinks::default();
    sinks.add("status", some.stdout + &json);
    sinks.must_not_hold(&[Canary::of("the refresh token", &latest(&idp))]);
}

/// A login that began so many days ago.
fn began(days: u64) -> Login {
    let day = Duration::from_secs(24 * 3600);
    let since = SystemTime::now() - day * u32::try_from(days).unwrap();
    let mut login = Login::new(Secret::new("refresh"), since);
    login.life = Some(10 * day);
    login.until = Some(since + 10 * day);
    login
}

fn store(home: &Home, issuer: &str, credential: &str, login: &Login) {
    let dir = home.state.join("logins");
    let logins = Logins::new(&Config { dir, protection: LoginProtection::KeyFile });
    let credential = CredentialName::new(credential);
    let whose = Whose { issuer: issuer.into(), client: CLIENT.into(), credential };
    logins.entry(whose).try_lock().unwrap().unwrap().write(login).unwrap();
}

#[tokio::test]
async fn an_end_is_announced_ahead_and_once() {
    let idp = Idp::start().await;
    let all = ["fresh", "near", "over"];
    let builder = all.iter().fold(Valetkey::new(), |builder, name| {
        builder
            .toml(&format!(
                "[credentials.{name}]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}",
                idp.issuer()
            ))
            .route(&format!(
                "name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = {name:?}"
            ))
    });
    let home = builder.toml("[admin]\nmetrics = \"127.0.0.1:0\"").written();
    store(&home, &idp.issuer(), "fresh", &began(3));
    store(&home, &idp.issuer(), "near", &began(9));
    let mut over = began(2);
    (over.refresh, over.ended) = (None, Some("login-reuse-detected".into()));
    store(&home, &idp.issuer(), "over", &over);
    let running = home.start().await;
    let said = running.says("the login for `near` ends in").await.expect("announced");
    for part in ["login-ends-soon", "type: valetkey login near --config "] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = running.says("the login for `over` has ended").await.expect("announced");
    assert!(said.contains("login-reuse-detected"), "{said}");

    let metrics = scrape(address(&running).await).await;
    let left = |name: &str| {
        metrics.get(&format!("valetkey_login_expires_seconds{{credential={name:?}}}")).copied()
    };
    let (near, fresh) = (left("near").unwrap(), left("fresh").unwrap());
    assert!(near > 23.0 * 3600.0 && near <= 24.0 * 3600.0, "{near}");
    assert!(fresh > 6.9 * 24.0 * 3600.0, "{fresh}");
    assert_eq!(left("over"), None);

    // Somebody logs in elsewhere, so it looks again.
    let mut terminal = home.spawn(home.command(&["login", "over"]));
    terminal.says("WDJB-MJHT").await.expect("the code is shown");
    idp.approve();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let config = home.config.display().to_string();
    // Which of them `true` needs nobody can tell: it is asked for.
    let mut run = home.bare_command(&["run", "--config", &config]);
    run.args(all.iter().flat_map(|name| ["--only", *name])).args(["--", "true"]);
    let ran = soon("run", run.output()).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("warning[login-ends-soon]: the login of `near` ends in 23h"), "{}", said);
    for other in ["`fresh`", "`over`"] {
        assert!(!said.contains(other), "{}", said);
    }
    let text = running.stderr_text();
    assert_eq!(text.matches("login-ends-soon").count(), 1, "{text}");
    assert!(!text.contains("`fresh`"), "{text}");
}
