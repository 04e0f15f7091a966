//! `audit.index`, beside the key: what is known of a trail outside its own files. Whoever writes
//! the records anew and removes the head cannot sign this one, and a start that finds something
//! wrong says so here for good: a new head does not make the trail whole again.
//!
//! It is written when the audit is opened and closed, so its record may be far behind the head,
//! never ahead of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Link};
use super::finding::Finding;
use super::key::Key;
use super::signed::{self, Signed};

/// What the index knows of one trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownTrail {
    /// A record that it has had.
    pub(crate) link: Option<Link>,
    /// What starts have found, the first of all first.
    pub(crate) findings: Vec<Noted>,
    /// Whether something stands there that our key did not sign.
    pub(crate) invalid: bool,
}

/// Something that a start has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noted {
    pub(crate) code: String,
    /// When it was found, in RFC 3339.
    pub(crate) time: String,
    pub(crate) message: String,
}

/// The file, for all trails that the key has signed.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexFile {
    v: u32,
    /// By their paths, relative to the state directory where they are in it: it may be moved.
    trails: BTreeMap<PathBuf, Trail>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trail {
    seq: u64,
    hash: String,
    findings: Vec<Noted>,
}

/// The index of a state directory, as far as it concerns one trail.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) path: PathBuf,
    trail: PathBuf,
}

impl Index {
    pub(crate) fn of(state_dir: &Path, trail: &Path) -> Self {
        let trail = trail.strip_prefix(state_dir).unwrap_or(trail).to_owned();
        Self { path: state_dir.join(INDEX_FILE), trail }
    }

    /// What it says. Nothing where there is none, as before a first start or after an upgrade.
    pub(crate) fn read(&self, key: &Key) -> io::Result<KnownTrail> {
        Ok(match self.load(key)? {
            Signed::Absent => KnownTrail::default(),
            Signed::Invalid => KnownTrail { invalid: true, ..KnownTrail::default() },
            Signed::Valid(mut shape) => match shape.trails.remove(&self.trail) {
                Some(Trail { seq, hash, findings }) => {
                    let hash = Hash::parse(hash.as_bytes());
                    KnownTrail {
                        link: hash.map(|hash| Link { seq, hash }),
                        findings,
                        invalid: false,
                    }
                }
                None => KnownTrail::default(),
            },
        })
    }

    /// From now on this record is known, and what was found beside what was.
    pub(crate) fn note(
        &self,
        key: &Key,
        link: Link,
        found: &[Finding],
        time: &str,
    ) -> io::Result<()> {
        let mut shape = match self.load(key)? {
            Signed::Valid(shape) => shape,
            Signed::Absent | Signed::Invalid => IndexFile { v: 1, ..IndexFile::default() },
        };
        let trail = shape.trails.entry(self.trail.clone()).or_default();
        let hash = link.hash.hex();
        if found.is_empty() && trail.seq == link.seq && trail.hash == hash {
            // As after every end in good order: a start waits for no disk.
            return Ok(());
        }
        (trail.seq, trail.hash) = (link.seq, hash);
        let noted = |finding: &Finding| Noted {
            code: finding.code.to_owned(),
            time: time.to_owned(),
            message: finding.message.clone(),
        };
        trail.findings.extend(found.iter().map(noted));
        trail.findings.truncate(MAX_FINDINGS);
        while shape.trails.len() > MAX_TRAILS {
            let other = shape.trails.keys().find(|path| **path != self.trail).cloned();
            other.and_then(|path| shape.trails.remove(&path));
        }
        signed::write(&self.path, &shape, |text| key.index_mac(text))
    }

    fn load(&self, key: &Key) -> io::Result<Signed<IndexFile>> {
        signed::read(&self.path, |text| key.index_mac(text))
    }
}

const INDEX_FILE: &str = "audit.index";
/// The first tell the story.
const MAX_FINDINGS: usize = 16;
/// A state directory has one audit, but for what its config named before.
const MAX_TRAILS: usize = 16;
