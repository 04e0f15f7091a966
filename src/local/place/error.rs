//! Why a place is not believed, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::Exposure;

/// Why a place is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("there is nothing at {path}", path = path.display())]
    Absent {
        path: PathBuf,
        /// As the kernel says it.
        source: io::Error,
    },
    /// Others could put something else there.
    #[error("{path} is not safe from other users: {exposure}", path = path.display())]
    Exposed { path: PathBuf, exposure: Exposure },
    #[error("cannot use {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Others than we have rights to it.
    #[error("others have access to {path} (mode {mode:04o})", path = path.display())]
    Loose { path: PathBuf, mode: u32 },
    /// Something of another kind is there: a link, a pipe, a directory.
    #[error("{path} is not {wanted}", path = path.display())]
    NotPlain { path: PathBuf, wanted: &'static str },
    /// It belongs to another user.
    #[error("{path} belongs to uid {uid}", path = path.display())]
    Owner { path: PathBuf, uid: u32 },
    /// There is more in it than is read.
    #[error("{path} is larger than {most} bytes", path = path.display())]
    TooLarge {
        path: PathBuf,
        /// The most that is read, in bytes.
        most: u64,
    },
    /// Our own user reads as the one that stands for all unknown ones.
    #[error(
        "this user namespace does not know our own user (uid {uid}), so nobody can be told from it"
    )]
    Unmapped {
        /// The uid that stands for all that a user namespace does not map.
        uid: u32,
    },
}

impl PlaceError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "place-absent",
            Self::Exposed { .. } => "place-exposed",
            Self::Io { .. } => "place-unusable",
            Self::Loose { .. } => "place-loose",
            Self::NotPlain { .. } => "place-not-plain",
            Self::Owner { .. } => "place-foreign",
            Self::TooLarge { .. } => "place-too-large",
            Self::Unmapped { .. } => "uid-unmapped",
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Absent { .. } => "check the path".to_owned(),
            Self::Exposed { exposure, .. } => exposure.hint(),
            Self::Io { .. } => "check the path, its permissions and the disk".to_owned(),
            Self::Loose { path, .. } => format!(
                "chmod go-rwx {}; a file system without permissions is no place for it",
                path.display()
            ),
            Self::NotPlain { .. } => "look who put it there, and remove it".to_owned(),
            Self::Owner { path, .. } => format!(
                "chown it where it is yours (a backup that root restored), or choose another place: {}",
                path.display()
            ),
            Self::TooLarge { .. } => "check that it is the right file".to_owned(),
            Self::Unmapped { .. } => {
                "run it as a user that the namespace maps: another one than the overflow uid"
                    .to_owned()
            }
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Absent { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// For whoever says himself which file it was about.
impl From<PlaceError> for io::Error {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Absent { source, .. } | PlaceError::Io { source, .. } => source,
            PlaceError::NotPlain { wanted, .. } => {
                Self::new(io::ErrorKind::InvalidInput, format!("not {wanted}"))
            }
            other => Self::new(io::ErrorKind::InvalidInput, other.to_string()),
        }
    }
}
