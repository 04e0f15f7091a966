//! A new world in, the old one out: one atomic swap, and what has to go before and after it.
//!
//! A request holds the world that it was judged by to its end, minters included, so none ever mixes
//! two. A config that cannot be used leaves everything as it is.

use std::sync::{Arc, MutexGuard};

use super::control::Daemon;
use super::error::Error;
use super::seen::SeenConfig;
use super::sight::Sight;
use super::world::{self, Current, SharedSessions};
use crate::audit::Event;
use crate::config::{self, Config, LoadError};
use crate::model::lock::lock;
use crate::proxy::World;

/// Why a config is not taken up.
pub(super) struct Refused {
    code: &'static str,
    pub(super) message: String,
}

/// All that a config becomes.
struct Built {
    config: Config,
    world: World,
    sessions: SharedSessions,
}

impl Daemon {
    /// Reads the config again. A bad one leaves everything as it is, and says so. `expected`: the
    /// digest of what whoever asks has judged; nothing else is taken up.
    pub(super) fn reload(&self, expected: Option<&str>) -> Result<(), Refused> {
        let mut current = self.config();
        // Before they are read: what changes from here on is a change.
        let before = self.seen().files.look();
        let loaded = config::reload(&current, expected).map(|(config, _)| config);
        if let Ok(config) = &loaded {
            self.seen().files.name(config.files());
        }
        let mut sight = self.seen().files.look();
        sight.extend(before.into_iter().filter(|(path, _)| *path == current.named));
        let built =
            loaded.map_err(Refused::from).and_then(|config| self.build(config, &current, &sight));
        match built {
            Ok(built) => {
                self.seen().succeeded(sight);
                world::count(&built.config, self.proxy.passage.audit.metrics());
                self.swap(&mut current, built);
                Ok(())
            }
            Err(refused) => {
                let Refused { code, message } = &refused;
                self.seen().considered = sight;
                self.proxy.passage.audit.metrics().not_loaded();
                tracing::error!(code, "config not reloaded, the old one stands: {message}");
                self.proxy.passage.audit.event(Event::config("refused", None).code(code)).ok();
                Err(refused)
            }
        }
    }

    fn build(&self, config: Config, current: &Config, sight: &Sight) -> Result<Built, Refused> {
        let before = self.proxy.world.load();
        let alike = self.seen().reaches_alike(&config, sight);
        let running = Current { world: &before, config: current, alike };
        let (clock, audit) = (&self.proxy.passage.clock, &self.proxy.passage.audit);
        let sessions = SharedSessions::read(&config)?;
        let world = world::build(&config, &self.own, Some(running), clock, audit)?;
        Ok(Built { config, world, sessions })
    }

    /// Who is no longer admitted goes first, who is newly admitted comes last: nobody is judged by
    /// a policy that was not written for him.
    fn swap(&self, current: &mut Config, built: Built) {
        let Built { config, world, sessions } = built;
        for session in sessions.withdraw(self.proxy.passage.gate.sessions()) {
            self.ended(&session, "ended");
        }
        let world = Arc::new(world);
        self.proxy.world.store(Arc::clone(&world));
        self.keep_only(&world);
        sessions.share(&self.proxy.passage.gate);
        let ended = self.proxy.live.judge_again(&self.proxy.judge(&world));
        let outdated = self.began.outdated_by(&config);
        if !outdated.is_empty() {
            tracing::warn!(
                code = "restart-needed",
                hint = self.restart_command(),
                "takes effect at the next start: {}",
                outdated.join(", ")
            );
        }
        // What was in use a moment ago may still be run by what is under way.
        super::prune(&config.state_dir, config.held.iter().chain(&current.held));
        *current = config;
        let hash = world.terms.policy.hash();
        tracing::info!(policy = %hash, ended, "config reloaded");
        self.proxy.passage.audit.event(Event::config("loaded", Some(hash))).ok();
    }

    /// What has it take up what a reload does not.
    pub(super) fn restart_command(&self) -> String {
        format!("valetkey restart{}", self.proxy.passage.config_flag)
    }

    /// What the files hold, where that is not what was last considered.
    pub(super) fn changed(&self) -> Option<Sight> {
        let mut seen = self.seen();
        let sight = seen.files.look();
        (sight != seen.considered).then_some(sight)
    }

    /// Reloads because files changed, unless they are again as they were read for what runs.
    pub(super) fn take_up_change(&self) {
        {
            let mut seen = self.seen();
            let sight = seen.files.look();
            if sight == seen.running {
                seen.considered = sight;
                tracing::info!("the config is again the one that runs");
                return;
            }
        }
        // What became of it is in the log.
        self.reload(None).ok();
    }

    fn seen(&self) -> MutexGuard<'_, SeenConfig> {
        lock(&self.seen)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        if let LoadError::Invalid { problems, .. } = &error {
            for problem in problems {
                tracing::error!("{problem}");
            }
        }
        Self { code: error.code(), message: error.to_string() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        if let Error::Policy(problems) = &error {
            for problem in problems {
                tracing::error!("{problem}");
            }
        }
        Self { code: error.code(), message: error.to_string() }
    }
}
