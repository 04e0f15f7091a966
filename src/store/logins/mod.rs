//! Logins at rest: one file each, which says on its first line what protects it. Below stands the
//! login, encrypted, unless it is the keyring that holds it.
//!
//! An entry belongs to an issuer, a client and a credential: configs that share the directory and
//! agree on these share the login. Whoever changes one holds its lock, across processes; what is
//! written is whole, synced and renamed into place, so that a kill leaves the old or the new.

mod bound;
mod disk;
mod error;
mod item;
mod key;
mod protection;
mod record;
mod seal;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use tokio::sync::watch;

use super::{kernel_keyring, keyring, replace};
use crate::config::{self, LoginProtection, Oauth};
use crate::model::hex::hex;
use crate::model::id::CredentialName;
use crate::model::lock::lock;

pub use bound::{BoundKey, KEY_GONE};
use disk::{no_follow, private_dir, read, unwritable};
pub use error::LoginsError;
use item::Ring;
use key::Key;
pub use protection::Protection;
pub use record::Login;

/// Whose login it is. All three: one person may log in at one issuer for several purposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The issuer's identifier, else its token endpoint.
    pub issuer: String,
    /// The client's id at that issuer.
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

#[derive(Debug)]
pub struct Logins {
    dir: PathBuf,
    protection: LoginProtection,
    under_way: watch::Sender<usize>,
    ends: Mutex<BTreeMap<CredentialName, SystemTime>>,
}

impl Logins {
    /// In this directory, which is made when the first login comes.
    pub fn new(config: &config::Logins) -> Self {
        let (dir, protection) = (config.dir.clone(), config.protection);
        Self { dir, protection, under_way: watch::Sender::new(0), ends: Mutex::default() }
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
        let path = self.dir.join(format!("{name}.login"));
        Entry { dir: self.dir.clone(), path, whose, wanted: self.protection }
    }

    /// Those that are stored and that nobody of `known` asks for any more: of an earlier `issuer`
    /// or `client_id`, or of a credential that is gone. Told by their first lines. Blocks on files.
    pub fn left_behind(&self, known: &[Whose]) -> Vec<Entry> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = files.flatten().map(|file| file.path());
        let logins = paths.filter(|path| path.extension().is_some_and(|end| end == "login"));
        let stored = logins.take(MAX_STORED).filter_map(|path| {
            let whose = seal::Sealed::parse(&read(&path).ok()??)?.whose();
            let entry = self.entry(whose);
            // One that stands in another's place is nobody's.
            (entry.path == path && !known.contains(&entry.whose)).then_some(entry)
        });
        let mut stored: Vec<_> = stored.collect();
        stored.sort_by(|a, b| a.path.cmp(&b.path));
        stored
    }

    /// When they end, as far as that was known when somebody last looked.
    pub fn ends(&self) -> BTreeMap<CredentialName, SystemTime> {
        lock(&self.ends).clone()
    }

    /// Notes what somebody found: when each login ends.
    pub fn saw(&self, ends: BTreeMap<CredentialName, SystemTime>) {
        *lock(&self.ends) = ends;
    }

    /// Something that must not be cut off is under way until the value is dropped.
    pub fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    pub async fn settled(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A change that is under way; dropped when it is done ([`Logins::begin`]).
#[derive(Debug)]
pub struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    dir: PathBuf,
    path: PathBuf,
    whose: Whose,
    wanted: LoginProtection,
}

impl Entry {
    pub fn whose(&self) -> &Whose {
        &self.whose
    }

    /// What is stored, and what protects it, as it is now: for people to look at. Blocks on files
    /// and the keyring.
    pub fn look(&self) -> Result<Option<(Login, Protection)>, LoginsError> {
        let Some(sealed) = self.sealed()? else { return Ok(None) };
        let login = self.open(&sealed)?.map(|(login, _)| self.with_key(login));
        Ok(login.map(|login| (login, sealed.protection)))
    }

    /// Whether a login could be stored now: before a person is sent off to log in. Blocks as
    /// [`Self::look`] does.
    pub fn ready(&self) -> Result<(), LoginsError> {
        match self.protection() {
            Protection::KernelKeyring => Ok(kernel_keyring::ready()?),
            Protection::KeyFile => Ok(()),
            Protection::Keyring => Ok(keyring::ready()?),
        }
    }

    /// The file, not yet opened.
    fn sealed(&self) -> Result<Option<seal::Sealed>, LoginsError> {
        let Some(text) = read(&self.path)? else { return Ok(None) };
        let sealed = seal::Sealed::parse(&text).filter(|sealed| sealed.is_of(&self.whose));
        sealed.ok_or_else(|| self.damaged()).map(Some)
    }

    /// What it says, and the key with which the file may stand in for the keyring. `None`: the
    /// kernel has forgotten it.
    fn open(&self, sealed: &seal::Sealed) -> Result<Option<(Login, Option<Key>)>, LoginsError> {
        let ring = sealed.protection.ring();
        let (key, held) = match ring {
            None => (key::find(&self.dir)?, None),
            Some(ring) => match item::find(self, ring)? {
                Some((login, key)) => (key, Some(login)),
                None => return Ok(None),
            },
        };
        let stored = match (sealed.open(&key), held) {
            (Some(plain), _) => record::read(&plain).ok_or_else(|| self.damaged())?,
            // As it should be; or what stands there is older than the item.
            (None, Some(held)) => held,
            (None, None) => return Err(self.damaged()),
        };
        Ok(Some((stored, ring.map(|_| key))))
    }

    /// What is to protect it.
    fn protection(&self) -> Protection {
        match self.wanted {
            LoginProtection::KernelKeyring => Protection::KernelKeyring,
            LoginProtection::KeyFile => Protection::KeyFile,
            LoginProtection::Keyring => Protection::Keyring,
            LoginProtection::Auto => match self.sealed() {
                // A passing trouble with the keyring moves nothing out of it. Only what the kernel
                // has forgotten is no reason to give it another.
                Ok(Some(sealed)) if !self.is_forgotten(&sealed) => sealed.protection,
                _ if keyring::ready().is_ok() => Protection::Keyring,
                _ => Protection::KeyFile,
            },
        }
    }

    fn is_forgotten(&self, sealed: &seal::Sealed) -> bool {
        sealed.protection == Protection::KernelKeyring
            && matches!(item::find(self, Ring::Kernel), Ok(None))
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
            Ok(()) => {
                Ok(Some(Locked { entry: self.clone(), _lock: file, reserved: false, spare: None }))
            }
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
    /// The key of what the keyring holds: with it the file may stand in.
    spare: Option<Key>,
}

impl Locked {
    pub fn read(&mut self) -> Result<Option<Login>, LoginsError> {
        let Some(sealed) = self.entry.sealed()? else { return Ok(None) };
        let Some((login, spare)) = self.entry.open(&sealed)? else { return Ok(None) };
        self.spare = spare;
        Ok(Some(login))
    }

    /// Stores it: at rest, whole, in the place of what was there.
    pub fn write(&mut self, login: &Login) -> Result<Protection, LoginsError> {
        let protection = self.entry.protection();
        let before = self.entry.sealed().ok().flatten().map(|sealed| sealed.protection);
        match protection.ring() {
            None => {
                let key = key::find_or_make(&self.entry.dir)?;
                self.write_file(Some((&key, login)), protection)?;
            }
            Some(ring) => self.write_item(login, ring, protection)?,
        }
        if let Some(ring) = before.filter(|before| *before != protection).and_then(Protection::ring)
            && let Err(error) = item::delete(&self.entry, ring)
        {
            tracing::warn!(code = error.code(), "the keyring keeps an older login: {error}");
        }
        Ok(protection)
    }

    fn write_item(
        &mut self,
        login: &Login,
        ring: Ring,
        protection: Protection,
    ) -> Result<(), LoginsError> {
        let error = match item::put(&self.entry, ring, login) {
            Ok(key) => {
                self.spare = Some(key);
                return self.write_file(None, protection);
            }
            Err(error) => error,
        };
        // Only for what came of an exchange: before one there is nothing to lose.
        let Some(spare) = self.spare.take().filter(|_| self.reserved) else { return Err(error) };
        tracing::warn!(
            code = error.code(),
            hint = error.hint(),
            "a renewed login waits in its file, encrypted with a key in the keyring: {error}"
        );
        self.write_file(Some((&spare, login)), protection)
    }

    /// Writes the file, with the login in it or without.
    fn write_file(
        &mut self,
        login: Option<(&Key, &Login)>,
        protection: Protection,
    ) -> Result<(), LoginsError> {
        let whose = &self.entry.whose;
        let text = match login {
            Some((key, login)) => seal::seal(whose, protection, key, record::write(login)),
            None => seal::bare(whose, protection),
        };
        let text = text.ok_or_else(|| self.entry.damaged())?;
        if login.is_none() && read(&self.entry.path)?.is_some_and(|old| **old == *text) {
            return Ok(());
        }
        self.give_back();
        replace::write(&self.entry.path, &text).map_err(|e| unwritable(&self.entry.path, e))
    }

    /// Takes the room that the next [`Self::write`] needs, before a refresh token is spent.
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

    /// Forgets it; what the keyring holds first, for without the file nobody would know of it.
    pub fn delete(&self) -> Result<(), LoginsError> {
        match self.entry.sealed() {
            Ok(Some(sealed)) => {
                sealed.protection.ring().map_or(Ok(()), |ring| item::delete(&self.entry, ring))?;
            }
            // What a login left there that was killed before it wrote the file.
            Ok(None) => {
                let _ = match self.entry.wanted {
                    LoginProtection::KeyFile => Ok(()),
                    LoginProtection::KernelKeyring => item::delete(&self.entry, Ring::Kernel),
                    LoginProtection::Auto | LoginProtection::Keyring => {
                        item::delete(&self.entry, Ring::Desktop)
                    }
                };
            }
            Err(_) => {}
        }
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

/// Files that are looked through for logins that nobody asks for.
const MAX_STORED: usize = 1000;
/// Of one file; what is in it is a token of at most 64 KiB, in base64, and few words beside.
const MAX_FILE: u64 = 128 * 1024;
/// Bytes that [`Locked::reserve`] makes sure of on disk.
const ROOM: u64 = 128 * 1024;

#[cfg(test)]
mod tests;
