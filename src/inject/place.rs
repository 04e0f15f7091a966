//! Putting the token in: the one place where its bytes enter a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::strip;
use crate::config::Inject;
use crate::model::token::Token;

/// Empties the slot in all spellings, then fills it with exactly one value, marked sensitive (HTTP/2
/// then never indexes it, RFC 7541 section 7.1.3).
pub(super) fn place(inject: &Inject, token: &Token, headers: &mut HeaderMap) {
    let (name, text) = match inject {
        Inject::Basic { user } => (AUTHORIZATION, basic(user, token)),
        Inject::Header { name, scheme } => (name.clone(), prefixed(scheme.as_deref(), token)),
    };
    strip::header(&name, headers);
    fill(name, &text, headers);
}

fn fill(name: HeaderName, text: &[u8], headers: &mut HeaderMap) {
    // A token is visible ASCII and scheme and user were checked at load, so this cannot fail; if
    // it ever does, the request goes out without any value in the slot.
    if let Ok(mut value) = HeaderValue::from_bytes(text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// `scheme token`, or the bare token.
fn prefixed(scheme: Option<&str>, token: &Token) -> Zeroizing<Vec<u8>> {
    let token = token.value().expose();
    let mut text =
        Zeroizing::new(Vec::with_capacity(token.len() + scheme.map_or(0, |s| s.len() + 1)));
    if let Some(scheme) = scheme {
        text.extend_from_slice(scheme.as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(token);
    text
}

/// `Basic base64(user:token)`, RFC 7617.
fn basic(user: &str, token: &Token) -> Zeroizing<Vec<u8>> {
    let token = token.value().expose();
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + token.len()));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(token);
    let mut text = Zeroizing::new(vec![0; b"Basic ".len() + pair.len().div_ceil(3) * 4]);
    text[..6].copy_from_slice(b"Basic ");
    // The buffer holds exactly what RFC 4648 says the encoding takes.
    let written = STANDARD.encode_slice(&*pair, &mut text[6..]).unwrap_or(0);
    text.truncate(6 + written);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::{Clock as _, Deadline, SystemClock};
    use crate::model::secret::Secret;
    use std::time::Duration;

    fn token(text: &str) -> Token {
        let now = SystemClock.now();
        Token::new(Secret::new(text), now, Deadline::after(now, Duration::from_secs(60)), None)
            .unwrap()
    }

    #[test]
    fn fills_exactly_one_slot() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer mine"));
        headers.append("authorization", HeaderValue::from_static("Basic mine"));
        let inject = Inject::Header { name: AUTHORIZATION, scheme: Some("Bearer".into()) };
        place(&inject, &token("abc"), &mut headers);
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer abc"]);
        assert!(values[0].is_sensitive());
    }

    #[test]
    fn other_shapes() {
        let mut headers = HeaderMap::new();
        headers.append("x_api_key", HeaderValue::from_static("twin"));
        place(
            &Inject::Header { name: HeaderName::from_static("x-api-key"), scheme: None },
            &token("abc"),
            &mut headers,
        );
        assert_eq!(headers.get("x-api-key").unwrap(), "abc");
        assert!(!headers.contains_key("x_api_key"));
        place(&Inject::Basic { user: "x-access-token".into() }, &token("abc"), &mut headers);
        assert_eq!(headers.get("authorization").unwrap(), "Basic eC1hY2Nlc3MtdG9rZW46YWJj");
    }
}
