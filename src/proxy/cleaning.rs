//! What an answer is cleaned of on its way back (invariant I6): the token of its request, the one before it
//! (whichever connection that was used on), and what other requests of the client to this origin were given.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::body::{Clean, Reply};
use super::exchange::Exchange;
use crate::broker::SlotKey;
use crate::inject;
use crate::masking::{BodyRedactor, Redactor};
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
        let redactor = self.redactor(permit, token, rejected);
        let injected = token.is_some();
        let bought = injected && permit.strips_cookies();
        inject::clean_answer(bought, redactor.as_deref(), headers);
        if status == StatusCode::NO_CONTENT {
            // RFC 9110 section 8.6; some clients would wait for so much.
            headers.remove(CONTENT_LENGTH);
        }
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
        Ok(Clean { bought, redactor, body, unsaid })
    }

    /// Cleans the head of an answer before the one that counts, or of a switch of protocols. Gives what cleans the
    /// bytes behind it.
    pub(super) fn clean_head(
        &self,
        permit: &Permit,
        token: Option<&Token>,
        headers: &mut HeaderMap,
    ) -> Option<Arc<Redactor>> {
        let redactor = self.redactor(permit, token, None);
        let bought = token.is_some() && permit.strips_cookies();
        inject::clean_answer(bought, redactor.as_deref(), headers);
        redactor.filter(|_| token.is_some() && permit.redacts())
    }

    fn redactor(
        &self,
        permit: &Permit,
        token: Option<&Token>,
        rejected: Option<&Arc<Token>>,
    ) -> Option<Arc<Redactor>> {
        let mut others = Vec::new();
        let mut note = |other: &Arc<Token>| {
            if !token.is_some_and(|token| other.is(token))
                && !others.iter().any(|known: &Arc<Token>| known.is(other))
            {
                others.push(Arc::clone(other));
            }
        };
        self.each_held(permit, &mut note);
        if let Some(rejected) = rejected {
            note(rejected);
        }
        if let Some(token) = token {
            each_before(token, &mut note);
        }
        match token {
            Some(token) => Some(self.kept.redactor.of(token, &others, &self.worker.redactors)),
            // A request without a token may still be answered with one.
            None => {
                let redactor = || Arc::new(inject::redactor_of(others.iter().map(Arc::as_ref)));
                (!others.is_empty()).then(redactor)
            }
        }
    }

    /// What the client's requests to this origin were given, renewed ones that have not ended included: the upstream
    /// has seen it, and may say it in any answer.
    fn each_held(&self, permit: &Permit, note: &mut impl FnMut(&Arc<Token>)) {
        let broker = &self.worker.proxy.broker;
        for (name, ask) in self.world.policy.credentials_of(&permit.origin().target.host) {
            let (client, ask) = (self.client.key(), ask.of(self.client));
            let key = SlotKey { client, credential: name.clone(), ask };
            let minter = self.world.minters.get(name);
            if let Some(token) = minter.and_then(|minter| broker.held(&key, minter)) {
                note(&token);
                each_before(&token, note);
            }
        }
    }
}

/// Those whose place it took, one after the other.
fn each_before(token: &Token, note: &mut impl FnMut(&Arc<Token>)) {
    let mut before = token.before();
    while let Some(token) = before {
        note(&token);
        before = token.before();
    }
}
