//! Whether an upstream's 401 is about the token, and which requests may be sent again with another.

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;

use super::upload::RequestBody;

/// What is needed to send the request once more: only where that changes nothing that the first one
/// didn't (an idempotent method, no body) and the connection stays HTTP.
pub(super) fn spare(parts: &Parts, body: &RequestBody) -> Option<Parts> {
    let repeatable = parts.method.is_idempotent()
        && body.is_end_stream()
        && !parts.headers.contains_key(header::UPGRADE);
    repeatable.then(|| parts.clone())
}

/// Whether another token may help: not where the challenge (RFC 6750 section 3.1, RFC 9449 section 8)
/// says that this one is good but not enough, or lacks a nonce.
pub(super) fn is(status: StatusCode, headers: &HeaderMap) -> bool {
    let good = |name: &str| {
        matches!(name, "insufficient_scope" | "insufficient_user_authentication" | "use_dpop_nonce")
    };
    status == StatusCode::UNAUTHORIZED
        && !headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| error(value).is_some_and(good))
}

/// Whether it wants a proof with the nonce that it names (RFC 9449 section 9).
pub(super) fn wants_nonce(status: StatusCode, headers: &HeaderMap) -> bool {
    let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    status == StatusCode::UNAUTHORIZED
        && challenges
            .filter_map(|value| value.to_str().ok())
            .any(|value| error(value) == Some("use_dpop_nonce"))
}

/// The `error` parameter of a challenge.
fn error(challenge: &str) -> Option<&str> {
    challenge.split([',', ' ', '\t']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("error").then(|| value.trim_matches('"'))
    })
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
            is(StatusCode::UNAUTHORIZED, &headers)
        };
        assert!(is(StatusCode::UNAUTHORIZED, &HeaderMap::new()));
        assert!(with("Bearer realm=\"x\", error=\"invalid_token\""));
        assert!(with("Bearer error_description=\"insufficient_scope\""));
        assert!(!with("Bearer error=\"insufficient_scope\", scope=\"a b\""));
        assert!(!with("Bearer realm=\"x\",Error=insufficient_scope"));
        assert!(!with("DPoP error=\"use_dpop_nonce\""));
        assert!(!with("Bearer error=\"insufficient_user_authentication\", max_age=5"));
        assert!(!is(StatusCode::FORBIDDEN, &HeaderMap::new()));
    }
}
