//! Floor 3: the audit trail: who did what with which token, in a file that shows if it was changed.
//!
//! `recorder` writes one decision and one outcome per request, whatever happens, but for refusals
//! without an end, which `refusals` counts; `event` is the shape of a record, `chain` makes changes
//! visible, `head` a missing end, `index` and `checkpoint` a head that went with its records;
//! `writer` is the one lock on a request's path and `sink` the file. `read`, `tail` and `verify`
//! look at what was written and need no running daemon. The audit sees fingerprints, never a
//! secret.

mod chain;
pub mod checkpoint;
mod encode;
pub mod event;
mod finding;
mod head;
mod index;
pub mod inventory;
pub mod key;
pub mod query;
pub mod read;
pub mod recorder;
mod recover;
mod refusals;
mod request;
mod signed;
mod sink;
pub mod tail;
pub mod verify;
mod who;
mod writer;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config;
use crate::model::clock::{Clock, rfc3339_millis};
use crate::model::lock::lock;
use crate::model::secret::{Fingerprint, Secret};
use crate::telemetry::metrics::Metrics;

pub use event::{Decision, Event, EventKind, Record};
pub use finding::Finding;
pub use key::Key;
pub use recorder::{Recorder, Written};
pub use request::{Outcome, RequestFacts};
pub use verify::{VerifyReport, verify, verify_against};
pub use writer::Health;

use head::{Head, HeadFile};
use index::Index;
use refusals::Refusals;
use sink::file::FileSink;
use sink::places::TrailPaths;
use writer::Writer;

/// The trail of one state directory, open for writing. One process at a time has it.
pub struct Audit {
    writer: Mutex<Writer>,
    /// The head as last written. Taken before `writer`, never after.
    head: Mutex<Option<Head>>,
    places: TrailPaths,
    index: Index,
    refusals: Refusals,
    key: Key,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// `on_failure = "continue"`: requests are served although they cannot be recorded.
    continue_on_failure: bool,
    /// Held as long as we live; the kernel lets go of it when we die.
    _lock: File,
}

/// Why the audit cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// `audit.key` cannot be read or made. Ours, or the machine's.
    #[error("the audit's key cannot be read or made: {}", .path.display())]
    Key { path: PathBuf, source: io::Error },
    /// `audit.key` is not ours alone, or no key.
    #[error("the audit's key cannot be used, {what}: {}", .path.display())]
    KeyUnsafe {
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process writes this audit.
    #[error("another process writes this audit: {}", .path.display())]
    Locked { path: PathBuf },
    /// A file of the audit cannot be opened, or its end not read.
    #[error("the audit cannot be opened: {}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    /// A record could not be written: none of it is in the file.
    #[error("the audit cannot be written: {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl AuditError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "audit-key-unreadable",
            Self::KeyUnsafe { .. } => "audit-key-unsafe",
            Self::Locked { .. } => "audit-locked",
            Self::Open { .. } => "audit-unreadable",
            Self::Write { .. } => "audit-unavailable",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Key { .. } => "check owner, permissions and free space of the state directory",
            Self::KeyUnsafe { .. } => {
                "make it a file of 32 bytes with mode 0600 that this user owns; a new one makes the old head unreadable, and the start says so"
            }
            Self::Locked { .. } => {
                "one daemon serves a state directory; stop the other, or set VALETKEY_STATE_DIR"
            }
            Self::Open { .. } => {
                "check owner, permissions and free space of the state directory; the audit must be a regular file"
            }
            Self::Write { .. } => {
                "free space on the disk or make it writable; requests resume by themselves"
            }
        }
    }
}

impl Audit {
    /// Opens or makes the audit, repairs what a kill left behind, and compares it with its head.
    /// The findings are to be said aloud; they are also recorded.
    pub fn open(
        config: &config::Audit,
        state_dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<Finding>), AuditError> {
        let places = TrailPaths::of(&config.path);
        let open = |source| AuditError::Open { path: config.path.clone(), source };
        make_dir(places.dir()).map_err(open)?;
        make_dir(state_dir).map_err(open)?;
        let lock = hold(&places.lock)?;
        let key = Key::read_or_create(state_dir)?;
        let now = clock.now();
        let mut sink =
            FileSink::open(places.clone(), config.max_size.max(1), config.keep, now.mono)
                .map_err(open)?;
        let head = HeadFile::read(&places.head, &key).map_err(open)?;
        sink.expect_oldest(match head {
            HeadFile::Valid(head) => Some(head.oldest),
            HeadFile::Absent | HeadFile::Invalid => None,
        });
        let index = Index::of(state_dir, &config.path);
        let known = index.read(&key).map_err(open)?;
        let found = recover::recover(&places, &head, &known).map_err(open)?;
        let audit = Self {
            writer: Mutex::new(Writer::new(sink, found.last)),
            head: Mutex::new(None),
            places,
            index,
            refusals: Refusals::within(config.max_size.saturating_mul(config.keep as u64 + 1)),
            key,
            clock,
            metrics: Arc::default(),
            continue_on_failure: config.continue_on_failure,
            _lock: lock,
        };
        for finding in &found.findings {
            tracing::error!(code = finding.code, "{}", finding.message);
            let event = Event::notice(finding.code).with("message", finding.message.as_str());
            // A disk that is full now is seen again at the first request, and in `health`.
            audit.event(event).ok();
        }
        // After the head: a kill in between must not make us look for one that was never written.
        audit.flush().ok();
        audit.note(&found.findings);
        Ok((audit, found.findings))
    }

    /// Has the index know the head as it is, and what was found.
    fn note(&self, findings: &[Finding]) {
        let Some(head) = *lock(&self.head) else { return };
        let time = rfc3339_millis(self.clock.now().wall);
        if let Err(error) = self.index.note(&self.key, head.link, findings, &time) {
            let path = self.index.path.display();
            tracing::error!(code = "audit-unflushed", %error, "the audit's index cannot be written: {path}");
        }
    }

    /// Counts in `metrics` what it records.
    #[must_use]
    pub fn counting_in(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// What is counted beside the records.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Writes a record that belongs to no single request. On return it is in the kernel's hands.
    pub fn event(&self, event: Event<'_>) -> Result<(), AuditError> {
        if let Some((client, reason)) = event.refused() {
            self.metrics.turned_away(reason);
            if !self.refusals.is_recorded(client, reason, self.clock.mono()) {
                return Ok(());
            }
        }
        self.write(&event.into_record())
    }

    /// Writes what is pending, looks after the file, renews the head, deletes surplus rotated
    /// files. To be called about twice a second: the head is then at most 1 s old. It syncs the
    /// disk and may take a while, without holding up records.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.count_refusals(false);
        let mut written = lock(&self.head);
        let now = self.clock.now();
        let (done, head, files, surplus) = {
            let mut writer = lock(&self.writer);
            let done = writer.flush(now);
            let link = writer.written();
            let head = Head { link, oldest: writer.sink.oldest(link.seq + 1) };
            (done, head, writer.sink.take_unsynced(), writer.sink.surplus())
        };
        let done = done.and_then(|()| {
            if *written != Some(head) {
                // The head must not survive a power cut that its records do not.
                files.iter().try_for_each(|file| file.sync_data())?;
                head.write(&self.places.head, &self.key, &rfc3339_millis(now.wall))?;
                *written = Some(head);
            }
            surplus.into_iter().try_for_each(|first| self.delete_rotated(first))
        });
        lock(&self.writer).flushed(done.as_ref().err());
        done.map_err(|source| self.unwritable(source))
    }

    /// Writes down how many refusals had no records of their own: those that are due, or all.
    fn count_refusals(&self, all: bool) {
        for counted in self.refusals.due(self.clock.mono(), all) {
            let (client, reason, count) = (&counted.client, counted.reason, counted.count);
            tracing::warn!(client = %client.key(), code = reason.code(), count, "refused again and again");
            let event = Event::refusals(client, reason, count);
            if self.write(&event.into_record()).is_err() {
                self.refusals.again(&counted);
            }
        }
    }

    /// A name for a value that might be guessable: see [`Secret::keyed_fingerprint`].
    pub fn keyed_fingerprint(&self, secret: &Secret) -> Fingerprint {
        secret.keyed_fingerprint(self.key.fingerprints())
    }

    /// Whether records can be written, as far as the last attempt showed.
    pub fn health(&self) -> Health {
        lock(&self.writer).health()
    }

    pub fn path(&self) -> &Path {
        &self.places.current
    }

    /// Writes a record and all that is pending before it.
    fn write(&self, record: &Record<'_>) -> Result<(), AuditError> {
        encode::rest(record, |record| {
            let mut writer = lock(&self.writer);
            // Read under the lock, so that times rise as numbers do.
            let now = self.clock.now();
            writer.write(record, now).map_err(|source| self.unwritable(source))
        })
    }

    /// Chains a record that the next write takes along.
    fn buffer(&self, record: &Record<'_>) -> Result<(), AuditError> {
        encode::rest(record, |record| {
            let mut writer = lock(&self.writer);
            let now = self.clock.now();
            writer.buffer(record, now).map_err(|source| self.unwritable(source))
        })
    }

    fn delete_rotated(&self, first: u64) -> io::Result<()> {
        match fs::remove_file(self.places.rotated(first)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => lock(&self.writer).sink.forget(first),
        }
        Ok(())
    }

    fn unwritable(&self, source: io::Error) -> AuditError {
        AuditError::Write { path: self.places.current.clone(), source }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.count_refusals(true);
        // What fails here has been said: `health` and the log know of a disk that is full.
        self.flush().ok();
        self.note(&[]);
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("path", &self.places.current).finish_non_exhaustive()
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn hold(path: &Path) -> Result<File, AuditError> {
    let unreadable = |source| AuditError::Open { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(key::no_follow())
        .open(path)
        .map_err(unreadable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unreadable(source)),
    }
}

#[cfg(test)]
mod tests;
