//! Which file is the config, and where its state lives.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::{env, trust};
use crate::model::hex::hex;

/// The largest config that is read, in bytes: room for 100,000 routes.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// The name of a project's own config in the working directory.
pub const PROJECT_FILE: &str = "valetkey.toml";

/// Why no config is used.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// Nothing found anywhere.
    #[error("no config found")]
    Missing,
    /// The named file cannot be read.
    #[error("cannot read the config: {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A project's own config that nobody has allowed, or that changed since.
    #[error("this project's own config is not trusted: {path}", path = path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
    },
    /// Neither the variable nor a home directory says where state goes.
    #[error("no place for state: neither `VALETKEY_STATE_DIR`, `XDG_STATE_HOME` nor `HOME` is set")]
    NoStateHome,
}

impl LocateError {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "config-missing",
            Self::Unreadable { .. } => "config-unreadable",
            Self::Untrusted { .. } => "config-untrusted",
            Self::NoStateHome => "state-dir-missing",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing => {
                "`valetkey init` writes one; or name one with --config or VALETKEY_CONFIG".into()
            }
            Self::Unreadable { .. } => "check the path and its permissions".into(),
            Self::Untrusted { path } => {
                format!("read it, then allow it: valetkey trust {}", path.display())
            }
            Self::NoStateHome => "set VALETKEY_STATE_DIR to a directory of your own".into(),
        }
    }
}

/// A config's text and where it stands.
#[derive(Debug)]
pub struct Found {
    /// Absolute, symlinks followed.
    pub path: PathBuf,
    /// Absolute, as it was named.
    pub named: PathBuf,
    /// What stands there.
    pub text: Vec<u8>,
}

/// The config. First found wins: `explicit`, `$VALETKEY_CONFIG`, a trusted
/// `valetkey.toml` in the working directory, `$XDG_CONFIG_HOME/valetkey/valetkey.toml`.
pub fn find(explicit: Option<&Path>) -> Result<Found, LocateError> {
    let named = explicit.map(Path::to_owned).or_else(|| env::path(env::CONFIG));
    if let Some(path) = named {
        return read(&path);
    }
    let project = Path::new(PROJECT_FILE);
    if project.exists() {
        let found = read(project)?;
        if trust::is_trusted(&found.path, &found.text) {
            return Ok(found);
        }
        return Err(LocateError::Untrusted { path: found.path });
    }
    let home = env::config_home().map(|dir| dir.join(PROJECT_FILE)).filter(|path| path.exists());
    read(&home.ok_or(LocateError::Missing)?)
}

fn read(path: &Path) -> Result<Found, LocateError> {
    let unreadable = |source| LocateError::Unreadable { path: path.to_owned(), source };
    let named = std::path::absolute(path).map_err(unreadable)?;
    let absolute = fs::canonicalize(path).map_err(unreadable)?;
    // One byte over the cap is enough for `check` to see that it is too large.
    let file = fs::File::open(&absolute).map_err(unreadable)?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES + 1), &mut text)
        .map_err(unreadable)?;
    Ok(Found { path: absolute, named, text })
}

/// Where the state of the config at `path` lives.
pub fn state_dir(path: &Path) -> Result<PathBuf, LocateError> {
    if let Some(dir) = env::path(env::STATE_DIR) {
        return std::path::absolute(&dir)
            .map_err(|source| LocateError::Unreadable { path: dir, source });
    }
    let home = env::state_home().ok_or(LocateError::NoStateHome)?;
    let digest = digest::digest(&digest::SHA256, path.as_os_str().as_encoded_bytes());
    Ok(home.join(hex(&digest.as_ref()[..8])))
}
