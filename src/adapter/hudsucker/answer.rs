//! Answers of our own: a problem document (RFC 9457) with `Proxy-Status` (RFC 9209), as everywhere.

use ::hudsucker::Body;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::broker::Failure;
use crate::model::id::RequestId;
use crate::model::reason::{Fault, Reason};

/// The status of a reason: the data plane's table, where it matters to a client.
pub(super) fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::ProxyAuthEnded
        | Reason::ProxyAuthFailed
        | Reason::ProxyAuthRequired
        | Reason::SessionOfAnotherUser => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        Reason::AuthorityMismatch => StatusCode::MISDIRECTED_REQUEST,
        Reason::AmbiguousPath | Reason::ConnectInTunnel | Reason::MalformedRequest => {
            StatusCode::BAD_REQUEST
        }
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::UriTooLong => StatusCode::URI_TOO_LONG,
        Reason::ProxyAuthThrottled => StatusCode::TOO_MANY_REQUESTS,
        Reason::IssuerUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        other => match other.fault() {
            Fault::Client => StatusCode::FORBIDDEN,
            Fault::Issuer | Fault::Upstream => StatusCode::BAD_GATEWAY,
            Fault::Valetkey => StatusCode::SERVICE_UNAVAILABLE,
        },
    }
}

/// The answer to a reason.
pub(super) fn of(reason: Reason, request: RequestId) -> Response<Body> {
    let status = status(reason);
    let body = serde_json::json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": reason.code(),
        "detail": reason.detail(),
        "hint": reason.hint(),
        "request_id": request.to_string(),
    });
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let said = format!("valetkey; error=http_request_denied; details=\"{}\"", reason.code());
    // A reason's code is made of letters and hyphens.
    if let Ok(said) = HeaderValue::from_str(&said) {
        headers.insert(HeaderName::from_static("proxy-status"), said);
    }
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"valetkey\""));
    }
    answer
}

/// The answer where no token could be had.
pub(super) fn of_failure(failure: &Failure, request: RequestId) -> Response<Body> {
    let mut answer = of(failure.reason, request);
    if let Some(after) = failure.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, after.as_secs().max(1).into());
    }
    answer
}
