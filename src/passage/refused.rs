//! The one table from [`Reason`] to HTTP answer, and the two ways of writing it: as raw bytes
//! before a request reached the HTTP library, and as a response after.
//!
//! Every answer of our own is a problem document (RFC 9457) with `Proxy-Status` (RFC 9209).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, PROXY_AUTHENTICATE, RETRY_AFTER, UPGRADE,
};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::http1::HeadError;
use crate::model::hint::with_config;
use crate::model::id::RequestId;
use crate::model::reason::Reason;

/// What is answered: a reason, and when to come back where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub retry_after: Option<Duration>,
    /// The failure is an earlier one, and we are still waiting before the next try: 503 whatever it
    /// was.
    pub backing_off: bool,
    /// What the hint's word in capitals stands for.
    pub named: Option<(Word, String)>,
    /// The policies that forbid it.
    pub policies: Option<Policies>,
}

/// Which policies forbid a request, and what they tell the client to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    pub ids: Arc<[Arc<str>]>,
    /// In the place of the reason's own.
    pub hint: Option<Arc<str>>,
}

/// A word of a hint that is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Whose token there is none of.
    Credential,
    Session,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "CREDENTIAL",
            Self::Session => "SESSION",
        }
    }
}

/// What finds the config of this process, for the commands in hints: a process serves one.
static CONFIG_FLAG: OnceLock<String> = OnceLock::new();

/// From now on the commands in hints name this config, where it isn't found by itself.
pub fn name_config(flag: &str) {
    // One that serves a second time, as tests do, keeps the first.
    let _ = CONFIG_FLAG.set(flag.to_owned());
}

impl Refused {
    /// It is refused for so long.
    pub fn until(reason: Reason, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::from(reason) }
    }

    /// What the client is told.
    pub fn status(&self) -> StatusCode {
        if self.backing_off { StatusCode::SERVICE_UNAVAILABLE } else { status(self.reason) }
    }
}

impl Refused {
    /// Who has had enough is told so a moment late: one that asks again at once would otherwise
    /// take as much of its worker, and write as much into the audit, as if it had no limit.
    pub async fn pause(&self) {
        if self.reason == Reason::RateLimited {
            // In a box, so that only those who are refused have room for it.
            let wait = self.retry_after.unwrap_or(PAUSE).min(PAUSE);
            Box::pin(tokio::time::sleep(wait)).await;
        }
    }
}

/// How late, at most, a refusal beyond a rate is told.
const PAUSE: Duration = Duration::from_millis(100);

/// Refusals after which the connection ends: whoever disagrees about the authority or the framing
/// once gets no second try on the same connection.
pub fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AuthorityMismatch
            | Reason::BodyTooLarge
            | Reason::ClientRevoked
            | Reason::ConnectInTunnel
            | Reason::MalformedRequest
            | Reason::SessionEnded
    )
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, retry_after: None, backing_off: false, named: None, policies: None }
    }
}

/// The status of a reason.
pub fn status(reason: Reason) -> StatusCode {
    use Reason as R;
    match reason {
        R::AmbiguousPath
        | R::ConnectInTunnel
        | R::HttpsOverPlainProxy
        | R::MalformedRequest
        | R::NotAProxyRequest => StatusCode::BAD_REQUEST,
        R::AddressRefused(_)
        | R::AmbiguousRoute
        | R::ClientRevoked
        | R::CredentialRevoked
        | R::ForeignPlaceholder
        | R::LoginRequired
        | R::LoginScopeMissing
        | R::MethodRefused
        | R::NoLongerPermitted
        | R::NoRoute
        | R::OwnerUnknown
        | R::PlaceholderMissing
        | R::PlaceholderRefused
        | R::PolicyDenied
        | R::PortNotRouted
        | R::ProxyLoop
        | R::RouteDenied
        | R::StaticKeyRefused
        | R::RouteNotForClient
        | R::RouteNotInSession
        | R::SessionEnded
        | R::TemplateUnfilled
        | R::TlsRequired => StatusCode::FORBIDDEN,
        // What clients of WebSockets take as the word to go on without.
        R::UpgradeRefused => StatusCode::UPGRADE_REQUIRED,
        R::ProxyAuthEnded | R::ProxyAuthFailed | R::ProxyAuthRequired | R::SessionOfAnotherUser => {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED
        }
        R::ClientGone | R::ClientTimeout | R::ClientTlsFailed => StatusCode::REQUEST_TIMEOUT,
        R::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        R::UriTooLong => StatusCode::URI_TOO_LONG,
        R::AddressMismatch | R::AuthorityMismatch | R::SniMismatch => {
            StatusCode::MISDIRECTED_REQUEST
        }
        R::ProxyAuthThrottled | R::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        R::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        R::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        R::IssuerAnswerInvalid
        | R::IssuerRefused
        | R::IssuerTlsInvalid(_)
        | R::ParentAnswerInvalid
        | R::ParentAuthFailed
        | R::ParentRefused
        | R::ParentUnreachable
        | R::TokenEchoed
        | R::UpstreamAnswerInvalid
        | R::UpstreamCutShort
        | R::UpstreamEncodingInvalid
        | R::UpstreamEncodingRefused
        | R::UpstreamNameUnresolved
        | R::UpstreamRefused
        | R::UpstreamRefusedUpload
        | R::UpstreamTlsInvalid(_)
        | R::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
        R::AuditUnavailable
        | R::IssuerUnreachable
        | R::RootsUnread
        | R::SecretUnavailable
        | R::ShuttingDown
        | R::StaticKeyOutdated
        | R::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        R::ParentTimeout | R::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The error type of RFC 9209 section 2.3 that comes nearest.
fn proxy_error(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::AddressRefused(_) => "destination_ip_prohibited",
        R::ProxyLoop => "proxy_loop_detected",
        R::UpstreamNameUnresolved => "dns_error",
        R::IssuerTlsInvalid(_) | R::UpstreamTlsInvalid(_) => "tls_certificate_error",
        R::ParentRefused
        | R::ParentUnreachable
        | R::UpstreamRefused
        | R::UpstreamRefusedUpload
        | R::UpstreamUnreachable => "destination_unavailable",
        R::ParentTimeout | R::UpstreamTimeout => "connection_timeout",
        R::ParentAnswerInvalid | R::UpstreamAnswerInvalid => "http_protocol_error",
        R::UpstreamCutShort => "http_response_incomplete",
        R::TokenEchoed | R::UpstreamEncodingInvalid | R::UpstreamEncodingRefused => {
            "http_response_content_coding"
        }
        R::AmbiguousPath | R::HttpsOverPlainProxy | R::MalformedRequest | R::NotAProxyRequest => {
            "http_request_error"
        }
        R::AuditUnavailable
        | R::InternalError
        | R::RootsUnread
        | R::SecretUnavailable
        | R::ShuttingDown
        | R::StaticKeyOutdated
        | R::TooManyConnections => "proxy_internal_error",
        R::IssuerAnswerInvalid | R::IssuerRefused | R::IssuerUnreachable | R::ParentAuthFailed => {
            "proxy_configuration_error"
        }
        R::AddressMismatch
        | R::AmbiguousRoute
        | R::AuthorityMismatch
        | R::BodyTooLarge
        | R::ClientRevoked
        | R::ClientTlsFailed
        | R::ClientGone
        | R::ConnectInTunnel
        | R::CredentialRevoked
        | R::ClientTimeout
        | R::ForeignPlaceholder
        | R::HeadersTooLarge
        | R::LoginRequired
        | R::LoginScopeMissing
        | R::MethodRefused
        | R::NoLongerPermitted
        | R::NoRoute
        | R::OwnerUnknown
        | R::PlaceholderMissing
        | R::PlaceholderRefused
        | R::PolicyDenied
        | R::PortNotRouted
        | R::ProxyAuthEnded
        | R::ProxyAuthFailed
        | R::ProxyAuthRequired
        | R::ProxyAuthThrottled
        | R::RateLimited
        | R::RouteDenied
        | R::RouteNotForClient
        | R::RouteNotInSession
        | R::StaticKeyRefused
        | R::SessionOfAnotherUser
        | R::SessionEnded
        | R::SniMismatch
        | R::TemplateUnfilled
        | R::TlsRequired
        | R::UpgradeRefused
        | R::UriTooLong => "http_request_denied",
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    hint: &'a str,
    /// Those that forbid it, by id.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [Arc<str>],
    request_id: String,
}

fn problem(refused: &Refused, request: RequestId) -> Bytes {
    let (reason, status) = (refused.reason, refused.status());
    // Names in config are letters, digits and `._-`: they can be typed as they stand.
    let policies = refused.policies.as_ref();
    let said = policies.and_then(|policies| policies.hint.as_deref());
    let hint = match &refused.named {
        Some((word, name)) => reason.hint().replace(word.as_str(), name),
        None => said.unwrap_or(reason.hint()).to_owned(),
    };
    let flag = CONFIG_FLAG.get().map_or("", String::as_str);
    let hint = with_config(&hint, flag);
    let problem = Problem {
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code: reason.code(),
        detail: reason.detail(),
        hint: &hint,
        policies: policies.map_or(&[], |policies| &policies.ids),
        request_id: request.to_string(),
    };
    // A struct of strings and a number always serialises.
    let mut text = serde_json::to_vec(&problem).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn fields(refused: &Refused) -> Vec<(HeaderName, String)> {
    let reason = refused.reason;
    let mut fields = vec![
        (
            HeaderName::from_static("proxy-status"),
            format!("valetkey; error={}; details=\"{}\"", proxy_error(reason), reason.code()),
        ),
        (CONTENT_TYPE, "application/problem+json".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    let status = refused.status();
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        fields.push((PROXY_AUTHENTICATE, "Basic realm=\"valetkey\", charset=\"UTF-8\"".to_owned()));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 section 15.5.22: what may be spoken instead.
        fields.push((UPGRADE, "HTTP/1.1".to_owned()));
    }
    let least = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Some(Duration::from_secs(1))
        }
        _ => None,
    };
    if let Some(wait) = refused.retry_after.or(least) {
        // Whole seconds, rounded up: who comes back then is not told to wait again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        fields.push((RETRY_AFTER, seconds.max(1).to_string()));
    }
    fields
}

/// An answer for a request that the HTTP library read.
pub fn response(refused: &Refused, request: RequestId, close: bool) -> Response<Bytes> {
    let mut response = Response::new(problem(refused, request));
    *response.status_mut() = refused.status();
    for (name, value) in fields(refused) {
        // All of these values are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    if close {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same as bytes, for a CONNECT or for what is no HTTP at all.
pub fn raw(refused: &Refused, request: RequestId, close: bool) -> Vec<u8> {
    let status = refused.status();
    let body = problem(refused, request);
    let mut text = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    for (name, value) in fields(refused) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let connection = if close { "close" } else { "keep-alive" };
    text.push_str(&format!("content-length: {}\r\nconnection: {connection}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

impl From<HeadError> for Reason {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Late => Self::ClientTimeout,
            HeadError::Malformed => Self::MalformedRequest,
            HeadError::TooLarge => Self::HeadersTooLarge,
            HeadError::UriTooLong => Self::UriTooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_well_formed() {
        for reason in Reason::ALL {
            let text = String::from_utf8(raw(&(*reason).into(), RequestId::new(), true)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("details=\"{}\"", reason.code())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["code"], reason.code());
            assert!(status(*reason).is_client_error() || status(*reason).is_server_error());
        }
    }

    #[test]
    fn waiting_is_rounded_up() {
        let wait = Some(Duration::from_millis(1200));
        let refused = Refused { retry_after: wait, ..Reason::IssuerUnreachable.into() };
        assert_eq!(response(&refused, RequestId::new(), false).headers()["retry-after"], "2");
    }
}
