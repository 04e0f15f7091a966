//! Cedar policies, over the wire: what a tool is told, what is written down, what a change does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reload::reloads;
use crate::harness::api::Answer;
use crate::harness::client::{curl_command, exchange, finish};
use crate::harness::stage::{BILLING, ORDERS, Stage, own_answer};
use crate::harness::valetkey::{Home, Valetkey};
use crate::harness::{Gate, found, soon};

const POLICY: &str = "[policy]\ncedar = [\"policies/*.cedar\"]";
const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

async fn stage_with(policy: &str) -> Stage {
    let with = |v: Valetkey| {
        std::fs::create_dir(v.home().join("policies")).unwrap();
        v.file("policies/a.cedar", policy).toml(POLICY)
    };
    Stage::valetkey_with(with).await
}

/// The record of the one request to this path.
async fn record(home: &Home, path: &str) -> Value {
    let of_path = |r: &Value| r["event"] == "decision" && r["target"]["path"] == path;
    found("the record", || home.audit().into_iter().find(of_path)).await
}

fn home(stage: &Stage) -> &Home {
    &stage.running().unwrap().home
}

/// As a tool gets it: the status, and the problem where there is one.
async fn curl(stage: &Stage, arguments: &[&str]) -> (String, Value) {
    let ca = stage.ca_file();
    let mut curl = curl_command(stage.proxy_addr(), &ca);
    let done = finish(curl.args(["-w", "\n%{http_code}"]).args(arguments)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let (body, status) = done.stdout.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_forbid_says_what_to_do_and_what_it_saw() {
    let policy = "@id(\"reads\")\npermit (principal, action in Valetkey::Action::\"read\", resource);\n\
         @id(\"no-writes\")\n@hint(\"ask Ann for a write route\")\n\
         forbid (principal, action in Valetkey::Action::\"write\", resource) when { context.path like \"/v1/*\" };";
    let stage = stage_with(policy).await;
    let url = |path: &str| format!("https://{ORDERS}{path}");
    let (status, _) = curl(&stage, &[&url("/v1/read")]).await;
    assert_eq!(status, "200");
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
    let (status, problem) = curl(&stage, &["-d", "x=1", &url("/v1/write")]).await;
    assert_eq!(status, "403");
    assert_eq!(problem["code"], "policy-denied", "{problem}");
    assert_eq!(problem["hint"], "ask Ann for a write route");
    assert_eq!(problem["policies"], serde_json::json!(["no-writes"]));
    assert_eq!(stage.orders.requests().len(), 1, "nothing of it went upstream");
    let read = record(home(&stage), "/v1/read").await;
    assert_eq!(
        (&read["policies"], &read["decision"]),
        (&serde_json::json!(["reads"]), &"inject".into())
    );
    let write = record(home(&stage), "/v1/write").await;
    assert_eq!(
        (&write["policies"], &write["code"], &write["route"]),
        (&problem["policies"], &"policy-denied".into(), &"orders".into())
    );
    assert!(write["context"]["hour"].is_number() && write["context"]["path"].is_null(), "{write}");
    // The same, said beforehand.
    let explained = home(&stage).run(&["explain", "--json", "POST", &url("/v1/write")]).await;
    assert_eq!(explained.code, Some(3), "{explained:?}");
    let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(
        (&explained["policies"], &explained["hint"]),
        (&problem["policies"], &problem["hint"])
    );
    let found = home(&stage).run(&["audit", "query", "--policy", "no-writes"]).await;
    assert!(found.stdout.contains("! policy-denied: no-writes"), "{found:?}");
    assert!(!found.stdout.contains("/v1/read"), "{found:?}");
    let verified = home(&stage).run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn one_program_alone() {
    let policy = "forbid (principal, action, resource == Valetkey::Route::\"orders\")\n\
         unless { context has exe && context.exe like \"*/curl\" };\n";
    let stage = stage_with(&format!("{ALL}{policy}")).await;
    // The first request of a process that was never seen: it waits for the search.
    for turn in 0..8 {
        let (status, problem) = curl(&stage, &[&format!("https://{ORDERS}/v1/curl/{turn}")]).await;
        assert_eq!(status, "200", "{problem}");
    }
    // This process is none, nor is Python.
    let refused = stage.get(ORDERS, "/v1/own", "").await.unwrap();
    own_answer(&refused, &[403], &["policy-denied"]).unwrap();
    assert_eq!(record(home(&stage), "/v1/own").await["policies"], serde_json::json!(["a.cedar:2"]));
    assert_eq!(stage.get(BILLING, "/v1/own", "").await.unwrap().status(), 200);
    let script = format!(
        "import os, urllib.request\ntry: urllib.request.urlopen('https://{ORDERS}/v1/python')\n\
         except urllib.error.HTTPError as error: print(error.code, error.read().decode())"
    );
    let mut python = home(&stage).bare_command(&["run", "--config"]);
    python.arg(&home(&stage).config).args(["--quiet", "--", "python3", "-c", &script]);
    let done = finish(&mut python).await;
    assert!(done.stdout.starts_with("403 ") && done.stdout.contains("policy-denied"), "{done:?}");
    let record = record(home(&stage), "/v1/python").await;
    assert!(record["client"]["exe"].as_str().unwrap().contains("python"), "{record}");
}

#[tokio::test]
async fn what_a_session_is_for_and_where_it_was_opened() {
    let policy = "@id(\"reason\") @hint(\"say what for\")\n\
         forbid (principal, action, resource) unless { context has reason && context.reason like \"ticket *\" };\n\
         @id(\"project\")\nforbid (principal, action, resource) unless { context has project && context.session_age < 600 };";
    let stage = stage_with(&format!("{ALL}{policy}")).await;
    for (reason, code) in [("ticket 7", "200"), ("no ticket", "403")] {
        let script = format!("curl -sS -w '%{{http_code}}' -o /dev/null https://{ORDERS}/v1/x");
        let mut run = home(&stage).bare_command(&["run", "--config"]);
        run.arg(&home(&stage).config)
            .args(["--quiet", "--reason", reason, "--", "sh", "-c", &script]);
        let done = finish(&mut run).await;
        assert_eq!(done.stdout, code, "{reason}: {done:?}");
    }
    let refused = stage.get(ORDERS, "/v1/none", "").await.unwrap();
    assert!(
        refused.everything().contains("\"policies\":[\"project\",\"reason\"]"),
        "{}",
        refused.everything()
    );
}

#[tokio::test]
async fn a_change_ends_what_it_no_longer_permits() {
    let stage = stage_with(ALL).await;
    let home = home(&stage);
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    assert_eq!(exchange(&mut tunnel, request.as_bytes()).await.unwrap().status(), 200);
    // One that hangs at the upstream.
    let gate = Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| Answer::ok("late").after(&inner));
    let waiting = stage.get(ORDERS, "/v1/held", "");
    let changed = async {
        stage.orders.request(1).await;
        // A file that was not there before.
        let forbid =
            "@id(\"closed\")\nforbid (principal, action, resource == Valetkey::Route::\"orders\");";
        std::fs::write(home.path("policies/b.cedar"), forbid).unwrap();
        reloads(home, "loaded", 2).await;
    };
    let (answer, ()) = soon("an end of it", async { tokio::join!(waiting, changed) }).await;
    own_answer(&answer.unwrap(), &[403], &["no-longer-permitted"]).unwrap();
    gate.open();
    let refused = exchange(&mut tunnel, request.as_bytes()).await.unwrap();
    own_answer(&refused, &[403], &["policy-denied"]).unwrap();
    // What cannot be used leaves that in force.
    std::fs::write(home.path("policies/b.cedar"), "forbid (principal").unwrap();
    reloads(home, "refused", 1).await;
    assert_eq!(stage.get(ORDERS, "/v1/x", "").await.unwrap().status(), 403);
    std::fs::remove_file(home.path("policies/b.cedar")).unwrap();
    reloads(home, "loaded", 3).await;
    assert_eq!(stage.get(ORDERS, "/v1/x", "").await.unwrap().status(), 200);
    // The off-switch needs none of it.
    std::fs::remove_dir_all(home.path("policies")).unwrap();
    let revoked = home.run(&["revoke", "--all"]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let refused = stage.get(ORDERS, "/v1/x", "").await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() != 200));
}

/// What is said where somebody can mend it.
#[tokio::test]
async fn check_says_where_a_policy_is_wrong() {
    let v = Valetkey::new();
    std::fs::create_dir(v.home().join("policies")).unwrap();
    let wrong = "permit (principal, action, resource)\nwhen { context.exe == \"/usr/bin/curl\" };\n\
         permit (principal, action, resource == Valetkey::Route::\"ordrs\");\n";
    let routed = "[[routes]]\nname = \"orders\"\nhost = \"api.orders.example\"";
    let home = v.file("policies/a.cedar", wrong).toml(POLICY).toml(routed).written();
    let done = home.run(&["check"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stdout.contains("policies/a.cedar:2:8: error[policy-invalid]"), "{}", done.stdout);
    assert!(done.stdout.contains("policies/a.cedar:3:57: error[unknown-route]"), "{}", done.stdout);
    assert!(done.stdout.contains("`orders`"), "{}", done.stdout);
    let done = home.run(&["check", "--json"]).await;
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&report["problems"][0]["line"], &report["problems"][0]["column"]),
        (&2.into(), &8.into())
    );
}

/// What would be decided of whom, without a daemon.
#[tokio::test]
async fn explain_asks_as_somebody() {
    let v = Valetkey::new();
    std::fs::create_dir(v.home().join("policies")).unwrap();
    let policy = format!(
        "{ALL}@id(\"curl\") forbid (principal in Valetkey::User::\"ann\", action, resource)\n\
         unless {{ context has exe && context.exe == \"/usr/bin/curl\" && context.hour == 9 }};"
    );
    let routed = "[[routes]]\nname = \"orders\"\nhost = \"api.orders.example\"";
    let home = v.file("policies/a.cedar", &policy).toml(POLICY).toml(routed).written();
    let url = "https://api.orders.example/v1";
    for (who, code, says) in [
        ("user=ann,exe=/usr/bin/curl,hour=9", 0, "permitted by all"),
        ("user=ann,exe=/usr/bin/curl,hour=10", 3, "forbidden by curl"),
        ("user=bob", 0, "permitted by all"),
        ("user=ann", 3, "forbidden by curl"),
        ("usr=ann", 2, ""),
    ] {
        let done = home.run(&["explain", "--as", who, "GET", url]).await;
        assert_eq!(done.code, Some(code), "{who}: {done:?}");
        assert!(done.stdout.contains(says), "{who}: {}", done.stdout);
    }
    let schema = home.run(&["policy", "schema"]).await;
    assert!(schema.stdout.starts_with("namespace Valetkey {"), "{schema:?}");
}

/// Those that are shipped: what each lets pass, and what not.
#[tokio::test]
async fn shipped_policies_do_what_they_say() {
    let shipped = crate::clients::tests_file("../config/policies");
    let mut tried = BTreeSet::new();
    for (file, method, host, who, permitted) in SHIPPED {
        tried.insert(format!("{file}.cedar"));
        let text = std::fs::read_to_string(shipped.join(format!("{file}.cedar"))).unwrap();
        let v = Valetkey::new().file("it.cedar", &text).file("old.key", "a-static-key-0123456789");
        let home = v.toml("[policy]\ncedar = [\"it.cedar\"]").toml(ROUTED).written();
        let checked = home.run(&["check"]).await;
        assert_eq!(checked.code, Some(0), "{file}: {checked:?}");
        assert!(!checked.stdout.contains("[policy-"), "{file}: {}", checked.stdout);
        let url = format!("https://{host}.example/v1");
        let done = home.run(&["explain", "--as", who, method, &url]).await;
        assert_eq!(
            done.code,
            Some(if *permitted { 0 } else { 3 }),
            "{file} {method} {who}: {done:?}"
        );
    }
    let all = std::fs::read_dir(shipped).unwrap();
    let all: BTreeSet<_> =
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(tried, all);
}

const ROUTED: &str = r#"
[credentials.old]
grant = "static-key"
secret = { file = "old.key" }
[[routes]]
name = "orders"
host = "orders.example"
[[routes]]
name = "legacy"
host = "legacy.example"
credential = "old"
"#;

/// A policy; method and host of a request, and of whom; whether it may pass.
const SHIPPED: &[(&str, &str, &str, &str, bool)] = &[
    ("office-hours", "GET", "orders", "weekday=7,hour=3", true),
    ("office-hours", "POST", "orders", "weekday=5,hour=17", true),
    ("office-hours", "POST", "orders", "weekday=5,hour=18", false),
    ("office-hours", "POST", "orders", "weekday=6,hour=9", false),
    ("with-a-reason", "GET", "orders", "user=ann", true),
    ("with-a-reason", "POST", "orders", "user=ann", false),
    ("with-a-reason", "POST", "orders", "session=x,reason=", false),
    ("with-a-reason", "POST", "orders", "session=x,reason=ticket 7", true),
    ("by-project", "GET", "orders", "session=x,project=/home/ann/shop/api", true),
    ("by-project", "GET", "orders", "session=x,project=/home/ann/shopping", false),
    ("by-project", "GET", "orders", "session=x,session_age=86400,project=/home/ann/shop", false),
    ("by-project", "GET", "orders", "user=ann", false),
    ("by-project", "GET", "legacy", "user=ann", true),
    ("one-executable", "GET", "orders", "exe=/usr/bin/git", true),
    ("one-executable", "GET", "orders", "exe=/usr/bin/curl", false),
    ("one-executable", "GET", "orders", "user=ann", false),
    ("one-executable", "GET", "legacy", "exe=/usr/bin/curl", true),
    (
        "no-standing-keys-for-agents",
        "GET",
        "legacy",
        "exe=/usr/bin/curl,parent=/usr/bin/bash",
        true,
    ),
    (
        "no-standing-keys-for-agents",
        "GET",
        "legacy",
        "exe=/usr/bin/curl,parent=/opt/x/claude",
        false,
    ),
    ("no-standing-keys-for-agents", "GET", "legacy", "session=agent", false),
    ("no-standing-keys-for-agents", "GET", "orders", "session=agent", true),
];
