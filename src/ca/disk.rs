//! The CA on disk: `DIR/manifest.json` names generations, `DIR/<id>/` holds one each.
//!
//! The manifest is the commit. A new generation is written whole as `.new-<id>`, the manifest that
//! names it is renamed into place, then the directory gets its name; each step is synced. A process
//! killed between any two of them leaves either what was before, with rubbish that the next one
//! clears, or the new state with a rename still to do. `DIR/lock` is held for all of it, so two
//! processes that begin at once agree on one CA.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::CaError;
use super::key::CaKey;
use super::pem;
use super::root::{Generation, GenerationId};
use crate::local::uid::is_ours;

/// The CA's directory: ours alone, or it is refused.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
}

/// Proof that no other process changes the directory; given up on drop, or when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u8,
    /// Can sign and are trusted, oldest first.
    pub(super) live: Vec<GenerationId>,
    /// Signed once, by a manifest of version 1. Nobody needs their roots, but a daemon of that
    /// version may be running: their files stay as long as its manifest does.
    #[serde(skip)]
    retired: Vec<GenerationId>,
}

/// What releases up to 0.1 wrote.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestV1 {
    #[serde(rename = "version")]
    _version: u8,
    /// The generation that signs.
    current: GenerationId,
    /// Will sign, is trusted already.
    next: Option<GenerationId>,
    /// No longer sign, their keys are gone.
    retired: Vec<GenerationId>,
}

/// The one key that every version of the format has.
#[derive(Deserialize)]
struct Version {
    version: u8,
}

impl Manifest {
    pub(super) fn new(live: Vec<GenerationId>) -> Self {
        Self { version: 2, live, retired: Vec::new() }
    }

    /// Of this version or an older one; the error says what is wrong.
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        const UNREADABLE: &str = "the manifest cannot be read";
        let Version { version } = serde_json::from_slice(text).map_err(|_| UNREADABLE)?;
        let manifest = match version {
            1 => {
                let old: ManifestV1 = serde_json::from_slice(text).map_err(|_| UNREADABLE)?;
                let live = [Some(old.current), old.next].into_iter().flatten().collect();
                Self { retired: old.retired, ..Self::new(live) }
            }
            2 => serde_json::from_slice(text).map_err(|_| UNREADABLE)?,
            _ => return Err("the manifest is of a newer version"),
        };
        if manifest.live.is_empty() { Err("the manifest names nothing") } else { Ok(manifest) }
    }

    fn names(&self, id: GenerationId) -> bool {
        self.live.contains(&id) || self.retired.contains(&id)
    }
}

impl Disk {
    /// Opens the directory, making it (0700) where there is none.
    pub(super) fn create(dir: &Path) -> Result<Self, CaError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CaError::NotPlain { path: dir.to_owned() },
            _ => CaError::io("make the ca directory", dir, error),
        })?;
        Self::open(dir)
    }

    /// Opens a directory that must be there.
    pub(super) fn open(dir: &Path) -> Result<Self, CaError> {
        check_directory(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Waits for its turn: others hold the lock for the milliseconds that a change takes.
    pub(super) fn lock(&self) -> Result<Lock, CaError> {
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        #[allow(clippy::cast_possible_wrap)]
        options.custom_flags(nofollow.bits() as i32);
        let file = options.open(&path).map_err(|e| opening("open the ca lock", &path, e))?;
        file.lock().map_err(|error| CaError::io("lock the ca", &path, error))?;
        Ok(Lock { _file: file })
    }

    /// What the manifest says, after finishing or clearing what a killed process left; `None` where
    /// no CA was ever committed.
    pub(super) fn recover(&self, _lock: &Lock) -> Result<Option<Manifest>, CaError> {
        let path = self.manifest();
        let text = match read_plain(&path, false) {
            Ok(text) => text,
            Err(CaError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return self.recover_without_manifest();
            }
            Err(error) => return Err(error),
        };
        let manifest = Manifest::parse(&text).map_err(|what| CaError::corrupt(&path, what))?;
        for &id in &manifest.live {
            let (begun, done) = (self.begun(id), self.generation(id));
            if begun.symlink_metadata().is_ok() && done.symlink_metadata().is_err() {
                rename(&begun, &done)?;
                sync_directory(&self.dir)?;
            }
        }
        self.clear(&manifest)?;
        Ok(Some(manifest))
    }

    /// Only beginnings may lie here; a finished generation means that its manifest was lost.
    fn recover_without_manifest(&self) -> Result<Option<Manifest>, CaError> {
        for (name, path) in self.entries()? {
            if GenerationId::parse(&name).is_some() {
                return Err(CaError::corrupt(&path, "there is no manifest that names it"));
            }
            if name.starts_with(BEGUN) {
                remove_tree(&path)?;
            }
        }
        Ok(None)
    }

    /// Makes `manifest` the truth; generations that are new to the disk are written first.
    pub(super) fn commit(
        &self,
        lock: &Lock,
        manifest: &Manifest,
        generations: &[&Generation],
    ) -> Result<(), CaError> {
        let fresh: Vec<_> = generations
            .iter()
            .filter(|g| self.generation(g.id).symlink_metadata().is_err())
            .collect();
        for generation in &fresh {
            self.begin(generation)?;
        }
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|_| CaError::Crypto { doing: "write the manifest" })?;
        let begun = self.dir.join(MANIFEST_BEGUN);
        remove_file(&begun)?;
        write_new(&begun, &text, 0o600)?;
        rename(&begun, &self.manifest())?;
        sync_directory(&self.dir)?;
        for generation in fresh {
            rename(&self.begun(generation.id), &self.generation(generation.id))?;
        }
        sync_directory(&self.dir)?;
        self.recover(lock).map(drop)
    }

    /// Reads a generation that can sign, and refuses one that others could have touched.
    pub(super) fn read(&self, id: GenerationId) -> Result<Generation, CaError> {
        let dir = self.generation(id);
        check_directory(&dir)?;
        let key_path = dir.join(KEY);
        let text = read_plain(&key_path, true)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .ok()
            .map(|der| Zeroizing::new(der.secret_pkcs8_der().to_vec()))
            .and_then(|der| CaKey::from_pkcs8(&der))
            .ok_or_else(|| CaError::corrupt(&key_path, "the key cannot be read"))?;
        let root = read_certificate(&dir.join(ROOT))?;
        let intermediate = read_certificate(&dir.join(INTERMEDIATE))?;
        Generation::assemble(id, root, intermediate, key)
            .map_err(|what| CaError::corrupt(&dir, what))
    }

    fn begin(&self, generation: &Generation) -> Result<(), CaError> {
        let dir = self.begun(generation.id);
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| CaError::io("make a ca directory", &dir, error))?;
        let key = generation.issuer.key().to_pkcs8()?;
        write_new(&dir.join(KEY), pem::encode("PRIVATE KEY", &key).as_bytes(), 0o600)?;
        write_new(&dir.join(ROOT), pem::certificate(&generation.root.der).as_bytes(), 0o600)?;
        let intermediate = pem::certificate(&generation.intermediate);
        write_new(&dir.join(INTERMEDIATE), intermediate.as_bytes(), 0o600)?;
        sync_directory(&dir)
    }

    /// Removes keys of the retired and everything that the manifest does not name.
    fn clear(&self, manifest: &Manifest) -> Result<(), CaError> {
        for (name, path) in self.entries()? {
            match GenerationId::parse(&name) {
                Some(id) if !manifest.names(id) => remove_tree(&path)?,
                Some(id) if manifest.retired.contains(&id) => remove_file(&path.join(KEY))?,
                None if name.starts_with(BEGUN) => remove_tree(&path)?,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(String, PathBuf)>, CaError> {
        let failed = |error| CaError::io("list the ca directory", &self.dir, error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        Ok(entries)
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("manifest.json")
    }

    fn generation(&self, id: GenerationId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    fn begun(&self, id: GenerationId) -> PathBuf {
        self.dir.join(format!("{BEGUN}{id}"))
    }
}

/// A real directory, ours, closed to all others.
fn check_directory(dir: &Path) -> Result<(), CaError> {
    let found = dir.symlink_metadata().map_err(|e| CaError::io("open the ca directory", dir, e))?;
    if !found.is_dir() {
        return Err(CaError::NotPlain { path: dir.to_owned() });
    }
    check_access(dir, &found, true)
}

fn check_access(path: &Path, found: &fs::Metadata, private: bool) -> Result<(), CaError> {
    if !is_ours(found.uid()) {
        return Err(CaError::Owner { path: path.to_owned(), uid: found.uid() });
    }
    let refused = if private { 0o077 } else { 0o022 };
    let mode = found.mode() & 0o7777;
    if mode & refused != 0 {
        return Err(CaError::Loose { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Reads a plain file of ours; judged by the open file, so it cannot be swapped in between.
/// NONBLOCK: a pipe must not hold the start up.
fn read_plain(path: &Path, private: bool) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| opening("open a ca file", path, error.into()))?;
    let file = File::from(file);
    let found = file.metadata().map_err(|e| CaError::io("look at a ca file", path, e))?;
    if !found.is_file() {
        return Err(CaError::NotPlain { path: path.to_owned() });
    }
    check_access(path, &found, private)?;
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_OWN_FILE)
        .read_to_end(&mut text)
        .map_err(|error| CaError::io("read a ca file", path, error))?;
    Ok(text)
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, CaError> {
    let text = read_plain(path, false)?;
    let mut all = pem::certificates(&text).unwrap_or_default();
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(CaError::corrupt(path, "the file does not hold one certificate")),
    }
}

fn opening(doing: &'static str, path: &Path, error: io::Error) -> CaError {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return CaError::NotPlain { path: path.to_owned() };
    }
    CaError::io(doing, path, error)
}

/// O_EXCL, so that nobody's file or link is written through.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let failed = |error| CaError::io("write a ca file", path, error);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn rename(from: &Path, to: &Path) -> Result<(), CaError> {
    fs::rename(from, to).map_err(|error| CaError::io("put a ca file in place", to, error))
}

fn remove_file(path: &Path) -> Result<(), CaError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CaError::io("remove an old ca file", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<(), CaError> {
    fs::remove_dir_all(path).map_err(|error| CaError::io("remove an old ca", path, error))
}

fn sync_directory(dir: &Path) -> Result<(), CaError> {
    let failed = |error| CaError::io("sync the ca directory", dir, error);
    File::open(dir).map_err(failed)?.sync_all().map_err(failed)
}

const ROOT: &str = "root.pem";
const INTERMEDIATE: &str = "intermediate.pem";
const KEY: &str = "intermediate.key";
const BEGUN: &str = ".new-";
const MANIFEST_BEGUN: &str = ".manifest.json";
/// Bytes; ours are below 1 KiB but for a scope of many names.
const MAX_OWN_FILE: u64 = 1 << 20;
