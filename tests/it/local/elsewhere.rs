//! Names that lead elsewhere by now: off-switches, reloads and what is written go to what was meant, or nowhere.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::harness::client::finish;
use crate::harness::neighbour;
use crate::harness::until;
use crate::harness::valetkey::{Home, Valetkey};

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn exists(path: &Path) {
    until(&path.display().to_string(), || path.exists()).await;
}

/// Two daemons of one user, with their state where others may write: exchanged, or moved away.
#[tokio::test]
async fn an_off_switch_hits_the_daemon_that_is_meant_or_says_that_it_does_not() {
    let (_shared, dir) = neighbour::shared_dir(false);
    let owner = tempfile::tempdir().unwrap();
    let of = |name: &str| {
        let mut home = Valetkey::new().env("HOME", owner.path().to_str().unwrap()).written();
        home.state = dir.join(name);
        home
    };
    let (a, b) = (of("a"), of("b"));
    let (mut first, mut second) = (a.start().await, b.start().await);
    let pid = format!("kill {}", first.pid().unwrap());
    let put = |from: &str, to: &str| std::fs::rename(dir.join(from), dir.join(to)).unwrap();
    let exchange = || {
        put("a", "x");
        put("b", "a");
        put("x", "b");
    };
    exchange();
    let [ours, other] = [&a, &b].map(|home| home.config.display().to_string());
    for arguments in [&["stop"][..], &["revoke", "--all"], &["session", "end", "--all"]] {
        let done = a.run(arguments).await;
        assert_eq!(done.code, Some(1), "{arguments:?}: {done:?}");
        for said in ["daemon-of-another-config", &ours, &other, &pid] {
            assert!(done.stderr.contains(said), "{arguments:?}: {said}: {done:?}");
        }
    }
    exchange();
    put("a", "moved");
    for arguments in [
        &["stop"][..],
        &["revoke", "--all"],
        &["revoke", "--credential", "c"],
        &["logout", "c"],
        &["session", "end", "--all"],
    ] {
        let done = a.run(arguments).await;
        assert_eq!(done.code, Some(1), "{arguments:?}: {done:?}");
        for said in ["daemon-elsewhere", &ours, &pid] {
            assert!(done.stderr.contains(said), "{arguments:?}: {said}: {done:?}");
        }
    }
    assert!(!dir.join("a").exists(), "nothing was begun in its place");
    put("moved", "a");
    // Control: as it was, each hits its own and says which.
    for (home, name) in [(&a, &ours), (&b, &other)] {
        for arguments in [&["revoke", "--all"][..], &["stop"], &["stop"]] {
            let done = home.run(arguments).await;
            assert!(done.code == Some(0) && done.stderr.contains(name), "{arguments:?}: {done:?}");
        }
    }
    assert_eq!((first.ended().await, second.ended().await), (Some(0), Some(0)));
}

/// In a directory as `/tmp` is, another user says which config is meant: by a link to one of ours.
#[tokio::test]
async fn a_link_of_another_user_names_no_daemon() {
    if !neighbour::exists() {
        return;
    }
    let (_shared, dir) = neighbour::shared_dir(true);
    let home = Valetkey::new().written();
    let _running = home.start().await;
    let here =
        async |arguments: &[&str]| finish(home.bare_command(arguments).current_dir(&dir)).await;
    symlink(&home.config, dir.join("valetkey.toml")).unwrap();
    let done = here(&["revoke", "--all"]).await;
    assert!(done.code == Some(0), "control, a link of our own: {done:?}");
    neighbour::give(&dir.join("valetkey.toml"));
    for arguments in [&["revoke", "--all"][..], &["stop"]] {
        let done = here(arguments).await;
        assert_eq!(done.code, Some(2), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("config-unreadable"), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("uid 60123"), "{arguments:?}: {done:?}");
    }
    assert_eq!(home.run(&["status"]).await.code, Some(0));
}

/// A directory that was ours alone when the daemon started, and is no more.
#[tokio::test]
async fn a_reload_judges_the_place_as_the_start_did() {
    let home = Valetkey::new().written();
    let dir = home.path(".config/valetkey");
    std::fs::create_dir_all(&dir).unwrap();
    mode(&dir, 0o755);
    let (config, mark, helper) = (dir.join("valetkey.toml"), home.path("mark"), home.path("x.sh"));
    std::fs::copy(&home.config, &config).unwrap();
    let mut serve = home.bare_command(&["serve"]);
    serve.current_dir("/");
    let mut running = home.spawn(serve);
    running.listening().await;
    let line = format!("#!/bin/sh\ntouch {}\necho 0123456789abcdef0123456789\n", mark.display());
    std::fs::write(&helper, line).unwrap();
    mode(&helper, 0o755);
    let evil = std::fs::read_to_string(&config).unwrap()
        + &format!(
            "[[sessions]]\nname = \"x\"\nsecret = {{ exec = {{ command = [{helper:?}] }} }}\n"
        );
    mode(&dir, 0o777);
    std::fs::write(&config, evil).unwrap();
    running.sighup();
    until("a refusal", || {
        let refused = |record: &serde_json::Value| {
            record["context"]["action"] == "refused" && record["code"] == "config-unreadable"
        };
        home.audit().iter().any(refused)
    })
    .await;
    assert!(!mark.exists());
    // Control: where nobody else could have put it there, it is taken up.
    mode(&dir, 0o755);
    running.sighup();
    exists(&mark).await;
}

/// What cannot be written down is said, and made good once it can be.
#[tokio::test]
async fn the_end_of_a_session_that_cannot_be_written_down_is_a_failure() {
    let home = Valetkey::new().written();
    let _running = home.start().await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let opened = home.run(&["session", "open", "--json"]).await.stdout;
        let opened: serde_json::Value = serde_json::from_str(&opened).unwrap();
        names.push(opened["name"].as_str().unwrap().to_owned());
    }
    let saved = home.state.join("sessions.json");
    std::fs::remove_file(&saved).unwrap();
    std::fs::create_dir_all(saved.join("in-the-way")).unwrap();
    for arguments in [&["session", "end", &*names[0]][..], &["session", "end", "--all"]] {
        let done = home.run(arguments).await;
        assert_eq!(done.code, Some(1), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("session-end-not-saved"), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("hint"), "{arguments:?}: {done:?}");
    }
    let list = home.run(&["session", "list"]).await;
    assert!(!names.iter().any(|name| list.stdout.contains(name)), "in memory: {list:?}");
    std::fs::remove_dir_all(&saved).unwrap();
    exists(&saved).await;
    let text = std::fs::read_to_string(&saved).unwrap();
    assert!(!names.iter().any(|name| text.contains(name)), "{text}");
}

/// Above the directory of `[ca] publish`, what others may change leads no write elsewhere.
#[tokio::test]
async fn what_is_published_goes_where_it_went_first() {
    let home = Valetkey::new().toml("[ca]\npublish = \"pub/app/trust\"\n").written();
    std::fs::create_dir_all(home.path("pub/app/trust")).unwrap();
    std::fs::create_dir_all(home.path("victim/trust")).unwrap();
    mode(&home.path("pub"), 0o777);
    let precious = home.path("victim/trust/valetkey-ca.pem");
    std::fs::write(&precious, "precious").unwrap();
    let running = home.start().await;
    assert!(home.path("pub/app/trust/valetkey-ca.pem").is_file(), "control");
    std::fs::rename(home.path("pub/app"), home.path("pub/old")).unwrap();
    symlink(home.path("victim"), home.path("pub/app")).unwrap();
    running.says("leads to another one by now").await.expect("it is said");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    drop(running);
    if neighbour::exists() {
        std::os::unix::fs::lchown(home.path("pub/app"), Some(neighbour::NEIGHBOUR), None).unwrap();
        let done = home.run(&["serve"]).await;
        assert!(done.code != Some(0) && done.stderr.contains("trust-io"), "{done:?}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }
}

/// What another user put where our state should be is not printed as ours.
#[tokio::test]
async fn a_foreign_state_directory_is_not_read() {
    if !neighbour::exists() {
        return;
    }
    let (_shared, dir) = neighbour::shared_dir(false);
    let mut home: Home = Valetkey::new().written();
    home.state = dir.join("state");
    drop(home.start().await);
    std::fs::write(home.state.join("daemon.log"), "a line\n").unwrap();
    let commands = [&["audit", "tail"][..], &["audit", "query"], &["logs"]];
    for arguments in commands {
        let done = home.run(arguments).await;
        assert_eq!(done.code, Some(0), "control: {done:?}");
    }
    neighbour::give(&home.state);
    for arguments in commands {
        let done = home.run(arguments).await;
        assert!(done.stderr.contains("state-dir-unsafe"), "{arguments:?}: {done:?}");
        assert!(done.code == Some(1) && done.stdout.is_empty(), "{arguments:?}: {done:?}");
    }
}

/// The lock is a file of ours, in the directory that was judged, and no link.
#[tokio::test]
async fn the_lock_follows_no_link() {
    let home = Valetkey::new().written();
    std::fs::create_dir(&home.state).unwrap();
    mode(&home.state, 0o700);
    symlink(home.path("made"), home.state.join("daemon.lock")).unwrap();
    let done = home.run(&["serve"]).await;
    assert!(done.code != Some(0) && done.stderr.contains("daemon.lock"), "{done:?}");
    assert!(!home.path("made").exists());
}

/// What the demo writes is run: not where another could have put it.
#[tokio::test]
async fn a_demo_wants_a_temporary_directory_that_is_safe() {
    let (_shared, dir) = neighbour::shared_dir(false);
    let home = Valetkey::new().written();
    for command in ["demo", "bench"] {
        let done = finish(home.bare_command(&[command]).env("TMPDIR", &dir)).await;
        assert!(done.code == Some(1) && done.stderr.contains("place-exposed"), "{done:?}");
        assert!(done.stderr.contains("TMPDIR"), "{done:?}");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "nothing is left behind");
}
