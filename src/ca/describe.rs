//! What `ca show` says of the CA: names, lives and fingerprints, never a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::error::CaError;
use super::line::Lineage;
use super::pem;
use super::root::Generation;
use super::scope::Scope;
use crate::model::clock::rfc3339_seconds;
use crate::model::hex::hex;

/// All of the local CA.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Description {
    pub directory: PathBuf,
    /// All that its roots may sign for together. `None`: any name.
    pub permitted: Option<Vec<Arc<str>>>,
    /// The roots to trust, oldest first: each host is signed for by the first that may.
    pub roots: Vec<RootDescription>,
    /// When the youngest of them has a successor made.
    pub successor_due: String,
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RootDescription {
    pub role: Role,
    /// The names it may sign for. `None`: any name.
    pub permitted: Option<Vec<Arc<str>>>,
    /// The subject as the certificate has it.
    pub subject: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// When it begins to be valid, in RFC 3339.
    pub not_before: String,
    /// When it ends, in RFC 3339.
    pub not_after: String,
}

/// The part of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs, for some name at least.
    Current,
    /// Trusted already; older ones sign for all that it may.
    Successor,
    /// Near its end: younger ones sign.
    Retired,
}

impl Description {
    pub(super) fn of(directory: &Path, line: &Lineage, now: SystemTime) -> Self {
        let generations = line.generations();
        let roots = generations.iter().map(|g| RootDescription::of(role(line, g, now), g));
        let youngest = generations.last().map(|g| g.successor_due());
        Self {
            directory: directory.to_owned(),
            permitted: names(&Scope::all(generations.iter().map(|g| &g.scope))),
            roots: roots.collect(),
            successor_due: rfc3339_seconds(youngest.unwrap_or(now)),
        }
    }
}

fn role(line: &Lineage, generation: &Generation, now: SystemTime) -> Role {
    let anybody = [Arc::from(ANYBODY)];
    let names = match &generation.scope {
        Scope::Any => &anybody[..],
        Scope::Names(names) => names,
    };
    let is_signer = |host: &str| line.signer(host, now).is_ok_and(|g| g.id == generation.id);
    if line.generations().len() == 1 || names.iter().any(|name| is_signer(name)) {
        Role::Current
    } else if generation.signs(now) {
        Role::Successor
    } else {
        Role::Retired
    }
}

/// A name that no route has (RFC 2606): who signs for it signs for any.
const ANYBODY: &str = "anybody.invalid";

fn names(scope: &Scope) -> Option<Vec<Arc<str>>> {
    match scope {
        Scope::Any => None,
        Scope::Names(names) => Some(names.clone()),
    }
}

impl RootDescription {
    fn of(role: Role, generation: &Generation) -> Self {
        let root = &generation.root;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root.der);
        Self {
            role,
            permitted: names(&generation.scope),
            subject: root.subject.clone(),
            sha256: hex(digest.as_ref()),
            not_before: rfc3339_seconds(root.not_before),
            not_after: rfc3339_seconds(root.not_after),
        }
    }
}

/// What is on disk, without making or changing a CA: for `ca show` beside a running daemon or none.
/// With the roots to trust in PEM. `None` where there is no CA.
pub fn show(dir: &Path, now: SystemTime) -> Result<Option<(Description, String)>, CaError> {
    if dir.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let disk = Disk::open(dir)?;
    let lock = disk.lock()?;
    let Some(manifest) = disk.recover(&lock)? else {
        return Ok(None);
    };
    let line = Lineage::read(&disk, &manifest)?;
    Ok(Some((Description::of(dir, &line, now), roots_pem(&line))))
}

pub(super) fn roots_pem(line: &Lineage) -> String {
    line.roots().map(|root| pem::certificate(&root.der)).collect()
}
