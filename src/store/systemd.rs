//! Secrets that systemd hands over (`LoadCredential=`): files in `$CREDENTIALS_DIRECTORY`.

use std::path::{Path, PathBuf};

use super::{Place, StoreError, file};
use crate::model::secret::Secret;

/// Where systemd says that they are (systemd.exec(5)).
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// `$CREDENTIALS_DIRECTORY/NAME`; config has checked that the name is a name.
pub(super) fn read(name: &str) -> Result<Secret, StoreError> {
    read_in(std::env::var_os(DIRECTORY).map(PathBuf::from).as_deref(), name)
}

fn read_in(directory: Option<&Path>, name: &str) -> Result<Secret, StoreError> {
    match directory {
        Some(directory) => file::read(&directory.join(name)),
        None => Err(StoreError::Unset(Place::Systemd(name.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_beside_its_siblings() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api"), "canary\n").unwrap();
        assert!(read_in(Some(dir.path()), "api").unwrap().matches(b"canary"));
        assert_eq!(read_in(Some(dir.path()), "other").unwrap_err().code(), "secret-unreadable");
        let error = read_in(None, "api").unwrap_err();
        assert_eq!(error.code(), "secret-unset");
        assert!(error.to_string().contains("`api`"), "{error}");
    }
}
