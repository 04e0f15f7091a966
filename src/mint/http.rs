//! `grant = "http"`: an exchange that config describes, for issuers that speak no OAuth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{failure, is_json};
use super::template::Values;
use super::{
    AnswerError, DEFAULT_LIFE, MintError, MintRequest, Minter, Minting, Revocation, Revoking,
};
use crate::config;
use crate::model::ask::{Ask, Who};
use crate::model::clock::{Clock, Deadline};
use crate::model::secret::Secret;
use crate::model::token::Token;
use crate::net::client::{Call, Client, IssuerAnswer};
use crate::store;

pub(super) struct Http {
    grant: Box<config::Http>,
    ttl: Option<Duration>,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
}

impl Http {
    pub(super) fn new(
        grant: Box<config::Http>,
        ttl: Option<Duration>,
        client: Arc<Client>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { grant, ttl, client, clock }
    }

    async fn ask(&self, ask: &Ask) -> Result<Token, MintError> {
        let secrets = self.secrets().await?;
        let nobody = Who::default();
        let values = Values::new(&self.grant, secrets, ask.who.as_ref().unwrap_or(&nobody))?;
        // As in `endpoint`: a token never ends later here than at the issuer.
        let asked = self.clock.now();
        let answer = self.send(&self.grant.call, &values).await?;
        let now = self.clock.now();
        let document = match answer.status.as_u16() {
            200 | 201 if is_json(&answer.headers) => answer.document()?,
            200 | 201 => return Err(AnswerError::ContentType.into()),
            _ => return Err(failure(&answer, now)),
        };
        if self.grant.error.as_ref().is_some_and(|at| document.says(at)) {
            return Err(MintError::Refused { error: None, said: None, retry_after: None });
        }
        let named = document.life(&self.grant.expires, asked.wall)?;
        let life = match (named, self.ttl) {
            (Some(named), Some(ttl)) => named.min(ttl),
            (Some(life), None) | (None, Some(life)) => life,
            (None, None) => DEFAULT_LIFE,
        };
        let token = document.token(&self.grant.token)?;
        let token = Token::new(token, asked, Deadline::after(asked, life), None);
        token.map_err(|_| AnswerError::AccessTokenBytes.into())
    }

    async fn end(&self, token: &Token) -> Result<Revocation, MintError> {
        let Some(call) = &self.grant.revoke else { return Ok(Revocation::Unsupported) };
        let values = Values::ending(&self.grant, self.secrets().await?, token.value());
        let answer = self.send(call, &values).await?;
        match answer.status.as_u16() {
            // Gone is as good.
            200..=299 | 404 | 410 => Ok(Revocation::Done),
            _ => Err(failure(&answer, self.clock.now())),
        }
    }

    async fn secrets(&self) -> Result<BTreeMap<&str, Secret>, MintError> {
        let mut secrets = BTreeMap::new();
        for (name, source) in &self.grant.secrets {
            secrets.insert(name.as_str(), store::read_soon(source).await?);
        }
        Ok(secrets)
    }

    async fn send(
        &self,
        call: &config::HttpCall,
        values: &Values<'_>,
    ) -> Result<IssuerAnswer, MintError> {
        let fill = |(name, template): &(http::HeaderName, config::HttpTemplate)| {
            (name.clone(), values.fill(template))
        };
        let call = Call {
            method: call.method.clone(),
            url: &call.url,
            headers: call.headers.iter().map(fill).collect(),
            body: values.body(&call.body),
        };
        Ok(self.client.call(call).await?)
    }
}

impl Minter for Http {
    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(async move { self.ask(&request.ask).await })
    }

    fn revoke<'a>(&'a self, token: &'a Token) -> Revoking<'a> {
        Box::pin(self.end(token))
    }
}
