//! Upstreams that take bound tokens (DPoP, RFC 9449): what their nonces ask of us.

use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;

use super::exchange::Exchange;
use super::rejected;
use super::upload::Sent;
use super::upstream::Answered;
use crate::audit::Recorder;
use crate::model::dpop;
use crate::model::token::Token;
use crate::policy::Permit;

impl Exchange<'_> {
    /// Keeps the nonce that an origin gives for a bound token (RFC 9449 section 9). Where it wants one before anything
    /// else, a request that may be sent twice is sent once more, with the same token.
    pub(super) async fn with_nonce(
        &self,
        permit: &Permit,
        token: &Token,
        spare: Option<&Parts>,
        mut answered: Answered,
        sent: &Arc<Sent>,
        recorder: &mut Recorder,
    ) -> Answered {
        let Some(key) = token.proof_key() else { return answered };
        let given = key.learn(permit.origin(), nonces(&answered));
        if given
            && rejected::wants_nonce(answered.status, &answered.headers)
            && let Some(parts) = spare
            && let Some(second) = self.resend(permit, token, parts.clone(), sent, recorder).await
        {
            key.learn(permit.origin(), nonces(&second));
            answered = second;
        }
        // Ours to answer: the tool has no key.
        answered.headers.remove(dpop::NONCE);
        answered
    }
}

fn nonces(answered: &Answered) -> impl Iterator<Item = &[u8]> {
    answered.headers.get_all(dpop::NONCE).iter().map(HeaderValue::as_bytes)
}
