//! [`Exposure`]: who else could put something else in a place.

use std::fmt;
use std::path::PathBuf;

/// Who else could put something else in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// A directory or link on the way belongs to another user.
    Owner { path: PathBuf, uid: u32 },
    /// Other users may write to a directory on the way.
    Writable { path: PathBuf, mode: u32 },
}

impl Exposure {
    pub fn hint(&self) -> String {
        match self {
            Self::Owner { .. } => "choose a place below a directory of your own".to_owned(),
            Self::Writable { path, .. } => {
                format!("chmod go-w {}, or choose another place", path.display())
            }
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { path, uid } => write!(f, "uid {uid} owns {}", path.display()),
            Self::Writable { path, mode } => {
                write!(f, "other users may write to {} (mode {mode:04o})", path.display())
            }
        }
    }
}
