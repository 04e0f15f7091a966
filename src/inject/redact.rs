//! Nothing comes back: an answer is searched for the token, in the forms in which an upstream may echo it,
//! and masked at equal length. Its header here; its body in `redact/body`.

mod body;
mod breaks;
mod coding;
mod filter;
mod needle;
mod search;
mod spelling;
mod stream;
mod switched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALT_SVC, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

pub(super) use body::ask;
pub use body::{BodyRedactor, PATIENCE, Unsearchable};
pub use coding::DecodeError;
pub use switched::SwitchedRedactor;

use crate::model::hex;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;
use needle::{Kind, Needle};
use search::Search;
use stream::MASK;

/// All forms of one or more tokens.
pub struct Redactor {
    search: Search,
}

impl Redactor {
    /// The forms of one token.
    pub fn new(token: &Token) -> Self {
        Self::of_all(std::iter::once(token))
    }

    /// The forms of several tokens.
    pub fn of_all<'a>(tokens: impl Iterator<Item = &'a Token>) -> Self {
        let forms = |token: &'a Token| {
            let raw = token.value().expose();
            forms(raw).into_iter().map(|form| form.cut_short(telling(raw), raw.len()))
        };
        Self::of(tokens.flat_map(forms).collect())
    }

    /// The forms of words that are no secrets.
    pub(super) fn of_words(words: &[&str]) -> Self {
        Self::of(words.iter().flat_map(|word| forms(word.as_bytes())).collect())
    }

    /// Whether a value that is all holds one of the forms.
    pub(super) fn is_in(&self, value: &[u8]) -> bool {
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

/// Redactors in use, for connections that use the same tokens.
#[derive(Default)]
pub struct Redactors(Mutex<HashMap<Vec<Fingerprint>, Weak<Redactor>>>);

impl Redactors {
    fn of(&self, tokens: &[Fingerprint], make: impl FnOnce() -> Redactor) -> Arc<Redactor> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(redactor) = known.get(tokens).and_then(Weak::upgrade) {
            return redactor;
        }
        known.retain(|_, redactor| redactor.strong_count() > 0);
        let redactor = Arc::new(make());
        known.insert(tokens.to_vec(), Arc::downgrade(&redactor));
        redactor
    }
}

/// The redactor used last on a connection. Its forms take longer to make than a request takes to
/// judge, and most connections use one token for as long as it lives.
#[derive(Default)]
pub struct LastRedactor(Mutex<Option<(Vec<Fingerprint>, Arc<Redactor>)>>);

impl LastRedactor {
    /// The redactor of this token, and of `others` that the upstream knows.
    pub fn of(&self, token: &Token, others: &[Arc<Token>], shared: &Redactors) -> Arc<Redactor> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || std::iter::once(token).chain(others.iter().map(Arc::as_ref));
        let same = |tokens: &[Fingerprint]| {
            tokens.len() == 1 + others.len()
                && all().all(|token| tokens.contains(token.fingerprint()))
        };
        if let Some((tokens, redactor)) = &*last
            && same(tokens)
        {
            return Arc::clone(redactor);
        }
        let mut tokens: Vec<_> = all().map(|token| token.fingerprint().clone()).collect();
        tokens.sort_unstable();
        let redactor = shared.of(&tokens, || Redactor::of_all(all()));
        Arc::clone(&last.insert((tokens, redactor)).1)
    }
}

/// So many first bytes of a token are masked where an upstream cuts it short: three quarters, as long as others begin
/// otherwise by then. Of a JWT (RFC 7519) others may share all before the last dot, and what is behind it is secret.
fn telling(raw: &[u8]) -> usize {
    let most = (raw.len() * 3).div_ceil(4);
    let last = memchr::memrchr(b'.', raw).map_or(0, |dot| dot + 1);
    most.max(last + MIN_TELLING).min(raw.len())
}

/// Fewer bytes of a token may be anywhere.
const MIN_TELLING: usize = 12;

/// What is looked for: the token as it is, its base64 at every alignment, its hexadecimal digits. How their
/// bytes may be spelt is up to the search.
fn forms(raw: &[u8]) -> Vec<Needle> {
    let mut needles = vec![Needle::new(Kind::Exact, raw.to_vec())];
    for skip in 0..3 {
        let text = inner_base64(raw, skip);
        // Of a short token nothing is left that would be its own.
        if text.len() >= MIN_BASE64 {
            needles.push(Needle::new(Kind::Base64, text));
        }
    }
    needles.push(Needle::new(Kind::Hex, raw.iter().flat_map(|byte| hex::digits(*byte)).collect()));
    needles
}

/// The base64 characters that depend on the token alone when `skip` bytes stand before it.
fn inner_base64(raw: &[u8], skip: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; skip]);
    padded.extend_from_slice(raw);
    let text = Zeroizing::new(STANDARD.encode(&*padded).into_bytes());
    let start = [0, 2, 3][skip];
    // The last character may mix in what follows.
    let end = padded.len() * 8 / 6;
    text.get(start..end).unwrap_or_default().to_vec()
}

/// Characters of base64 that are looked for, at least.
const MIN_BASE64: usize = 4;

/// What an answer to a request with a token must not carry: a cookie bought with it.
static BOUGHT: [HeaderName; 2] = [SET_COOKIE, HeaderName::from_static("set-cookie2")];

/// Cleans the header (or trailer) of an answer. `bought`: whether its cookies were bought with a token and are to stay
/// behind. `redactor`: all tokens that must not be in it.
pub fn clean_answer(bought: bool, redactor: Option<&Redactor>, headers: &mut HeaderMap) {
    super::strip::hop_by_hop_answer(headers);
    // An invitation to go round the proxy (RFC 7838).
    headers.remove(ALT_SVC);
    if bought {
        for name in &BOUGHT {
            headers.remove(name);
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
    fn a_name_holds_no_token_in_lower_case() {
        let redactor = Redactor::new(&token("Canary-0123456789-ABCDEF"));
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
            let redactor = Redactor::new(&token(&text));
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

    #[test]
    fn another_token_has_another_redactor() {
        let (last, other, shared) =
            (LastRedactor::default(), LastRedactor::default(), Redactors::default());
        let (one, two) = (Arc::new(token("canary-0123456789")), token("canary-9876543210"));
        let first = last.of(&one, &[], &shared);
        assert!(Arc::ptr_eq(&first, &last.of(&one, &[], &shared)));
        assert!(Arc::ptr_eq(&first, &other.of(&one, &[], &shared)));
        assert!(first.mask(b"canary-0123456789").is_some());
        assert!(first.mask(b"canary-9876543210").is_none());
        let both = last.of(&two, &[Arc::clone(&one)], &shared);
        assert!(both.mask(b"canary-9876543210").is_some());
        assert!(both.mask(b"canary-0123456789").is_some());
        drop((first, other));
        last.of(&two, &[], &shared);
        drop(both);
        other_than_used_are_forgotten(&last, &shared);
    }

    fn other_than_used_are_forgotten(last: &LastRedactor, shared: &Redactors) {
        last.of(&token("canary-x123456789"), &[], shared);
        let known = shared.0.lock().unwrap();
        assert_eq!(known.values().filter(|redactor| redactor.strong_count() > 0).count(), 1);
        assert!(known.len() <= 2, "those that nobody uses stay");
    }

    #[test]
    fn tokens_of_other_routes_are_masked_too() {
        let (last, shared) = (LastRedactor::default(), Redactors::default());
        let (one, two) =
            (Arc::new(token("canary-0123456789")), Arc::new(token("canary-9876543210")));
        let both = last.of(&one, &[Arc::clone(&two)], &shared);
        assert!(both.mask(b"canary-9876543210").is_some());
        assert!(both.mask(b"canary-0123456789").is_some());
        let same = last.of(&two, &[one], &shared);
        assert!(Arc::ptr_eq(&both, &same), "routes that take turns make it once");
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
                prop_assert!(memchr::memmem::find(&masked, form.as_bytes()).is_none());
            }
            // In base64 the two characters at each end may depend on the neighbours; all else is gone.
            for engine in [&STANDARD, &base64::engine::general_purpose::URL_SAFE] {
                let encoded = engine.encode(&pair);
                let masked = redactor.mask(encoded.as_bytes()).unwrap();
                let left = masked.iter().filter(|b| **b != MASK).count();
                prop_assert!(left <= engine.encode(&before).len() + engine.encode(&after).len() + 8);
            }
        }
    }
}
