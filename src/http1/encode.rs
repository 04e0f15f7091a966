//! Writing heads and chunks.

use std::io::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Uri};

use super::spelling::Spelling;

/// The line end that stands behind each line and chunk.
pub const CRLF: &[u8] = b"\r\n";

/// How the body that follows a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// As the fields of the head say, or not at all: HEAD, 204 and 304.
    AsNamed,
    /// By chunks (RFC 9112 section 7.1).
    Chunked,
    /// By the end of the connection.
    Close,
    /// By its length in bytes.
    Length(u64),
}

/// `method target HTTP/1.1`, origin-form, with `Host`.
pub fn request_line(out: &mut Vec<u8>, method: &Method, uri: &Uri, spelling: &Spelling) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = uri.authority() {
        own_field(out, "host", authority.as_str().as_bytes(), spelling);
    }
}

/// What the head of a request takes at most, in bytes.
pub fn length(request: &Request<()>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(1, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    target + authority + fields + FRAMING
}

/// Method, version, names of our own fields.
const FRAMING: usize = 160;

/// Always of this version: we speak for ourselves (RFC 9110 section 2.5). Without `words`, those
/// that are usual.
pub fn status_line(out: &mut Vec<u8>, status: StatusCode, words: Option<&[u8]>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let usual = || status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(words.unwrap_or_else(usual));
    out.extend_from_slice(CRLF);
}

/// The fields, but for those that frame the body or speak of the connection, which are ours.
pub fn fields(out: &mut Vec<u8>, headers: &HeaderMap, body: Body, spelling: &Spelling) {
    for (name, value) in headers {
        let ours = *name == CONNECTION
            || *name == TRANSFER_ENCODING
            || (*name == CONTENT_LENGTH && body != Body::AsNamed);
        if !ours {
            spelling.write(out, name, value);
            value_of(out, value.as_bytes());
        }
    }
    match body {
        Body::Chunked => own_field(out, "transfer-encoding", b"chunked", spelling),
        Body::Length(length) => {
            own_field(
                out,
                "content-length",
                itoa::Buffer::new().format(length).as_bytes(),
                spelling,
            );
        }
        Body::AsNamed | Body::Close => {}
    }
}

/// One line of a field that is ours.
pub fn own_field(out: &mut Vec<u8>, name: &str, value: &[u8], spelling: &Spelling) {
    spelling.write_other(out, name);
    value_of(out, value);
}

fn value_of(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// The line in front of a chunk.
pub fn chunk(out: &mut Vec<u8>, content: &Bytes) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{:x}\r\n", content.len());
}

/// The last chunk, with what trails it.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        out.extend_from_slice(name.as_str().as_bytes());
        value_of(out, value.as_bytes());
    }
    out.extend_from_slice(CRLF);
}
