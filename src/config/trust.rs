//! Which projects' own configs may be used: exactly as they were when `valetkey trust` recorded
//! them, and under the name that was trusted, whatever it leads to by now. A cloned repository must
//! not spend secrets.
//!
//! One record for each name, below the directory of all state: what is trusted now takes the place
//! of what was.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::env;
use super::found::{Found, MAX_CONFIG};
use super::held::Held;
use crate::local::place::{self, PlaceError, Private};
use crate::model::clock::rfc3339_seconds;
use crate::model::hex::hex;

/// Below the directory of all state.
const PROJECTS: &str = "projects";
/// A record holds the config's text.
const MAX_RECORD: u64 = 4 * MAX_CONFIG;

/// Why trust could not be recorded, or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no home to keep it in.
    #[error("no place for state: neither `XDG_STATE_HOME` nor `HOME` is set to an absolute path")]
    NoStateHome,
    /// The directory or a record is not ours alone.
    #[error("the records of trusted projects cannot be believed")]
    Place(#[from] PlaceError),
    /// A record is not one.
    #[error("the record of a trusted project cannot be read: {path}", path = path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    /// A record cannot be written.
    #[error("cannot record trust in {path}", path = path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
}

impl TrustError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoStateHome => "state-dir-missing",
            Self::Place(_) | Self::Record { .. } => "trust-unreadable",
            Self::Unwritable { .. } => "trust-unwritable",
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::NoStateHome => {
                "set HOME, or XDG_STATE_HOME, to a directory of your own".to_owned()
            }
            Self::Place(error) => error.hint(),
            Self::Record { path, .. } => {
                format!("look at it, remove it, and trust the project again: {}", path.display())
            }
            Self::Unwritable { .. } => {
                "check the permissions and the disk of the state directory, or set XDG_STATE_HOME"
                    .to_owned()
            }
        }
    }
}

/// What was trusted under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name, for people's eyes: its bytes are in the digest.
    pub named: String,
    /// Of name, place, text and held files.
    digest: String,
    /// The config, which holds no secret.
    pub text: String,
    /// Files of the project that it has run or believed, each with its SHA-256; `None`: it was
    /// absent.
    pub files: Vec<(String, Option<String>)>,
    /// When it was trusted, in RFC 3339.
    pub since: String,
}

impl Record {
    /// What it would be for a config as it is now.
    pub fn of(found: &Found, held: &Held, now: SystemTime) -> Self {
        let files = held
            .files()
            .map(|(path, sha256)| (path.to_string_lossy().into_owned(), sha256.map(str::to_owned)));
        Self {
            named: found.named.to_string_lossy().into_owned(),
            digest: digest_of(found, held),
            text: String::from_utf8_lossy(&found.text).into_owned(),
            files: files.collect(),
            since: rfc3339_seconds(now),
        }
    }

    /// Whether this very text was trusted; what it names is another question.
    pub(super) fn has_text(&self, found: &Found) -> bool {
        self.text.as_bytes() == found.text
    }

    /// Whether name, place, text and files are as they were trusted.
    pub fn is_for(&self, found: &Found, held: &Held) -> bool {
        self.digest == digest_of(found, held)
    }

    /// The files that were others, or were not held, when it was trusted.
    pub fn changed(&self, held: &Held) -> Vec<String> {
        let known = |path: &str| self.files.iter().find(|(name, _)| name == path);
        let differs = held.files().filter_map(|(path, sha256)| {
            let path = path.to_string_lossy();
            let same = known(&path).is_some_and(|(_, then)| then.as_deref() == sha256);
            (!same).then(|| path.into_owned())
        });
        differs.collect()
    }
}

/// What tells one trusted state from all others.
pub(super) fn digest_of(found: &Found, held: &Held) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [found.named.as_os_str().as_bytes(), found.path.as_os_str().as_bytes()] {
        context.update(part);
        context.update(b"\0");
    }
    context.update(digest::digest(&digest::SHA256, &found.text).as_ref());
    held.digest_into(&mut context);
    hex(context.finish().as_ref())
}

/// The records of one user.
#[derive(Clone, Debug)]
pub struct Records {
    dir: Option<PathBuf>,
}

impl Records {
    /// Those of whoever runs this; nothing is trusted where he has no home.
    pub fn own() -> Self {
        Self { dir: env::state_home().map(|home| home.join(PROJECTS)) }
    }

    /// Trusts no project.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { dir: None }
    }

    /// What was trusted under this name.
    pub fn find(&self, named: &Path) -> Result<Option<Record>, TrustError> {
        let Some((dir, path)) = self.place_of(named) else { return Ok(None) };
        match Private::open(dir) {
            Err(PlaceError::Absent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(dir) => drop(dir.unexposed()?),
        }
        match read(path) {
            Err(TrustError::Place(PlaceError::Absent { .. })) => Ok(None),
            record => record.map(Some),
        }
    }

    /// All that is trusted, by name; of one that cannot be read, why.
    pub fn all(&self) -> Result<Vec<Result<Record, TrustError>>, TrustError> {
        let Some(dir) = self.dir.as_deref() else { return Ok(Vec::new()) };
        match Private::open(dir) {
            Err(PlaceError::Absent { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
            Ok(dir) => drop(dir.unexposed()?),
        }
        let unreadable = |source| PlaceError::Io { path: dir.to_owned(), source };
        let mut paths: Vec<_> = std::fs::read_dir(dir)
            .map_err(unreadable)?
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        paths.sort();
        let mut all: Vec<_> = paths.into_iter().map(read).collect();
        all.sort_by(|a, b| {
            let name = |one: &Result<Record, _>| one.as_ref().ok().map(|one| one.named.clone());
            name(a).cmp(&name(b))
        });
        Ok(all)
    }

    /// Trusts what goes by this name no longer, be it there or not. Whether it was trusted.
    pub fn forget(&self, named: &Path) -> Result<bool, TrustError> {
        let Some((dir, path)) = self.place_of(named) else { return Ok(false) };
        match Private::open(dir) {
            Err(PlaceError::Absent { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
            Ok(dir) => drop(dir.unexposed()?),
        }
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(TrustError::Unwritable { path, source }),
        }
    }

    /// Trusts a state, in the place of what was trusted under its name.
    pub fn allow(&self, found: &Found, record: &Record) -> Result<(), TrustError> {
        let (dir, path) = self.place_of(&found.named).ok_or(TrustError::NoStateHome)?;
        let private = Private::create(dir)?.unexposed()?;
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(private.path())?;
            serde_json::to_writer(&mut file, record)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| TrustError::Unwritable { path: path.clone(), source })
    }

    /// Where the record for a name is, or would be.
    pub fn file_of(&self, named: &Path) -> Option<PathBuf> {
        self.place_of(named).map(|(_, path)| path)
    }

    /// The directory, and the file for a name: by the name's own bytes, whatever they are.
    fn place_of(&self, named: &Path) -> Option<(&Path, PathBuf)> {
        let dir = self.dir.as_deref()?;
        let name = digest::digest(&digest::SHA256, named.as_os_str().as_bytes());
        Some((dir, dir.join(format!("{}.json", hex(name.as_ref())))))
    }
}

fn read(path: PathBuf) -> Result<Record, TrustError> {
    let text = place::open(&path)?.read(MAX_RECORD)?;
    serde_json::from_slice(&text).map_err(|source| TrustError::Record { path, source })
}

#[cfg(test)]
mod tests;
