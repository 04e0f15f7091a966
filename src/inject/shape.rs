//! What a tool sends in a slot that is about to be emptied: is it a real key, and whose?
//!
//! By prefix, length and, where the provider documents one, checksum. In the slots that a route owns randomness alone
//! tells as well; what stands anywhere else is told by `elsewhere`.

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::{elsewhere, strip};
use crate::config::{Inject, Placement};
use crate::model::placeholder;
use crate::model::secret::Secret;
use crate::policy::{Action, Permit};

/// A key that stands until somebody revokes it, as a tool sent it.
#[derive(Debug)]
pub struct Standing {
    /// What it looks like: `github`, `aws`, …; `opaque` where only its randomness tells.
    pub kind: &'static str,
    /// The key itself, for its fingerprint.
    pub key: Secret,
}

/// The first real key in the slots that the permit empties or fills, else anywhere in the fields and parameters.
pub fn standing_key(permit: &Permit, parts: &Parts) -> Option<Standing> {
    in_slots(permit, parts).or_else(|| elsewhere::key(parts))
}

/// The first real key in a request that goes nowhere.
pub fn refused_key(parts: &Parts) -> Option<Standing> {
    elsewhere::key(parts)
}

fn in_slots(permit: &Permit, parts: &Parts) -> Option<Standing> {
    let inject = match permit.route().map(|route| &route.action) {
        Some(Action::Inject(_, inject)) => Some(inject),
        _ => None,
    };
    let slot = match inject {
        Some(Inject::Basic { .. }) => Some(&AUTHORIZATION),
        Some(Inject::Header { name, .. }) => Some(name),
        _ => None,
    };
    let owned = permit.strip().iter().filter_map(|placement| match placement {
        Placement::Header(name) => Some(name),
        Placement::Query(_) => None,
    });
    let fields: Vec<&HeaderName> = owned.chain(slot).collect();
    in_fields(&fields, parts)
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

/// Whether a value is a real key or one of our placeholders, or the base64 of a Basic credential with a key.
pub(super) fn is_key(value: &[u8]) -> bool {
    let as_basic =
        || strip::basic(&[b"Basic ", value].concat()).and_then(|pair| in_pair(&pair)).is_some();
    strip::holds_placeholder(value) || standing(value).is_some() || as_basic()
}

fn in_fields(owned: &[&HeaderName], parts: &Parts) -> Option<Standing> {
    let is_owned = |name: &HeaderName| {
        owned.contains(&name)
            || strip::dashed(name.as_str()).is_some_and(|n| owned.iter().any(|o| o.as_str() == n))
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

/// A key that is all of a text, or stands somewhere in it. `opaque`: whether randomness alone makes one of a part.
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

/// Of a provider's own shape, and one that stands until somebody revokes it: what else has such a shape ends by itself.
pub(super) fn standing_for_long(word: &[u8]) -> Option<Standing> {
    let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    if begins(SHORT_LIVED) || (begins(VAGUE) && !std::str::from_utf8(word).is_ok_and(is_random)) {
        return None;
    }
    standing(word).filter(|found| found.kind != OPAQUE && found.kind != JWT)
}

fn standing(value: &[u8]) -> Option<Standing> {
    if value.len() < SHORTEST || strip::holds_placeholder(value) {
        return None;
    }
    Some(Standing { kind: kind(value)?, key: Secret::new(value) })
}

/// What a value looks like.
fn kind(value: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(value).ok()?;
    for shape in SHAPES {
        if let Some(rest) = text.strip_prefix(shape.prefix) {
            // The longest prefix stands first: what has it and is not it is a made-up value.
            return (rest.len() >= shape.least && (shape.check)(text, rest)).then_some(shape.kind);
        }
    }
    if is_jwt(text) {
        return Some(JWT);
    }
    is_random(text).then_some(OPAQUE)
}

struct Shape {
    prefix: &'static str,
    kind: &'static str,
    /// Characters after the prefix, at least.
    least: usize,
    check: fn(&str, &str) -> bool,
}

const fn shape(prefix: &'static str, kind: &'static str, least: usize) -> Shape {
    Shape { prefix, kind, least, check: |_, rest| rest.bytes().all(is_word) }
}

/// GitHub's, whose last six characters are a checksum over the thirty before.
const fn github(prefix: &'static str) -> Shape {
    Shape { prefix, kind: "github", least: 36, check: github_checksum }
}

/// As providers document their keys or scanners know them. A prefix of another stands behind it.
const SHAPES: &[Shape] = &[
    github("ghp_"),
    github("gho_"),
    github("ghu_"),
    // Installation tokens have a second, longer form.
    Shape {
        prefix: "ghs_",
        kind: "github",
        least: 36,
        check: |text, rest| rest.len() > 36 || github_checksum(text, rest),
    },
    shape("github_pat_", "github", 60),
    shape("glpat-", "gitlab", 20),
    shape("sk-ant-", "anthropic", 20),
    shape("sk-proj-", "openai", 20),
    shape("sk_live_", "stripe", 16),
    shape("rk_live_", "stripe", 16),
    shape("sk-", "openai", 20),
    Shape { prefix: "AKIA", kind: "aws", least: 16, check: aws },
    Shape { prefix: "ASIA", kind: "aws", least: 16, check: aws },
    shape("xoxb-", "slack", 10),
    shape("xoxp-", "slack", 10),
    shape("xoxa-", "slack", 10),
    shape("xoxe.", "slack", 10),
    shape("npm_", "npm", 36),
    shape("pypi-AgE", "pypi", 50),
    shape("hf_", "hugging-face", 30),
    shape("AIza", "google", 35),
];

pub(super) fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

/// A table, because each byte of each key is asked.
const WORD: [bool; 256] = {
    let (mut word, mut byte) = ([false; 256], 0u8);
    while byte < 0x80 {
        word[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        byte += 1;
    }
    word
};

fn aws(_: &str, rest: &str) -> bool {
    rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
}

/// CRC-32 of the random part in base 62, six digits, zeros in front.
fn github_checksum(_: &str, rest: &str) -> bool {
    let (Some(random), Some(sum)) = (rest.get(..30), rest.get(30..36)) else { return false };
    if rest.len() != 36 || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    sum == placeholder::checksum(random)
}

/// Three base64url parts, the first a JSON object's.
fn is_jwt(text: &str) -> bool {
    let parts = text.split('.');
    text.starts_with("eyJ")
        && parts.clone().count() == 3
        && parts
            .clone()
            .all(|part| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
        && parts.take(2).all(|part| part.len() > 8)
}

/// A word with letters and digits in which hardly anything repeats: no name, no path, no number.
fn is_random(text: &str) -> bool {
    let legal = |b: u8| is_word(b) || b"+/=:~".contains(&b);
    if text.len() < 24 || !text.bytes().all(legal) {
        return false;
    }
    let mut seen = [false; 128];
    text.bytes().for_each(|b| seen[usize::from(b & 0x7f)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    distinct >= 12 && digits >= 2 && digits < text.len()
}

/// Told by its randomness alone.
const OPAQUE: &str = "opaque";
const JWT: &str = "jwt";
/// Session keys of AWS, installation tokens of GitHub, rotating ones of Slack.
const SHORT_LIVED: &[&[u8]] = &[b"ASIA", b"ghs_", b"xoxe."];
/// What plain words may begin with as well, as names in another language.
const VAGUE: &[&[u8]] = &[b"hf_", b"npm_", b"sk-"];
/// Nothing shorter is a key.
pub(super) const SHORTEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::placeholder::Placeholder;
    use base64::Engine as _;

    /// Made here, so that no scanner finds a key in this file.
    fn github_key() -> String {
        let random = "abcdefghijklmnopqrstuvwxyz0123";
        format!("ghp_{random}{}", placeholder::checksum(random))
    }

    #[test]
    fn providers_are_told_apart() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1";
        for (text, expected) in [
            (github_key(), Some("github")),
            (format!("glpat-{}", &long[..20]), Some("gitlab")),
            (format!("sk-ant-{long}"), Some("anthropic")),
            (format!("sk-{long}"), Some("openai")),
            (format!("sk-{}_{long}", "proj"), Some("openai")),
            (format!("sk_{}_{long}", "live"), Some("stripe")),
            (format!("AKI{}", "AABCDEFGHIJKLMNO2"), Some("aws")),
            (format!("xoxb-{long}"), Some("slack")),
            (format!("npm_{}", &long[..36]), Some("npm")),
            (format!("hf_{}", &long[..34]), Some("hugging-face")),
            (format!("AIza{}", &long[..35]), Some("google")),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln".to_owned(), Some("jwt")),
            (long.to_owned(), Some("opaque")),
            // Made up: the checksum, the length or the alphabet is wrong.
            (github_key().replace("abc", "xyz"), None),
            ("ghp_short-and-made-up".to_owned(), None),
            ("sk-xxxx".to_owned(), None),
            ("AKIA-not-a-key-at-all".to_owned(), None),
            ("not-needed-but-must-be-set".to_owned(), None),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(), None),
            (Placeholder::opaque().to_string(), None),
            (format!("sk-ant-{}", Placeholder::opaque()), None),
        ] {
            assert_eq!(standing(text.as_bytes()).map(|s| s.kind), expected, "{text}");
        }
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
