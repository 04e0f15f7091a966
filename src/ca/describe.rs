//! What `ca show` says of the CA: names, lives and fingerprints, never a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::disk::Disk;
use super::error::CaError;
use super::line::Line;
use super::pem;
use super::root::Root;
use super::scope::Scope;
use crate::model::clock::rfc3339_seconds;
use crate::model::hex::hex;

/// All of the local CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Where it lies.
    pub directory: PathBuf,
    /// `None`: any name.
    pub permitted: Option<Vec<Arc<str>>>,
    /// The root to trust, those to come and those that were, the one that signs first.
    pub roots: Vec<RootDescription>,
    /// When a successor is made, or was.
    pub successor_due: String,
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootDescription {
    /// Its part.
    pub role: Role,
    /// As in the certificate.
    pub subject: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
}

/// The part of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs.
    Current,
    /// Trusted already, signs later.
    Successor,
    /// Signs no more, its keys are gone, trusted until its end.
    Retired,
}

impl Description {
    pub(super) fn of(directory: &Path, line: &Line, now: SystemTime) -> Self {
        let active = line.active(now);
        // Past the hand-over the successor signs, whether or not that is on disk yet.
        let handed_over = active.id != line.current.id;
        let (first, second) = match handed_over {
            true => (Role::Retired, Role::Current),
            false => (Role::Current, Role::Successor),
        };
        let mut roots = vec![RootDescription::of(first, &line.current.root)];
        roots.extend(line.next.iter().map(|next| RootDescription::of(second, &next.root)));
        roots.extend(line.retired.iter().map(|(_, r)| RootDescription::of(Role::Retired, r)));
        roots.sort_by_key(|root| root.role != Role::Current);
        let permitted = match &active.scope {
            Scope::Any => None,
            Scope::Names(names) => Some(names.clone()),
        };
        let successor_due = rfc3339_seconds(active.successor_due());
        Self { directory: directory.to_owned(), permitted, roots, successor_due }
    }
}

impl RootDescription {
    fn of(role: Role, root: &Root) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root.der);
        Self {
            role,
            subject: root.subject.clone(),
            sha256: hex(digest.as_ref()),
            not_before: rfc3339_seconds(root.not_before),
            not_after: rfc3339_seconds(root.not_after),
        }
    }
}

/// What is on disk, without making or changing a CA: for `ca show` beside a running daemon or none. With the
/// roots to trust in PEM. `None` where there is no CA.
pub fn show(dir: &Path, now: SystemTime) -> Result<Option<(Description, String)>, CaError> {
    if dir.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let disk = Disk::open(dir)?;
    let lock = disk.lock()?;
    let Some(manifest) = disk.recover(&lock)? else {
        return Ok(None);
    };
    let line = Line::read(&disk, &manifest)?;
    Ok(Some((Description::of(dir, &line, now), roots_pem(&line))))
}

pub(super) fn roots_pem(line: &Line) -> String {
    line.roots().map(|root| pem::certificate(&root.der)).collect()
}
