//! Commands around a daemon: started where none runs, shared by all, and what `init` and `audit` do.

use crate::harness::client::finish;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::until;
use crate::harness::valetkey::{Home, Valetkey};

/// Ends the daemons of one home, by their ids.
struct Daemons<'a>(&'a Home);

impl Daemons<'_> {
    fn pids(&self) -> Vec<i32> {
        let config = self.0.config.display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&config) && line.contains("serve") {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Daemons<'_> {
    fn drop(&mut self) {
        for pid in self.pids() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
    }
}

fn run(home: &Home, script: &str) -> tokio::process::Command {
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(["--", "sh", "-c", script]);
    command
}

#[tokio::test]
async fn two_runs_at_once_share_one_daemon() {
    let home = Valetkey::new().route("name = \"a\"\nhost = \"a.example\"").written();
    let daemons = Daemons(&home);
    let (mut one, mut two) = (run(&home, "echo $HTTPS_PROXY"), run(&home, "echo $HTTPS_PROXY"));
    let (one, two) = tokio::join!(finish(&mut one), finish(&mut two));
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{one:?} {two:?}");
    let address = |proxy: &str| proxy.trim().rsplit('@').next().unwrap_or_default().to_owned();
    assert_eq!(address(&one.stdout), address(&two.stdout), "one listener");
    assert_ne!(one.stdout, two.stdout, "a session each");
    // The one that lost the lock may be on its way out yet.
    until("the other daemon's end", || daemons.pids().len() <= 1).await;
    assert_eq!(daemons.pids().len(), 1, "one daemon");
}

#[tokio::test]
async fn init_writes_a_config_that_loads_and_keeps_what_is_there() {
    let home = Valetkey::new().written();
    let target = home.path("new.toml");
    let init = || {
        let mut command = home.bare_command(&["init", "--path"]);
        command.arg(&target);
        command
    };
    let done = finish(&mut init()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let mut check = home.bare_command(&["check", "--config"]);
    let checked = finish(check.arg(&target)).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    std::fs::write(&target, "mine = true\n").unwrap();
    let again = finish(&mut init()).await;
    assert_eq!(again.code, Some(2), "{again:?}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine = true\n");
}

#[tokio::test]
async fn audit_tail_prints_records() {
    let stage = Stage::valetkey().await;
    stage.get(ORDERS, "/v1/x", "").await.unwrap();
    let home = &stage.running().unwrap().home;
    let text = home.run(&["audit", "tail"]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains(&format!("GET {ORDERS}/v1/x")), "{text:?}");
    let long = home.run(&["audit", "tail", "--long"]).await;
    assert!(long.stdout.contains(ORDERS) && long.stdout.contains("inject"), "{long:?}");
    let json = home.run(&["audit", "tail", "--json", "-n", "3"]).await;
    for line in json.stdout.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        assert_eq!(record["v"], 1);
    }
    assert!((1..=3).contains(&json.stdout.lines().count()), "{json:?}");
    let verified = home.run(&["audit", "verify", "--json"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let _: serde_json::Value = serde_json::from_str(&verified.stdout).expect("one JSON document");
}

/// The admin socket is ours alone.
#[tokio::test]
async fn the_admin_socket_is_private() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let stage = Stage::valetkey().await;
    let socket = stage.running().unwrap().home.state.join("admin.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

/// A squatter on the socket's path is not served, and not followed.
#[tokio::test]
async fn a_planted_socket_stops_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let home = Valetkey::new().route("name = \"a\"\nhost = \"a.example\"").written();
    std::fs::create_dir(&home.state).unwrap();
    std::fs::set_permissions(&home.state, PermissionsExt::from_mode(0o700)).unwrap();
    let elsewhere = home.path("elsewhere");
    std::fs::write(&elsewhere, "precious").unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.state.join("admin.sock")).unwrap();
    let done = home.run(&["serve"]).await;
    assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
}
