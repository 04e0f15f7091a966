//! Reading what a token endpoint says (RFC 6749 sections 5.1 and 5.2), strictly.
//!
//! What has two readings is refused: a member that comes twice (in any spelling of its escapes),
//! a byte order mark, another charset. Of foreign text nothing is kept but the token, its scope,
//! registered error words, and for the owner's eyes [`Said`].

use std::fmt;
use std::time::Duration;

use super::members::{Members, Remark, Seconds};
use crate::model::secret::Secret;

/// A successful answer, before it is made a token.
#[derive(Debug)]
pub(super) struct Granted {
    pub value: Secret,
    pub expires_in: Option<Duration>,
    /// `scope`, its words in the issuer's order.
    pub scope: Option<String>,
}

/// What kind of token is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect<'a> {
    /// An access token, used as Bearer.
    Bearer,
    /// What a token exchange gives (RFC 8693 section 2.2.1).
    Exchanged {
        /// `requested_token_type`, where one was named.
        requested: Option<&'a str>,
    },
}

/// What is wrong with an issuer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No `access_token`, or not a string.
    #[error("there is no access_token")]
    AccessToken,
    /// The access token is empty, too long, or holds bytes that may not stand in a header.
    #[error("the access_token may not stand in a header")]
    AccessTokenBytes,
    /// Not what AWS's `credential_process` prints, or keys that do not end.
    #[error("it is no version 1 of AWS's credential_process with a session token")]
    AwsCredential,
    /// A client certificate where a token is needed.
    #[error("it holds a client certificate, which takes the place of no token")]
    ClientCertificate,
    /// Not `application/json` in UTF-8 without content coding.
    #[error("it is not application/json")]
    ContentType,
    /// Not what kubectl's exec plugins print.
    #[error("it is no ExecCredential of client.authentication.k8s.io/v1")]
    ExecCredential,
    /// `expires_in` is not a positive number, or the token had ended when it came.
    #[error("expires_in is not a positive number of seconds")]
    ExpiresIn,
    /// Not `key=value` lines, or a key twice.
    #[error("it is not what git's credential helpers print")]
    GitCredential,
    /// `issued_token_type` is missing, or not what was asked for.
    #[error("issued_token_type is not what was asked for")]
    IssuedTokenType,
    /// Not a JSON object, or one with a member that comes twice.
    #[error("it is not one unambiguous JSON object")]
    Json,
    /// A redirect, which is never followed.
    #[error("it is a redirect")]
    Redirect,
    /// `scope` is not a list of scope tokens.
    #[error("its scope is malformed")]
    Scope,
    /// More scope than asked for.
    #[error("it grants more scope than was asked for")]
    ScopeWidened,
    /// A success other than 200, or 1xx.
    #[error("its status is not 200")]
    Status,
    /// `token_type` is not Bearer, or DPoP where that was asked for: it could not be used as one
    /// (RFC 6749 section 7.1).
    #[error("token_type is not what was asked for: Bearer, or DPoP")]
    TokenType,
    #[error("it is too long")]
    TooLong,
}

impl AnswerError {
    pub fn code(self) -> &'static str {
        match self {
            Self::AccessToken | Self::AccessTokenBytes => "issuer-access-token-invalid",
            Self::AwsCredential => "helper-aws-credential-invalid",
            Self::ClientCertificate => "helper-client-certificate",
            Self::ContentType => "issuer-content-type-invalid",
            Self::ExecCredential => "helper-exec-credential-invalid",
            Self::ExpiresIn => "issuer-expiry-invalid",
            Self::GitCredential => "helper-git-credential-invalid",
            Self::IssuedTokenType => "issuer-issued-token-type-invalid",
            Self::Json => "issuer-json-invalid",
            Self::Redirect => "issuer-redirect",
            Self::Scope => "issuer-scope-invalid",
            Self::ScopeWidened => "issuer-scope-widened",
            Self::Status => "issuer-status-invalid",
            Self::TokenType => "issuer-token-type-invalid",
            Self::TooLong => "issuer-answer-too-long",
        }
    }
}

macro_rules! oauth_errors {
    ($($variant:ident = $word:literal, $code:literal;)*) => {
        /// A registered word for why an issuer refused (RFC 6749 section 5.2 and its extensions).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum OauthError { $($variant,)* }

        impl OauthError {
            /// The word as RFC 6749 spells it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// As in our own codes.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub(super) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

oauth_errors! {
    AccessDenied = "access_denied", "issuer-refused-access-denied";
    AuthorizationPending = "authorization_pending", "issuer-refused-authorization-pending";
    ExpiredToken = "expired_token", "issuer-refused-expired-token";
    InvalidDpopProof = "invalid_dpop_proof", "issuer-refused-invalid-dpop-proof";
    InvalidClient = "invalid_client", "issuer-refused-invalid-client";
    InvalidGrant = "invalid_grant", "issuer-refused-invalid-grant";
    InvalidRequest = "invalid_request", "issuer-refused-invalid-request";
    InvalidScope = "invalid_scope", "issuer-refused-invalid-scope";
    InvalidTarget = "invalid_target", "issuer-refused-invalid-target";
    ServerError = "server_error", "issuer-refused-server-error";
    SlowDown = "slow_down", "issuer-refused-slow-down";
    TemporarilyUnavailable = "temporarily_unavailable", "issuer-refused-temporarily-unavailable";
    UnauthorizedClient = "unauthorized_client", "issuer-refused-unauthorized-client";
    UnsupportedGrantType = "unsupported_grant_type", "issuer-refused-unsupported-grant-type";
    UseDpopNonce = "use_dpop_nonce", "issuer-refused-use-dpop-nonce";
}

/// Reads a 200 with a JSON body.
pub(super) fn granted(
    body: &[u8],
    expect: Expect<'_>,
    bound: bool,
) -> Result<Granted, AnswerError> {
    let members = Members::read(body)?;
    let value = Secret::new(members.access_token.ok_or(AnswerError::AccessToken)?);
    let bearer = match expect {
        Expect::Bearer => true,
        Expect::Exchanged { requested } => {
            used_as_bearer(requested, members.issued_token_type.as_deref())?
        }
    };
    // Anything but an access token is of type N_A: "Bearer" would say that it is one.
    let wanted = match (bearer, bound) {
        (true, false) => "bearer",
        // One that the issuer did not bind would be a bearer token that nobody takes for one.
        (true, true) => "dpop",
        (false, _) => "n_a",
    };
    if !members.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case(wanted)) {
        return Err(AnswerError::TokenType);
    }
    let expires_in = members.expires_in.map(life).transpose()?;
    let scope = members.scope.map(scope_words).transpose()?;
    Ok(Granted { value, expires_in, scope })
}

/// Whether what was issued must be an access token. RFC 8693 section 2.2.1 demands
/// `issued_token_type`; where nothing was asked for by name, only an access token will do (a JWT
/// may be one: then it says Bearer).
fn used_as_bearer(requested: Option<&str>, issued: Option<&str>) -> Result<bool, AnswerError> {
    let issued = issued.ok_or(AnswerError::IssuedTokenType)?;
    if requested.is_some_and(|requested| requested != issued) {
        return Err(AnswerError::IssuedTokenType);
    }
    match issued {
        ACCESS_TOKEN => Ok(true),
        JWT if requested.is_none() => Ok(true),
        _ if requested.is_none() => Err(AnswerError::IssuedTokenType),
        _ => Ok(false),
    }
}

/// What an issuer's document says of its endpoints (RFC 8414 section 2, RFC 8705 section 5).
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub issuer: Option<String>,
    pub token_endpoint: Option<String>,
    pub revocation_endpoint: Option<String>,
    pub authorization_endpoint: Option<String>,
    pub device_endpoint: Option<String>,
    pub jwks: Option<String>,
    /// Whether its answers name it in `iss` (RFC 9207 section 3).
    pub says_issuer: bool,
    pub mtls_token_endpoint: Option<String>,
    pub mtls_revocation_endpoint: Option<String>,
}

pub(super) fn metadata(body: &[u8]) -> Result<Metadata, AnswerError> {
    let members = Members::read(body)?;
    let mtls = members.mtls_endpoint_aliases.unwrap_or_default();
    Ok(Metadata {
        issuer: members.issuer,
        token_endpoint: members.token_endpoint,
        revocation_endpoint: members.revocation_endpoint,
        authorization_endpoint: members.authorization_endpoint,
        device_endpoint: members.device_authorization_endpoint,
        jwks: members.jwks_uri,
        says_issuer: members.authorization_response_iss_parameter_supported == Some(true),
        mtls_token_endpoint: mtls.token_endpoint,
        mtls_revocation_endpoint: mtls.revocation_endpoint,
    })
}

/// What an issuer says of why it refuses.
#[derive(Debug, Default)]
pub(super) struct IssuerRefusal {
    /// The registered word, if it is one.
    pub error: Option<OauthError>,
    /// What it says of it in its own words.
    pub said: Option<Said>,
}

pub(super) fn refusal(body: &[u8]) -> IssuerRefusal {
    let Ok(members) = Members::read(body) else { return IssuerRefusal::default() };
    let error = members.error.as_deref().and_then(OauthError::parse);
    let description = match members.error_description {
        Some(Remark::Text(text)) => Some(text),
        Some(Remark::Other(_)) | None => None,
    };
    let words: Vec<_> = [members.error, description].into_iter().flatten().collect();
    IssuerRefusal { error, said: Said::of(&words.join(": ")) }
}

/// An issuer's own `error` and `error_description`: for its log and `status`, and never for a
/// client. An issuer may repeat what it was sent, so it is silent in `Debug`, and whoever shows it
/// masks what could be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(Box<str>);

impl Said {
    /// Printable ASCII, with one space for whatever else there is; cut at [`MAX_SAID`].
    fn of(text: &str) -> Option<Self> {
        let mut clean = String::with_capacity(text.len().min(MAX_SAID));
        for byte in text.bytes().map(|b| if b.is_ascii_graphic() { b } else { b' ' }) {
            if clean.len() < MAX_SAID && !(byte == b' ' && clean.ends_with(' ')) {
                clean.push(char::from(byte));
            }
        }
        let clean = clean.trim();
        (!clean.is_empty()).then(|| Self(clean.into()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said(****)")
    }
}

/// RFC 6749 says a number; a whole number as a string is common (Azure AD v1) and has no second
/// reading, nor has `3600.0`. Fractions are cut, which ends the token sooner.
pub(super) fn life(seconds: Seconds) -> Result<Duration, AnswerError> {
    let seconds = match seconds {
        Seconds::Whole(seconds) => seconds,
        // Saturates: what is too long is cut by `ttl` or the clock.
        Seconds::Float(seconds) if seconds >= 1.0 => seconds as u64,
        Seconds::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| AnswerError::ExpiresIn)?
        }
        _ => return Err(AnswerError::ExpiresIn),
    };
    if seconds == 0 { Err(AnswerError::ExpiresIn) } else { Ok(Duration::from_secs(seconds)) }
}

/// RFC 6749 section 3.3: words of `%x21 / %x23-5B / %x5D-7E`, one space between. An empty scope
/// and doubled spaces are met in practice and mean nothing else.
fn scope_words(text: String) -> Result<String, AnswerError> {
    let allowed = |b: u8| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if text.len() > MAX_SCOPE || !text.bytes().all(allowed) {
        return Err(AnswerError::Scope);
    }
    Ok(text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Of foreign text in a log line, in bytes.
const MAX_SAID: usize = 200;
/// Far more than any real list of scopes, and little enough for an audit record.
const MAX_SCOPE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn granted(body: &[u8]) -> Result<Granted, AnswerError> {
        super::granted(body, Expect::Bearer, false)
    }

    fn with(members: &str) -> Result<Granted, AnswerError> {
        granted(format!(r#"{{"access_token":"t","token_type":"Bearer"{members}}}"#).as_bytes())
    }

    #[test]
    fn reads_a_token() {
        let granted = with(r#","expires_in":3600,"scope":"a  b","x":{"y":[1,null,"z",2.5,-1]}"#);
        let granted = granted.unwrap();
        assert!(granted.value.matches(b"t"));
        assert_eq!(granted.expires_in, Some(Duration::from_secs(3600)));
        assert_eq!(granted.scope.as_deref(), Some("a b"));
        assert_eq!(with("").unwrap().expires_in, None);
        assert_eq!(with(r#","expires_in":null,"scope":null"#).unwrap().scope, None);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for body in [
            "",
            "null",
            "[]",
            "\"x\"",
            "<html></html>",
            r#"{"access_token":"t""#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":null,"access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"a","access\u005ftoken":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"Bearer","x":1,"x":1}"#,
            r#"{"access_token":"a","token_type":"Bearer","x":[{"y":1,"y":1}]}"#,
            r#"{"access_token":"a","token_type":"Bearer"} x"#,
            "\u{feff}{\"access_token\":\"a\",\"token_type\":\"Bearer\"}",
            r#"{"access_token":7,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":["Bearer"]}"#,
        ] {
            assert_eq!(granted(body.as_bytes()).unwrap_err(), AnswerError::Json, "{body}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(granted(deep.as_bytes()).unwrap_err(), AnswerError::Json);
        assert_eq!(granted(b"{}").unwrap_err(), AnswerError::AccessToken);
    }

    #[test]
    fn only_bearer() {
        for kind in ["\"mac\"", "\"DPoP\"", "\"N_A\"", "\"bearer \"", "\"\"", "null"] {
            let body = format!(r#"{{"access_token":"a","token_type":{kind}}}"#);
            assert_eq!(granted(body.as_bytes()).unwrap_err(), AnswerError::TokenType, "{kind}");
        }
        assert_eq!(granted(br#"{"access_token":"a"}"#).unwrap_err(), AnswerError::TokenType);
        assert!(granted(br#"{"access_token":"a","token_type":"bEARER"}"#).is_ok());
    }

    #[test]
    fn an_exchange_gives_what_was_asked_for() {
        let urn = |kind: &str| format!("urn:ietf:params:oauth:token-type:{kind}");
        let exchanged = |requested: Option<&str>, issued: &str, kind: &str| {
            let requested = requested.map(urn);
            let body = format!(
                r#"{{"access_token":"a","issued_token_type":"{}","token_type":"{kind}"}}"#,
                urn(issued)
            );
            let expect = Expect::Exchanged { requested: requested.as_deref() };
            super::granted(body.as_bytes(), expect, false).map(|_| ())
        };
        assert_eq!(exchanged(None, "access_token", "Bearer"), Ok(()));
        assert_eq!(exchanged(None, "jwt", "Bearer"), Ok(()));
        assert_eq!(exchanged(Some("id_token"), "id_token", "N_A"), Ok(()));
        assert_eq!(exchanged(Some("jwt"), "jwt", "n_a"), Ok(()));
        for (requested, issued) in
            [(None, "refresh_token"), (None, "id_token"), (Some("access_token"), "jwt")]
        {
            let error = exchanged(requested, issued, "N_A").unwrap_err();
            assert_eq!(error, AnswerError::IssuedTokenType, "{requested:?} {issued}");
        }
        for (requested, issued, kind) in [
            (None, "access_token", "N_A"),
            (None, "access_token", "DPoP"),
            (Some("id_token"), "id_token", "Bearer"),
        ] {
            assert_eq!(exchanged(requested, issued, kind), Err(AnswerError::TokenType), "{kind}");
        }
        let without = br#"{"access_token":"a","token_type":"Bearer"}"#;
        let error =
            super::granted(without, Expect::Exchanged { requested: None }, false).unwrap_err();
        assert_eq!(error, AnswerError::IssuedTokenType);
    }

    #[test]
    fn metadata_has_one_reading() {
        let read = metadata(
            br#"{"issuer":"https://i","token_endpoint":"https://i/t","x":[{}],
                "mtls_endpoint_aliases":{"token_endpoint":"https://m/t"}}"#,
        );
        let read = read.unwrap();
        assert_eq!(read.issuer.as_deref(), Some("https://i"));
        assert_eq!(read.mtls_token_endpoint.as_deref(), Some("https://m/t"));
        for body in [r#"{"issuer":"a","issuer":"b"}"#, r#"{"issuer":1}"#, "[]", ""] {
            assert_eq!(metadata(body.as_bytes()).unwrap_err(), AnswerError::Json, "{body}");
        }
    }

    #[test]
    fn lives() {
        let life = |text: &str| with(&format!(r#","expires_in":{text}"#)).map(|g| g.expires_in);
        for (text, seconds) in
            [("1", 1), ("3600.9", 3600), ("\"3599\"", 3599), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(life(text), Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(life("1e30"), Ok(Some(Duration::from_secs(u64::MAX))));
        for text in
            ["0", "-1", "-1e9", "0.5", "\"\"", "\"-5\"", "\"1h\"", "\"99999999999999999999\""]
        {
            assert_eq!(life(text).unwrap_err(), AnswerError::ExpiresIn, "{text}");
        }
        // Not a number to any parser that keeps numbers finite; nor one at all.
        for text in ["1e400", "-1e400", "NaN", "true", "[]", "{}"] {
            assert_eq!(life(text).unwrap_err(), AnswerError::Json, "{text}");
        }
    }

    #[test]
    fn only_registered_words_are_kept() {
        let word = |body: &str| refusal(body.as_bytes()).error;
        assert_eq!(word(r#"{"error":"invalid_grant"}"#), Some(OauthError::InvalidGrant));
        for body in [r#"{"error":"canary"}"#, "{}", "<html>", r#"{"error":1}"#] {
            assert_eq!(word(body), None);
        }
        for remark in ["1", "null", "{}", r#"["x"]"#] {
            let body = format!(r#"{{"error":"invalid_grant","error_description":{remark}}}"#);
            assert_eq!(word(&body), Some(OauthError::InvalidGrant), "{remark}");
        }
        assert_eq!(with(r#","scope":"a\"b""#).unwrap_err(), AnswerError::Scope);
    }

    #[test]
    fn what_an_issuer_says_is_cleaned_and_bounded() {
        let said = |body: &str| refusal(body.as_bytes()).said.map(|said| said.text().to_owned());
        for (body, text) in [
            (r#"{"error":"invalid_scope","error_description":"no  x"}"#, "invalid_scope: no x"),
            (r#"{"error":"odd_word"}"#, "odd_word"),
            (r#"{"error_description":"\u001b[2J\u0007a\r\nb\u202e\u00e9 "}"#, "[2J a b"),
        ] {
            assert_eq!(said(body).as_deref(), Some(text), "{body}");
        }
        for body in ["{}", "", r#"{"error_description":"\u001b"}"#, r#"{"error_description":7}"#] {
            assert_eq!(said(body), None, "{body}");
        }
        let long = said(&format!(r#"{{"error_description":"{}"}}"#, "é x".repeat(900))).unwrap();
        assert!(long.len() <= MAX_SAID && long.starts_with("x"), "{long}");
        let hidden = format!("{:?}", refusal(br#"{"error_description":"canary"}"#));
        assert!(!hidden.contains("canary"), "{hidden}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = granted(&body);
            let _ = refusal(&body);
        }

        #[test]
        fn arbitrary_json_never_panics(name in "[a-z_]{0,12}", value in "[\\[\\]{}\":,0-9a-z.\\\\-]{0,40}") {
            let _ = granted(format!(r#"{{"access_token":"t","{name}":{value}}}"#).as_bytes());
        }
    }
}
