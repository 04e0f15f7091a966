//! Writing a new secret over an old one: the new one is whole and on the disk before the old one
//! goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Place, StoreError, checked, file, one_line, without_newline};

/// Replaces the secret in a file that is there. The same secret again is refused: nothing was
/// rotated.
pub(super) fn replace(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<(), StoreError> {
    let place = Place::File(path.to_owned());
    let new = one_line(checked(without_newline(bytes), Place::Input)?, Place::Input)?;
    // A link stays one: what it points to is replaced.
    let failed = |error| StoreError::Unwritable(place.clone(), error);
    let real = path.canonicalize().map_err(failed)?;
    if file::read(&real).is_ok_and(|old| old.matches(new.expose())) {
        return Err(StoreError::Unchanged(place));
    }
    // The newline is dropped again when it is read.
    let mut line = Zeroizing::new(Vec::with_capacity(new.len() + 1));
    line.extend_from_slice(new.expose());
    line.push(b'\n');
    write(&real, &line).map_err(failed)
}

/// Whole, on the disk, and only then in the place of what was there. One writer at a time.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    if let Err(error) = fs::remove_file(fresh)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_one_is_whole_or_the_old_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let put = |text: &str| replace(&path, Zeroizing::new(text.as_bytes().to_vec()));
        assert_eq!(put("one").unwrap_err().code(), "secret-unwritable", "only what config names");
        fs::write(&path, "old\n").unwrap();
        put("new\n").unwrap();
        assert!(file::read(&path).unwrap().matches(b"new"));
        assert_eq!(file::loose(&path), None);
        assert_eq!(put("new").unwrap_err().code(), "secret-unchanged");
        for bad in ["", "\n", "two\nlines", "canary\0"] {
            let error = put(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"));
            assert!(file::read(&path).unwrap().matches(b"new"), "{bad:?}");
        }
        // What a killed run left behind is in nobody's way.
        fs::write(dir.path().join("key.new"), "half").unwrap();
        put("newer").unwrap();
        assert!(file::read(&path).unwrap().matches(b"newer"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, Zeroizing::new(b"newest".to_vec())).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(file::read(&path).unwrap().matches(b"newest"));
    }
}
