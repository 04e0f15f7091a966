//! The files of logins: ours alone, or not believed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{LoginsError, MAX_FILE};
use crate::local::place::{NO_LINK, PlaceError, Private};
use crate::local::uid::is_ours;

/// A file that is ours alone; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, LoginsError> {
    let unreadable = |source| LoginsError::Unreadable { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.mode() & 0o077 != 0 || !is_ours(meta.uid()) {
        return Err(LoginsError::Unsafe(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

pub(super) fn private_dir(dir: &Path) -> Result<(), LoginsError> {
    match Private::create(dir) {
        Ok(_) => Ok(()),
        Err(PlaceError::Absent { path, source } | PlaceError::Io { path, source }) => {
            Err(unwritable(&path, source))
        }
        Err(_) => Err(LoginsError::Unsafe(dir.to_owned())),
    }
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> LoginsError {
    LoginsError::Unwritable { path: path.to_owned(), source }
}

/// A link in the last place is not followed, and opening never waits (a FIFO would).
pub(super) fn no_follow() -> i32 {
    NO_LINK
}
