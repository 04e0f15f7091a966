//! Secrets in files, one to a file.

use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Loose, MAX_SECRET, Place, StoreError, checked, without_newline};
use crate::local::place;
use crate::model::secret::Secret;

/// The content without one trailing newline.
pub(super) fn read(path: &Path) -> Result<Secret, StoreError> {
    let place = Place::File(path.to_owned());
    let bytes = content(path).map_err(|error| StoreError::Unreadable(place.clone(), error))?;
    checked(without_newline(bytes), place)
}

/// Reads up to three bytes too many, so that the newline doesn't count and more is seen.
fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe without a writer would hold us up for good.
    let file = place::open(path)?.into_file();
    // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let most = MAX_SECRET + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 32));
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether others may read it. A warning only: container platforms mount secrets so.
#[cfg(unix)]
pub(super) fn loose(path: &Path) -> Option<Loose> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then(|| Loose { path: path.to_owned(), mode })
}

#[cfg(not(unix))]
pub(super) fn loose(_: &Path) -> Option<Loose> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(content: &[u8]) -> Result<Secret, StoreError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        crate::store::read(&crate::config::SecretSource::File(file.path().to_owned()))
    }

    #[test]
    fn one_newline_is_dropped() {
        for content in ["canary", "canary\n", "canary\r\n"] {
            assert!(with(content.as_bytes()).unwrap().matches(b"canary"));
        }
    }

    #[test]
    fn what_could_break_out_is_refused_silently() {
        for content in
            [&b"canary\n\n"[..], b"can\nary", b"canary\r", b"\xef\xbb\xbfcanary", b"c\0canary"]
        {
            let error = with(content).unwrap_err();
            assert_eq!(error.code(), "secret-invalid");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert_eq!(with(b"").unwrap_err().code(), "secret-empty");
        assert_eq!(with(b"\n").unwrap_err().code(), "secret-empty");
        assert_eq!(with(&vec![b'x'; MAX_SECRET + 1]).unwrap_err().code(), "secret-too-long");
        assert_eq!(with(&vec![b'x'; MAX_SECRET]).unwrap().len(), MAX_SECRET);
    }

    #[test]
    fn errors_name_the_path() {
        for path in ["/nonexistent/key", "/", "/dev/null"] {
            let error = read(Path::new(path)).unwrap_err();
            assert_eq!(error.code(), "secret-unreadable");
            assert!(error.to_string().contains(path));
        }
    }

    #[cfg(unix)]
    #[test]
    fn loose_permissions_are_seen() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o600);
        assert_eq!(loose(file.path()), None);
        set(0o640);
        assert_eq!(loose(file.path()).unwrap().mode, 0o640);
    }
}
