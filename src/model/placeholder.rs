//! [`Placeholder`]: the worthless value that a tool is given where its API key would be.
//!
//! Each has a shape that its tool's own check of a key lets pass, and a word inside by which it is
//! recognised wherever it turns up, so that one never goes upstream. A bound one holds 256 random
//! bits besides, which name a session and its routes; one that is not bound is only taken out.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem::Finder;

use super::id::{random_bytes, random_text};

/// What every opaque placeholder starts with.
pub const PREFIX: &str = "vk-placeholder-";
/// What stands in those of another shape; a digit follows: [`BOUND`] or [`FREE`].
const WORD: &str = "vkPlaceholder";
/// The same where only capital letters may stand.
const CAPITALS: &str = "VKPLACEHOLDER";
/// By one of these any placeholder is recognised, however it is spelt.
pub const WORDS: [&str; 3] = [PREFIX, WORD, CAPITALS];
/// Before the random characters of a bound placeholder.
const BOUND: char = '1';
/// In the place of [`BOUND`] in one that is not.
const FREE: char = '0';
/// So many of 62 characters hold 256 bits.
const CORE: usize = 43;

/// What tools check, each named as its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `sk-ant-api03-…`, 108 characters.
    Anthropic,
    /// An access key id: `AKIA…`, 20 characters, too short to be bound.
    Aws,
    /// A secret access key: 40 characters. It is signed with and never sent, so it is not bound
    /// either.
    AwsSecret,
    /// `ghp_…` with the CRC-32 that GitHub's tokens end with.
    Github,
    /// `glpat-…`
    Gitlab,
    /// `hf_…`
    HuggingFace,
    /// Header, payload with an `exp`, and something like a signature.
    Jwt,
    /// `npm_…` with the CRC-32 that npm's tokens end with.
    Npm,
    /// `vk-placeholder-…`
    Opaque,
    /// `sk-proj-…`
    Openai,
    /// `pypi-…`, which begins as a macaroon of PyPI's does.
    Pypi,
    /// `xoxb-…`
    Slack,
    /// `sk_test_…`
    Stripe,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [Self; 13] = [
        Self::Anthropic,
        Self::Aws,
        Self::AwsSecret,
        Self::Github,
        Self::Gitlab,
        Self::HuggingFace,
        Self::Jwt,
        Self::Npm,
        Self::Opaque,
        Self::Openai,
        Self::Pypi,
        Self::Slack,
        Self::Stripe,
    ];

    /// The word in `placeholder:KIND` and in environments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Aws => "aws",
            Self::AwsSecret => "aws-secret",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::HuggingFace => "hugging-face",
            Self::Jwt => "jwt",
            Self::Npm => "npm",
            Self::Opaque => "opaque",
            Self::Openai => "openai",
            Self::Pypi => "pypi",
            Self::Slack => "slack",
            Self::Stripe => "stripe",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether one of it can name a session: some shapes are too short.
    pub fn binds(self) -> bool {
        !matches!(self, Self::Aws | Self::AwsSecret)
    }

    fn around(self, body: &str) -> String {
        match self {
            Self::Anthropic => format!("sk-ant-api03-{body}{}AA", random_core(93 - body.len())),
            Self::Aws => format!("AKIA{CAPITALS}{}", random(3, BASE32)),
            Self::AwsSecret => format!("{WORD}{FREE}{}", random_core(40 - WORD.len() - 1)),
            Self::Github => format!("ghp_{body}{}", checksum(body)),
            Self::Gitlab => format!("glpat-{body}"),
            Self::HuggingFace => format!("hf_{body}"),
            Self::Jwt => {
                let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
                let head = part(r#"{"alg":"HS256","typ":"JWT"}"#);
                // Far off: 2100-01-01. Two characters more make whole bytes of the last part.
                let claims = part(r#"{"iss":"valetkey","sub":"placeholder","exp":4102444800}"#);
                format!("{head}.{claims}.{body}0A")
            }
            Self::Npm => format!("npm_{body}{}", checksum(body)),
            Self::Opaque => format!("{PREFIX}{}", &body[WORD.len()..]),
            Self::Openai => format!("sk-proj-{body}"),
            Self::Pypi => format!("pypi-AgEIcHlwaS5vcmc{body}"),
            Self::Slack => {
                format!("xoxb-{}-{}-{body}", random(12, b"123456789"), random(12, b"123456789"))
            }
            Self::Stripe => format!("sk_test_{body}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder(String);

/// What a bound placeholder is recognised by: the SHA-256 of its random part, never that part
/// itself.
pub type Mark = [u8; 32];

impl Placeholder {
    /// A new one of the `opaque` kind that is not bound: the prefix and 43 random characters.
    pub fn opaque() -> Self {
        Self(format!("{PREFIX}{}", random_text()))
    }

    /// A new one that is not bound: it is taken out wherever it comes, and says nothing.
    pub fn free(kind: Kind) -> Self {
        match kind {
            Kind::Opaque => Self::opaque(),
            _ => Self(kind.around(&format!("{WORD}{FREE}{}", random_core(CORE)))),
        }
    }

    /// A new one that can be told by its mark, unless its kind is too short for that.
    pub fn bound(kind: Kind) -> (Self, Option<Mark>) {
        if !kind.binds() {
            return (Self::free(kind), None);
        }
        let core = random_core(CORE);
        (Self(kind.around(&format!("{WORD}{BOUND}{core}"))), Some(mark(core.as_bytes())))
    }

    /// Whether a value holds one of ours anywhere, raw.
    pub fn found_in(value: &[u8]) -> bool {
        found(value).next().is_some() || IN_CAPITALS.find(value).is_some()
    }

    /// Whether one is in the name of a field, which comes in lower case.
    pub fn names(field: &str) -> bool {
        let field = field.as_bytes();
        END_OF_WORD
            .find_iter(field)
            .any(|at| field[..at].ends_with(b"vk-p") || field[..at].ends_with(b"vkp"))
    }

    /// The marks of the bound ones that a value holds, raw.
    pub fn marks_in(value: &[u8]) -> impl Iterator<Item = Mark> {
        found(value).filter_map(|rest| {
            let core = rest.strip_prefix(BOUND.to_string().as_bytes())?.get(..CORE)?;
            core.iter().all(u8::is_ascii_alphanumeric).then(|| mark(core))
        })
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const END: &[u8] = b"laceholder";
// Made once: every field of every request is searched.
static END_OF_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));
static IN_CAPITALS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(CAPITALS));

/// What stands behind each of our words. One search for what both of them end with.
fn found(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    END_OF_WORD.find_iter(value).filter_map(move |at| {
        let (before, rest) = (&value[..at], &value[at + END.len()..]);
        let dashed = || before.ends_with(b"vk-p").then(|| rest.strip_prefix(b"-")).flatten();
        if before.ends_with(b"vkP") { Some(rest) } else { dashed() }
    })
}

fn mark(core: &[u8]) -> Mark {
    let mut mark = [0; 32];
    mark.copy_from_slice(digest::digest(&digest::SHA256, core).as_ref());
    mark
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn random_core(length: usize) -> String {
    random(length, BASE62)
}

/// So many characters of an alphabet, each as likely as any other.
fn random(length: usize, alphabet: &[u8]) -> String {
    let even = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bytes = random_bytes().into_iter().filter(|byte| usize::from(*byte) < even);
        let characters = bytes.map(|byte| char::from(alphabet[usize::from(byte) % alphabet.len()]));
        text.extend(characters.take(length - text.len()));
    }
    text
}

/// The last six characters of a token of GitHub's and npm's: the CRC-32 of what stands before, in
/// base 62.
pub fn checksum(body: &str) -> String {
    let mut left = crc32(body.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(left % 62) as usize];
        left /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// CRC-32 as in zip and PNG (ISO 3309), bit by bit: it is needed for a few bytes now and then.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_shape_and_is_known_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            let (bound, mark) = Placeholder::bound(kind);
            let (free, bound) = (Placeholder::free(kind).to_string(), bound.to_string());
            for text in [&free, &bound] {
                assert!(Placeholder::found_in(text.as_bytes()), "{text}");
                assert!(text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
            }
            let marks = |text: &str| Placeholder::marks_in(text.as_bytes()).collect::<Vec<_>>();
            assert!(marks(&free).is_empty(), "{free}");
            assert_eq!(marks(&bound), Vec::from_iter(mark), "{bound}");
            // A tool puts it into something longer.
            assert_eq!(marks(&format!("sk_live_{bound}-x")), Vec::from_iter(mark));
            assert_ne!(Placeholder::free(kind).to_string(), free);
        }
        for text in ["vk-placeholder", "vkPlaceholde", "placeholder", "a placeholder-1", ""] {
            assert!(!Placeholder::found_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn shapes() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of every table of CRCs");
        let (github, _) = Placeholder::bound(Kind::Github);
        let (body, sum) = github.0["ghp_".len()..].split_at(WORD.len() + 1 + CORE);
        assert_eq!(checksum(body), sum);
        assert_eq!(Placeholder::bound(Kind::Anthropic).0.0.len(), 108);
        assert_eq!(Placeholder::free(Kind::Aws).0.len(), 20);
        assert_eq!(Placeholder::free(Kind::AwsSecret).0.len(), 40);
        let (jwt, _) = Placeholder::bound(Kind::Jwt);
        let parts: Vec<_> = jwt.0.split('.').map(|part| URL_SAFE_NO_PAD.decode(part)).collect();
        assert!(parts.len() == 3 && parts.iter().all(Result::is_ok), "{jwt}");
    }

    #[test]
    fn a_part_of_one_is_none() {
        let (bound, _) = Placeholder::bound(Kind::Opaque);
        let cut = &bound.0[..bound.0.len() - 1];
        assert_eq!(Placeholder::marks_in(cut.as_bytes()).count(), 0);
        assert!(Placeholder::found_in(cut.as_bytes()), "it is taken out all the same");
    }
}
