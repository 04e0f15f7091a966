//! Taking out: hop-by-hop fields, owned slots in every spelling, placeholders, and what would make
//! an upstream see another request than policy judged.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SEC_WEBSOCKET_PROTOCOL, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::InjectError;
use crate::config::Placement;
use crate::http1::connection_options;
use crate::masking::Redactor;
use crate::model::overriding::{may_override, overrides};
use crate::model::placeholder::{self, Placeholder};
use crate::policy::Permit;

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

/// Removes hop-by-hop fields and everything that `Connection` names. `TE: trailers` survives: gRPC
/// needs it and it asks for nothing but what HTTP/2 always allows.
pub(super) fn hop_by_hop(headers: &mut HeaderMap) {
    let trailers =
        headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // A quote is no letter of a name, though the library takes it for one: HTTP/2 may bring it
    // here.
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

/// Removes fields that could override what was judged, and which the permit does not keep.
pub(super) fn remove_overriding(permit: &Permit, headers: &mut HeaderMap) -> Vec<HeaderName> {
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| may_override(name.as_str()))
        .filter(|name| {
            let plain = dashed(name.as_str());
            overrides(plain.as_deref().unwrap_or(name.as_str())) && !permit.keeps(name)
        })
        .cloned()
        .collect();
    for name in &gone {
        headers.remove(name);
    }
    gone
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

/// The name with dashes for whatever is no letter, digit or dash, where it has any: servers that
/// make variables of names make the same of all of them.
pub(super) fn dashed(name: &str) -> Option<String> {
    // Of bytes, as nearly every name is plain and this is asked of each field.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    (!name.bytes().all(plain)).then(|| name.replace(odd, "-"))
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

/// Removes every header and query parameter that holds one of our placeholders: it never goes
/// upstream.
pub(super) fn placeholders(
    headers: &mut HeaderMap,
    target: &mut PathAndQuery,
) -> Result<(), InjectError> {
    without_subprotocols(headers);
    let gone: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| {
            Placeholder::names(name.as_str()) || holds_placeholder(value.as_bytes())
        })
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

/// Takes out the subprotocols that hold one, as Kubernetes' clients send them, and leaves the
/// others.
fn without_subprotocols(headers: &mut HeaderMap) {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    if !offered.iter().any(|value| holds_placeholder(value.as_bytes())) {
        return;
    }
    let kept: Vec<&[u8]> = offered
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|one| !holds_placeholder(one))
        .collect();
    match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
        Ok(kept) if !kept.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, kept),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
}

/// Whether there is one anywhere.
pub(super) fn any_placeholder(headers: &HeaderMap, query: Option<&str>) -> bool {
    headers.iter().any(|(name, value)| {
        Placeholder::names(name.as_str()) || holds_placeholder(value.as_bytes())
    }) || query.is_some_and(|query| holds_placeholder(query.as_bytes()))
}

/// Raw, or in any spelling and encoding in which an answer is searched for a token.
pub(super) fn holds_placeholder(value: &[u8]) -> bool {
    Placeholder::found_in(value) || SPELT.is_in(value)
}

// Made once: every field of every request is searched.
static SPELT: LazyLock<Redactor> = LazyLock::new(|| Redactor::of_words(&placeholder::WORDS));

/// Shows a value raw, percent-decoded where that differs, and as the pair of a Basic credential
/// where it is one.
pub(super) fn each_form<E>(
    value: &[u8],
    mut look: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    look(value)?;
    if value.contains(&b'%') {
        let decoded: Vec<u8> = percent_decode(value).collect();
        look(&decoded)?;
    }
    basic(value).map_or(Ok(()), |pair| look(&pair))
}

/// The pair of a Basic credential (RFC 7617), by a reader that forgives: missing padding, the other
/// alphabet, and any white space. A client's mistake must not hide a placeholder or a key.
pub(super) fn basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, pair) = value.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !pair.first()?.is_ascii_whitespace() {
        return None;
    }
    let plain = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let pair: Zeroizing<Vec<u8>> = Zeroizing::new(pair.trim_ascii().iter().map(plain).collect());
    LENIENT.decode(&*pair).ok().map(Zeroizing::new)
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The target without the parameters that `gone` picks by raw name and value. What stays, stays
/// byte for byte.
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

/// Whether a raw parameter name is `owned` in some spelling: any case, escaped up to seven times
/// over, `+` or white space around it, an array suffix, cut off at a NUL, and with `.`, `+`, white
/// space or `[` for `_`, as PHP reads it.
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
        for name in ["x-api-key", "x_api_key", "x_api-key", "x.api.key", "x+api~key", "x-other"] {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("v"),
            );
        }
        header(&HeaderName::from_static("x-api-key"), &mut headers);
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
        let jwt = Placeholder::free(placeholder::Kind::Jwt).to_string();
        let key_id = Placeholder::free(placeholder::Kind::Aws).to_string();
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let url = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let hex: String = placeholder.bytes().map(|byte| format!("{byte:02X}")).collect();
        let pair = format!("x:{placeholder}");
        for value in [
            format!("key {placeholder}"),
            format!("Basic {}", base64(&pair)),
            format!("Basic\t{}", url(&pair)),
            base64(&pair),
            url(&format!("??{jwt}")),
            format!("v2.{}", base64(&key_id)),
            hex,
            placeholder.replace('-', "%2D"),
            placeholder.replace('-', "%252D"),
            placeholder.replace('-', "\\u002d"),
            placeholder.replace('-', "&#45;"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("x-one", HeaderValue::from_str(&value).unwrap());
            headers.append("x-two", HeaderValue::from_static("fine"));
            assert!(any_placeholder(&headers, None), "{value}");
            placeholders(&mut headers, &mut PathAndQuery::from_static("/")).unwrap();
            assert_eq!(headers.len(), 1, "{value}");
        }
        let mut headers = HeaderMap::new();
        for name in [
            placeholder.to_ascii_lowercase(),
            format!("x-{}", jwt.split_at(90).1).to_ascii_lowercase(),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("1"));
        }
        headers.append("x-two", HeaderValue::from_static("fine"));
        let mut target =
            PathAndQuery::try_from(format!("/x?k={placeholder}&l=1&m=vk%252Dplaceholder%2Dx"))
                .unwrap();
        placeholders(&mut headers, &mut target).unwrap();
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-two"]);
        assert_eq!(target, "/x?l=1");
    }

    #[test]
    fn other_subprotocols_stay() {
        let url = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let bearer = format!(
            "base64url.bearer.authorization.k8s.io.{}",
            url(&Placeholder::opaque().to_string())
        );
        let mut headers = HeaderMap::new();
        let offered = format!("v4.channel.k8s.io,{bearer}");
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&offered).unwrap());
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("base64.binary.k8s.io"));
        placeholders(&mut headers, &mut PathAndQuery::from_static("/")).unwrap();
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "v4.channel.k8s.io, base64.binary.k8s.io");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&bearer).unwrap());
        placeholders(&mut headers, &mut PathAndQuery::from_static("/")).unwrap();
        assert!(headers.is_empty());
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
