//! Nothing comes back: which tokens an answer is searched for, and what else stays behind. How they
//! are found and masked is up to [`crate::masking`], which gets their bytes here.

use http::HeaderMap;
use http::header::{ALT_SVC, HeaderName, SET_COOKIE};

use super::strip;
use crate::masking::Redactor;
use crate::model::secret::Secret;

/// What masks these values of tokens.
pub fn redactor_of<'a>(tokens: impl Iterator<Item = &'a Secret>) -> Redactor {
    Redactor::of_all(tokens.map(Secret::expose))
}

/// What an answer to a request with a token must not carry: a cookie bought with it.
static BOUGHT: [HeaderName; 2] = [SET_COOKIE, HeaderName::from_static("set-cookie2")];

/// Cleans the header (or trailer) of an answer. `bought`: whether its cookies were bought with a
/// token and are to stay behind. `redactor`: all tokens that must not be in it.
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
    use crate::model::token::{Token, TokenError};

    #[test]
    fn an_answer_keeps_no_cookie_that_a_token_bought() {
        let redactor = redactor_of(std::iter::once(&Secret::new("canary-0123456789")));
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("/?t=canary-0123456789"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        clean_answer(true, Some(&redactor), &mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["location"], "/?t=*****************");
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
