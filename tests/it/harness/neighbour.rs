//! Another user of this machine, who runs programs of his own beside the one under test. Only root can be two users.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::client::{Finished, finish};

/// Nobody has this uid here.
pub const NEIGHBOUR: u32 = 60_123;

/// Whether there can be one; where not, the test says so and is not run.
pub fn exists() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        super::not_run("only root can act as another user");
    }
    root
}

/// A program of his.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.uid(NEIGHBOUR).gid(NEIGHBOUR).env_clear().current_dir("/").kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A line of his shell.
pub async fn sh(line: &str) -> Finished {
    finish(command("sh").args(["-ec", line])).await
}

/// A directory that everybody may write to, as `/tmp` is where `sticky`.
pub fn shared_dir(sticky: bool) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::Builder::new().prefix("valetkey-shared-").tempdir().unwrap();
    let mode = if sticky { 0o1777 } else { 0o777 };
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

/// Gives him everything below a directory.
pub fn give(path: &Path) {
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        std::os::unix::fs::lchown(&path, Some(NEIGHBOUR), Some(NEIGHBOUR)).unwrap();
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path()));
    }
}
