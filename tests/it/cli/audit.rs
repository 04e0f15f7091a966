//! `audit query` and `audit inventory`: who used which token, and which static keys are still about.

use std::io::Write as _;

use serde_json::Value;

use crate::harness::client::{Finished, finish};
use crate::harness::stage::{BILLING, ORDERS, Stage};

/// Whatever comes of it.
async fn tried(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.running().unwrap().home.run(&[&["audit"], arguments].concat()).await
}

async fn audit(stage: &Stage, arguments: &[&str]) -> Finished {
    let done = tried(stage, arguments).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

async fn records(stage: &Stage, filters: &[&str]) -> Vec<Value> {
    let done = audit(stage, &[&["query", "--json"], filters].concat()).await;
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// `run` as a person would, with a shell in it.
async fn run(stage: &Stage, options: &[&str], script: &str) -> Finished {
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(options).args(["--", "sh", "-c", script]);
    finish(&mut command).await
}

/// The outcomes of all requests are in the file: they are written behind.
async fn settled(stage: &Stage, count: usize) {
    crate::harness::until("the outcomes", || {
        let audit = stage.running().unwrap().audit();
        audit.iter().filter(|r| r["event"] == "outcome").count() >= count
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_seen_leads_to_whoever_used_it() {
    let stage = Stage::valetkey().await;
    let curl = |host: &str| format!("curl -sS -o /dev/null https://{host}/v1/x");
    let one = run(&stage, &["--reason", "one"], &curl(ORDERS)).await;
    let token = stage.orders_issuer.token();
    let two = run(&stage, &[], &curl(BILLING)).await;
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{one:?} {two:?}");
    settled(&stage, 2).await;

    // The token comes on stdin: an argument would be seen by everybody.
    let home = &stage.running().unwrap().home;
    let mut command = std::process::Command::new(crate::harness::valetkey::program());
    let mut child = command
        .args(["audit", "query", "--json", "--token", "-", "--config"])
        .arg(&home.config)
        .env("VALETKEY_STATE_DIR", &home.state)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{token}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decision = found.iter().find(|r| r["event"] == "decision").expect("its decision");
    assert_eq!(decision["route"], "orders");
    assert!(decision["policy"].as_str().unwrap().starts_with("sha256:"), "{decision}");
    assert!(decision["client"]["user"].is_string(), "{decision}");
    let session = decision["client"]["session"].as_str().unwrap();
    let is_curl = |r: &Value| r["client"]["exe"].as_str().is_some_and(|exe| exe.ends_with("/curl"));
    let process = found.iter().find(|r| is_curl(r)).expect("the process");
    assert!(process["client"]["pid"].is_number(), "{process}");
    assert!(found.iter().any(|r| r["event"] == "outcome"), "and how it ended");
    assert!(found.iter().any(|r| r["event"] == "mint"), "and where it came from");
    assert!(!text.contains(BILLING), "and nobody else's: {text}");

    let fingerprint = decision["token"]["fingerprint"].as_str().unwrap();
    for filters in [
        ["--token", fingerprint],
        ["--session", session],
        ["--host", "API.Orders.Example"],
        ["--route", "orders"],
        ["--credential", "orders"],
    ] {
        let found = records(&stage, &filters).await;
        assert!(found.iter().any(|r| r["decision"] == "inject"), "{filters:?}: {found:#?}");
        assert!(!found.iter().any(|r| r["target"]["host"] == BILLING), "{filters:?}");
    }
    let user = decision["client"]["user"].as_str().unwrap();
    assert!(records(&stage, &["--user", user, "--since", "1h"]).await.len() >= 4);
    for nothing in [
        ["--user", "nobody-at-all", "--since", "1h"],
        ["--user", user, "--until", "1h"],
        ["--user", user, "--since", "2100-01-01T00:00:00Z"],
        ["--route", "orders", "--host", BILLING],
    ] {
        assert!(records(&stage, &nothing).await.is_empty(), "{nothing:?}");
    }
    let long = audit(&stage, &["query", "--route", "orders", "--long"]).await;
    assert!(long.stdout.contains("inject") && long.stdout.contains("200 in"), "{long:?}");
    let done = home.run(&["audit", "query", "--since", "someday"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("error[bad-time]"), "{done:?}");
}

#[tokio::test]
async fn tail_and_query_show_a_request_a_line_and_take_the_same_filters() {
    let stage = Stage::valetkey_with(|v| {
        v.route(&format!(
            "name = \"closed\"\nhost = \"{ORDERS}\"\npath = [\"/closed\"]\ndeny = true"
        ))
    })
    .await;
    let script = format!(
        "curl -sS -o /dev/null https://{ORDERS}/v1/x; curl -sS -o /dev/null https://{ORDERS}/closed; \
         curl -sS -o /dev/null -X DELETE https://{ORDERS}/v1/x/{}",
        "long".repeat(40)
    );
    let done = run(&stage, &[], &script).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    settled(&stage, 3).await;
    let requests = |text: &str| text.lines().filter(|line| line.contains(" curl ")).count();
    for command in ["tail", "query"] {
        let shown =
            async |options: &[&str]| audit(&stage, &[&[command], options].concat()).await.stdout;
        let all = shown(&[]).await;
        assert_eq!(requests(&all), 3, "{all}");
        assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
        assert!(!all.contains('\u{1b}'), "no colour in a pipe: {all}");
        for (filter, count) in [
            (&["--denied"][..], 1),
            (&["--decision", "deny"], 1),
            (&["--decision", "inject"], 1),
            (&["--decision", "pass"], 1),
            (&["--method", "delete"], 1),
            (&["--path", "/v1/x"], 2),
            (&["--path", "/v1/*long"], 1),
            (&["--status", "403"], 1),
            (&["--status", "2xx", "--method", "get"], 1),
            (&["--process", "curl"], 3),
            (&["--since", "yesterday"], 3),
            (&["--until", "yesterday"], 0),
            (&["--host", ORDERS, "-n", "1"], 1),
        ] {
            let text = shown(filter).await;
            assert_eq!(requests(&text), count, "{command} {filter:?}: {text}");
            if filter.contains(&"-n") {
                continue;
            }
            let json = shown(&[&["--json"], filter].concat()).await;
            let records = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let judged = records.filter(|r| r["event"] == "decision").count();
            assert_eq!(judged, count, "{command} {filter:?}: {json}");
        }
        let denied = shown(&["--denied", "--utc", "--color", "always"]).await;
        assert!(denied.contains("UTC") && denied.contains("! route-denied"), "{denied}");
        assert!(denied.contains("\u{1b}["), "{denied}");
    }
    let home = &stage.running().unwrap().home;
    for wrong in [["--decision", "perhaps"], ["--status", "20"], ["--color", "some"]] {
        let done = home.run(&["audit", "tail", wrong[0], wrong[1]]).await;
        assert_eq!(done.code, Some(2), "{wrong:?}: {done:?}");
    }
}

#[tokio::test]
async fn tail_follows_what_is_asked_for() {
    use tokio::io::AsyncBufReadExt as _;
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&["audit", "tail", "-f", "--host", ORDERS, "--config"]);
    command.arg(&home.config).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    for host in [BILLING, ORDERS] {
        stage.get(host, "/v1/x", "").await.unwrap();
    }
    let line = tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line()).await;
    let line = line.expect("a line").unwrap().unwrap();
    assert!(line.contains(&format!(" GET {ORDERS}/v1/x 200 ")), "{line}");
    child.kill().await.unwrap();
}

/// Made here, so that no scanner finds a key in this file; the checksum of the first is a right one.
fn planted() -> Vec<(&'static str, String)> {
    let random = ::valetkey::model::id::random_text;
    let letters = || random().replace(['-', '_'], "x");
    let body = &letters()[..30];
    let sum = ::valetkey::model::placeholder::checksum(body);
    vec![
        ("github", format!("ghp_{body}{sum}")),
        ("gitlab", format!("glpat-{}", &letters()[..20])),
        ("anthropic", format!("sk-ant-{}{}", "api03-", letters())),
        ("stripe", format!("sk_{}_{}", "live", &letters()[..30])),
        ("slack", format!("xoxb-{}", letters())),
        ("hugging-face", format!("hf_{}", &letters()[..34])),
    ]
}

#[tokio::test]
async fn the_inventory_lists_just_the_keys_that_came() {
    let stage = Stage::valetkey_with(|v| {
        v.route(&format!(
            "name = \"strict\"\nhost = \"{ORDERS}\"\npath = [\"/strict\"]\ncredential = \"orders\"\n\
             on_static_key = \"deny\""
        ))
    })
    .await;
    assert!(audit(&stage, &["inventory", "--json"]).await.stdout.trim() == "[]");
    let planted = planted();
    for (n, (_, key)) in planted.iter().enumerate() {
        // Each twice, in another slot; and placeholders and made-up values beside them.
        let lines = [format!("X-Api-Key: {key}\r\n"), format!("X-Api-Key: not-a-key-{n}\r\n")];
        for line in &lines {
            stage.get(ORDERS, "/v1/x", line).await.unwrap();
        }
        stage.get(ORDERS, &format!("/v1/x?api_key={key}"), "").await.unwrap();
    }
    let refused = format!(
        "GET /strict HTTP/1.1\r\nHost: {ORDERS}\r\nAuthorization: Bearer {}\r\n\r\n",
        planted[0].1
    );
    let refused = stage.send(ORDERS, &refused).await.unwrap();
    crate::harness::stage::own_answer(&refused, &[403], &["static-key-refused"]).unwrap();
    let done = audit(&stage, &["inventory", "--json"]).await;
    let list: Vec<Value> = serde_json::from_str(&done.stdout).expect("JSON");
    let mut kinds: Vec<_> = list.iter().map(|key| key["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    let mut wanted: Vec<_> = planted.iter().map(|(kind, _)| *kind).collect();
    wanted.sort_unstable();
    assert_eq!(kinds, wanted, "{done:?}");
    for key in &list {
        let github = key["kind"] == "github";
        assert_eq!(key["requests"], if github { 3 } else { 2 }, "{key}");
        assert_eq!(key["refused"], u64::from(github), "{key}");
        assert_eq!(key["hosts"], serde_json::json!([ORDERS]));
        assert!(key["first"].as_str() <= key["last"].as_str(), "{key}");
        assert!(key["fingerprint"].as_str().unwrap().starts_with("hmac-sha256:"), "{key}");
        // These routes mint: a static key in their place would be a step back.
        assert!(key["replace"].is_null(), "{key}");
        assert!(key["advice"].as_str().unwrap().contains("mints a token in its place"), "{key}");
        assert_eq!(key["given"], false, "{key}");
    }
    let text = audit(&stage, &["inventory"]).await.stdout;
    // Not in what is printed, not in any file.
    let mut all = done.stdout + &text + &stage.running().unwrap().output();
    files(&stage.running().unwrap().home.state, &mut all);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for (kind, key) in &planted {
        // A narrow column breaks `hugging-face` behind its hyphen.
        assert!(kind.split('-').all(|part| text.contains(part)), "{text}");
        for form in crate::harness::stage::forms(key) {
            assert!(!all.contains(&form), "{kind} stands somewhere as {form}");
        }
    }
    for api in [&stage.orders, &stage.billing] {
        assert!(api.requests().iter().all(|r| planted.iter().all(|(_, key)| r.count(key) == 0)));
    }
}

fn files(directory: &std::path::Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else if let Ok(bytes) = std::fs::read(&path) {
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// Every record as it was but for its user, each sealed again: what anybody can write who knows how.
fn written_anew(text: &str) -> String {
    let mut prev = "0".repeat(64);
    let lines = text.lines().map(|line| {
        let (body, _) = line.rsplit_once(",\"prev\":").unwrap();
        let mut record: Value = serde_json::from_str(&format!("{body}}}")).unwrap();
        if let Some(user) = record["client"].get_mut("user") {
            *user = "eve".into();
        }
        let user = record["client"]["user"].to_string();
        let start = body.find("\"user\":").map(|at| at + "\"user\":".len());
        let body = match start {
            Some(at) => {
                let end = at + 1 + body[at + 1..].find('"').unwrap() + 1;
                format!("{}{user}{}", &body[..at], &body[end..])
            }
            None => body.to_owned(),
        };
        let sealed = format!("{body},\"prev\":\"{prev}\"");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sealed.as_bytes());
        prev = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{sealed},\"hash\":\"{prev}\"}}\n")
    });
    lines.collect()
}

#[tokio::test]
async fn a_trail_written_anew_is_found_though_its_head_is_gone() {
    let mut stage = Stage::valetkey().await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    settled(&stage, 1).await;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let home = stage.running().unwrap().home.clone();
    let line = tried(&stage, &["checkpoint"]).await;
    assert_eq!((line.code, line.stdout.lines().count()), (Some(0), 1), "{line:?}");
    let line = line.stdout.trim_end().to_owned();
    let kept = tried(&stage, &["verify", "--checkpoint", &line]).await;
    assert_eq!(kept.code, Some(0), "{kept:?}");

    let path = home.state.join("audit.jsonl");
    let text = written_anew(&std::fs::read_to_string(&path).unwrap());
    assert!(text.contains("\"user\":\"eve\""), "{text}");
    std::fs::write(&path, text).unwrap();
    std::fs::remove_file(home.state.join("audit.head")).unwrap();
    stage.restart(&home).await;
    let found = tried(&stage, &["verify"]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    for code in ["error[audit-head-missing]", "error[audit-rewritten]", "NOT intact"] {
        assert!(found.stdout.contains(code), "{code} in {found:?}");
    }
    let found = tried(&stage, &["verify", "--checkpoint", &line]).await;
    assert!(found.stdout.contains("audit-rewritten"), "{found:?}");
    assert_eq!(tried(&stage, &["checkpoint"]).await.code, Some(1), "it vouches for nothing");
    let bad = tried(&stage, &["verify", "--checkpoint", "valetkey-audit-1 7"]).await;
    assert!(bad.code == Some(2) && bad.stderr.contains("bad-checkpoint"), "{bad:?}");
}
