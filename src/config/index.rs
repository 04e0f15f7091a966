//! Which config has which daemon: an entry for each config's name, written by the daemon when it
//! listens.
//!
//! Managing a running daemon, or reading what it wrote, must not need a config that loads. So what
//! that takes stands here: the socket, the state directory and the audit.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::at_start::{self, AtStart, LISTEN};
use super::{Config, env};
use crate::local::place::{self, Private};
use crate::local::process;
use crate::model::hex::hex;

/// Below the directory of all state.
const DAEMONS: &str = "daemons";
/// An entry has a few paths.
const MAX_ENTRY: u64 = 64 * 1024;

/// The daemon that a config has, or had last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The config, as it was named.
    pub config: PathBuf,
    pub state_dir: PathBuf,
    /// Its admin socket.
    pub socket: PathBuf,
    /// The current file of its trail.
    pub audit: PathBuf,
    /// Its process, while it runs.
    pub pid: u32,
    /// When that began, as the kernel counts: another process that has its number by now is not it.
    #[serde(default)]
    pub began: u64,
    /// When it started, in RFC 3339.
    pub since: String,
    pub listen: Vec<String>,
    /// Whether it ends by itself when nobody uses it.
    pub ends_idle: bool,
    /// What it began with. Of a daemon of an earlier version: nothing.
    #[serde(default)]
    pub started_with: AtStart,
}

impl Whereabouts {
    /// Writes it, in the place of what was known of this config. Nothing is written where there is
    /// no home.
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
        Self {
            config: config.named.clone(),
            state_dir: config.by_name(&config.state_dir),
            socket: config.by_name(&config.admin.socket),
            audit: config.by_name(&config.audit.path),
            started_with: at_start::of(config),
            ..Self::default()
        }
    }

    /// What its config says otherwise by now, and a daemon that runs takes up at its next start.
    pub fn outdated_by(&self, config: &Config) -> Vec<String> {
        let now = at_start::of(config);
        let differs = |(name, began): (&String, &String)| match now.get(name) {
            Some(now) if name == LISTEN && now != began => !self.listens_as(config),
            now => now != Some(began),
        };
        let began = self.started_with.iter().filter(|one| differs(*one));
        began.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the next daemon would be found where this one is.
    fn listens_as(&self, config: &Config) -> bool {
        if !config.proxy.any_port {
            return at_start::listen(config) == self.listen;
        }
        let usual = config.proxy.listen.first().map(SocketAddr::ip);
        let only = match self.listen.as_slice() {
            [only] => only.parse::<SocketAddr>().ok(),
            _ => None,
        };
        only.is_some() && only.map(|only| only.ip()) == usual
    }

    /// Whether the daemon that has written it runs still.
    pub fn lives(&self) -> bool {
        self.pid != 0 && process::began(self.pid) == Some(self.began)
    }

    /// What is known of the config of this name. One that others could have written is as good as
    /// none.
    pub fn find(named: &Path) -> Option<Self> {
        let (dir, path) = place_of(named)?;
        Private::open(&dir).ok()?;
        read(&path)
    }

    /// All that are known, by the config's name.
    pub fn all() -> Vec<Self> {
        let Some(dir) = env::state_home().map(|home| home.join(DAEMONS)) else {
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
    let dir = env::state_home()?.join(DAEMONS);
    let name = digest::digest(&digest::SHA256, named.as_os_str().as_bytes());
    let path = dir.join(format!("{}.json", hex(&name.as_ref()[..16])));
    Some((dir, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(keys: &str) -> Config {
        let text = format!("config_version = 1\n{keys}");
        parse("/c/valetkey.toml".as_ref(), text.as_bytes(), "/s".into()).unwrap().0
    }

    #[test]
    fn what_takes_effect_at_a_start_is_told_by_name() {
        let began = |keys: &str, listen: &str| Whereabouts {
            listen: vec![listen.to_owned()],
            ..Whereabouts::of(&config(keys))
        };
        let free = || began("", "127.0.0.1:40000");
        let named = || began("[proxy]\nlisten = \"127.0.0.1:9000\"\n", "127.0.0.1:9000");
        for (daemon, now, outdated) in [
            (free(), "", vec![]),
            (free(), "[proxy]\nlisten = \"127.0.0.1:40000\"", vec![]),
            (free(), "[proxy]\nlisten = \"127.0.0.1:9000\"", vec!["proxy.listen"]),
            // The port of last time is the first that is tried.
            (named(), "", vec![]),
            (began("[proxy]\nlisten = \"0.0.0.0:9000\"", "0.0.0.0:9000"), "", vec!["proxy.listen"]),
            (named(), "[proxy]\nlisten = [\"127.0.0.1:9000\", \"unix:x\"]", vec!["proxy.listen"]),
            (
                free(),
                "[audit]\nkeep = 3\n[admin]\nmetrics = \"127.0.0.1:1\"",
                vec!["admin", "audit"],
            ),
            (
                free(),
                "[logins]\nprotection = \"key-file\"\n[ca]\npublish = \"/p\"",
                vec!["ca.publish", "logins"],
            ),
            (free(), "[proxy]\ntransparent = \"127.0.0.1:8385\"", vec!["proxy.transparent"]),
            (free(), "[proxy]\nunmatched = \"deny\"\n[ca]\npermit = [\"a.example\"]", vec![]),
            (Whereabouts { started_with: AtStart::new(), ..free() }, "[audit]\nkeep = 3", vec![]),
        ] {
            assert_eq!(daemon.outdated_by(&config(now)), outdated, "{now}");
        }
    }
}
