//! Floor 2: words that must not come back, found in whatever an upstream may echo them in, and
//! masked at equal length.
//!
//! It takes words as bytes and knows nobody: neither what a token is nor whose. A field is masked
//! here; `body` has bodies, which pass as they came in their codings (`original`) or with those taken
//! off (`coding`), `part` a part of one, `fields` what their header says of them; `switched` has streams after a switch of
//! protocols and `websocket` the frames in them. Below: `needle` is one form of a word,
//! `spelling` and `breaks` how its bytes may be written, `search` finds all forms at once, `stream`
//! holds back what may be the beginning of one.

#![warn(missing_docs)]

mod body;
mod breaks;
mod coding;
mod fields;
mod filter;
mod needle;
mod original;
mod part;
mod search;
mod spelling;
mod stream;
mod switched;
mod websocket;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

pub use body::{BodyRedactor, Unsearchable};
pub use coding::DecodeError;
pub use fields::ask;
pub use part::{Part, are_several};
pub use switched::Switched;
pub use websocket::SwitchedRedactor;

use needle::{Comparison, Needle};
use search::Search;
use stream::MASK;

/// All forms of one or more words.
pub struct Redactor {
    search: Search,
}

impl Redactor {
    /// The forms of one secret.
    pub fn new(secret: &[u8]) -> Self {
        Self::of_all(std::iter::once(secret))
    }

    /// The forms of several secrets, and of so much of each as gives it away.
    pub fn of_all<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Self {
        let forms = |secret: &'a [u8]| {
            let enough = telling(secret);
            forms(secret).into_iter().map(move |form| form.cut_short(enough, secret.len()))
        };
        Self::of(secrets.flat_map(forms).collect())
    }

    /// The forms of words that are no secrets.
    pub fn of_words(words: &[&str]) -> Self {
        Self::of(words.iter().flat_map(|word| forms(word.as_bytes())).collect())
    }

    /// Whether a value that is all holds one of the forms.
    pub fn is_in(&self, value: &[u8]) -> bool {
        value.len() >= self.search.shortest() && !self.search.whole(value).whole.is_empty()
    }

    fn of(needles: Vec<Needle>) -> Self {
        Self { search: Search::new(needles) }
    }

    /// The value with every form masked; `None` where there is nothing to mask.
    fn mask(&self, value: &[u8]) -> Option<Vec<u8>> {
        if value.len() < self.search.shortest() {
            return None;
        }
        let whole = self.search.whole(value).whole;
        let mut masked = (!whole.is_empty()).then(|| value.to_vec())?;
        for (from, to) in whole {
            masked[from..to].fill(MASK);
        }
        Some(masked)
    }

    /// Masks the words in every field. A field *name* that holds it is removed.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let named: Vec<HeaderName> =
            headers.keys().filter(|name| self.names(name)).cloned().collect();
        for name in named {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            if let Some(masked) = self.mask(value.as_bytes()) {
                // Asterisks in place of bytes that were legal stay legal.
                *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("*"));
            }
        }
    }

    /// Names come in lower case.
    fn names(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let in_lower = |needle: &Needle| {
            let enough = needle.text[..needle.enough].to_ascii_lowercase();
            memchr::memmem::find(name, &enough).is_some()
        };
        self.is_in(name)
            || (name.len() >= self.search.shortest() && self.search.needles().iter().any(in_lower))
    }
}

/// So many first bytes of a secret are masked where an upstream cuts it short: three quarters, as
/// long as others begin otherwise by then. Of a JWT (RFC 7519) others may share all before the last
/// dot, and what is behind it is secret.
fn telling(raw: &[u8]) -> usize {
    let most = (raw.len() * 3).div_ceil(4);
    let last = memchr::memrchr(b'.', raw).map_or(0, |dot| dot + 1);
    most.max(last + MIN_TELLING).min(raw.len())
}

/// Fewer bytes of a secret may be anywhere.
const MIN_TELLING: usize = 12;

/// What is looked for: the word as it is, its base64 at every alignment, its hexadecimal digits.
/// How their bytes may be spelt is up to the search.
fn forms(raw: &[u8]) -> Vec<Needle> {
    let mut needles = vec![Needle::new(Comparison::Exact, raw.to_vec())];
    for skip in 0..3 {
        let text = inner_base64(raw, skip);
        // Of a short word nothing is left that would be its own.
        if text.len() >= MIN_BASE64 {
            needles.push(Needle::new(Comparison::Base64, text));
        }
    }
    needles.push(Needle::new(Comparison::Hex, raw.iter().flat_map(|byte| hex(*byte)).collect()));
    needles
}

/// The base64 characters that depend on the word alone when `skip` bytes stand before it.
fn inner_base64(raw: &[u8], skip: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; skip]);
    padded.extend_from_slice(raw);
    let text = Zeroizing::new(STANDARD.encode(&*padded).into_bytes());
    let start = [0, 2, 3][skip];
    // The last character may mix in what follows.
    let end = padded.len() * 8 / 6;
    text.get(start..end).unwrap_or_default().to_vec()
}

/// The two digits of a byte; of which case they are is up to the search.
fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Characters of base64 that are looked for, at least.
const MIN_BASE64: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNRESERVED_KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

    #[test]
    fn masks_at_equal_length() {
        let redactor = Redactor::new(b"canary-0123456789");
        let mut headers = HeaderMap::new();
        headers.insert(
            "www-authenticate",
            HeaderValue::from_static("Bearer error=\"canary-0123456789\""),
        );
        headers.insert("x-canary-0123456789", HeaderValue::from_static("v"));
        redactor.headers(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["www-authenticate"], "Bearer error=\"*****************\"");
    }

    #[test]
    fn a_name_holds_no_token_in_lower_case() {
        let redactor = Redactor::new(b"Canary-0123456789-ABCDEF");
        let mut headers = HeaderMap::new();
        for name in ["x-canary-0123456789-abcdef", "x-canary-0123456789-abcd", "x-canary-0123"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        redactor.headers(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-canary-0123"]);
    }

    #[test]
    fn backslashes_of_json_in_json() {
        for at in [0, 1, 5, 12, 23] {
            let mut text = "canary-0123456789-abcdef".to_owned();
            text.insert_str(at, "\\\"");
            let redactor = Redactor::new(text.as_bytes());
            let mut echoed = text;
            for level in 0..=3 {
                for before in 0..50 {
                    let value =
                        format!("{}{echoed}, and so on, and on, and on", ".".repeat(before));
                    let masked = redactor.mask(value.as_bytes());
                    let masked = masked.unwrap_or_else(|| panic!("{level} {at} {before}: {value}"));
                    let left = masked.iter().filter(|byte| **byte != MASK).count();
                    assert_eq!(left, value.len() - echoed.len(), "{level} {at} {before}: {value}");
                }
                let quoted = serde_json::to_string(&echoed).unwrap();
                echoed = quoted[1..quoted.len() - 1].to_owned();
            }
        }
    }

    proptest! {
        #[test]
        fn no_form_passes(text in "[A-Za-z0-9._~+/=-]{16,40}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
            let redactor = Redactor::new(text.as_bytes());
            let pair = format!("{before}{text}{after}");
            let hex: String = text.bytes().map(|b| format!("{b:02X}")).collect();
            let percent: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            let quoted = percent_encoding::percent_encode(text.as_bytes(), UNRESERVED_KEPT).to_string();
            for form in [text.clone(), hex, percent, quoted, text.replace('/', "\\/")] {
                let value = format!("{before}{form}{after}");
                let masked = redactor.mask(value.as_bytes()).unwrap();
                prop_assert_eq!(masked.len(), value.len());
                prop_assert!(memchr::memmem::find(&masked, form.as_bytes()).is_none());
            }
            // In base64 the two characters at each end may depend on the neighbours; all else is
            // gone.
            for engine in [&STANDARD, &base64::engine::general_purpose::URL_SAFE] {
                let encoded = engine.encode(&pair);
                let masked = redactor.mask(encoded.as_bytes()).unwrap();
                let left = masked.iter().filter(|b| **b != MASK).count();
                prop_assert!(left <= engine.encode(&before).len() + engine.encode(&after).len() + 8);
            }
        }
    }
}
