//! Nothing comes back: an answer's header fields are searched for the token, in the forms in which
//! an upstream may echo it, and masked at equal length.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::model::hex;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;

/// What a match is overwritten with.
const MASK: u8 = b'*';

/// The forms of one token.
pub struct Redactor {
    token: Option<Fingerprint>,
    needles: Vec<Zeroizing<Vec<u8>>>,
    shortest: usize,
}

impl Redactor {
    /// The forms of one token.
    pub fn new(token: &Token) -> Self {
        Self::of(Some(token.fingerprint().clone()), forms(token))
    }

    /// The forms of several tokens, for an answer to a request that carried none of them.
    pub fn of_all<'a>(tokens: impl Iterator<Item = &'a Token>) -> Self {
        Self::of(None, tokens.flat_map(forms).collect())
    }

    fn of(token: Option<Fingerprint>, mut needles: Vec<Zeroizing<Vec<u8>>>) -> Self {
        needles.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        needles.dedup();
        let shortest = needles.iter().map(|n| n.len()).min().unwrap_or(usize::MAX);
        Self { token, needles, shortest }
    }

    /// The value with every form masked; `None` where there is nothing to mask.
    fn mask(&self, value: &[u8]) -> Option<Vec<u8>> {
        if value.len() < self.shortest {
            return None;
        }
        let mut masked: Option<Vec<u8>> = None;
        for needle in &self.needles {
            let mut from = 0;
            while let Some(at) = find(masked.as_deref().unwrap_or(value), needle, from) {
                masked.get_or_insert_with(|| value.to_vec())[at..at + needle.len()].fill(MASK);
                from = at + needle.len();
            }
        }
        masked
    }

    /// Masks the token in every field. A field *name* that holds it is removed.
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

    fn names(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        name.len() >= self.shortest
            && self
                .needles
                .iter()
                .any(|needle| find(name, &needle.to_ascii_lowercase(), 0).is_some())
    }
}

/// The redactor used last on a connection. Its forms take longer to make than a request takes to
/// judge, and most connections use one token for as long as it lives.
#[derive(Default)]
pub struct LastRedactor(Mutex<Option<Arc<Redactor>>>);

impl LastRedactor {
    /// The redactor of this token and no other.
    pub fn of(&self, token: &Token) -> Arc<Redactor> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(redactor) if redactor.token.as_ref() == Some(token.fingerprint()) => {
                Arc::clone(redactor)
            }
            _ => Arc::clone(last.insert(Arc::new(Redactor::new(token)))),
        }
    }
}

/// Raw, base64 and base64url at every alignment, hexadecimal, percent-encoded in full and as common
/// libraries do it, and escaped as JSON allows.
fn forms(token: &Token) -> Vec<Zeroizing<Vec<u8>>> {
    let raw = token.value().expose();
    let mut needles = vec![Zeroizing::new(raw.to_vec())];
    for skip in 0..3 {
        needles.push(Zeroizing::new(inner_base64(&STANDARD, raw, skip)));
        needles.push(Zeroizing::new(inner_base64(&URL_SAFE, raw, skip)));
    }
    let escape = |byte: &u8| {
        let [high, low] = hex::digits(*byte);
        [b'%', high, low]
    };
    let json = |byte: &u8| {
        let [high, low] = hex::digits(*byte);
        [b'\\', b'u', b'0', b'0', high, low]
    };
    needles.push(Zeroizing::new(
        raw.iter().flat_map(|byte| hex::digits(*byte).map(|d| d.to_ascii_uppercase())).collect(),
    ));
    needles.push(Zeroizing::new(raw.iter().flat_map(|byte| hex::digits(*byte)).collect()));
    // What is left as it is: nothing; the unreserved; what JavaScript leaves; what Python
    // leaves; what we leave in a path.
    for kept in [&b""[..], b"-._~", b"-._~!*'()", b"-._~/", super::place::IN_PATH] {
        let plain =
            |byte: &u8| !kept.is_empty() && (byte.is_ascii_alphanumeric() || kept.contains(byte));
        for upper in [false, true] {
            let spelt = |byte: &u8| match plain(byte) {
                true => vec![*byte],
                false if upper => escape(byte).to_ascii_uppercase(),
                false => escape(byte).to_vec(),
            };
            needles.push(Zeroizing::new(raw.iter().flat_map(spelt).collect()));
        }
    }
    let slashes = |byte: &u8| if *byte == b'/' { vec![b'\\', b'/'] } else { vec![*byte] };
    needles.push(Zeroizing::new(raw.iter().flat_map(slashes).collect()));
    needles.push(Zeroizing::new(raw.iter().flat_map(json).collect()));
    needles
}

/// The base64 characters that depend on the token alone when `skip` bytes stand before it.
fn inner_base64(engine: &base64::engine::GeneralPurpose, raw: &[u8], skip: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; skip]);
    padded.extend_from_slice(raw);
    let text = Zeroizing::new(engine.encode(&*padded).into_bytes());
    let start = [0, 2, 3][skip];
    // The last group may mix in what follows: keep whole groups of three bytes only.
    let end = padded.len() / 3 * 4;
    text.get(start..end).unwrap_or_default().to_vec()
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let haystack = haystack.get(from..)?;
    // Most fields are shorter than most forms, and preparing a search costs as much as the needle is long.
    if needle.is_empty() || haystack.len() < needle.len() {
        return None;
    }
    Some(from + memchr::memmem::find(haystack, needle)?)
}

/// What an answer to a request with a token must not carry: a cookie bought with it, and an
/// invitation to go round the proxy (RFC 7838).
const BOUGHT: &[&str] = &["set-cookie", "set-cookie2", "alt-svc"];

/// Cleans the header (or trailer) of an answer. `injected`: its request carried a token. `redactor`: all
/// tokens that must not be in it.
pub fn clean_answer(injected: bool, redactor: Option<&Redactor>, headers: &mut HeaderMap) {
    super::strip::hop_by_hop_answer(headers);
    headers.remove(http::header::ALT_SVC);
    if injected {
        for name in BOUGHT {
            headers.remove(*name);
        }
    }
    if let Some(redactor) = redactor {
        redactor.headers(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::{Clock as _, Deadline, SystemClock};
    use crate::model::secret::Secret;
    use proptest::prelude::*;
    use std::time::Duration;

    const UNRESERVED_KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

    fn token(text: &str) -> Token {
        let now = SystemClock.now();
        Token::new(Secret::new(text), now, Deadline::after(now, Duration::from_secs(60)), None)
            .unwrap()
    }

    #[test]
    fn masks_at_equal_length() {
        let redactor = Redactor::new(&token("canary-0123456789"));
        let mut headers = HeaderMap::new();
        headers.insert(
            "www-authenticate",
            HeaderValue::from_static("Bearer error=\"canary-0123456789\""),
        );
        headers.insert("x-canary-0123456789", HeaderValue::from_static("v"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        clean_answer(true, Some(&redactor), &mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["www-authenticate"], "Bearer error=\"*****************\"");
    }

    #[test]
    fn another_token_has_another_redactor() {
        let last = LastRedactor::default();
        let (one, two) = (token("canary-0123456789"), token("canary-9876543210"));
        assert!(Arc::ptr_eq(&last.of(&one), &last.of(&one)));
        assert!(last.of(&two).mask(b"canary-9876543210").is_some());
        assert!(last.of(&one).mask(b"canary-0123456789").is_some());
    }

    #[test]
    fn without_a_token_cookies_stay() {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        headers.insert("alt-svc", HeaderValue::from_static("h3=\":443\""));
        clean_answer(false, None, &mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["set-cookie"]);
    }

    proptest! {
        #[test]
        fn no_form_passes(text in "[A-Za-z0-9._~+/=-]{16,40}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
            let redactor = Redactor::new(&token(&text));
            let pair = format!("{before}{text}{after}");
            let hex: String = text.bytes().map(|b| format!("{b:02X}")).collect();
            let percent: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            let quoted = percent_encoding::percent_encode(text.as_bytes(), UNRESERVED_KEPT).to_string();
            for form in [text.clone(), hex, percent, quoted, text.replace('/', "\\/")] {
                let value = format!("{before}{form}{after}");
                let masked = redactor.mask(value.as_bytes()).unwrap();
                prop_assert_eq!(masked.len(), value.len());
                prop_assert!(find(&masked, form.as_bytes(), 0).is_none());
            }
            // In base64 the two characters at each end may depend on the neighbours; all else is gone.
            for engine in [&STANDARD, &URL_SAFE] {
                let encoded = engine.encode(&pair);
                let masked = redactor.mask(encoded.as_bytes()).unwrap();
                let left = masked.iter().filter(|b| **b != MASK).count();
                prop_assert!(left <= engine.encode(&before).len() + engine.encode(&after).len() + 8);
            }
        }
    }
}
