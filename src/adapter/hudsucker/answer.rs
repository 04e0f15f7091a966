//! Answers of our own: a problem document (RFC 9457) with `Proxy-Status` (RFC 9209), as everywhere.

use ::hudsucker::Body;
use http::Response;
use http_body_util::Full;

use crate::model::id::RequestId;
use crate::passage::{self, Refused};

/// The answer to a request that goes no further.
pub(super) fn of(refused: &Refused, request: RequestId) -> Response<Body> {
    passage::response(refused, request, passage::closes(refused.reason))
        .map(|bytes| Body::from(Full::new(bytes)))
}
