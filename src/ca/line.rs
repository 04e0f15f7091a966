//! [`Lineage`]: the generations that are alive, oldest first; which of them signs for a host, and
//! the one function that decides what must change.
//!
//! Each host is signed for by the oldest generation that may, and bundles hold the roots of all. So
//! whoever read a bundle keeps what it had, to the end of the root that it had it from, and whoever
//! reads now has everything: a new generation, made for a host that none may sign for yet, or
//! because an older one nears its end, only ever adds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Opened;
use super::disk::{Disk, Lock, Manifest};
use super::error::CaError;
use super::leaf;
use super::root::{Generation, Root};
use super::scope::Scope;

/// All generations that matter at one time; immutable.
#[derive(Clone, Debug)]
pub(super) struct Lineage {
    live: Vec<Arc<Generation>>,
}

/// What config wants of the CA.
#[derive(Clone, Debug)]
pub(super) struct WantedCa {
    pub(super) scope: Scope,
    pub(super) lifetime: Duration,
}

impl Lineage {
    /// The one that signs for this canonical DNS name: the oldest that may. With none in the prime
    /// of its life the last to end, whose life the caller checks.
    pub(super) fn signer(&self, host: &str, now: SystemTime) -> Result<&Arc<Generation>, CaError> {
        let mut lasting = None;
        for generation in self.live.iter().filter(|generation| generation.scope.covers(host)) {
            if generation.signs(now) {
                return Ok(generation);
            }
            let ends = |other: &&Arc<Generation>| other.root.not_after > generation.root.not_after;
            lasting = lasting.filter(ends).or(Some(generation));
        }
        lasting.ok_or_else(|| CaError::OutOfScope { host: host.to_owned() })
    }

    /// All of them, oldest first.
    pub(super) fn generations(&self) -> &[Arc<Generation>] {
        &self.live
    }

    /// Every root to trust, oldest first.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.live.iter().map(|generation| &generation.root)
    }

    /// When nothing can be signed any more, if nothing is done.
    pub(super) fn ends(&self) -> SystemTime {
        self.roots().map(|root| root.not_after).max().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// From disk, without changing anything.
    pub(super) fn read(disk: &Disk, manifest: &Manifest) -> Result<Self, CaError> {
        let read = |&id| disk.read(id).map(Arc::new);
        Ok(Self { live: manifest.live.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// A lineage of one new generation.
    pub(super) fn begin(wanted: &WantedCa, now: SystemTime) -> Result<Self, CaError> {
        let first = Generation::mint(&wanted.scope, wanted.lifetime, now)?;
        Ok(Self { live: vec![Arc::new(first)] })
    }

    /// What must be done at this time for what config wants; the line after it, and what it was.
    pub(super) fn settle(
        mut self,
        wanted: &WantedCa,
        now: SystemTime,
    ) -> Result<(Self, Opened), CaError> {
        if let [first, ..] = &self.live[..]
            && self.roots().all(|root| now < root.not_before)
        {
            leaf::check_life(first, now)?;
        }
        let before = self.live.len();
        self.live.retain(|generation| !generation.root.has_ended(now));
        let living = self.live.len();
        if wanted.scope != Scope::Any {
            // What could sign for any name is trusted no longer than it must be.
            self.live.retain(|generation| generation.scope != Scope::Any);
        }
        let narrowed = self.live.len() < living;
        if self.live.is_empty() {
            let opened = if narrowed { Opened::Rescoped } else { Opened::Expired };
            return Ok((Self::begin(wanted, now)?, opened));
        }
        match self.missing(&wanted.scope, |generation| generation.signs(now)) {
            None => return Ok((self.grow(wanted, now)?, Opened::Rescoped)),
            Some(missing) if !missing.is_empty() => {
                let opened = if narrowed { Opened::Rescoped } else { Opened::Outgrown { missing } };
                return Ok((self.grow(wanted, now)?, opened));
            }
            Some(_) => {}
        }
        let is_young = |generation: &Generation| now < generation.successor_due();
        let young = self.missing(&wanted.scope, is_young).is_some_and(|names| names.is_empty());
        if !young || !self.live.iter().any(|generation| is_young(generation)) {
            return Ok((self.grow(wanted, now)?, Opened::Prepared));
        }
        let opened = match (narrowed, living < before) {
            (true, _) => Opened::Rescoped,
            (false, true) => Opened::Succeeded,
            (false, false) => Opened::Existing,
        };
        Ok((self, opened))
    }

    /// The names of `wanted` that no generation of this kind may sign for; `None` where `wanted`
    /// has no bounds and all of them have.
    fn missing(&self, wanted: &Scope, kind: impl Fn(&Generation) -> bool) -> Option<Vec<Arc<str>>> {
        let of_kind = self.live.iter().filter(|generation| kind(generation));
        of_kind.fold(
            Scope::Names(Vec::new()).missing(wanted),
            |missing, generation| match missing {
                None => generation.scope.missing(wanted),
                Some(names) => generation.scope.missing(&Scope::Names(names)),
            },
        )
    }

    /// One more, for everything that is wanted: trusted from now on, it signs for what no older one
    /// may.
    pub(super) fn grow(mut self, wanted: &WantedCa, now: SystemTime) -> Result<Self, CaError> {
        self.live.push(Arc::new(Generation::mint(&wanted.scope, wanted.lifetime, now)?));
        if self.live.len() > MAX_LIVE {
            self.live.remove(1);
        }
        Ok(self)
    }

    /// Writes it to disk; whoever opens the CA after that finds it.
    pub(super) fn commit(&self, disk: &Disk, lock: &Lock) -> Result<(), CaError> {
        let live: Vec<_> = self.live.iter().map(|generation| generation.id).collect();
        let generations: Vec<_> = self.live.iter().map(|generation| &**generation).collect();
        disk.commit(lock, &Manifest::new(live), &generations)
    }
}

/// Generations at most: routes that change all day must not make the bundle grow without end.
/// Beyond it the second oldest goes. That costs the least: only those who read the bundle after it
/// was made and before the next one was lose trust, and only in the hosts that came with it. The
/// oldest signs for what everybody uses, the youngest are in use now.
const MAX_LIVE: usize = 16;
