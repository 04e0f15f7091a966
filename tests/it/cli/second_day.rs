//! The second day: whatever was edited, ended, moved or mistyped, the off-switches work.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::harness::client::{Finished, finish};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::{Home, Valetkey, program};

/// What a person, an editor or a full disk can make of a config.
fn broken(good: &str) -> Vec<(&'static str, Option<String>)> {
    let half = good[..good.len() / 2].to_owned();
    vec![
        (
            "a name that is wrong",
            Some(good.replace("credential = \"orders\"", "credential = \"ordrs\"")),
        ),
        ("half of it", Some(half)),
        ("nothing in it", Some(String::new())),
        ("a BOM and another language", Some(format!("\u{feff}{{ \"not\": \"toml\" }}{good}"))),
        ("unknown keys", Some(format!("what = 1\n{good}"))),
        ("another version", Some(good.replace("config_version = 1", "config_version = 9"))),
        ("no routes that load", Some(good.replace("host = ", "hots = "))),
        ("not there", None),
    ]
}

fn write(path: &Path, text: Option<&str>) {
    match text {
        Some(text) => std::fs::write(path, text).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
}

async fn status_of(stage: &Stage) -> u16 {
    match stage.get(ORDERS, "/v1/x", "").await {
        Ok(answer) => answer.status(),
        Err(_) => 0,
    }
}

/// A config that does not load disables nothing that manages the daemon which runs.
#[tokio::test]
async fn a_broken_config_disables_no_off_switch() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let good = std::fs::read_to_string(&home.config).unwrap();
    for (what, text) in broken(&good) {
        let opened = home.run(&["session", "open", "--json"]).await;
        assert_eq!(opened.code, Some(0), "{what}: {opened:?}");
        let opened: serde_json::Value = serde_json::from_str(&opened.stdout).unwrap();
        let name = opened["name"].as_str().unwrap();
        write(&home.config, text.as_deref());
        for arguments in [
            &["status"][..],
            &["session", "list"],
            &["session", "end", name],
            &["audit", "tail"],
            &["audit", "query", "--since", "1h"],
            &["audit", "verify"],
        ] {
            let done = home.run(arguments).await;
            assert_eq!(done.code, Some(0), "{what}: {arguments:?}: {done:?}");
        }
        let said = Instant::now();
        let done = home.run(&["revoke", "--all"]).await;
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        assert_eq!(status_of(&stage).await, 403, "{what}");
        assert!(said.elapsed() < Duration::from_secs(5), "{what}: {:?}", said.elapsed());
        let done = home.run(&["revoke", "--all", "--undo"]).await;
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        assert_eq!(status_of(&stage).await, 200, "{what}: control");
        write(&home.config, Some(&good));
    }
    // And where it is no file at all.
    std::fs::remove_file(&home.config).unwrap();
    std::fs::create_dir(&home.config).unwrap();
    assert_eq!(home.run(&["revoke", "--all"]).await.code, Some(0));
    assert_eq!(status_of(&stage).await, 403);
    assert_eq!(home.run(&["stop"]).await.code, Some(0));
    // With neither a daemon nor a config it is written down: the next one finds it.
    let done = home.run(&["revoke", "--all", "--undo"]).await;
    assert!(done.code == Some(0) && done.stderr.contains("written down"), "{done:?}");
    let done = home.run(&["revoke", "--credential", "orders"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    std::fs::remove_dir(&home.config).unwrap();
    write(&home.config, Some(&good));
    let mut stage = stage;
    stage.restart(&home).await;
    assert_eq!(status_of(&stage).await, 403, "the credential is revoked");
    assert_eq!(home.run(&["revoke", "--credential", "orders", "--undo"]).await.code, Some(0));
    assert_eq!(status_of(&stage).await, 200);
}

/// The same where a project's config is no longer what was trusted.
#[tokio::test]
async fn an_untrusted_config_disables_no_off_switch() {
    let home = Valetkey::new().written();
    let bare = async |arguments: &[&str]| finish(&mut home.bare_command(arguments)).await;
    assert_eq!(bare(&["trust"]).await.code, Some(0));
    let mut running = home.spawn(home.bare_command(&["serve"]));
    running.listening().await;
    home.rewrite(|text| text + "# changed\n");
    for arguments in
        [&["status"][..], &["revoke", "--all"], &["audit", "verify"], &["ps"], &["stop"]]
    {
        let done = bare(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
    assert_eq!(running.ended().await, Some(0));
}

/// `stop`, `restart`, `ps` and `logs`; none of them takes a pid.
#[tokio::test]
async fn a_daemons_life_by_name() {
    let home = Valetkey::new()
        .toml("[[sessions]]\nname = \"ci\"\nsecret = { env = \"CI_SECRET_OF_THE_TEST\" }")
        .env("CI_SECRET_OF_THE_TEST", "0123456789abcdef0123")
        .written();
    let none = home.run(&["ps"]).await;
    assert!(none.code == Some(0) && none.stderr.contains("no daemon"), "{none:?}");
    let started = home.run(&["restart"]).await;
    assert!(started.code == Some(0) && started.stderr.contains("one was started"), "{started:?}");
    let pid = async || -> u64 {
        let shown = home.run(&["ps", "--json"]).await.stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown[0]["state"], "running", "{shown}");
        assert_eq!(shown[0]["config"], home.config.display().to_string(), "{shown}");
        shown[0]["pid"].as_u64().unwrap()
    };
    let first = pid().await;
    let done = home.run(&["restart"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_ne!(pid().await, first);
    // Who says `stop` finds nothing held by the one that was told: the state is free at once.
    let lock = std::fs::File::open(home.state.join("daemon.lock")).unwrap();
    for _ in 0..10 {
        assert_eq!(home.run(&["restart"]).await.code, Some(0));
        assert_eq!(home.run(&["stop"]).await.code, Some(0));
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("it is free");
        flock(&lock, FlockOperation::Unlock).unwrap();
    }
    assert_eq!(home.run(&["restart"]).await.code, Some(0));
    soon("the log", async {
        while !home.run(&["logs", "-n", "3"]).await.stdout.contains("listening on") {}
    })
    .await;
    // One that could not start again goes on.
    home.rewrite(|text| text + "what = 1\n");
    assert_eq!(home.run(&["restart"]).await.code, Some(2));
    assert!(pid().await > 0);
    assert_eq!(home.run(&["stop"]).await.code, Some(0));
    let again = home.run(&["stop"]).await;
    assert!(again.code == Some(0) && again.stderr.contains("no daemon"), "{again:?}");
}

async fn shell(home: &Home, script: &str) -> Finished {
    let valetkey = home.bare_command(&[]);
    let mut shell = tokio::process::Command::new("bash");
    shell.env_clear();
    shell.envs(valetkey.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
        .env("VALETKEY", program())
        .env("VALETKEY_CONFIG", &home.config)
        .current_dir(home.path(""));
    finish(shell.args(["-c", script])).await
}

/// After `--unset` no session of the shell lives and its variables are what they were, however often `env` was said,
/// wherever the shell is by then, and whether or not a daemon runs.
#[tokio::test]
async fn unset_ends_what_env_began_and_puts_back_what_was() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let script = "
        export NO_PROXY='corp.example' SSL_CERT_FILE=\"it's mine\"; unset HTTPS_PROXY
        before=$(export -p | grep -v OLDPWD)
        eval \"$($VALETKEY env)\"; eval \"$($VALETKEY env)\"
        echo $HTTPS_PROXY | grep -q '//env-' || exit 1
        $VALETKEY session list --json | grep -c '\"env-'
        cd /; unset VALETKEY_CONFIG
        eval \"$($VALETKEY env --unset)\"
        cd - >/dev/null; export VALETKEY_CONFIG=valetkey.toml
        $VALETKEY session list --json | grep -c '\"env-'
        export VALETKEY_CONFIG=$CONFIG
        after=$(export -p | grep -v OLDPWD)
        [ \"$before\" = \"$after\" ] || { diff <(echo \"$before\") <(echo \"$after\"); exit 1; }
        $VALETKEY env --unset; echo $?";
    let script = script.replace("$CONFIG", &home.config.display().to_string());
    let done = shell(&home, &script).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stdout.lines().collect::<Vec<_>>()[..2], ["2", "0"], "{done:?}");
    assert!(done.stdout.ends_with("\n1\n") && done.stderr.contains("env-not-set"), "{done:?}");

    // Without a daemon: the next one does not find them.
    let given = shell(&home, "$VALETKEY env --shell posix").await;
    assert_eq!(given.code, Some(0), "{given:?}");
    let mut stage = stage;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let saved = || std::fs::read_to_string(home.state.join("sessions.json")).unwrap();
    assert!(saved().contains("env-"), "{}", saved());
    let script = format!("{}\n$VALETKEY env --unset", given.stdout);
    let done = shell(&home, &script).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!saved().contains("env-"), "{}", saved());
}

/// `run` while the daemon drains gets the next one, not a proxy that refuses.
#[tokio::test]
async fn run_while_it_drains_gets_the_next_one() {
    let mut stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let gate = crate::harness::Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| crate::harness::api::Answer::ok("first ").then(&inner, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    use tokio::io::AsyncWriteExt as _;
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    stage.running().unwrap().sigterm();
    soon("the drain", async {
        while !home.run(&["status", "--json"]).await.stdout.contains("\"stopping\"") {}
    })
    .await;
    let mut run = home.bare_command(&["run", "--config"]);
    run.arg(&home.config).args(["--", "sh", "-c", "echo $HTTPS_PROXY"]);
    let running = tokio::spawn(async move { finish(&mut run).await });
    gate.open();
    stage.running_mut().ended().await;
    let done = running.await.unwrap();
    assert!(done.code == Some(0) && done.stdout.contains("//run-"), "{done:?}");
    assert_eq!(home.run(&["stop"]).await.code, Some(0));
}
