//! Putting the token in: the one place where its bytes enter a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zeroize::Zeroizing;

use super::{InjectError, strip};
use crate::config::{Inject, PathSlot};
use crate::model::dpop::{self, ProofKey};
use crate::model::hex;
use crate::model::target::Origin;
use crate::model::token::Token;

/// Empties the slot in all spellings, then fills it with exactly one value. A field is marked
/// sensitive (HTTP/2 then never indexes it, RFC 7541 section 7.1.3).
pub(super) fn place(
    inject: &Inject,
    token: &Token,
    headers: &mut HeaderMap,
    target: &mut PathAndQuery,
) -> Result<(), InjectError> {
    let bound = token.proof_key().map(|_| "DPoP");
    let (name, text) = match inject {
        Inject::Basic { user } => (AUTHORIZATION, wiped(basic(user, token))),
        Inject::Header { name, scheme } => {
            let scheme = bound.or(scheme.as_deref());
            (name.clone(), token.sent(scheme, || wiped(prefixed(scheme, token))))
        }
        Inject::Path(slot) => return in_path(slot, token, target),
        Inject::Query(name) => return in_query(name, token, target),
    };
    strip::header(&name, headers);
    fill(name, text, headers);
    Ok(())
}

/// Puts the proof in that a bound token is sent with (RFC 9449 section 7), in the place of any that
/// the client sent.
pub(super) fn prove(
    key: &ProofKey,
    token: &Token,
    (method, origin, path): (&Method, &Origin, &str),
    headers: &mut HeaderMap,
) -> Result<(), InjectError> {
    let name = HeaderName::from_static(dpop::PROOF);
    strip::header(&name, headers);
    let proof = key.prove(method.as_str(), origin, path, Some(token.value()));
    let proof = proof.ok_or(InjectError::Mismatch)?;
    fill(name, wiped(Zeroizing::new(proof.expose().to_vec())), headers);
    Ok(())
}

/// The token in its segment, as policy judged the path but for that segment (I4).
fn in_path(slot: &PathSlot, token: &Token, target: &mut PathAndQuery) -> Result<(), InjectError> {
    let encoded = Zeroizing::new(encode(token.value().expose(), IN_PATH));
    let mut text = slot.fill(target.path(), &encoded).ok_or(InjectError::Target)?;
    // A token that makes its segment a dot segment would lead elsewhere.
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(InjectError::Target);
    }
    if let Some(query) = target.query() {
        text.push('?');
        text.push_str(query);
    }
    *target = PathAndQuery::try_from(text).map_err(|_| InjectError::Target)?;
    Ok(())
}

/// The token as the last parameter; those of the client in any spelling of the name are gone.
fn in_query(name: &str, token: &Token, target: &mut PathAndQuery) -> Result<(), InjectError> {
    *target = strip::parameter(name, target)?;
    let separator = if target.query().is_some() { '&' } else { '?' };
    let value = Zeroizing::new(encode(token.value().expose(), IN_QUERY));
    let name = encode(name.as_bytes(), IN_QUERY);
    let text = format!("{target}{separator}{name}={}", *value);
    *target = PathAndQuery::try_from(text).map_err(|_| InjectError::Target)?;
    Ok(())
}

/// Percent-encoded but for these, letters and digits.
fn encode(bytes: &[u8], kept: &[u8]) -> String {
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            text.push(char::from(*byte));
        } else {
            let [high, low] = hex::digits(*byte).map(|d| d.to_ascii_uppercase());
            text.extend(['%', char::from(high), char::from(low)]);
        }
    }
    text
}

/// What a segment may hold besides letters and digits (RFC 3986 section 3.3, `pchar`); `redact`
/// looks for a token in this form too.
pub(super) const IN_PATH: &[u8] = b"-._~!$&'()*+,;=:@";
/// What a query value may hold without ever meaning something else.
const IN_QUERY: &[u8] = b"-._~";

/// Wiped when the last that has them is dropped.
fn wiped(text: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(text)
}

fn fill(name: HeaderName, text: Bytes, headers: &mut HeaderMap) {
    // A token is visible ASCII and scheme and user were checked at load, so this cannot fail; if
    // it ever does, the request goes out without any value in the slot.
    if let Ok(mut value) = HeaderValue::from_maybe_shared(text) {
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

    fn at(inject: &Inject, headers: &mut HeaderMap) {
        let mut target = PathAndQuery::from_static("/x");
        place(inject, &token("abc"), headers, &mut target).unwrap();
        assert_eq!(target, "/x");
    }

    fn into(inject: &Inject, text: &str, value: &str) -> Result<String, InjectError> {
        let mut target = PathAndQuery::try_from(text).unwrap();
        let placed = place(inject, &token(value), &mut HeaderMap::new(), &mut target);
        placed.map(|()| target.to_string())
    }

    #[test]
    fn queries_and_paths() {
        let query = Inject::Query("api_key".into());
        assert_eq!(into(&query, "/x", "a+b/=").unwrap(), "/x?api_key=a%2Bb%2F%3D");
        for spelt in ["api_key=mine", "API%5fKEY=mine", "api%255Fkey[]=mine&api_key", "+api_key=a"]
        {
            assert_eq!(into(&query, &format!("/x?p=1&{spelt}"), "t").unwrap(), "/x?p=1&api_key=t");
            assert_eq!(into(&query, &format!("/x?{spelt};p=1"), "t").unwrap(), "/x?p=1&api_key=t");
        }
        let path = Inject::Path(PathSlot::parse("/bot{token}/**").unwrap());
        assert_eq!(
            into(&path, "/botMINE/send?a=b", "1:A/?#%").unwrap(),
            "/bot1:A%2F%3F%23%25/send?a=b"
        );
        assert_eq!(into(&path, "/bot1%2F2/send", "t").unwrap(), "/bott/send");
        let bare = Inject::Path(PathSlot::parse("/{token}").unwrap());
        assert_eq!(into(&bare, "/mine", "..").unwrap_err(), InjectError::Target);
        assert_eq!(into(&path, "*", "t").unwrap_err(), InjectError::Target);
    }

    #[test]
    fn fills_exactly_one_slot() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer mine"));
        headers.append("authorization", HeaderValue::from_static("Basic mine"));
        let inject = Inject::Header { name: AUTHORIZATION, scheme: Some("Bearer".into()) };
        at(&inject, &mut headers);
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer abc"]);
        assert!(values[0].is_sensitive());
    }

    #[test]
    fn other_shapes() {
        let mut headers = HeaderMap::new();
        headers.append("x_api_key", HeaderValue::from_static("twin"));
        at(
            &Inject::Header { name: HeaderName::from_static("x-api-key"), scheme: None },
            &mut headers,
        );
        assert_eq!(headers.get("x-api-key").unwrap(), "abc");
        assert!(!headers.contains_key("x_api_key"));
        at(&Inject::Basic { user: "x-access-token".into() }, &mut headers);
        assert_eq!(headers.get("authorization").unwrap(), "Basic eC1hY2Nlc3MtdG9rZW46YWJj");
    }
}
