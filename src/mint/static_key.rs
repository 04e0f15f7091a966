//! `grant = "static-key"`: a standing secret handed on as it is, and reported as one everywhere.
//!
//! The last resort for an API without tokens. The key is read anew each time its copy has ended,
//! so that a changed file is used without a restart; beyond `max_age` it is not used at all.

use std::sync::Arc;
use std::time::Duration;

use super::{DEFAULT_LIFE, MintError, MintRequest, Minter, Minting};
use crate::config;
use crate::model::clock::{Clock, Deadline};
use crate::model::token::Token;
use crate::store;

pub(super) struct StaticKey {
    grant: config::StaticKey,
    ttl: Option<Duration>,
    clock: Arc<dyn Clock>,
}

impl StaticKey {
    pub(super) fn new(
        grant: config::StaticKey,
        ttl: Option<Duration>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { grant, ttl, clock }
    }

    async fn read(&self) -> Result<Token, MintError> {
        let now = self.clock.now();
        let changed = store::changed(&self.grant.secret);
        let left = config::check::left(&self.grant, changed, now.wall);
        let left = left.ok_or(MintError::Outdated)?;
        let key = store::read_soon(&self.grant.secret).await?;
        let life = self.ttl.unwrap_or(DEFAULT_LIFE).min(left);
        Ok(Token::new(key, now, Deadline::after(now, life), None)?.standing())
    }
}

impl Minter for StaticKey {
    fn mint(&self, _: MintRequest) -> Minting<'_> {
        Box::pin(self.read())
    }
}
