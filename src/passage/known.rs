//! Where the tokens of one client connection come from: the maps of all clients are asked once for
//! each. One or two, as a rule.

use std::sync::{Arc, Mutex, MutexGuard};

use super::given::Given;
use crate::broker::{Slot, SlotKey};
use crate::mint::Minter;
use crate::model::lock::lock;

/// Of one connection, all of whose tokens go to one host.
#[derive(Default)]
pub struct Known(Mutex<Vec<Source>>);

/// Where a token comes from, and where it is noted.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) slot: Arc<Slot>,
    pub(super) given: Arc<Given>,
}

impl Known {
    pub(super) fn find(&self, key: &SlotKey, minter: &Arc<dyn Minter>) -> Option<Source> {
        let sources = self.sources();
        let found = sources.iter().find(|known| *known.slot.key() == *key)?;
        found.slot.is_of(minter).then(|| found.clone())
    }

    /// In place of an older one of the same key.
    pub(super) fn keep(&self, source: &Source) {
        let mut sources = self.sources();
        sources.retain(|old| old.slot.key() != source.slot.key());
        sources.push(source.clone());
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        lock(&self.0)
    }
}
