//! A person's machine: a home with a config of his own and projects below it, every command in a shell's clean
//! environment, and no daemon but those that commands start by themselves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use super::client::{Finished, finish};
use super::valetkey::program;

/// Where the person's own config is.
pub const OWN: &str = ".config/valetkey/valetkey.toml";

pub struct Laptop {
    dir: tempfile::TempDir,
    home: PathBuf,
    environment: Vec<(String, String)>,
}

impl Laptop {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("valetkey-it-").tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        Self { dir, home, environment: Vec::new() }
    }

    /// A variable that every command has, and so the daemons that they start.
    pub fn env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Whole or not at all, as an editor does it.
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(fresh, path).unwrap();
    }

    pub fn rewrite(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.at(name)).unwrap();
        self.write(name, &change(text));
    }

    /// A program in a directory of this home.
    pub fn program(&self, named: impl AsRef<std::ffi::OsStr>, here: &str) -> Command {
        let mut command = Command::new(named);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("VALETKEY", program())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.at(here));
        command
    }

    /// Runs a command of ours in a directory.
    pub async fn valetkey(&self, here: &str, arguments: &[&str]) -> Finished {
        finish(self.program(program(), here).args(arguments)).await
    }

    /// The same, which must succeed.
    pub async fn fine(&self, here: &str, arguments: &[&str]) -> Finished {
        let done = self.valetkey(here, arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?} in `{here}`: {done:?}");
        done
    }

    /// What a command prints as JSON.
    pub async fn json(&self, here: &str, arguments: &[&str]) -> Value {
        let done = self.fine(here, arguments).await;
        serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    }

    /// The running daemon of a config, as `ps` shows it.
    pub async fn daemon(&self, config: &str) -> Option<Value> {
        let shown = self.json("", &["ps", "--json"]).await;
        let config = self.at(config).display().to_string();
        shown.as_array().unwrap().iter().find(|one| one["config"] == config).cloned()
    }

    /// The daemon of a config is down, and its port of last time is this one.
    pub async fn listened_last_at(&self, here: &str, config: &str, last: SocketAddr) {
        self.fine(here, &["restart"]).await;
        let daemon = self.daemon(config).await.expect("it runs");
        self.fine(here, &["stop"]).await;
        let state = daemon["state_dir"].as_str().unwrap();
        self.write(&format!("{state}/address.json"), &format!("{{\"address\": \"{last}\"}}"));
    }

    /// All processes that have this home.
    fn processes(&self) -> Vec<Pid> {
        let home = format!("HOME={}", self.home.display());
        let ours = |dir: &Path| {
            let environ = std::fs::read(dir.join("environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|variable| variable == home.as_bytes())
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let all = all.filter(|entry| ours(&entry.path()));
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
            .collect()
    }
}

/// Commands leave daemons behind, on purpose; a test does not.
impl Drop for Laptop {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
