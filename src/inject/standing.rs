//! What a tool sends in a slot that is about to be emptied: is it a real key, and whose?
//!
//! In the slots that a route owns randomness alone tells as well; what stands anywhere else is told
//! by `elsewhere`.

use http::header::HeaderName;
use http::request::Parts;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::shape::{OPAQUE, Standing, is_word, standing};
use super::{elsewhere, strip};
use crate::config::{Inject, Placement};
use crate::policy::Permit;

/// The first real key in the slots that the permit empties or fills, else anywhere in the fields
/// and parameters.
pub fn standing_key(permit: &Permit, parts: &Parts) -> Option<Standing> {
    let own = permit.own_slot().and_then(Inject::header);
    in_slots(permit, parts).or_else(|| elsewhere::key(parts, own))
}

/// The first real key in a request that goes nowhere.
pub fn refused_key(parts: &Parts) -> Option<Standing> {
    elsewhere::key(parts, None)
}

fn in_slots(permit: &Permit, parts: &Parts) -> Option<Standing> {
    let inject = permit.inject().map(|(_, inject)| inject);
    let slot = inject.and_then(Inject::header);
    let fields = || {
        let stripped = permit.strip().iter().filter_map(|placement| match placement {
            Placement::Header(name) => Some(name),
            Placement::Query(_) => None,
        });
        stripped.chain(slot)
    };
    in_fields(fields, parts)
        .or_else(|| {
            let own = match inject {
                Some(Inject::Query(name)) => Some(name.as_str()),
                _ => None,
            };
            let names = permit.strip().iter().filter_map(|placement| match placement {
                Placement::Header(_) => None,
                Placement::Query(name) => Some(name.as_str()),
            });
            in_query(&names.chain(own).collect::<Vec<_>>(), parts.uri.query()?)
        })
        .or_else(|| match inject {
            Some(Inject::Path(slot)) => within(slot.value(parts.uri.path())?.as_bytes(), true),
            _ => None,
        })
}

/// Whether a value is a real key or one of our placeholders, or the base64 of a Basic credential
/// with a key.
pub(super) fn is_key(value: &[u8]) -> bool {
    let as_basic =
        || strip::basic(&[b"Basic ", value].concat()).and_then(|pair| in_pair(&pair)).is_some();
    strip::holds_placeholder(value) || standing(value).is_some() || as_basic()
}

fn in_fields<'a, I>(owned: impl Fn() -> I, parts: &Parts) -> Option<Standing>
where
    I: Iterator<Item = &'a HeaderName>,
{
    let is_owned = |name: &HeaderName| {
        owned().any(|own| own == name)
            || strip::dashed(name.as_str()).is_some_and(|n| owned().any(|own| own.as_str() == n))
    };
    let values = parts.headers.iter().filter(|(name, _)| is_owned(name));
    values.map(|(_, value)| value.as_bytes()).find_map(in_field)
}

/// The bare value, or what stands behind its scheme: for Basic, the password and the user.
fn in_field(value: &[u8]) -> Option<Standing> {
    if let Some(pair) = strip::basic(value) {
        return in_pair(&pair);
    }
    let value = value.trim_ascii();
    let (scheme, rest) = match value.iter().position(u8::is_ascii_whitespace) {
        Some(at) => (&value[..at], value[at..].trim_ascii()),
        None => (&b""[..], value),
    };
    let scheme = scheme.to_ascii_lowercase();
    within(rest, !SIGNING.iter().any(|signing| scheme.starts_with(signing)))
}

fn in_pair(pair: &[u8]) -> Option<Standing> {
    let at = pair.iter().position(|b| *b == b':').unwrap_or(pair.len());
    let password = within(pair.get(at + 1..).unwrap_or_default(), true);
    password.or_else(|| within(&pair[..at], true))
}

/// Schemes that send no key but what was made of one: random, and worth nothing to others.
const SIGNING: [&[u8]; 7] =
    [b"aws4-", b"digest", b"hawk", b"negotiate", b"ntlm", b"oauth", b"signature"];

/// A key that is all of a text, or stands somewhere in it. `opaque`: whether randomness alone makes
/// one of a part.
fn within(text: &[u8], opaque: bool) -> Option<Standing> {
    let is_known = |found: &Standing| found.kind != OPAQUE;
    let whole = standing(text);
    if text.iter().all(|byte| is_word(*byte)) || whole.as_ref().is_some_and(is_known) {
        return whole;
    }
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(percent_decode(text).collect());
    let runs = || decoded.split(|byte| !is_word(*byte) && !b"+/=~".contains(byte));
    let parts = |run| <[u8]>::split(run, |byte| b"+/=~".contains(byte));
    let known = runs().chain(runs().flat_map(parts)).filter_map(standing).find(is_known);
    let value = |run: &'_ [u8]| run.iter().position(|byte| *byte == b'=').map(|at| at + 1);
    let values = runs().filter_map(|run| run.get(value(run)?..));
    known.or(whole).or_else(|| values.chain(runs()).filter_map(standing).find(|_| opaque))
}

fn in_query(owned: &[&str], query: &str) -> Option<Standing> {
    if owned.is_empty() {
        return None;
    }
    query.split(['&', ';']).filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
        let own = owned.iter().any(|owned| strip::spells(name.as_bytes(), owned));
        within(if own { value.as_bytes() } else { b"" }, true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::placeholder::{self, Placeholder};
    use base64::Engine as _;

    /// Made here, so that no scanner finds a key in this file.
    fn github_key() -> String {
        let random = "abcdefghijklmnopqrstuvwxyz0123";
        format!("ghp_{random}{}", placeholder::checksum(random))
    }

    #[test]
    fn schemes_are_taken_off() {
        let key = github_key();
        let basic = |pair: String| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        };
        for value in [
            key.clone(),
            format!("Bearer {key}"),
            format!("token  {key} "),
            basic(format!("x:{key}")),
            basic(format!("{key}:")),
            basic(format!("{key}:x-oauth-basic")),
            format!("Bearer\t{key}"),
            format!("Token token=\"{key}\""),
            format!("token={key}"),
            format!("Bearer {key}, x"),
            format!("Bearer x;{key}"),
            format!("{key}%20"),
            format!("Bearer a/{key}"),
            basic(format!("x:{key}\n")),
            basic(format!("x:{key}")).replace(' ', "\t"),
        ] {
            let found = in_field(value.as_bytes()).unwrap();
            assert_eq!(found.kind, "github", "{value}");
            assert!(found.key.matches(key.as_bytes()), "{value}");
        }
        assert!(in_field(b"").is_none() && in_field(b"Basic !!!").is_none());
        let opaque = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6";
        assert!(in_field(format!("Token token=\"{opaque}\"").as_bytes()).is_some());
        let id = Placeholder::free(placeholder::Kind::Aws);
        let signature = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential={id}/20261127/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        assert!(in_field(signed.as_bytes()).is_none());
        let real = signed.replace(&id.to_string(), concat!("AKI", "AABCDEFGHIJKLMNO2"));
        assert_eq!(in_field(real.as_bytes()).unwrap().kind, "aws");
    }

    #[test]
    fn owned_parameters_only() {
        let key = github_key();
        assert!(in_query(&["api_key"], &format!("a=1&API%5Fkey={key}")).is_some());
        assert!(in_query(&["api_key"], &format!("other={key}")).is_none());
        assert!(in_query(&[], &format!("api_key={key}")).is_none());
    }
}
