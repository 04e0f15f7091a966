//! The daemon's own memory: not for other processes of its user, and in no core.

use std::os::unix::fs::MetadataExt as _;

use crate::harness::valetkey::{Home, Running, Valetkey};

/// A user that is not root, where we are root.
const SOMEBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives everything below the home to that user.
fn give(home: &Home) {
    let mut left = vec![home.path(".")];
    while let Some(path) = left.pop() {
        std::os::unix::fs::chown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path()));
    }
}

async fn started() -> Running {
    let home = Valetkey::new().written();
    let mut command = home.command(&["serve"]);
    if is_root() {
        give(&home);
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    let mut running = home.spawn(command);
    running.listening().await;
    running
}

/// What only the process itself, its debugger and root may read belongs to root where the process may not be
/// dumped (proc(5)), and nobody else can open it.
fn is_private(pid: u32) -> bool {
    let path = format!("/proc/{pid}/environ");
    match std::fs::metadata(&path) {
        Ok(of) if is_root() => of.uid() == 0,
        _ => std::fs::read(&path).is_err(),
    }
}

#[tokio::test]
async fn the_daemons_memory_is_private() {
    let running = started().await;
    let pid = running.pid().unwrap();
    assert!(is_private(pid), "its environment can be read by its user");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
    // Another process of the same user shows that the question means something.
    let mut other = tokio::process::Command::new("sleep");
    other.arg("60").kill_on_drop(true);
    if is_root() {
        other.uid(SOMEBODY);
    }
    let other = other.spawn().unwrap();
    assert!(!is_private(other.id().unwrap()), "any process is private here");
}
