//! [`Line`]: the generation that signs, the one that will, and those that did; and the one
//! function that decides what must change.
//!
//! A successor is made at two thirds of a CA's life and is trusted from then on; it signs when
//! a tenth of the older one's life is left (or on `ca rotate`). So a bundle written in between holds both
//! roots, and no client meets a root it has not been given days before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Opened;
use super::disk::{Disk, Lock, Manifest};
use super::error::CaError;
use super::leaf;
use super::root::{Generation, GenerationId, Root};
use super::scope::Scope;

/// All generations that matter at one time; immutable.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) current: Arc<Generation>,
    pub(super) next: Option<Arc<Generation>>,
    pub(super) retired: Vec<(GenerationId, Root)>,
}

/// What config wants of the CA.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) scope: Scope,
    pub(super) lifetime: Duration,
}

impl Line {
    /// The one that signs at this time.
    pub(super) fn active(&self, now: SystemTime) -> &Arc<Generation> {
        match &self.next {
            Some(next) if now >= self.current.hands_over() => next,
            _ => &self.current,
        }
    }

    /// Every root to trust, the one that signs first.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Root> {
        let next = self.next.iter().map(|generation| &generation.root);
        let retired = self.retired.iter().map(|(_, root)| root);
        std::iter::once(&self.current.root).chain(next).chain(retired)
    }

    /// From disk, without changing anything.
    pub(super) fn read(disk: &Disk, manifest: &Manifest) -> Result<Self, CaError> {
        let current = Arc::new(disk.read(manifest.current)?);
        let next = manifest.next.map(|id| disk.read(id)).transpose()?.map(Arc::new);
        let mut retired = Vec::with_capacity(manifest.retired.len());
        for &id in &manifest.retired {
            retired.push((id, disk.read_root(id)?));
        }
        Ok(Self { current, next, retired })
    }

    /// A line of one.
    pub(super) fn begin(wanted: &Wanted, now: SystemTime) -> Result<Self, CaError> {
        let current = Arc::new(Generation::mint(&wanted.scope, wanted.lifetime, now)?);
        Ok(Self { current, next: None, retired: Vec::new() })
    }

    /// What must be done at this time for what config wants; the line after it, and what it was.
    pub(super) fn settle(
        self,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Result<(Self, Opened), CaError> {
        if now < self.current.root.not_before {
            leaf::check_life(&self.current, now)?;
        }
        let mut line = self.without_ended(now);
        let mut opened = Opened::Existing;
        if now >= line.current.hands_over() && line.next.is_some() {
            line = line.promote(wanted, now)?;
            opened = Opened::Succeeded;
        } else if line.current.root.has_ended(now) {
            return Ok((Self::begin(wanted, now)?, Opened::Expired));
        }
        if line.current.scope == Scope::Any && wanted.scope != Scope::Any {
            // What could sign for any name is trusted no longer than it must be.
            return Ok((Self::begin(wanted, now)?, Opened::Rescoped));
        }
        match line.current.scope.missing(&wanted.scope) {
            None => return Ok((line.replace(wanted, now)?, Opened::Rescoped)),
            Some(missing) if !missing.is_empty() => {
                return Ok((line.replace(wanted, now)?, Opened::Outgrown { missing }));
            }
            Some(_) => {}
        }
        if line.next.is_none() && now >= line.current.successor_due() {
            let next = Generation::mint(&wanted.scope, wanted.lifetime, now)?;
            line.next = Some(Arc::new(next));
            if opened == Opened::Existing {
                opened = Opened::Prepared;
            }
        }
        Ok((line, opened))
    }

    /// The successor, or a new one where there is none, signs from now on; the older one's root stays trusted.
    pub(super) fn promote(self, wanted: &Wanted, now: SystemTime) -> Result<Self, CaError> {
        match self.next {
            Some(ref next) if !next.root.has_ended(now) => {
                let current = Arc::clone(next);
                let retired = self.retire_current();
                Ok(Self { current, next: None, retired }.without_ended(now))
            }
            _ => self.replace(wanted, now),
        }
    }

    /// A new one signs from now on; a successor in waiting is dropped.
    fn replace(self, wanted: &Wanted, now: SystemTime) -> Result<Self, CaError> {
        let fresh = Self::begin(wanted, now)?;
        let retired = self.retire_current();
        Ok(Self { retired, ..fresh }.without_ended(now))
    }

    fn retire_current(self) -> Vec<(GenerationId, Root)> {
        let mut retired = self.retired;
        retired.insert(0, (self.current.id, self.current.root.clone()));
        retired.truncate(MAX_RETIRED);
        retired
    }

    fn without_ended(mut self, now: SystemTime) -> Self {
        self.retired.retain(|(_, root)| !root.has_ended(now));
        self
    }

    fn manifest(&self) -> Manifest {
        let retired = self.retired.iter().map(|&(id, _)| id).collect();
        Manifest::new(self.current.id, self.next.as_ref().map(|next| next.id), retired)
    }

    /// Writes it down.
    pub(super) fn commit(&self, disk: &Disk, lock: &Lock) -> Result<(), CaError> {
        let mut generations = vec![&*self.current];
        generations.extend(self.next.as_deref());
        disk.commit(lock, &self.manifest(), &generations)
    }
}

/// Predecessors whose roots stay in the bundle: routes that change all day must not make it grow without end.
const MAX_RETIRED: usize = 8;
