//! Writing a small file of state so that a reader, after whatever end, finds the old one or the new
//! one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::local::place::{self, PlaceError};

/// Replaces `path` by rename, mode 0600; on return it is on the disk.
pub fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    serde_json::to_writer(&mut file, value)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(dir)?.sync_all()
}

/// What stands there; nothing where there is no file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match place::open(path) {
        Ok(opened) => Ok(Some(opened.read(MAX_BYTES)?)),
        Err(PlaceError::Absent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ten thousand of whatever is kept are a few megabytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
