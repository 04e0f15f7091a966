//! `grant = "jwt-bearer"` (RFC 7523 section 2.1): an assertion that we sign is the grant.

use std::time::Duration;

use super::answer::Expect;
use super::endpoint::Form;
use super::issuer::Issuer;
use super::{MintError, MintRequest, Minter, Minting, Revoking, jws, jwt};
use crate::config::Signed;
use crate::model::token::Token;

pub(super) struct JwtBearer {
    pub(super) issuer: Issuer,
    pub(super) assertion: Signed,
}

impl JwtBearer {
    async fn ask(&self, request: MintRequest) -> Result<Token, MintError> {
        let now = self.issuer.clock().now().wall;
        let own = [self.issuer.audience()];
        let aud = if self.assertion.aud.is_empty() { &own[..] } else { &self.assertion.aud };
        let times = jwt::times(now, Duration::ZERO, ASSERTION_LIFE);
        let assertion = jws::sign(&self.assertion, &request.ask, aud, times).await?;
        let form = Form::new("urn:ietf:params:oauth:grant-type:jwt-bearer")
            .secret("assertion", &assertion);
        self.issuer.ask(form, &request.ask, Expect::Bearer).await
    }
}

impl Minter for JwtBearer {
    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(self.ask(request))
    }

    fn revoke<'a>(&'a self, token: &'a Token) -> Revoking<'a> {
        Box::pin(self.issuer.revoke(token))
    }
}

/// An assertion is used at once, and once; some issuers' clocks are a minute off.
const ASSERTION_LIFE: Duration = Duration::from_secs(180);
