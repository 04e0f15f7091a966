//! [`Token`]: short-lived, minted, never at rest.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::clock::{Deadline, Moment, rfc3339_millis};
use super::dpop::ProofKey;
use super::secret::{Fingerprint, Secret};

/// The longest token that is accepted from an issuer, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The most `%`, `&` and `\` in a row in a token. Each may stand for itself or begin an escape, and
/// with more of them no answer could be searched for the token in time, nor surely.
pub const MAX_MARKS: usize = 16;

/// A value that may be put into requests until its end. Cheap to share, never cloned in depth.
#[derive(Debug)]
pub struct Token {
    value: Arc<Secret>,
    fingerprint: Fingerprint,
    minted: Moment,
    end: Deadline,
    expires: Box<str>,
    scope: Option<Arc<str>>,
    standing: bool,
    bound: Option<Arc<ProofKey>>,
    /// As it is sent, and behind which scheme: made for the first request.
    sent: OnceLock<Sent>,
}

/// A token behind a scheme.
struct Sent {
    scheme: Option<Box<str>>,
    text: Bytes,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent(****)")
    }
}

/// Why bytes are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// White space, control or non-ASCII bytes: it could break out of its slot.
    #[error("the token holds bytes that may not stand in a header")]
    Bytes,
    #[error("the token is empty")]
    Empty,
    #[error("the token has more than {MAX_MARKS} of %, & and \\ in a row")]
    Marks,
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    Length,
}

impl Token {
    /// A minted token with its end and, where the issuer said so, the scope granted.
    pub fn new(
        value: Secret,
        minted: Moment,
        end: Deadline,
        scope: Option<Arc<str>>,
    ) -> Result<Self, TokenError> {
        if value.is_empty() {
            return Err(TokenError::Empty);
        }
        if value.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Length);
        }
        if !value.is_visible_ascii() {
            return Err(TokenError::Bytes);
        }
        let mark = |byte: &u8| matches!(byte, b'%' | b'&' | b'\\');
        if value.longest_row(mark) > MAX_MARKS {
            return Err(TokenError::Marks);
        }
        let fingerprint = value.fingerprint();
        let expires = rfc3339_millis(end.wall()).into();
        let (value, standing, bound) = (Arc::new(value), false, None);
        let sent = OnceLock::new();
        Ok(Self { value, fingerprint, minted, end, expires, scope, standing, bound, sent })
    }

    /// Marks it as a standing credential (a static key), to be reported as one everywhere.
    pub fn standing(mut self) -> Self {
        self.standing = true;
        self
    }

    /// Binds it: whoever sends it shows a proof by this key (RFC 9449).
    pub fn bound_to(mut self, key: Arc<ProofKey>) -> Self {
        self.bound = Some(key);
        self
    }

    /// What signs the proofs that it is sent with; `None`: it is a bearer token.
    pub fn proof_key(&self) -> Option<&ProofKey> {
        self.bound.as_deref()
    }

    pub fn value(&self) -> &Secret {
        &self.value
    }

    /// What `make` makes of it behind this scheme. Nearly every token has one scheme in all its
    /// life, and is made for that once.
    pub fn sent(&self, scheme: Option<&str>, make: impl Fn() -> Bytes) -> Bytes {
        let first = || Sent { scheme: scheme.map(Into::into), text: make() };
        let sent = self.sent.get_or_init(first);
        if sent.scheme.as_deref() == scheme { sent.text.clone() } else { make() }
    }

    /// The same for who must know them after the token is gone: an upstream may yet say them.
    pub fn shared_value(&self) -> Arc<Secret> {
        Arc::clone(&self.value)
    }

    /// Its name in audit records.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether both have the same bytes.
    pub fn is(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// The moment at which it was asked for, from which its life is counted.
    pub fn minted(&self) -> Moment {
        self.minted
    }

    /// Its end by both clocks.
    pub fn end(&self) -> Deadline {
        self.end
    }

    /// Its end as a calendar writes it.
    pub fn expires(&self) -> SystemTime {
        self.end.wall()
    }

    /// The same as text, RFC 3339 with milliseconds: written with each request, so made once.
    pub fn expires_text(&self) -> &str {
        &self.expires
    }

    /// The scope that the issuer granted, space-separated (RFC 6749 section 3.3).
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether it is a static key in disguise.
    pub fn is_standing(&self) -> bool {
        self.standing
    }

    /// Whether it may still be used.
    pub fn is_valid(&self, now: Moment) -> bool {
        !self.end.passed(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_is_made_once_for_its_scheme_and_never_shown() {
        let now = Moment { mono: Instant::now(), wall: SystemTime::now() };
        let end = Deadline::after(now, Duration::from_secs(60));
        let token = Token::new(Secret::new("a-canary".to_owned()), now, end, None).unwrap();
        let behind = |scheme: &str| Bytes::from(format!("{scheme} a-canary"));
        let first = token.sent(Some("Bearer"), || behind("Bearer"));
        assert_eq!(token.sent(Some("Bearer"), || unreachable!()), first);
        assert_eq!(token.sent(Some("token"), || behind("token")), "token a-canary");
        assert_eq!(token.sent(None, || Bytes::from("a-canary")), "a-canary");
        let shown = format!("{token:?}");
        assert!(shown.contains("Sent") && !shown.contains("canary"), "{shown}");
    }
}
