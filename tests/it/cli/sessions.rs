//! Sessions with a purpose, a project, routes and an end; listed, opened and ended by hand.

use serde_json::{Value, json};

use crate::harness::client::{Finished, finish};
use crate::harness::stage::{BILLING, ORDERS, Stage};

async fn stage() -> Stage {
    Stage::valetkey_with(|v| {
        let env = |var: &str| format!("env = {{ {var} = \"placeholder:opaque\" }}");
        v.route(&format!(
            "name = \"a\"\nhost = \"a.example\"\ncredential = \"orders\"\n{}",
            env("A_KEY")
        ))
        .route(&format!(
            "name = \"b\"\nhost = \"b.example\"\ncredential = \"orders\"\n{}",
            env("B_KEY")
        ))
    })
    .await
}

async fn valetkey(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.running().unwrap().home.run(arguments).await
}

async fn list(stage: &Stage) -> Vec<Value> {
    let done = valetkey(stage, &["session", "list", "--json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::from_str(&done.stdout).expect("JSON")
}

/// `run` with these options, and a shell in it.
async fn run(stage: &Stage, options: &[&str], script: &str) -> Finished {
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(options).args(["--", "sh", "-c", script]);
    finish(&mut command).await
}

fn opened(stage: &Stage) -> Value {
    let audit = stage.running().unwrap().audit();
    let found = audit.into_iter().rfind(|r| r["context"]["action"] == "opened");
    found.expect("a session was opened")
}

#[tokio::test]
async fn run_says_what_it_is_for_and_is_held_to_it() {
    let stage = stage().await;
    let status = |host| format!("curl -sS -o /dev/null -w '%{{http_code}} ' https://{host}/v1/x");
    let script = format!("{}; {}; env", status(ORDERS), status(BILLING));
    let options = ["--reason", "release 1.4", "--only", "orders", "--only", "a"];
    let done = run(&stage, &options, &script).await;
    assert!(done.stdout.starts_with("200 403 "), "{done:?}");
    assert!(done.stdout.contains("A_KEY=vk-placeholder-"), "{done:?}");
    assert!(!done.stdout.contains("B_KEY="), "no placeholder for what it may not use: {done:?}");
    assert!(stage.billing.requests().is_empty());
    stage.audited("route-not-in-session", 1).await;
    let record = opened(&stage);
    let here = stage.running().unwrap().home.path("").canonicalize().unwrap();
    assert_eq!(record["context"]["reason"], "release 1.4");
    assert_eq!(record["context"]["routes"], json!(["orders", "a"]));
    assert_eq!(record["context"]["kind"], "run");
    assert_eq!(record["context"]["project"], json!(here));
    assert!(record["client"]["user"].is_string() && record["client"]["session"].is_string());
}

#[tokio::test]
async fn what_cannot_be_asked_for() {
    let stage = stage().await;
    let long = "x".repeat(2000);
    for (options, code) in
        [(["--only", "nowhere"], "unknown-route"), (["--reason", &long], "text-too-long")]
    {
        let done = run(&stage, &options, "true").await;
        assert_eq!(done.code, Some(125), "{done:?}");
        assert!(done.stderr.contains(&format!("error[{code}]")), "{done:?}");
        let done = valetkey(&stage, &[&["session", "open"][..], &options].concat()).await;
        assert_eq!(done.code, Some(1), "{done:?}");
    }
    for life in ["0s", "2years", "soon"] {
        let done = valetkey(&stage, &["session", "open", "--for", life]).await;
        assert_eq!(done.code, Some(2), "{done:?}");
    }
    assert!(list(&stage).await.is_empty());
}

#[tokio::test]
async fn a_session_opened_by_hand() {
    let mut stage = stage().await;
    let options = ["--user", "ann", "--reason", "a\u{1b}[2Jb", "--only", "orders", "--for", "1h"];
    let done = valetkey(&stage, &[&["session", "open"][..], &options].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let url = done.stdout.trim().to_owned();
    let name = url.split(['/', ':']).nth(3).unwrap().to_owned();
    assert!(name.starts_with("open-"), "{url}");
    let home = stage.running().unwrap().home.clone();
    stage.running_mut().sigkill().await;
    stage.restart(&home).await;
    // It says the same after a restart, of the new daemon's address.
    let all = list(&stage).await;
    let session = all.iter().find(|s| s["name"] == name.as_str()).expect("it survived");
    assert_eq!((&session["user"], &session["kind"]), (&json!("ann"), &json!("open")));
    assert_eq!((&session["reason"], &session["routes"]), (&json!(options[3]), &json!(["orders"])));
    assert!(session["until"].is_string() && session["project"].is_string());
    let shown = valetkey(&stage, &["session", "list"]).await;
    assert!(shown.stdout.contains("a?[2Jb") && !shown.stdout.contains('\u{1b}'), "{shown:?}");

    let (user, _) = url.split_once('@').unwrap();
    let proxy = format!("{user}@{}", stage.proxy_addr());
    let ca = stage.ca_file();
    let curl = |host: &str| {
        let mut command = tokio::process::Command::new("curl");
        command
            .env_clear()
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_connect} %{http_code}", "--cacert"])
            .arg(&ca)
            .args(["--proxy", &proxy])
            .arg(format!("https://{host}/v1/x"));
        command
    };
    assert_eq!(finish(&mut curl(ORDERS)).await.stdout, "200 200");
    assert_eq!(finish(&mut curl(BILLING)).await.stdout, "200 403");
    let audit = stage.running().unwrap().audit();
    let inject = audit.iter().find(|r| r["decision"] == "inject").unwrap();
    assert_eq!(inject["client"]["user"], "ann");
    assert_eq!(inject["client"]["session"], name.as_str());

    let ended = valetkey(&stage, &["session", "end", &name]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(finish(&mut curl(ORDERS)).await.stdout, "407 000");
    assert!(list(&stage).await.is_empty());
    let again = valetkey(&stage, &["session", "end", &name]).await;
    assert!(again.code == Some(1) && again.stderr.contains("error[unknown-session]"), "{again:?}");
    for odd in ["../status", "a b", ""] {
        let done = valetkey(&stage, &["session", "end", odd]).await;
        assert!(done.stderr.contains("error[unknown-session]"), "{done:?}");
    }
}

/// Whoever opens one for somebody else is named beside them.
#[tokio::test]
async fn who_opened_it_is_in_the_audit() {
    let stage = stage().await;
    let done = valetkey(&stage, &["session", "open", "--user", "ann"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let record = opened(&stage);
    assert_eq!(record["client"]["user"], "ann");
    let done = valetkey(&stage, &["session", "open"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let me = opened(&stage)["client"]["user"].clone();
    assert!(me.is_string() && me != "ann");
    assert_eq!(record["context"]["by"], me);
}

/// Those of the config are no one's to end here.
#[tokio::test]
async fn mine_or_all_are_ended_at_once() {
    let stage = Stage::valetkey_with(|v| {
        let secret = "a-session-secret-of-32-bytes-or-more";
        let entry = "[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }";
        v.file("ci.key", secret).toml(entry)
    })
    .await;
    let open = async |user: &[&str]| {
        let done = valetkey(&stage, &[&["session", "open"], user].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    let users = async || {
        let mut users: Vec<_> =
            list(&stage).await.iter().map(|session| session["user"].to_string()).collect();
        users.sort();
        users
    };
    for user in [&["--user", "bob"][..], &[], &[]] {
        open(user).await;
    }
    let done = valetkey(&stage, &["session", "end", "--mine"]).await;
    assert!(done.code == Some(0) && done.stderr.contains("2 sessions have ended"), "{done:?}");
    assert_eq!(users().await, ["\"bob\"", "null"]);
    let done = valetkey(&stage, &["session", "end", "--all"]).await;
    assert!(done.code == Some(0) && done.stderr.contains("1 session has ended"), "{done:?}");
    assert_eq!(users().await, ["null"], "the config's own stays");
    let none = valetkey(&stage, &["session", "end", "--all"]).await;
    assert!(none.code == Some(0) && none.stderr.contains("none to end"), "{none:?}");
    for bad in [&["session", "end"][..], &["session", "end", "x", "--all"]] {
        assert_eq!(valetkey(&stage, bad).await.code, Some(2), "{bad:?}");
    }
}
