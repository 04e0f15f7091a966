//! Which projects' own configs may be used: by the hash of path and content, as `valetkey trust`
//! recorded it. A cloned repository must not spend secrets.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::env;
use crate::model::hex::hex;

/// Why trust could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The list cannot be written.
    #[error("cannot record trust in {path}", path = path.display())]
    Unwritable {
        /// The list.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no home to keep it in.
    #[error("no place for state: neither `XDG_STATE_HOME` nor `HOME` is set")]
    NoStateHome,
}

fn list() -> Option<PathBuf> {
    Some(env::state_home()?.join("trusted"))
}

/// One line per allowed file: the hash of its path and content together.
fn line(path: &Path, text: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(path.as_os_str().as_encoded_bytes());
    context.update(b"\0");
    context.update(text);
    hex(context.finish().as_ref())
}

/// Whether exactly this content at this path was allowed.
pub fn is_trusted(path: &Path, text: &[u8]) -> bool {
    let wanted = line(path, text);
    let trusted = list().and_then(|list| fs::read_to_string(list).ok()).unwrap_or_default();
    trusted.lines().any(|l| l.split(' ').next() == Some(&wanted))
}

/// Whether the file at this path may be used only as it was allowed: some content of it was.
pub fn governs(path: &Path) -> bool {
    let named = format!("{path:?}");
    let trusted = list().and_then(|list| fs::read_to_string(list).ok()).unwrap_or_default();
    trusted.lines().any(|l| l.split_once(' ').is_some_and(|(_, path)| path == named))
}

/// Allows exactly this content at this path.
pub fn allow(path: &Path, text: &[u8]) -> Result<(), TrustError> {
    let list = list().ok_or(TrustError::NoStateHome)?;
    let write = || -> std::io::Result<()> {
        if let Some(dir) = list.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&list)?;
        writeln!(file, "{} {:?}", line(path, text), path)
    };
    if is_trusted(path, text) {
        return Ok(());
    }
    write().map_err(|source| TrustError::Unwritable { path: list.clone(), source })
}
