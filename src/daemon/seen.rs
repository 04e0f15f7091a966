//! What the daemon remembers of its config's files, so that a look tells a change from what runs
//! and from what was tried and refused.

use super::sight::{Content, Files, Sight};
use crate::config::Config;

/// Which files were read for what runs, and what became of reading them.
pub(super) struct SeenConfig {
    pub(super) files: Files,
    /// What they held when a reload was last tried.
    pub(super) considered: Sight,
    /// What they held when one last succeeded.
    pub(super) running: Sight,
}

impl SeenConfig {
    /// At the start, a little after the config was read.
    pub(super) fn of(config: &Config) -> Self {
        let mut files = Files::default();
        files.name(config.files());
        let mut running = files.look();
        let as_read = |content: &Content| content.hex().as_ref() == Some(&config.text_sha256);
        if !running.get(&config.named).is_some_and(as_read) {
            // It changed in between: the next look must differ.
            running.remove(&config.named);
        }
        Self { files, considered: running.clone(), running }
    }

    /// What this look found runs from now on.
    pub(super) fn succeeded(&mut self, sight: Sight) {
        self.running.clone_from(&sight);
        self.considered = sight;
    }

    /// Whether the files that say how issuers are reached are as they were when this was taken up.
    pub(super) fn reaches_alike(&self, config: &Config, sight: &Sight) -> bool {
        config.upstream.files().all(|path| self.running.get(path) == sight.get(path))
    }
}
