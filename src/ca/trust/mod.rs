//! The roots, in files that child processes are pointed to: the bare CA for variables that add
//! (`NODE_EXTRA_CA_CERTS`), everything together for variables that replace (`SSL_CERT_FILE`),
//! a trust store for Java. No key is ever here, and the directory holds none either.
//!
//! There is no directory for `SSL_CERT_DIR`: whoever reads it reads `SSL_CERT_FILE` too, and a
//! directory of hashed links could not be swapped at once.

mod java;
pub mod publish;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::pem;
use crate::local::place;

/// Beside `ca` in the state directory: a directory for each set of files that a user's environment
/// names.
pub const DIRECTORY: &str = "trust";

const CA: &str = "valetkey-ca.pem";
const COMBINED: &str = "combined.pem";
const JAVA: &str = "truststore.p12";

/// The largest file of the user's that is taken up, in bytes: all roots of a platform have a
/// quarter of a megabyte.
const MAX_ROOTS_FILE: u64 = 16 * 1024 * 1024;

/// The password of the Java trust store: public, and the one Java itself uses.
pub const JAVA_PASSWORD: &str = "changeit";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundles {
    /// Our roots alone, PEM: for variables that add.
    pub ca: PathBuf,
    /// The platform's roots, the user's files and ours, PEM: for variables that replace.
    pub combined: PathBuf,
    /// The same as a PKCS#12 trust store with [`JAVA_PASSWORD`].
    pub java: PathBuf,
    /// The user's files that were left out, and why: worth a warning.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Why bundles could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot {doing}: {path}")]
    Io {
        /// A verb and its object.
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Java's trust store could not be put together.
    #[error("cannot make a java trust store")]
    Java(#[source] p12_keystore::error::Error),
    /// Our own roots do not parse; the caller passed something else.
    #[error("the ca's roots are not PEM certificates")]
    Roots,
}

impl TrustError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "trust-io",
            Self::Java(_) => "trust-java",
            Self::Roots => "trust-roots",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the disk has room and that the directory is ours",
            Self::Java(_) | Self::Roots => "this is a bug in valetkey; please report it",
        }
    }
}

/// Writes the three files into `dir` (made 0755 where absent), each in one step and mode 0644; what
/// has not changed is left alone. A user's file that cannot be read is skipped, its keys are never
/// copied.
pub fn write_bundles(
    dir: &Path,
    ours_pem: &str,
    platform_roots: &[CertificateDer<'static>],
    user_files: &[PathBuf],
) -> Result<Bundles, TrustError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .map_err(|error| io_error("make the bundle directory", dir, error))?;
    let ours = pem::certificates(ours_pem.as_bytes())
        .filter(|ours| !ours.is_empty())
        .ok_or(TrustError::Roots)?;
    let mut skipped = Vec::new();
    let users = user_files.iter().flat_map(|path| user_roots(path, &mut skipped)).collect();
    let all = merged(&ours, users, platform_roots);

    let (ca, combined, java) = (dir.join(CA), dir.join(COMBINED), dir.join(JAVA));
    let (bare, text) = (text(&ours), text(&all));
    if differs(&combined, text.as_bytes()) || !java.is_file() {
        // Salted, so its bytes always differ; the PEM beside it, written last, says whether it is
        // up to date.
        write(dir, &java, &java::trust_store(&all)?)?;
        write(dir, &combined, text.as_bytes())?;
    }
    // The last of all: it says which of the others' roots are ours.
    if differs(&ca, bare.as_bytes()) {
        write(dir, &ca, bare.as_bytes())?;
    }
    Ok(Bundles { ca, combined, java, skipped })
}

/// Brings what was handed out up to date, in place: every directory below `all` has our roots as
/// they are now, and whatever else it had, although the files that this came from may be gone. One
/// that fails does not stop the others.
pub fn renew(all: &Path, ours_pem: &str) -> Result<(), TrustError> {
    let entries = match fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| io_error("list the bundles", all, error))?,
    };
    let dirs = entries.flatten().map(|entry| entry.path()).filter(|dir| dir.join(CA).is_file());
    dirs.map(|dir| renew_one(&dir, ours_pem)).fold(Ok(()), Result::and)
}

fn renew_one(dir: &Path, ours_pem: &str) -> Result<(), TrustError> {
    let _lock = lock(dir)?;
    let read = |name: &str| {
        let path = dir.join(name);
        let text = fs::read(&path).map_err(|error| io_error("read a bundle", &path, error))?;
        Ok::<_, TrustError>(pem::certificates(&text).unwrap_or_default())
    };
    let before = read(CA)?;
    if Some(&before) == pem::certificates(ours_pem.as_bytes()).as_ref() {
        return Ok(());
    }
    let mut others = read(COMBINED)?;
    others.retain(|root| !before.contains(root));
    write_bundles(dir, ours_pem, &others, &[]).map(drop)
}

/// Held by whoever writes bundles into `dir`, which it makes where there is none.
pub fn lock(dir: &Path) -> Result<File, TrustError> {
    let failed = |error| io_error("lock the bundles", dir, error);
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(dir.join("lock")).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// All certificates in PEM, ours first, each once.
fn merged(
    ours: &[CertificateDer<'static>],
    users: Vec<CertificateDer<'static>>,
    platform: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut seen = HashSet::new();
    let all = ours.iter().cloned().chain(users).chain(platform.iter().cloned());
    all.filter(|root| seen.insert(root.clone())).collect()
}

fn text(roots: &[CertificateDer<'_>]) -> String {
    roots.iter().map(|root| pem::certificate(root)).collect()
}

/// A file of certificates, or a directory of such files (`SSL_CERT_DIR`).
fn user_roots(path: &Path, skipped: &mut Vec<(PathBuf, String)>) -> Vec<CertificateDer<'static>> {
    let files = match fs::read_dir(path) {
        Ok(entries) => {
            entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_file()).collect()
        }
        Err(_) => vec![path.to_owned()],
    };
    let mut roots = Vec::new();
    for file in files {
        match place::open(&file).and_then(|opened| opened.read(MAX_ROOTS_FILE)) {
            Err(error) => skipped.push((file, io::Error::from(error).to_string())),
            Ok(text) => match pem::certificates(&text) {
                Some(found) if !found.is_empty() => roots.extend(found),
                _ => skipped.push((file, "no PEM certificates in it".to_owned())),
            },
        }
    }
    roots
}

fn differs(path: &Path, wanted: &[u8]) -> bool {
    !fs::read(path).is_ok_and(|found| found == wanted)
}

/// Whole or not at all; readers keep the old file until the new one has its name.
fn write(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    let failed = |error| io_error("write a bundle", path, error);
    let mut file = tempfile::Builder::new().prefix(".bundle-").tempfile_in(dir).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> TrustError {
    TrustError::Io { doing, path: path.to_owned(), source }
}
