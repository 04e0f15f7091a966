//! What an answer is cleaned of on its way back (invariant I6): the token of its request, the one before it,
//! and what other requests of the client to this origin were given.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::body::{Clean, Reply};
use super::exchange::Exchange;
use crate::broker::SlotKey;
use crate::inject::{self, BodyRedactor, Redactor};
use crate::model::reason::Reason;
use crate::model::target::Origin;
use crate::model::token::Token;
use crate::policy::Permit;

impl Exchange<'_> {
    /// Cleans the head of an answer; what comes after it is cleaned as it comes. `rejected`: the token that it
    /// was asked with first. `bare`: it has no body, whatever it says.
    pub(super) fn clean(
        &self,
        permit: &Permit,
        rejected: Option<&Token>,
        token: Option<&Token>,
        bare: bool,
        (status, headers, reply): (StatusCode, &mut HeaderMap, &Reply),
    ) -> Result<Clean, Reason> {
        if let (Some(rejected), Some(_)) = (rejected, token) {
            self.redactor(rejected);
        }
        let redactor = match token {
            Some(token) => Some(self.redactor(token)),
            None => self.redact_held(permit.origin()),
        };
        let injected = token.is_some();
        inject::clean_answer(injected, redactor.as_deref(), headers);
        let bare = bare || status == StatusCode::NOT_MODIFIED;
        let mut unsaid = false;
        let body = match &redactor {
            Some(redactor) if injected && permit.redacts() => {
                if bare || reply.done() {
                    unsaid = !BodyRedactor::of_none(headers) && bare;
                    None
                } else {
                    let body = BodyRedactor::begin(Arc::clone(redactor), status, headers);
                    Some(Box::new(body.map_err(|_| Reason::UpstreamEncodingRefused)?))
                }
            }
            _ => None,
        };
        Ok(Clean { injected, redactor, body, unsaid })
    }

    /// Cleans the head of an answer before the one that counts, or of a switch of protocols.
    pub(super) fn clean_head(
        &self,
        token: Option<&Token>,
        headers: &mut HeaderMap,
    ) -> Option<Arc<Redactor>> {
        let redactor = token.map(|token| self.redactor(token));
        inject::clean_answer(token.is_some(), redactor.as_deref(), headers);
        redactor
    }

    fn redactor(&self, token: &Token) -> Arc<Redactor> {
        self.kept.redactor.of(token, &self.worker.redactors)
    }

    /// A request without a token may still be answered with one: the upstream has seen those of others.
    fn redact_held(&self, origin: &Origin) -> Option<Arc<Redactor>> {
        let broker = &self.worker.proxy.broker;
        let held: Vec<_> = (self.world.policy.credentials_of(&origin.target.host))
            .filter_map(|(name, ask)| {
                let (client, ask) = (self.client.key(), ask.of(self.client));
                let key = SlotKey { client, credential: name.clone(), ask };
                broker.held(&key, self.world.minters.get(name)?)
            })
            .collect();
        (!held.is_empty()).then(|| Arc::new(Redactor::of_all(held.iter().map(Arc::as_ref))))
    }
}
