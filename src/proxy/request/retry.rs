//! What an upstream's answer asks of us before its client sees it: another token after a 401 that
//! is about the token (RFC 6750 section 3.1), or a proof with its nonce (RFC 9449 section 9). What
//! it wants of a person is told in `step_up`.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;

use crate::broker::Broker;
use crate::http1::challenge::errors;
use crate::model::dpop;
use crate::passage::{JudgedRequest, Passed};
use crate::proxy::back::upload::RequestBody;
use crate::proxy::back::upstream::Answered;

/// Sends a request without a body once more. `None`: that came to nothing.
pub trait Resend {
    fn resend(
        &mut self,
        passed: &Passed,
        request: JudgedRequest,
    ) -> impl Future<Output = Option<Answered>> + Send;
}

/// What is needed to send the request once more: only where that changes nothing that the first one
/// didn't (an idempotent method, no body) and the connection stays HTTP.
pub fn spare(request: &JudgedRequest, body: &RequestBody) -> Option<JudgedRequest> {
    let parts = request.parts();
    let repeatable = parts.method.is_idempotent()
        && body.is_end_stream()
        && !parts.headers.contains_key(header::UPGRADE);
    repeatable.then(|| request.clone())
}

/// Whether the answer is for us first.
pub fn concerns_us(passed: &Passed, answered: &Answered) -> bool {
    let Some(token) = passed.token() else { return false };
    token.proof_key().is_some() || is_rejected(answered.status, &answered.headers)
}

/// Keeps a nonce, and sends a request that may be sent twice (`spare`) once more: with the nonce
/// that is wanted before anything else, then with another token, as the rejected one is dropped
/// unless it is young. Where that comes to nothing the first answer stands.
pub async fn heed(
    broker: &Broker,
    passed: &mut Passed,
    spare: Option<JudgedRequest>,
    answered: Answered,
    again: &mut impl Resend,
) -> Answered {
    let answered = with_nonce(passed, spare.as_ref(), answered, again).await;
    if !is_rejected(answered.status, &answered.headers) {
        return answered;
    }
    let (Some(slot), Some(old)) = (passed.slot(), passed.token().cloned()) else {
        return answered;
    };
    // A login in the middle of the request has closed the one that its token came from.
    let Ok(slot) = broker.again(slot) else { return answered };
    if !slot.invalidate(old.fingerprint()) {
        return answered;
    }
    let Some(request) = spare else { return answered };
    let Ok(new) = slot.token().await else { return answered };
    if new.is(&old) {
        return answered;
    }
    passed.replace_token(new);
    match again.resend(passed, request).await {
        Some(second) => second,
        None => {
            passed.replace_token(old);
            answered
        }
    }
}

/// With the same token, where the upstream takes bound ones (DPoP).
async fn with_nonce(
    passed: &Passed,
    spare: Option<&JudgedRequest>,
    mut answered: Answered,
    again: &mut impl Resend,
) -> Answered {
    let Some(key) = passed.token().and_then(|token| token.proof_key()) else { return answered };
    let origin = passed.permit().origin();
    let given = key.learn(origin, nonces(&answered));
    if given
        && wants_nonce(answered.status, &answered.headers)
        && let Some(request) = spare
        && let Some(second) = again.resend(passed, request.clone()).await
    {
        key.learn(origin, nonces(&second));
        answered = second;
    }
    // Ours to answer: the tool has no key.
    answered.headers.remove(dpop::NONCE);
    answered
}

fn nonces(answered: &Answered) -> impl Iterator<Item = &[u8]> {
    answered.headers.get_all(dpop::NONCE).iter().map(HeaderValue::as_bytes)
}

/// Whether another token may help: not where a challenge (RFC 6750 section 3.1, RFC 9470 section 3,
/// RFC 9449 section 8) says that this one is good but not enough, or lacks a nonce.
fn is_rejected(status: StatusCode, headers: &HeaderMap) -> bool {
    let good =
        ["insufficient_scope", "insufficient_user_authentication", "use_dpop_nonce"].as_slice();
    status == StatusCode::UNAUTHORIZED && !errors(headers).any(|error| good.contains(&&*error))
}

/// Whether it wants a proof with the nonce that it names (RFC 9449 section 9).
fn wants_nonce(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::UNAUTHORIZED && errors(headers).any(|error| error == "use_dpop_nonce")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_challenge_says_what_helps() {
        let with = |challenge: &'static str| {
            let name = header::WWW_AUTHENTICATE;
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(challenge))]);
            is_rejected(StatusCode::UNAUTHORIZED, &headers)
        };
        assert!(is_rejected(StatusCode::UNAUTHORIZED, &HeaderMap::new()));
        assert!(with("Bearer realm=\"x\", error=\"invalid_token\""));
        assert!(with("Bearer error_description=\"insufficient_scope\""));
        let described =
            "Bearer error_description=\"see error=insufficient_scope\", error=\"invalid_token\"";
        assert!(with(described));
        assert!(!with("Bearer error=\"insufficient_scope\", scope=\"a b\""));
        assert!(!with("Bearer realm=\"x\",Error=insufficient_scope"));
        assert!(!with("DPoP error=\"use_dpop_nonce\""));
        assert!(!with("Bearer error=\"insufficient_user_authentication\", max_age=5"));
        assert!(!is_rejected(StatusCode::FORBIDDEN, &HeaderMap::new()));
    }
}
