//! Which process it was: in the audit, for sessions and for whoever came without, and no key with it.

use serde_json::Value;

use crate::harness::client::{Trust, connect, curl_command, finish, tls, tls_config};
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::{found, soon};

/// All records of the one request to this path, its outcome among them.
async fn records(stage: &Stage, path: &str) -> Vec<Value> {
    found("the outcome", || {
        let audit = stage.running().unwrap().audit();
        let decision = audit.iter().find(|r| r["target"]["path"] == path);
        let request = decision.map(|r| r["request"].clone());
        let of: Vec<_> =
            audit.into_iter().filter(|r| Some(&r["request"]) == request.as_ref()).collect();
        of.iter().any(|r| r["event"] == "outcome").then_some(of)
    })
    .await
}

/// The process, from whichever record names it, and what is said of it once.
fn process(records: &[Value]) -> (Value, Value) {
    let named = records.iter().find(|r| r["client"]["pid"].is_number());
    let named = named.unwrap_or_else(|| panic!("no process in {records:#?}"));
    let told = records.iter().find(|r| r["context"]["command"].is_string());
    let told = told.unwrap_or_else(|| panic!("no command line in {records:#?}"));
    (named["client"].clone(), told["context"].clone())
}

#[tokio::test]
async fn the_tool_of_a_session_and_its_parent() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    // The shell stays, so that it is the parent. The key is none that anybody has.
    let random = ::valetkey::model::id::random_text();
    let key = format!("{}{random}", "sk-ant-");
    let script =
        format!("curl -sS -o /dev/null -H 'x-api-key: {key}' https://{ORDERS}/v1/tool; true");
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(["--", "sh", "-c", &script]);
    let done = finish(&mut command).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let records = records(&stage, "/v1/tool").await;
    let (client, context) = process(&records);
    let exe = client["exe"].as_str().unwrap();
    assert!(exe.ends_with("/curl"), "{client}");
    let command = context["command"].as_str().unwrap();
    assert!(command.starts_with("curl -sS -o /dev/null -H x-api-key: **** https://"), "{command}");
    assert!(context["parent"]["exe"].as_str().unwrap().contains("sh"), "{context}");
    assert!(context["parent"]["pid"].is_number(), "{context}");
    let text = std::fs::read_to_string(home.state.join("audit.jsonl")).unwrap();
    for form in crate::harness::stage::forms(&key) {
        assert!(!text.contains(&form), "the key stands in the audit as {form}");
    }
    // And it can be asked for.
    let pid = client["pid"].to_string();
    for process in ["curl", exe, &pid] {
        let found = home.run(&["audit", "query", "--json", "--process", process]).await;
        assert_eq!(found.code, Some(0), "{found:?}");
        let lines: Vec<Value> =
            found.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|r| r["target"]["path"] == "/v1/tool"), "{process}: {found:?}");
    }
    let none = home.run(&["audit", "query", "--json", "--process", "no-such-tool"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn whoever_came_without_a_session() {
    let stage = Stage::valetkey().await;
    let ca = stage.ca_file();
    let odd = "a\u{1b}[2J\n\u{7}";
    let url = format!("https://{ORDERS}/v1/plain");
    let mut curl = curl_command(stage.proxy_addr(), &ca);
    let done = finish(curl.args(["--write-out", odd, "-o", "/dev/null", &url])).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let records = records(&stage, "/v1/plain").await;
    let (client, context) = process(&records);
    assert!(client["session"].is_null() && client["exe"].as_str().unwrap().ends_with("/curl"));
    assert!(context["command"].as_str().unwrap().contains("\u{1b}[2J"), "as it was: {context}");
    // And nothing that a terminal would act on, where a person reads it.
    let home = &stage.running().unwrap().home;
    for (form, shown) in [("--long", "curl ("), ("--utc", " curl ")] {
        let tail = home.run(&["audit", "tail", form]).await;
        assert!(tail.stdout.contains(shown) && !tail.stdout.contains('\u{1b}'), "{tail:?}");
    }
    let verified = home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// A program with two TLS libraries, of which one reads our roots: `status` says of the program that it does both,
/// and of one that breaks off alone nothing else.
#[tokio::test]
async fn a_program_that_breaks_off_handshakes_stands_in_status() {
    let stage = Stage::valetkey().await;
    // Again and again: whoever is gone when it is looked for is not found.
    let distrusting = async |others: bool| {
        soon("the program in `status`", async {
            loop {
                let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
                // The upstream's root is not that of the local CA.
                let config = tls_config(Trust::Roots(stage.pki.pem()), &["http/1.1"]);
                assert!(tls(reader.stream, ORDERS, config).await.is_err());
                if others {
                    assert_eq!(stage.get(ORDERS, "/v1/x", "").await.unwrap().status(), 200);
                }
                let home = &stage.running().unwrap().home;
                let json = home.run(&["status", "--json"]).await.stdout;
                let status: Value = serde_json::from_str(&json).unwrap();
                let own = std::env::current_exe().unwrap();
                let mut programs = status["distrust"].as_array().unwrap().iter();
                if let Some(own) = programs.find(|one| one["exe"].as_str() == own.to_str())
                    && own["ends_others"] == others
                {
                    return own.clone();
                }
            }
        })
        .await
    };
    let own = distrusting(false).await;
    assert!(own["host"] == ORDERS && own["times"].as_u64() > Some(0), "{own}");
    distrusting(true).await;
    let said = stage.running().unwrap().home.run(&["status"]).await.stdout;
    assert!(said.contains("one of its TLS libraries trusts the local CA"), "{said}");
}

/// A process is looked for beside the connection: a hundred at once are served all the same.
#[tokio::test]
async fn nobody_waits_for_it() {
    let stage = Stage::valetkey().await;
    let mut all = tokio::task::JoinSet::new();
    let stage = std::sync::Arc::new(stage);
    for n in 0..100 {
        let stage = std::sync::Arc::clone(&stage);
        all.spawn(async move {
            stage.get(ORDERS, &format!("/v1/{n}"), "").await.map(|answer| answer.status())
        });
    }
    assert!(all.join_all().await.into_iter().all(|status| status == Ok(200)));
    let last = records(&stage, "/v1/99").await;
    let found = soon("this very process", async {
        loop {
            let audit = stage.running().unwrap().audit();
            let own = u64::from(std::process::id());
            if audit.iter().any(|r| r["client"]["pid"] == own) {
                return true;
            }
            stage.get(ORDERS, "/v1/again", "").await.unwrap();
        }
    })
    .await;
    assert!(found && !last.is_empty());
}
