//! Taking out: hop-by-hop fields, owned slots in every spelling, placeholders, and what would make
//! an upstream see another request than policy judged.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;

use super::InjectError;
use crate::config::Placement;
use crate::model::placeholder::Placeholder;

/// Fields of one connection only (RFC 9110 section 7.6.1), and the client's words to the proxy.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    TE,
    TRAILER,
    UPGRADE,
    TRANSFER_ENCODING,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Fields whose twins with `_` some servers take for them.
static FRAMING: [HeaderName; 2] = [CONTENT_LENGTH, HOST];

/// Fields by which some upstreams take another method, path, host or client than the request's own.
const OVERRIDES: &[&str] = &[
    "forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];
const OVERRIDE_PREFIXES: &[&str] = &["x-envoy-", "x-forwarded-", "x-vault-"];

/// Removes hop-by-hop fields and everything that `Connection` names. `TE: trailers` survives: gRPC
/// needs it and it asks for nothing but what HTTP/2 always allows.
pub(super) fn hop_by_hop(headers: &mut HeaderMap) {
    let trailers =
        headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // A quote is no letter of a name, though the library takes it for one: HTTP/2 may bring it here.
    retain(headers, |name| match dashed(name.as_str()) {
        _ if name.as_str().contains('"') => false,
        Some(plain) => !HOP_BY_HOP.iter().chain(&FRAMING).any(|gone| *gone == plain.as_str()),
        None => *name != HOST && !HOP_BY_HOP.contains(name),
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The same for an answer. `Trailer` stays, the trailers are passed on.
pub(super) fn hop_by_hop_answer(headers: &mut HeaderMap) {
    let trailer = headers.remove(TRAILER);
    // RFC 9112 section 6.3: the coding counts, and a length beside it would cut the answer short.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    hop_by_hop(headers);
    if let Some(trailer) = trailer {
        headers.insert(TRAILER, trailer);
    }
}

/// Removes fields that override what was judged (HOSTILE: method and path overrides, forwarding).
pub(super) fn overrides(headers: &mut HeaderMap) {
    retain(headers, |name| {
        let plain = dashed(name.as_str());
        let plain = plain.as_deref().unwrap_or(name.as_str());
        !OVERRIDES.contains(&plain)
            && !OVERRIDE_PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
    });
}

/// Removes a field and its twins with `_` for `-`, which some servers read as the same.
pub(super) fn header(owned: &HeaderName, headers: &mut HeaderMap) {
    headers.remove(owned);
    retain(headers, |name| dashed(name.as_str()).is_none_or(|plain| plain != owned.as_str()));
}

fn retain(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| !keep(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The name with dashes for whatever is no letter, digit or dash, where it has any: servers that make variables of names
/// make the same of all of them.
pub(super) fn dashed(name: &str) -> Option<String> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    name.contains(odd).then(|| name.replace(odd, "-"))
}

/// Empties the placements that the matched routes own; gives back the target without them.
pub(super) fn placements(
    strip: &[Placement],
    headers: &mut HeaderMap,
    target: &PathAndQuery,
) -> Result<PathAndQuery, InjectError> {
    for placement in strip {
        if let Placement::Header(name) = placement {
            header(name, headers);
        }
    }
    let owned: Vec<&str> = strip
        .iter()
        .filter_map(|placement| match placement {
            Placement::Header(_) => None,
            Placement::Query(name) => Some(name.as_str()),
        })
        .collect();
    without_parameters(target, |name, _| owned.iter().any(|owned| spells(name, owned)))
}

/// The target without the parameters that are `owned` in some spelling.
pub(super) fn parameter(owned: &str, target: &PathAndQuery) -> Result<PathAndQuery, InjectError> {
    without_parameters(target, |name, _| spells(name, owned))
}

/// Removes every header and query parameter that holds one of our placeholders: it never goes upstream.
pub(super) fn placeholders(
    headers: &mut HeaderMap,
    target: &mut PathAndQuery,
) -> Result<(), InjectError> {
    let gone: Vec<HeaderName> = headers
        .iter()
        .filter(|(_, value)| holds_placeholder(value.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect();
    for name in gone {
        headers.remove(name);
    }
    if target.query().is_some() {
        *target = without_parameters(target, |name, value| {
            holds_placeholder(name) || holds_placeholder(value)
        })?;
    }
    Ok(())
}

/// Whether there is one anywhere.
pub(super) fn any_placeholder(headers: &HeaderMap, query: Option<&str>) -> bool {
    headers.values().any(|value| holds_placeholder(value.as_bytes()))
        || query.is_some_and(|query| holds_placeholder(query.as_bytes()))
}

/// Raw, percent-encoded, or in the base64 of a Basic credential.
pub(super) fn holds_placeholder(value: &[u8]) -> bool {
    let look = |form: &[u8]| if Placeholder::found_in(form) { Err(()) } else { Ok(()) };
    each_form(value, look).is_err()
}

/// Shows a value raw, percent-decoded where that differs, and as the pair of a Basic credential where it is one.
pub(super) fn each_form<E>(
    value: &[u8],
    mut look: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    look(value)?;
    if value.contains(&b'%') {
        let decoded: Vec<u8> = percent_decode(value).collect();
        look(&decoded)?;
    }
    let basic = value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "));
    match basic.then(|| LENIENT.decode(value[6..].trim_ascii())) {
        Some(Ok(pair)) => look(&pair),
        _ => Ok(()),
    }
}

/// Base64 that forgives missing padding: a client's mistake must not hide a placeholder.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The target without the parameters that `gone` picks by raw name and value. What stays, stays byte for byte.
fn without_parameters(
    target: &PathAndQuery,
    gone: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<PathAndQuery, InjectError> {
    let Some(query) = target.query() else { return Ok(target.clone()) };
    let picked = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        gone(name.as_bytes(), value.as_bytes())
    };
    // Some servers split at `;` too, so a parameter hidden behind one is owned as well.
    if !query.split(['&', ';']).any(picked) {
        return Ok(target.clone());
    }
    let mut text = String::with_capacity(target.as_str().len());
    text.push_str(target.path());
    let mut separator = '?';
    let mut rest = query;
    loop {
        let end = rest.find(['&', ';']);
        let part = &rest[..end.unwrap_or(rest.len())];
        if !picked(part) {
            text.push(separator);
            text.push_str(part);
            separator = '&';
        }
        let Some(end) = end else { break };
        if separator != '?' {
            separator = char::from(rest.as_bytes()[end]);
        }
        rest = &rest[end + 1..];
    }
    PathAndQuery::try_from(text).map_err(|_| InjectError::Target)
}

/// Whether a raw parameter name is `owned` in some spelling: any case, escaped up to seven times over,
/// `+` or white space around it, an array suffix, cut off at a NUL, and with `.`, `+`, white space or `[` for `_`, as PHP
/// reads it.
pub(super) fn spells(raw: &[u8], owned: &str) -> bool {
    let folded = |name: &[u8]| -> Vec<u8> {
        name.iter()
            .map(|b| if b" .[".contains(b) { b'_' } else { b.to_ascii_lowercase() })
            .collect()
    };
    let owned = folded(owned.as_bytes());
    let mut name = raw.to_vec();
    for _ in 0..8 {
        let plain: Vec<u8> =
            name.iter().map(|b| if b"+\t\n\r\x0b\x0c".contains(b) { b' ' } else { *b }).collect();
        let plain = plain.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
        let array = plain.iter().position(|b| *b == b'[').map_or(plain, |at| &plain[..at]);
        if folded(plain) == owned || folded(array.trim_ascii()) == owned {
            return true;
        }
        let next: Vec<u8> = percent_decode(&name).collect();
        if next == name {
            return false;
        }
        name = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(text: &str, owned: &str) -> String {
        let target = PathAndQuery::try_from(text).unwrap();
        placements(&[Placement::Query(owned.into())], &mut HeaderMap::new(), &target)
            .unwrap()
            .to_string()
    }

    #[test]
    fn query_in_every_spelling() {
        for spelling in [
            "api_key",
            "api%5Fkey",
            "API_KEY",
            "%61pi_key",
            "api%255Fkey",
            "api_key[]",
            "+api_key",
            "api_key%20",
            "%0Bapi_key",
            "api_key%00.png",
            "api%2525252525255Fkey",
            // As PHP reads them.
            "api.key",
            "api+key",
            "api%20key",
            "api[key",
            "api%5Bkey",
        ] {
            assert_eq!(query(&format!("/x?{spelling}=1"), "api_key"), "/x", "{spelling}");
            assert_eq!(
                query(&format!("/x?a=1&{spelling}=1;b=2&{spelling}"), "api_key"),
                "/x?a=1;b=2",
                "{spelling}"
            );
        }
        assert_eq!(query("/x?a=1;api_key=2", "api_key"), "/x?a=1");
        assert_eq!(query("/x?my_api_key=1&q=a%2Fb&&", "api_key"), "/x?my_api_key=1&q=a%2Fb&&");
    }

    #[test]
    fn headers_and_twins() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-api-key",
            "x_api_key",
            "x_api-key",
            "x.api.key",
            "x+api~key",
            "x-other",
            "x_forwarded_host",
            "x.forwarded.for",
            "forwarded",
        ] {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("v"),
            );
        }
        header(&HeaderName::from_static("x-api-key"), &mut headers);
        overrides(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn hop_by_hop_twins_go_too() {
        let mut headers = HeaderMap::new();
        for name in ["proxy_authorization", "content_length", "transfer_encoding", "x_mine"] {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("v"),
            );
        }
        hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x_mine"]);
    }

    #[test]
    fn an_answers_length_beside_a_coding_goes() {
        let mut headers = HeaderMap::new();
        headers.append("content-length", HeaderValue::from_static("3"));
        headers.append("transfer-encoding", HeaderValue::from_static("chunked"));
        hop_by_hop_answer(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn what_connection_names_goes() {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("close, X-Hop"));
        headers.append("connection", HeaderValue::from_static("authorization"));
        headers.append("x-hop", HeaderValue::from_static("v"));
        headers.append("authorization", HeaderValue::from_static("v"));
        headers.append("te", HeaderValue::from_static("trailers"));
        hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers.get("te").unwrap(), "trailers");
    }

    #[test]
    fn placeholders_never_leave() {
        let placeholder = Placeholder::opaque().to_string();
        let basic = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(format!("x:{placeholder}"))
        );
        let mut headers = HeaderMap::new();
        headers.append("x-one", HeaderValue::from_str(&format!("key {placeholder}")).unwrap());
        headers.append("authorization", HeaderValue::from_str(&basic).unwrap());
        headers.append("x-two", HeaderValue::from_static("fine"));
        let mut target =
            PathAndQuery::try_from(format!("/x?k={placeholder}&l=1&m=vk%2Dplaceholder%2Dx"))
                .unwrap();
        placeholders(&mut headers, &mut target).unwrap();
        assert_eq!(headers.len(), 1);
        assert_eq!(target, "/x?l=1");
    }

    proptest! {
        #[test]
        fn no_owned_parameter_survives(text in "/x\\?([ab%61=&;+]|key|%6bey){0,12}") {
            let Ok(target) = PathAndQuery::try_from(text.as_str()) else { return Ok(()) };
            let once = without_parameters(&target, |name, _| spells(name, "key")).unwrap();
            let left = once.query().unwrap_or("").split(['&', ';']).any(|p| spells(p.split('=').next().unwrap().as_bytes(), "key"));
            prop_assert!(!left);
        }
    }
}
