//! What an answer is cleaned of on its way back (invariant I6): the token of its request, the one before it
//! (whichever connection that was used on), and what other requests of the client to this origin were given.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::body::{Clean, Reply};
use super::exchange::Exchange;
use crate::broker::SlotKey;
use crate::inject::{self, BodyRedactor, Redactor};
use crate::model::reason::Reason;
use crate::model::token::Token;
use crate::policy::Permit;

impl Exchange<'_> {
    /// Cleans the head of an answer; what comes after it is cleaned as it comes. `rejected`: the token that it
    /// was asked with first. `bare`: it has no body, whatever it says.
    pub(super) fn clean(
        &self,
        permit: &Permit,
        rejected: Option<&Arc<Token>>,
        token: Option<&Token>,
        bare: bool,
        (status, headers, reply): (StatusCode, &mut HeaderMap, &Reply),
    ) -> Result<Clean, Reason> {
        let redactor = match token {
            Some(token) => Some(self.redactor(permit, token, rejected)),
            // A request without a token may still be answered with one.
            None => {
                let held = self.held(permit);
                let redactor = || Arc::new(Redactor::of_all(held.iter().map(Arc::as_ref)));
                (!held.is_empty()).then(redactor)
            }
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
        permit: &Permit,
        token: Option<&Token>,
        headers: &mut HeaderMap,
    ) -> Option<Arc<Redactor>> {
        let redactor = token.map(|token| self.redactor(permit, token, None));
        inject::clean_answer(token.is_some(), redactor.as_deref(), headers);
        redactor
    }

    fn redactor(
        &self,
        permit: &Permit,
        token: &Token,
        rejected: Option<&Arc<Token>>,
    ) -> Arc<Redactor> {
        let mut others = self.held(permit);
        for old in token.before().into_iter().chain(rejected.map(Arc::clone)) {
            if !old.is(token) && !others.iter().any(|known| known.is(&old)) {
                others.push(old);
            }
        }
        self.kept.redactor.of(token, &others, &self.worker.redactors)
    }

    /// What the client's other requests to this origin were given: the upstream has seen it, and may say it in any answer.
    fn held(&self, permit: &Permit) -> Vec<Arc<Token>> {
        let broker = &self.worker.proxy.broker;
        let own = permit.credential().zip(permit.route().map(|route| &route.ask));
        let mut held: Vec<Arc<Token>> = Vec::new();
        for (name, ask) in self.world.policy.credentials_of(&permit.origin().target.host) {
            if own == Some((name, ask)) {
                continue;
            }
            let (client, ask) = (self.client.key(), ask.of(self.client));
            let key = SlotKey { client, credential: name.clone(), ask };
            let token = self.world.minters.get(name).and_then(|minter| broker.held(&key, minter));
            held.extend(token.filter(|token| !held.iter().any(|known| known.is(token))));
        }
        held
    }
}
