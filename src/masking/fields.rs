//! What header fields say of a body that may be changed: what the upstream is asked for, and what
//! goes where the body is not the upstream's any more.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderName, RANGE, SEC_WEBSOCKET_EXTENSIONS,
};
use http::{HeaderMap, HeaderValue};

use super::coding::is_asked_for;

/// Digests of a body as it was: RFC 9530, RFC 3230, RFC 1864, and those of stores.
static DIGESTS: [HeaderName; 8] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("docker-content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("x-goog-hash"),
    HeaderName::from_static("x-ms-blob-content-md5"),
    HeaderName::from_static("x-ms-content-crc64"),
];
/// One for each algorithm.
const DIGESTS_BY_PREFIX: &str = "x-amz-checksum-";
/// How messages of gRPC and of Connect are compressed, each for itself.
static MESSAGES_ENCODING: [HeaderName; 2] =
    [HeaderName::from_static("grpc-encoding"), HeaderName::from_static("connect-content-encoding")];
static MESSAGES_ACCEPT_ENCODING: [HeaderName; 2] = [
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
];
/// RFC 3229: the difference to another answer.
static A_IM: HeaderName = HeaderName::from_static("a-im");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const EVENTS: &[u8] = b"text/event-stream";

/// Asks the upstream for an answer that can be searched: in codings that are taken off here, or in
/// none where a part is asked for; WebSocket without compression, gRPC without.
pub fn ask(headers: &mut HeaderMap) {
    if headers.contains_key(RANGE) {
        headers.insert(ACCEPT_ENCODING, IDENTITY);
    } else if headers.contains_key(ACCEPT_ENCODING) {
        let known = |part: &&str| is_asked_for(part.split(';').next().unwrap_or_default().trim());
        let kept: Vec<&str> = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim).filter(known))
            .collect();
        // Parts of a legal value are legal.
        let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|value| !value.is_empty());
        headers.insert(ACCEPT_ENCODING, kept.unwrap_or(IDENTITY));
    }
    for name in &MESSAGES_ACCEPT_ENCODING {
        if headers.contains_key(name) {
            headers.insert(name.clone(), IDENTITY);
        }
    }
    headers.remove(&A_IM);
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
}

/// Whether each message of the body is compressed for itself.
pub(super) fn has_coded_messages(headers: &HeaderMap) -> bool {
    let coded = |name| headers.get(name).is_some_and(|value| *value != IDENTITY);
    MESSAGES_ENCODING.iter().any(coded)
}

/// Whether the body is read event by event, as long as it may go on: a word in one is better masked
/// than the end of all.
pub(super) fn has_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let is_events = kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
    is_events && !headers.contains_key(CONTENT_LENGTH)
}

/// Takes out what was said of a body that will come decoded.
pub(super) fn put_right(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, ACCEPT_RANGES] {
        headers.remove(name);
    }
    if headers.get(ETAG).is_some_and(|tag| !tag.as_bytes().starts_with(b"W/")) {
        headers.remove(ETAG);
    }
    remove_digests(headers);
}

/// Takes out the digests of a body that was changed.
pub(super) fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
    let by_prefix = |name: &&HeaderName| name.as_str().starts_with(DIGESTS_BY_PREFIX);
    let named: Vec<HeaderName> = headers.keys().filter(by_prefix).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}
