//! Floor 3: the local CA. A constrained root signs one constrained intermediate and its key is
//! destroyed; the intermediate signs a leaf for exactly the CONNECT host (invariant I14).
//!
//! `proxy` asks the [`Authority`] for a `ServerConfig` per host; `daemon` opens, maintains and
//! rotates it; `trust` writes the roots where child processes look for them. `root` makes a
//! generation, `line` decides which one signs, `disk` keeps them, `leaf` signs, `cache` remembers.
//! What certificates say stands in `certs/*.toml`.

mod cache;
mod describe;
mod disk;
mod error;
mod key;
mod leaf;
mod line;
mod pem;
pub mod profile;
mod root;
mod scope;
#[cfg(test)]
mod tests;
mod tls;
pub mod trust;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;

use crate::config;
use crate::model::clock::Clock;
use cache::{Cache, CachedLeaf};
use disk::Disk;
use line::{Lineage, WantedCa};
use root::Generation;
use tls::Tls;

pub use cache::MAX_LEAVES;
pub use describe::{Description, Role, RootDescription, show};
pub use error::CaError;
pub use leaf::{LeafRequest, SignedLeaf, Signer};
pub use scope::{Scope, sparing};
pub use tls::Alpn;

/// The local CA of one config: signs leaves, remembers them, knows what to trust.
pub struct Authority {
    disk: Disk,
    wanted: WantedCa,
    leaf_lifetime: Duration,
    clock: Arc<dyn Clock>,
    line: ArcSwap<Lineage>,
    tls: Tls,
    cache: Cache,
}

/// What was found or done; whatever is not [`Opened::Existing`] is worth saying aloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none: clients have to trust the new root.
    Created,
    /// It fits; nothing was done.
    Existing,
    /// It had ended without a successor: a new one, clients have to trust it.
    Expired,
    /// Routes outgrew its constraints: there is one more, which clients have to trust for the new
    /// names alone.
    Outgrown {
        /// The names that none could sign for.
        missing: Vec<Arc<str>>,
    },
    /// Two thirds of its life are over: a successor was made, and is in the bundle from now on.
    Prepared,
    /// `ca.scope` changed. To `any`: there is one more. To `routes`: what could sign for any name
    /// is trusted no more.
    Rescoped,
    /// An older one has ended, or was rotated by hand: younger ones are trusted for some time
    /// already.
    Succeeded,
}

/// Why the CA is rotated by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Someone may have the key: all is made anew and nothing old is trusted, a successor in
    /// waiting included.
    Compromised,
    /// In good order: one more is trusted from now on. The old one signs to its end, so nobody
    /// loses trust.
    Planned,
}

impl Authority {
    /// Opens the CA in `dir` (`<state_dir>/ca`), creating or replacing it where config asks for
    /// that, never because it cannot be read. `names`: hosts of routes (with or without `*.`) and
    /// `ca.permit`.
    pub fn open(
        dir: &Path,
        config: &config::Ca,
        names: &[Arc<str>],
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Opened), CaError> {
        Self::open_or(dir, config, names, clock, Lineage::begin)
    }

    /// The same for a daemon that has a CA: where the files are gone, clients trust the one in
    /// memory, and no other one is made.
    pub fn reopen(
        dir: &Path,
        config: &config::Ca,
        names: &[Arc<str>],
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Opened), CaError> {
        let gone = || CaError::Gone { path: dir.to_owned() };
        Self::open_or(dir, config, names, clock, |_, _| Err(gone()))
    }

    fn open_or(
        dir: &Path,
        config: &config::Ca,
        names: &[Arc<str>],
        clock: Arc<dyn Clock>,
        begin: impl FnOnce(&WantedCa, SystemTime) -> Result<Lineage, CaError>,
    ) -> Result<(Self, Opened), CaError> {
        let scope = if config.unconstrained { Scope::Any } else { Scope::of_names(names)? };
        let wanted = WantedCa { scope, lifetime: config.lifetime };
        let disk = Disk::create(dir)?;
        let now = clock.now().wall;
        let lock = disk.lock()?;
        let (line, opened) = match disk.recover(&lock)? {
            Some(manifest) => Lineage::read(&disk, &manifest)?.settle(&wanted, now)?,
            None => (begin(&wanted, now)?, Opened::Created),
        };
        if opened != Opened::Existing {
            line.commit(&disk, &lock)?;
        }
        drop(lock);
        hand_out(&disk, &line);
        let authority = Self {
            disk,
            wanted,
            leaf_lifetime: config.leaf_lifetime,
            clock,
            line: ArcSwap::from_pointee(line),
            tls: Tls::new()?,
            cache: Cache::default(),
        };
        Ok((authority, opened))
    }

    /// Makes and promotes successors when their time has come, and adopts what another process did.
    /// For the daemon to call about hourly. On any error the CA in memory goes on as it is.
    pub fn maintain(&self) -> Result<Opened, CaError> {
        self.change(|line, now| line.settle(&self.wanted, now))
    }

    /// `ca rotate`. Leaves that are in use in live connections stay; new handshakes get new ones.
    pub fn rotate(&self, rotation: Rotation) -> Result<(), CaError> {
        self.change(|line, now| {
            let line = match rotation {
                Rotation::Compromised => Lineage::begin(&self.wanted, now)?,
                Rotation::Planned => line.grow(&self.wanted, now)?,
            };
            Ok((line, Opened::Succeeded))
        })
        .map(drop)
    }

    /// A CA that vanished from disk while we run is an error, not a reason for a new one.
    fn change(
        &self,
        settle: impl FnOnce(Lineage, SystemTime) -> Result<(Lineage, Opened), CaError>,
    ) -> Result<Opened, CaError> {
        let dir = self.disk.path();
        let disk = Disk::open(dir)?;
        let lock = disk.lock()?;
        let manifest =
            disk.recover(&lock)?.ok_or_else(|| CaError::corrupt(dir, "the manifest is gone"))?;
        let (line, opened) = settle(Lineage::read(&disk, &manifest)?, self.clock.now().wall)?;
        if opened != Opened::Existing {
            line.commit(&disk, &lock)?;
        }
        drop(lock);
        // Before it signs.
        hand_out(&disk, &line);
        self.line.store(Arc::new(line));
        Ok(opened)
    }

    /// The chain and key for a host; from the cache, or signed now (about 41 µs). Refuses what is
    /// not a DNS name within the scope. Signed anew when past half of its life or after a rotation.
    pub fn leaf(&self, host: &str) -> Result<Arc<CertifiedKey>, CaError> {
        self.entry(host).map(|entry| Arc::clone(&entry.leaf))
    }

    /// The same as a ready TLS server: 1.2 and 1.3, tickets, no early data.
    pub fn server_config(&self, host: &str, alpn: Alpn) -> Result<Arc<ServerConfig>, CaError> {
        let entry = self.entry(host)?;
        let slot = &entry.configs[alpn as usize];
        if let Some(config) = slot.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.tls.server_config(&entry.leaf, alpn)?);
        Ok(Arc::clone(slot.get_or_init(|| config)))
    }

    fn entry(&self, host: &str) -> Result<Arc<CachedLeaf>, CaError> {
        let now = self.clock.now().wall;
        let line = self.line.load();
        if let Ok(signer) = self.signer(&line, host, now)
            && let Some(entry) = self.cache.find(host, signer.id, now)
        {
            return Ok(entry);
        }
        // Callers have the one spelling of `Host` already; any other costs a second look.
        let canonical = scope::dns_name(host)?;
        if &*canonical != host {
            return self.entry(&canonical);
        }
        let (host, signer) = (canonical, self.signer(&line, host, now)?);
        let public_key = Arc::clone(&self.tls.public_key);
        let request = LeafRequest { host: Arc::clone(&host), public_key };
        let signed = leaf::sign(signer, &request, self.leaf_lifetime, now)?;
        let half = signed.not_after.duration_since(now).unwrap_or_default() / 2;
        let leaf = self.tls.certified(signed.chain_der);
        Ok(self.cache.keep(&host, CachedLeaf::new(leaf, signer.id, signed.not_before, now + half)))
    }

    /// Roots outlive the routes that they were made for: what config names no more is not signed
    /// for.
    fn signer<'a>(
        &self,
        line: &'a Lineage,
        host: &str,
        now: SystemTime,
    ) -> Result<&'a Arc<Generation>, CaError> {
        if !self.wanted.scope.covers(host) {
            return Err(CaError::OutOfScope { host: host.to_owned() });
        }
        line.signer(host, now)
    }

    /// The roots that clients should trust, in PEM, oldest first.
    pub fn roots_pem(&self) -> String {
        describe::roots_pem(&self.line.load())
    }

    /// When the last root ends.
    pub fn ends(&self) -> SystemTime {
        self.line.load().ends()
    }

    /// What `ca show` prints of it.
    pub fn describe(&self) -> Description {
        Description::of(self.disk.path(), &self.line.load(), self.clock.now().wall)
    }

    /// Leaves in the cache: at most [`MAX_LEAVES`].
    pub fn cached(&self) -> usize {
        self.cache.len()
    }
}

/// Bundles that were handed out hold the roots before they sign. Who cannot have them loses nothing
/// but the new names.
fn hand_out(disk: &Disk, line: &Lineage) {
    let handed_out = disk.path().with_file_name(trust::DIRECTORY);
    if let Err(error) = trust::renew(&handed_out, &describe::roots_pem(line)) {
        tracing::warn!(
            code = error.code(),
            hint = error.hint(),
            "running tools do not get the new root: {error}"
        );
    }
}

/// Whether a DER certificate was made by some Valetkey: by its subject, so that another config's
/// CA, which a surrounding `valetkey env` put into our own environment, is known too. No upstream
/// is trusted through it.
pub fn is_ours(der: &[u8]) -> bool {
    // Of the hundred and fifty that a platform trusts, none is read.
    if memchr::memmem::find(der, b"Valetkey ").is_none() {
        return false;
    }
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    let names = |names: &x509_parser::x509::X509Name<'_>| {
        names.iter_common_name().any(|name| {
            name.as_str().is_ok_and(|name| {
                name.starts_with("Valetkey root ") || name.starts_with("Valetkey intermediate ")
            })
        })
    };
    names(certificate.subject()) || names(certificate.issuer())
}

impl Signer for Authority {
    fn sign(&self, request: &LeafRequest) -> Result<SignedLeaf, CaError> {
        let now = self.clock.now().wall;
        let line = self.line.load();
        let host = scope::dns_name(&request.host)?;
        leaf::sign(self.signer(&line, &host, now)?, request, self.leaf_lifetime, now)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("line", &self.line.load()).finish_non_exhaustive()
    }
}
