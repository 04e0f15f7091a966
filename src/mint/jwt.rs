//! `grant = "jwt"`: a token signed here, for an API that knows our key. Asks nobody, so it works
//! offline.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{DEFAULT_LIFE, MintError, MintRequest, Minter, Minting, either, jws};
use crate::config;
use crate::model::clock::{Clock, Deadline};
use crate::model::id;
use crate::model::token::Token;

pub(super) struct Jwt {
    grant: config::Jwt,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl Jwt {
    pub(super) fn new(grant: config::Jwt, ttl: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        Self { grant, ttl: ttl.unwrap_or(DEFAULT_LIFE), clock }
    }

    async fn sign(&self, request: MintRequest) -> Result<Token, MintError> {
        let now = self.clock.now();
        let claims = times(now.wall, self.grant.backdate, self.ttl);
        let aud = either(&request.ask.audience, &self.grant.signed.aud);
        let value = jws::sign(&self.grant.signed, &request.ask, aud, claims).await?;
        Ok(Token::new(value, now, Deadline::after(now, self.ttl), None)?)
    }
}

impl Minter for Jwt {
    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(self.sign(request))
    }
}

/// `iat`, `exp` and a `jti` of its own. `exp` is rounded up: no verifier ends a token before we do.
pub(super) fn times(now: SystemTime, backdate: Duration, life: Duration) -> Map<String, Value> {
    let mut claims = Map::new();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    claims.insert("iat".into(), now.saturating_sub(backdate).as_secs().into());
    claims.insert("exp".into(), now.saturating_add(life).as_secs().saturating_add(1).into());
    claims.insert("jti".into(), id::random_text().into());
    claims
}
