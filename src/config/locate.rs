//! Which file is the config, and where its state lives.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::env;
use super::found::{Found, MAX_CONFIG};
use super::search::{self, By, Candidate};
use super::trust::TrustError;
use crate::local::place::{self, Exposure, PlaceError, Private};
use crate::model::hex::hex;

/// Why no config is used.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// It is no longer what whoever started or asked us has read.
    #[error("the config has changed since it was read: {path}", path = path.display())]
    Changed { path: PathBuf },
    #[error("no config found")]
    Missing,
    /// Neither the variable nor a home directory says where state goes.
    #[error(
        "no place for state: neither `VALETKEY_STATE_DIR`, nor an absolute `XDG_STATE_HOME` or `HOME` is set"
    )]
    NoStateHome,
    /// What was trusted cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The named file cannot be read.
    #[error("cannot read the config: {path}", path = path.display())]
    Unreadable { path: PathBuf, source: PlaceError },
    /// A project's own config that nobody has allowed, or that is not as it was allowed.
    #[error("this project's own config {}: {path}", untrusted(.changed), path = path.display())]
    Untrusted {
        /// The file, as it is named.
        path: PathBuf,
        /// What is not as it was trusted; empty: it never was.
        changed: Vec<String>,
    },
}

fn untrusted(changed: &[String]) -> String {
    match changed {
        [] => "is not trusted".to_owned(),
        changed => format!("is no longer what was trusted ({} changed)", changed.join(", ")),
    }
}

impl LocateError {
    /// Somebody else could have put it there.
    pub fn exposed(path: PathBuf, exposure: Exposure) -> Self {
        Self::Unreadable { source: PlaceError::Exposed { path: path.clone(), exposure }, path }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "config-changed",
            Self::Missing => "config-missing",
            Self::NoStateHome => "state-dir-missing",
            Self::Trust(error) => error.code(),
            Self::Unreadable { .. } => "config-unreadable",
            Self::Untrusted { .. } => "config-untrusted",
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Changed { .. } => "somebody is editing it: look at it, and try again".into(),
            Self::Missing => {
                "`valetkey init` writes one; or name one with --config or VALETKEY_CONFIG".into()
            }
            Self::NoStateHome => "set VALETKEY_STATE_DIR to a directory of your own".into(),
            Self::Trust(error) => error.hint(),
            Self::Unreadable { source, .. } => source.hint(),
            Self::Untrusted { path, .. } => {
                format!(
                    "read it, then allow it: valetkey trust {}; or name another config with --config",
                    path.display()
                )
            }
        }
    }
}

/// The config. First found wins: `explicit`, `$VALETKEY_CONFIG`, the nearest `valetkey.toml`
/// upwards from the working directory, `$XDG_CONFIG_HOME/valetkey/valetkey.toml`.
pub fn find(explicit: Option<&Path>) -> Result<Found, LocateError> {
    let Candidate { path, by } = search::candidates(explicit).chosen.ok_or(LocateError::Missing)?;
    let found = read(&path)?;
    let exposure = match by {
        By::Flag | By::Variable => None,
        By::Project => return Ok(Found { is_project: true, ..found }),
        // Nobody named it, so that nobody has said that he means another's.
        By::Home => place::exposure(&found.named),
    };
    match exposure {
        None => Ok(found),
        Some(exposure) => Err(LocateError::exposed(found.named, exposure)),
    }
}

/// The name of the config that [`find`] would use, be it there or not, readable or not; absolute.
pub fn name(explicit: Option<&Path>) -> Result<PathBuf, LocateError> {
    let chosen = search::candidates(explicit).chosen.map(|chosen| chosen.path);
    let path = chosen.or_else(search::own).ok_or(LocateError::Missing)?;
    std::path::absolute(&path).map_err(|source| LocateError::Unreadable {
        path: path.clone(),
        source: PlaceError::Io { path, source },
    })
}

fn read(path: &Path) -> Result<Found, LocateError> {
    let unreadable = |source| LocateError::Unreadable { path: path.to_owned(), source };
    let named = std::path::absolute(path)
        .map_err(|source| unreadable(PlaceError::Io { path: path.to_owned(), source }))?;
    let opened = place::open(path).map_err(unreadable)?;
    let real = opened.path.clone();
    // One byte over the cap is enough for `check` to see that it is too large.
    let text = opened
        .read_up_to(MAX_CONFIG + 1)
        .map_err(|source| unreadable(PlaceError::Io { path: path.to_owned(), source }))?;
    Ok(Found { path: real, named, text, is_project: false })
}

/// Where the state of the config at `path` lives.
pub fn state_dir(path: &Path) -> Result<PathBuf, LocateError> {
    if let Some(dir) = env::path(env::STATE_DIR) {
        return std::path::absolute(&dir).map_err(|source| LocateError::Unreadable {
            path: dir.clone(),
            source: PlaceError::Io { path: dir, source },
        });
    }
    let home = env::state_home().ok_or(LocateError::NoStateHome)?;
    let digest = digest::digest(&digest::SHA256, path.as_os_str().as_encoded_bytes());
    Ok(home.join(hex(&digest.as_ref()[..8])))
}

/// Why a state directory is not used.
#[derive(Debug, thiserror::Error)]
#[error("the state directory must be ours alone (mode 0700)")]
pub struct StateError(#[from] PlaceError);

impl StateError {
    pub fn code(&self) -> &'static str {
        match &self.0 {
            PlaceError::Absent { .. } | PlaceError::Io { .. } => "state-dir-unwritable",
            PlaceError::Exposed { .. } => "state-dir-exposed",
            PlaceError::Unmapped { .. } => self.0.code(),
            PlaceError::Loose { .. }
            | PlaceError::NotPlain { .. }
            | PlaceError::Owner { .. }
            | PlaceError::TooLarge { .. } => "state-dir-unsafe",
        }
    }

    pub fn hint(&self) -> String {
        match &self.0 {
            PlaceError::Exposed { .. } | PlaceError::Absent { .. } | PlaceError::Io { .. } => {
                format!("{}: set VALETKEY_STATE_DIR", self.0.hint())
            }
            other => other.hint(),
        }
    }
}

/// Makes the state directory where it is absent, and judges it.
pub fn open_state(dir: &Path) -> Result<Private, StateError> {
    Ok(Private::create(dir)?)
}

/// The same for whoever hands out paths below it: nobody may be able to put something else there.
pub fn open_state_to_share(dir: &Path) -> Result<Private, StateError> {
    Ok(Private::create(dir)?.unexposed()?)
}
