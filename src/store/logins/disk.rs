//! The files of logins: ours alone, or not believed.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{LoginsError, MAX_FILE};

/// A file that is ours alone; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, LoginsError> {
    let unreadable = |source| LoginsError::Unreadable { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.mode() & 0o077 != 0 || meta.uid() != own {
        return Err(LoginsError::Unsafe(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

pub(super) fn private_dir(dir: &Path) -> Result<(), LoginsError> {
    let failed = |source| unwritable(dir, source);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let found = fs::metadata(dir).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own || found.mode() & 0o077 != 0 {
        return Err(LoginsError::Unsafe(dir.to_owned()));
    }
    Ok(())
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> LoginsError {
    LoginsError::Unwritable { path: path.to_owned(), source }
}

/// A link in the last place is not followed, and opening never waits (a FIFO would).
pub(super) fn no_follow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}
