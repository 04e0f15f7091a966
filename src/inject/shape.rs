//! What real keys look like: by prefix, length and, where the provider documents one, checksum, or
//! by randomness alone. Where in a request one is looked for: `standing` and `elsewhere`.

use super::strip;
use crate::model::placeholder;
use crate::model::secret::Secret;

/// A key that stands until somebody revokes it, as a tool sent it.
#[derive(Debug)]
pub struct Standing {
    /// What it looks like: `github`, `aws`, …; `opaque` where only its randomness tells.
    pub kind: &'static str,
    /// The key itself, for its fingerprint.
    pub key: Secret,
}

/// Of a provider's own shape, and one that stands until somebody revokes it: what else has such a
/// shape ends by itself.
pub(super) fn standing_for_long(word: &[u8]) -> Option<Standing> {
    let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    if begins(SHORT_LIVED) || (begins(VAGUE) && !std::str::from_utf8(word).is_ok_and(is_random)) {
        return None;
    }
    standing(word).filter(|found| found.kind != OPAQUE && found.kind != JWT)
}

/// A value that is a key by its shape or by its randomness.
pub(super) fn standing(value: &[u8]) -> Option<Standing> {
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
pub(super) const OPAQUE: &str = "opaque";
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
}
