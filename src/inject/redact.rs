//! Nothing comes back: which tokens an answer is searched for, and what else stays behind. How they are found and masked
//! is up to [`crate::masking`], which gets their bytes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::HeaderMap;
use http::header::{ALT_SVC, HeaderName, SET_COOKIE};

use super::strip;
use crate::masking::Redactor;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;

/// What masks these tokens.
pub fn redactor_of<'a>(tokens: impl Iterator<Item = &'a Token>) -> Redactor {
    Redactor::of_all(tokens.map(|token| token.value().expose()))
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
        let redactor = shared.of(&tokens, || redactor_of(all()));
        Arc::clone(&last.insert((tokens, redactor)).1)
    }
}

/// What an answer to a request with a token must not carry: a cookie bought with it.
static BOUGHT: [HeaderName; 2] = [SET_COOKIE, HeaderName::from_static("set-cookie2")];

/// Cleans the header (or trailer) of an answer. `bought`: whether its cookies were bought with a token and are to stay
/// behind. `redactor`: all tokens that must not be in it.
pub fn clean_answer(bought: bool, redactor: Option<&Redactor>, headers: &mut HeaderMap) {
    strip::hop_by_hop_answer(headers);
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
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::model::clock::{Clock as _, Deadline, SystemClock};
    use crate::model::secret::Secret;
    use crate::model::token::TokenError;

    fn token(text: &str) -> Token {
        let now = SystemClock.now();
        Token::new(Secret::new(text), now, Deadline::after(now, Duration::from_secs(60)), None)
            .unwrap()
    }

    fn masks(redactor: &Redactor, text: &str) -> bool {
        redactor.is_in(text.as_bytes())
    }

    #[test]
    fn an_answer_keeps_no_cookie_that_a_token_bought() {
        let redactor = redactor_of(std::iter::once(&token("canary-0123456789")));
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("/?t=canary-0123456789"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        clean_answer(true, Some(&redactor), &mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["location"], "/?t=*****************");
    }

    #[test]
    fn another_token_has_another_redactor() {
        let (last, other, shared) =
            (LastRedactor::default(), LastRedactor::default(), Redactors::default());
        let (one, two) = (Arc::new(token("canary-0123456789")), token("canary-9876543210"));
        let first = last.of(&one, &[], &shared);
        assert!(Arc::ptr_eq(&first, &last.of(&one, &[], &shared)));
        assert!(Arc::ptr_eq(&first, &other.of(&one, &[], &shared)));
        assert!(masks(&first, "canary-0123456789"));
        assert!(!masks(&first, "canary-9876543210"));
        let both = last.of(&two, &[Arc::clone(&one)], &shared);
        assert!(masks(&both, "canary-9876543210"));
        assert!(masks(&both, "canary-0123456789"));
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
        assert!(masks(&both, "canary-9876543210"));
        assert!(masks(&both, "canary-0123456789"));
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

    #[test]
    fn tokens_that_no_answer_can_be_searched_for_are_none() {
        let now = SystemClock.now();
        let end = Deadline::after(now, Duration::from_secs(60));
        let token =
            |marks: &str| Token::new(Secret::new(format!("carn{marks}0123")), now, end, None);
        assert!(token(&"%&\\\\".repeat(4)).is_ok());
        assert_eq!(token(&"\\".repeat(17)).err(), Some(TokenError::Marks));
        assert_eq!(token(&"%&".repeat(9)).err(), Some(TokenError::Marks));
    }
}
