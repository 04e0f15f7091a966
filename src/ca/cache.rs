//! Leaves that were signed already. A hit takes no lock: one load of an immutable map. A miss
//! copies the map, which costs about as much as the signature it comes with.
//!
//! At [`MAX_LEAVES`] the quarter that was used longest ago goes at once, so that a client
//! that cycles through names pays for the search once in 256 misses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;

use super::root::GenerationId;

pub const MAX_LEAVES: usize = 1024;

/// One signed leaf, ready for handshakes.
#[derive(Debug)]
pub(super) struct CachedLeaf {
    pub(super) leaf: Arc<CertifiedKey>,
    /// The generation that signed it.
    pub(super) generation: GenerationId,
    /// Of use from (the leaf's beginning)…
    pub(super) not_before: SystemTime,
    /// …until half of its life is over.
    pub(super) renew_at: SystemTime,
    /// One for each [`super::Alpn`], made when it is first asked for.
    pub(super) configs: [OnceLock<Arc<ServerConfig>>; 2],
    used: AtomicU64,
}

impl CachedLeaf {
    pub(super) fn new(
        leaf: CertifiedKey,
        generation: GenerationId,
        not_before: SystemTime,
        renew_at: SystemTime,
    ) -> Self {
        let leaf = Arc::new(leaf);
        let (configs, used) = (Default::default(), AtomicU64::new(0));
        Self { leaf, generation, not_before, renew_at, configs, used }
    }

    fn serves(&self, generation: GenerationId, now: SystemTime) -> bool {
        self.generation == generation && self.not_before <= now && now < self.renew_at
    }
}

/// Leaves by host, at most [`MAX_LEAVES`].
#[derive(Debug, Default)]
pub(super) struct Cache {
    map: ArcSwap<HashMap<Arc<str>, Arc<CachedLeaf>>>,
    /// Counts misses: a coarse time of use that a hit need not write twice.
    tick: AtomicU64,
}

impl Cache {
    /// The leaf for this host, if the generation that signs now made it and it is still young.
    pub(super) fn find(
        &self,
        host: &str,
        generation: GenerationId,
        now: SystemTime,
    ) -> Option<Arc<CachedLeaf>> {
        let map = self.map.load();
        let entry = map.get(host).filter(|entry| entry.serves(generation, now))?;
        let tick = self.tick.load(Ordering::Relaxed);
        if entry.used.load(Ordering::Relaxed) != tick {
            entry.used.store(tick, Ordering::Relaxed);
        }
        Some(Arc::clone(entry))
    }

    /// Keeps a leaf. Two that are signed for one host at once are both good; the later one stays.
    pub(super) fn keep(&self, host: &Arc<str>, entry: CachedLeaf) -> Arc<CachedLeaf> {
        let tick = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        entry.used.store(tick, Ordering::Relaxed);
        let entry = Arc::new(entry);
        self.map.rcu(|map| {
            let mut map = HashMap::clone(map);
            if map.len() >= MAX_LEAVES && !map.contains_key(host) {
                evict(&mut map);
            }
            map.insert(Arc::clone(host), Arc::clone(&entry));
            map
        });
        entry
    }

    pub(super) fn len(&self) -> usize {
        self.map.load().len()
    }
}

fn evict(map: &mut HashMap<Arc<str>, Arc<CachedLeaf>>) {
    let mut hosts: Vec<_> =
        map.iter().map(|(host, e)| (e.used.load(Ordering::Relaxed), Arc::clone(host))).collect();
    hosts.select_nth_unstable(MAX_LEAVES / 4);
    for (_, host) in &hosts[..MAX_LEAVES / 4] {
        map.remove(host);
    }
}
