//! The state directory: ours alone, and one daemon's at a time.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::error::Error;
use super::port::Remembered;
use crate::client::disk;
use crate::client::revoked::Revoked;
use crate::client::session::Sessions;
use crate::client::watch::Processes;
use crate::config::{Config, locate};
use crate::local::place::{self, Private};
use crate::model::id::SessionName;

/// The directory, locked while this value lives.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    /// Where clients are told to connect, and who was told otherwise.
    remembered: Option<Remembered>,
    _private: Arc<Private>,
    _lock: File,
}

impl StateDir {
    /// Makes it, judges it, locks it. Nothing in it is touched before the lock is held.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        match &config.state {
            Some(private) => Self::lock(Arc::clone(private)),
            None => Self::open_at(&config.state_dir),
        }
    }

    /// The same where no config says more.
    pub(super) fn open_at(path: &Path) -> Result<Self, Error> {
        Self::lock(Arc::new(locate::open_state(path)?))
    }

    fn lock(private: Arc<Private>) -> Result<Self, Error> {
        let path = match private.exposure() {
            None => private.path().to_owned(),
            Some(_) => private.anchor(),
        };
        if let Some(exposure) = private.exposure() {
            tracing::warn!(
                code = "state-dir-exposed",
                hint = exposure.hint(),
                "others could take the state directory's name away; it is used by its descriptor: {exposure}"
            );
        }
        let lock_path = private.path().join("daemon.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(place::NO_LINK)
            .open(private.anchor().join("daemon.lock"))
            .map_err(|source| Error::State { path: lock_path.clone(), source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Running { path: lock_path.clone() })?;
        Ok(Self { path, remembered: None, _private: private, _lock: lock })
    }

    /// Where the daemon before listened. What cannot be read is not known.
    pub(super) fn last_address(&self) -> Option<Remembered> {
        let text = disk::read(&self.address_file()).unwrap_or_else(|error| {
            tracing::warn!(%error, "where the daemon before listened cannot be read");
            None
        });
        text.and_then(|text| serde_json::from_slice(&text).ok())
    }

    /// Takes up sessions of the daemon before, and remembers where clients are told to connect from
    /// now on.
    pub(super) fn resume(&mut self, sessions: &Sessions, address: Option<SocketAddr>) {
        self.restore(sessions);
        let Some(address) = address else { return };
        let given = sessions.list().into_iter().filter(|one| one.kind().outlives_the_daemon());
        let names = given.map(|session| session.name().clone());
        let now = Remembered::next(self.last_address().as_ref(), address, names);
        if !now.elsewhere.is_empty() {
            tracing::warn!(
                code = "sessions-elsewhere",
                hint = "evaluate `valetkey env` in their shells again",
                "sessions that were given another address than {address}: {}",
                now.elsewhere.len()
            );
        }
        if let Err(error) = disk::replace(&self.address_file(), &now) {
            tracing::warn!(%error, "the next daemon will not know where this one listens");
        }
        self.remembered = Some(now);
    }

    /// The address that a session was given, where that is none of ours any more.
    pub(super) fn elsewhere(&self, session: &SessionName) -> Option<SocketAddr> {
        self.remembered.as_ref()?.elsewhere.get(session).copied()
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

    /// Takes up which processes sessions were opened for.
    pub(super) fn restore_processes(&self, processes: &Processes) {
        match disk::read(&self.processes_file()).and_then(|text| match text {
            Some(text) => Ok(serde_json::from_slice(&text)?),
            None => Ok(Vec::new()),
        }) {
            Ok(known) => processes.restore(known),
            Err(error) => {
                tracing::warn!(%error, "what runs in sessions of an earlier daemon is not known")
            }
        }
    }

    /// Writes down which processes sessions were opened for.
    pub(super) fn save_processes(&self, processes: &Processes) -> io::Result<()> {
        disk::replace(&self.processes_file(), &processes.known())
    }

    /// Writes down the sessions that outlive this daemon.
    pub(super) fn save(&self, sessions: &Sessions) -> io::Result<()> {
        sessions.save(&self.sessions_file())
    }

    /// Writes down what is revoked.
    pub(super) fn save_revoked(&self, revoked: &Revoked) -> io::Result<()> {
        revoked.save(&self.revoked_file())
    }

    fn address_file(&self) -> PathBuf {
        self.path.join("address.json")
    }

    fn sessions_file(&self) -> PathBuf {
        self.path.join("sessions.json")
    }

    fn processes_file(&self) -> PathBuf {
        self.path.join("processes.json")
    }

    fn revoked_file(&self) -> PathBuf {
        self.path.join("revoked.json")
    }
}
