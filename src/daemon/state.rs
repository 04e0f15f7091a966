//! The state directory: ours alone, and one daemon's at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::Error;
use crate::client::revoked::Revoked;
use crate::client::session::Sessions;

/// The directory, locked while this value lives.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes it, checks it, locks it. Nothing in it is touched before the lock is held.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::State { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let found = fs::metadata(path).map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if found.uid() != own || found.mode() & 0o077 != 0 {
            return Err(Error::StateUnsafe { path: path.to_owned() });
        }
        let lock_path = path.join("daemon.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| Error::State { path: lock_path.clone(), source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Running { path: lock_path.clone() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Takes up sessions of the daemon before. A broken file costs those sessions, not the start.
    pub(super) fn restore(&self, sessions: &Sessions) {
        if let Err(error) = sessions.restore(&self.sessions_file()) {
            tracing::warn!(%error, "saved sessions cannot be read; `valetkey env` opens new ones");
        }
    }

    /// What was revoked before. A broken file is no start: it would let in again who was shut out.
    pub(super) fn revoked(&self) -> Result<Revoked, Error> {
        let path = self.revoked_file();
        Revoked::read(&path).map_err(|source| Error::Revoked { path, source })
    }

    /// Writes down the sessions that outlive this daemon.
    pub(super) fn save(&self, sessions: &Sessions) -> io::Result<()> {
        sessions.save(&self.sessions_file())
    }

    /// Writes down what is revoked.
    pub(super) fn save_revoked(&self, revoked: &Revoked) -> io::Result<()> {
        revoked.save(&self.revoked_file())
    }

    fn sessions_file(&self) -> PathBuf {
        self.path.join("sessions.json")
    }

    fn revoked_file(&self) -> PathBuf {
        self.path.join("revoked.json")
    }
}
