//! Keeps `[ca] publish` as it should be: before the daemon is ready, and from then on.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ca::trust::TrustError;
use crate::ca::trust::publish::{Kept, Publisher};
use crate::config;
use crate::model::lock::lock;
use crate::proxy::{Proxy, World};

/// Between two looks: a few `stat`s.
const ROOTS_LOOK_EVERY: Duration = Duration::from_millis(500);
/// Whoever changes the files all the time is not heard of all the time.
const QUIET: Duration = Duration::from_secs(60);

/// The directory, and when we last complained of it.
pub(super) struct Shared {
    publisher: Publisher,
    complained: Mutex<Option<Instant>>,
}

impl Shared {
    /// Where the config names one, with the roots in it.
    pub(super) fn open(config: &config::Ca, world: &World) -> Result<Option<Self>, TrustError> {
        let Some(dir) = config.publish.clone() else { return Ok(None) };
        let shared = Self { publisher: Publisher::new(dir), complained: Mutex::default() };
        shared.keep(world)?;
        tracing::info!("what tools must trust is in {}", shared.publisher.dir().display());
        Ok(Some(shared))
    }

    /// Looks until the task is dropped. On threads of their own: a filesystem that hangs must hold
    /// up nobody else.
    pub(super) async fn keep_up(self, proxy: Arc<Proxy>) {
        let shared = Arc::new(self);
        loop {
            tokio::time::sleep(ROOTS_LOOK_EVERY).await;
            let (shared, proxy) = (Arc::clone(&shared), Arc::clone(&proxy));
            tokio::task::spawn_blocking(move || shared.look(&proxy.world.load())).await.ok();
        }
    }

    /// A look, and what it takes to have the files right. Whoever shares the directory can harm
    /// himself by it and must not stop us: trouble is only said.
    fn look(&self, world: &World) {
        let dir = self.publisher.dir().display();
        match self.keep(world) {
            Ok(Kept::Unchanged) => {}
            Ok(Kept::Written) => tracing::info!("new roots in {dir}"),
            Ok(Kept::Repaired) if self.may_complain() => {
                tracing::warn!("somebody changes what we put into {dir}: it was put back");
            }
            Err(error) if self.may_complain() => {
                tracing::warn!(
                    hint = error.hint(),
                    "what tools must trust is not up to date: {error}"
                );
            }
            Ok(Kept::Repaired) | Err(_) => {}
        }
    }

    fn keep(&self, world: &World) -> Result<Kept, TrustError> {
        let platform = || rustls_native_certs::load_native_certs().certs;
        self.publisher.keep(&world.authority.roots_pem(), platform)
    }

    fn may_complain(&self) -> bool {
        let mut last = lock(&self.complained);
        let may = last.is_none_or(|at| at.elapsed() >= QUIET);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}
