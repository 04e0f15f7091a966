//! Which config has which daemon: an entry for each config's name, written by the daemon when it listens.
//!
//! Managing a running daemon, or reading what it wrote, must not need a config that loads. So what that takes
//! stands here: the socket, the state directory and the audit.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{Config, env};
use crate::local::place::{self, Private};
use crate::local::process;
use crate::model::hex::hex;

/// Below the directory of all state.
const DIRECTORY: &str = "daemons";
/// An entry has a few paths.
const MAX_ENTRY: u64 = 64 * 1024;

/// The daemon that a config has, or had last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The config, as it was named.
    pub config: PathBuf,
    /// Where its state is.
    pub state_dir: PathBuf,
    /// Where it is asked.
    pub socket: PathBuf,
    /// The current file of its trail.
    pub audit: PathBuf,
    /// Its process, while it runs.
    pub pid: u32,
    /// When that began, as the kernel counts: another process that has its number by now is not it.
    #[serde(default)]
    pub began: u64,
    /// Since when, RFC 3339.
    pub since: String,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Whether it ends by itself when nobody uses it.
    pub ends_idle: bool,
}

impl Whereabouts {
    /// Writes it, in the place of what was known of this config. Nothing is written where there is no home.
    pub fn write(&self) -> std::io::Result<()> {
        let Some((dir, path)) = place_of(&self.config) else { return Ok(()) };
        let private = Private::create(&dir)?;
        let mut file = tempfile::NamedTempFile::new_in(private.path())?;
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.persist(&path)?;
        Ok(())
    }

    /// What would stand there for a config that loads.
    pub fn of(config: &Config) -> Self {
        // By name: a descriptor of ours says nothing to another process.
        let by_name = |path: &Path| match (&config.state, path.strip_prefix(&config.state_dir)) {
            (Some(state), Ok(below)) => state.path().join(below),
            _ => path.to_owned(),
        };
        Self {
            config: config.named.clone(),
            state_dir: by_name(&config.state_dir),
            socket: by_name(&config.admin.socket),
            audit: by_name(&config.audit.path),
            pid: 0,
            began: 0,
            since: String::new(),
            listen: Vec::new(),
            ends_idle: false,
        }
    }

    /// Whether the daemon that has written it runs still.
    pub fn lives(&self) -> bool {
        self.pid != 0 && process::began(self.pid) == Some(self.began)
    }

    /// What is known of the config of this name. One that others could have written is as good as none.
    pub fn find(named: &Path) -> Option<Self> {
        let (dir, path) = place_of(named)?;
        Private::open(&dir).ok()?;
        read(&path)
    }

    /// All that are known, by the config's name.
    pub fn all() -> Vec<Self> {
        let Some(dir) = env::state_home().map(|home| home.join(DIRECTORY)) else {
            return Vec::new();
        };
        if Private::open(&dir).is_err() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries.filter_map(|entry| read(&entry.path())).collect();
        all.sort_by(|a, b| a.config.cmp(&b.config));
        all
    }
}

fn read(path: &Path) -> Option<Whereabouts> {
    serde_json::from_slice(&place::open(path).ok()?.read(MAX_ENTRY).ok()?).ok()
}

fn place_of(named: &Path) -> Option<(PathBuf, PathBuf)> {
    let dir = env::state_home()?.join(DIRECTORY);
    let name = digest::digest(&digest::SHA256, named.as_os_str().as_bytes());
    let path = dir.join(format!("{}.json", hex(&name.as_ref()[..16])));
    Some((dir, path))
}
