//! Logins at rest: one encrypted file each, which says on its first line what protects it.
//!
//! An entry belongs to an issuer, a client and a credential: configs that share the directory and agree on
//! these share the login. Whoever changes one holds its lock, across processes; what is written is whole,
//! synced and renamed into place, so that a kill at any point leaves the old or the new.

mod key;
mod record;
mod seal;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::replace;
use crate::config::Oauth;
use crate::model::hex::hex;
use crate::model::id::CredentialName;

pub use key::Protection;
pub use record::Login;

/// Why a login cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LoginsError {
    /// Another process has held it for too long.
    #[error("another process has been using the login for too long: {}", .0.display())]
    Busy(PathBuf),
    /// It is not what was written, or the key is another.
    #[error("the stored login cannot be decrypted: {}", .0.display())]
    Damaged(PathBuf),
    /// What protects it is gone or locked.
    #[error("the key of the stored login cannot be had from {protection}: {why}")]
    Key {
        /// What protects it.
        protection: Protection,
        /// In our own words.
        why: String,
    },
    /// Others may read or change it.
    #[error("{} must belong to us, with mode 0700 or 0600", .0.display())]
    Unsafe(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LoginsError {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy(_) => "login-busy",
            Self::Damaged(_) => "login-damaged",
            Self::Key { .. } => "login-key-unavailable",
            Self::Unsafe(_) => "login-store-unsafe",
            Self::Unreadable { .. } => "login-store-unreadable",
            Self::Unwritable { .. } => "login-store-unwritable",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Busy(_) => {
                "repeat it; a stopped `valetkey` process holds the lock until it goes on"
            }
            Self::Damaged(_) => "log in anew: `valetkey login CREDENTIAL` takes its place",
            Self::Key { .. } => "bring its key back (unlock the keyring), or log in anew",
            Self::Unsafe(_) => {
                "chmod 700 the directory and 600 what is in it, and see who else was there"
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => {
                "check disk space and permissions; nothing is spent that could not be stored"
            }
        }
    }
}

/// Whose login it is. All three: one person may log in at one issuer for several purposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The issuer's identifier, else its token endpoint.
    pub issuer: String,
    /// The client's name there.
    pub client: String,
    /// The credential's name in config.
    pub credential: CredentialName,
}

impl Whose {
    /// Of a credential with this issuer and client.
    pub fn of(oauth: &Oauth, credential: &CredentialName) -> Self {
        let client = oauth.client_id.clone().unwrap_or_default();
        Self { issuer: oauth.issuer(), client, credential: credential.clone() }
    }
}

/// A directory of logins.
#[derive(Debug)]
pub struct Logins {
    dir: PathBuf,
    under_way: watch::Sender<usize>,
}

impl Logins {
    /// In this directory, which is made when the first login comes.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, under_way: watch::Sender::new(0) }
    }

    /// The place of one login. Touches no disk.
    pub fn entry(&self, whose: Whose) -> Entry {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [&whose.issuer, &whose.client, whose.credential.as_str()] {
            // With its length: no two triples are the same bytes.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let name = hex(&hash.finish().as_ref()[..16]);
        Entry { dir: self.dir.clone(), path: self.dir.join(format!("{name}.login")), whose }
    }

    /// Something that must not be cut off is under way until the value is dropped.
    pub fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    /// Resolves when nothing is under way.
    pub async fn settled(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// See [`Logins::begin`].
#[derive(Debug)]
pub struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The place of one login.
#[derive(Clone, Debug)]
pub struct Entry {
    dir: PathBuf,
    path: PathBuf,
    whose: Whose,
}

impl Entry {
    /// Whose it is.
    pub fn whose(&self) -> &Whose {
        &self.whose
    }

    /// What is stored, and what protects it, as it is now: for people to look at. Blocks on files.
    pub fn look(&self) -> Result<Option<(Login, Protection)>, LoginsError> {
        let Some(text) = read(&self.path)? else { return Ok(None) };
        let sealed = seal::Sealed::parse(&text).ok_or_else(|| self.damaged())?;
        if !sealed.is_of(&self.whose) {
            return Err(self.damaged());
        }
        let key = key::find(&self.dir, sealed.protection)?;
        let plain = sealed.open(&key).ok_or_else(|| self.damaged())?;
        let stored = record::read(&plain).ok_or_else(|| self.damaged())?;
        Ok(Some((stored, sealed.protection)))
    }

    /// Takes the lock, if nobody has it. Blocks on files, never on the lock.
    pub fn try_lock(&self) -> Result<Option<Locked>, LoginsError> {
        private_dir(&self.dir)?;
        let path = self.path.with_extension("lock");
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&path);
        let file = open.map_err(|source| unwritable(&path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Locked { entry: self.clone(), _lock: file, reserved: false })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(unwritable(&path, error.into())),
        }
    }

    /// The error of one who has waited long enough.
    pub fn busy(&self) -> LoginsError {
        LoginsError::Busy(self.path.clone())
    }

    fn damaged(&self) -> LoginsError {
        LoginsError::Damaged(self.path.clone())
    }
}

/// An entry that nobody else changes while this value lives.
#[derive(Debug)]
pub struct Locked {
    entry: Entry,
    _lock: File,
    reserved: bool,
}

impl Locked {
    /// What is stored.
    pub fn read(&self) -> Result<Option<Login>, LoginsError> {
        Ok(self.entry.look()?.map(|(login, _)| login))
    }

    /// Stores it: on the disk, whole, in the place of what was there.
    pub fn write(&mut self, login: &Login) -> Result<Protection, LoginsError> {
        let (protection, key) = key::find_or_make(&self.entry.dir)?;
        let plain = record::write(login);
        let text = seal::seal(&self.entry.whose, protection, &key, plain)
            .ok_or_else(|| self.entry.damaged())?;
        self.give_back();
        replace::write(&self.entry.path, &text).map_err(|e| unwritable(&self.entry.path, e))?;
        Ok(protection)
    }

    /// Takes the room that the next [`Self::write`] needs: before a refresh token is spent, not after.
    pub fn reserve(&mut self) -> Result<(), LoginsError> {
        let path = self.room();
        let take = || -> io::Result<()> {
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .custom_flags(no_follow())
                .open(&path)?;
            match fallocate(&file, FallocateFlags::empty(), 0, ROOM) {
                // File systems without the call: there the room is not promised.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        self.reserved = true;
        take().map_err(|source| unwritable(&path, source))
    }

    fn room(&self) -> PathBuf {
        self.entry.path.with_extension("room")
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.reserved) {
            // One that stays is taken again next time.
            let _ = fs::remove_file(self.room());
        }
    }

    /// Forgets it.
    pub fn delete(&self) -> Result<(), LoginsError> {
        match fs::remove_file(&self.entry.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(unwritable(&self.entry.path, source))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A file that is ours alone; `None` where there is none.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, LoginsError> {
    let unreadable = |source| LoginsError::Unreadable { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.mode() & 0o077 != 0 || meta.uid() != own {
        return Err(LoginsError::Unsafe(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

fn private_dir(dir: &Path) -> Result<(), LoginsError> {
    let failed = |source| unwritable(dir, source);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let found = fs::metadata(dir).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own || found.mode() & 0o077 != 0 {
        return Err(LoginsError::Unsafe(dir.to_owned()));
    }
    Ok(())
}

fn unwritable(path: &Path, source: io::Error) -> LoginsError {
    LoginsError::Unwritable { path: path.to_owned(), source }
}

/// A link in the last place is not followed, and opening never waits (a FIFO would).
fn no_follow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

/// Of one file; what is in it is a token of at most 64 KiB, in base64, and few words beside.
const MAX_FILE: u64 = 128 * 1024;
/// What [`Locked::reserve`] asks for.
const ROOM: u64 = 128 * 1024;

#[cfg(test)]
mod tests;
