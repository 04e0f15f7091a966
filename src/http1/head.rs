//! Heads of requests, each with one reading (RFC 9112). `httparse` reads the lines;
//! what it tolerates and other readers take otherwise is refused here.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
use memchr::memmem::Finder;
use percent_encoding::{AsciiSet, percent_encode};

use super::spelling::Spelling;

/// A request's head, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Header fields of a request; more are refused.
pub const MAX_FIELDS: usize = 128;
/// A request's URI, in bytes.
pub const MAX_URI: usize = 8 * 1024;

/// Why a request's head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The client took too long over it.
    #[error("a head that did not come in time")]
    Late,
    /// It is not valid, or has two readings.
    #[error("a malformed head")]
    Malformed,
    /// It has too many bytes or fields.
    #[error("a head that is too large")]
    TooLarge,
    /// Its URI is too long.
    #[error("a URI that is too long")]
    UriTooLong,
}

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By chunks (RFC 9112 section 7.1).
    Chunked,
    /// By the end of the connection: answers only.
    Close,
    /// By its length in bytes; 0 where there is none.
    Length(u64),
}

/// The head of a request that has one reading.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields.
    pub parts: request::Parts,
    /// How its body is delimited.
    pub framing: Framing,
    /// The client wants the connection closed after the answer.
    pub close: bool,
    /// How its fields were spelt.
    pub spelling: Spelling,
}

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Length of the head at the front of `bytes`; `seen`: how much was searched before.
pub fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    END.find(&bytes[from..]).map(|at| from + at + 4)
}

/// Why a head that is not whole yet is too long already, if it is.
pub(super) fn too_long(head: &[u8]) -> Option<HeadError> {
    match memchr::memchr(b'\n', &head[..head.len().min(MAX_URI + 64)]) {
        None if head.len() > MAX_URI + 64 => Some(HeadError::UriTooLong),
        _ if head.len() > MAX_HEAD => Some(HeadError::TooLarge),
        _ => None,
    }
}

/// Whether what is new of a head that is not whole yet has a line that ends in a bare LF: it will
/// be refused, and its end may never come.
pub fn has_bare_line_feed(head: &[u8], seen: usize) -> bool {
    memchr::memchr_iter(b'\n', &head[seen..])
        .any(|at| (seen + at).checked_sub(1).is_none_or(|before| head[before] != b'\r'))
}

/// Parses the lines of a whole request head, strictly.
pub fn lines<'h, 'b>(
    head: &'b [u8],
    fields: &'h mut [MaybeUninit<Header<'b>>; MAX_FIELDS],
) -> Result<httparse::Request<'h, 'b>, HeadError> {
    if head.len() > MAX_HEAD {
        return Err(HeadError::TooLarge);
    }
    if !lines_end_in_crlf(head) {
        return Err(HeadError::Malformed);
    }
    let mut request = httparse::Request::new(&mut []);
    match ParserConfig::default().parse_request_with_uninit_headers(&mut request, head, fields) {
        Ok(Status::Complete(_)) => Ok(request),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Ok(Status::Partial) | Err(_) => Err(HeadError::Malformed),
    }
}

/// No bare CR or LF, which other readers take for line ends.
pub(super) fn lines_end_in_crlf(head: &[u8]) -> bool {
    let alone = |at: usize, byte: u8| match byte {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        _ => head.get(at + 1) != Some(&b'\n'),
    };
    !memchr::memchr2_iter(b'\r', b'\n', head).any(|at| alone(at, head[at]))
}

/// Reads a whole head of a request, its empty line included.
pub fn request(head: &Bytes) -> Result<RequestHead, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let lines = lines(head, &mut fields)?;
    let target = lines.path.unwrap_or_default().as_bytes();
    if target.len() > MAX_URI {
        return Err(HeadError::UriTooLong);
    }
    let malformed = HeadError::Malformed;
    let uri = uri(head, target).ok_or(malformed)?;
    let method = lines.method.unwrap_or_default();
    let http11 = lines.version == Some(1);
    let framing = request_framing(lines.headers, http11).ok_or(malformed)?;
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| malformed)?;
    parts.uri = uri;
    parts.version = if http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = header_map(head, lines.headers).ok_or(malformed)?;
    let close = !http11 || connection_names(&parts.headers, "close");
    let spelling = Spelling::of_request(head);
    Ok(RequestHead { parts, framing, close, spelling })
}

/// The forms of RFC 9112 section 3.2. A fragment would be cut off, other bytes be read differently
/// by different servers. Authority-form belongs to CONNECT, which is refused later by name.
fn uri(head: &Bytes, target: &[u8]) -> Option<Uri> {
    let form = target.starts_with(b"/")
        || target == b"*"
        || memchr::memmem::find(target, b"://").is_some()
        || !target.contains(&b'/');
    if !form || target.iter().any(|byte| *byte <= b' ' || matches!(byte, b'#' | 0x7f)) {
        return None;
    }
    if target.iter().any(|byte| is_raw(*byte)) {
        return Uri::from_maybe_shared(Bytes::from(encode_raw(target))).ok();
    }
    Uri::from_maybe_shared(head.slice_ref(target)).ok()
}

/// What no URI may hold as it is and clients send all the same (RFC 3986 section 2).
fn is_raw(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'`') || !byte.is_ascii()
}

/// Such bytes as the escapes that they stand for: what is judged then is what is sent.
pub fn encode_raw(target: &[u8]) -> String {
    const RAW: &AsciiSet = &AsciiSet::EMPTY.add(b'<').add(b'>').add(b'`');
    percent_encode(target, RAW).to_string()
}

/// The fields as a map whose values are parts of `head`: nothing is copied.
pub(super) fn header_map(head: &Bytes, fields: &[Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len() + 2);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        // An empty value may point anywhere.
        let value = match field.value {
            [] => HeaderValue::from_static(""),
            value => HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?,
        };
        map.try_append(name, value).ok()?;
    }
    Some(map)
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).
pub fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What the `Connection` fields name, in the client's spelling (RFC 9110 section 7.6.1): options
/// like `close`, and fields that end here. Empty ones too.
pub fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether `Connection` names this, in any case.
pub fn connection_names(headers: &HeaderMap, option: &str) -> bool {
    connection_options(headers).any(|own| own.eq_ignore_ascii_case(option.as_bytes()))
}

/// `None`: the request has two readings.
fn request_framing(fields: &[Header<'_>], http11: bool) -> Option<Framing> {
    // A twin with `_` frames the message for some servers and not for us: nobody needs it.
    let twin = |field: &&Header<'_>| {
        is_twin(field.name, &CONTENT_LENGTH) || is_twin(field.name, &TRANSFER_ENCODING)
    };
    if fields.iter().any(|field| twin(&field)) {
        return None;
    }
    let mut framing = None;
    for field in fields {
        let found = if is(field.name, &CONTENT_LENGTH) {
            Framing::Length(parse_length(field.value)?)
        } else if is(field.name, &TRANSFER_ENCODING) {
            // One coding, spelt plainly, and only where the version knows it.
            let plain = http11 && field.value.eq_ignore_ascii_case(b"chunked");
            plain.then_some(Framing::Chunked)?
        } else {
            continue;
        };
        if framing.replace(found).is_some() {
            return None;
        }
    }
    Some(framing.unwrap_or(Framing::Length(0)))
}

pub(super) fn is(name: &str, field: &HeaderName) -> bool {
    name.eq_ignore_ascii_case(field.as_str())
}

/// The name with `_` for `-`, which some servers read as the same.
fn is_twin(name: &str, field: &HeaderName) -> bool {
    let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    let field = field.as_str();
    name.len() == field.len() && name.contains('_') && name.bytes().zip(field.bytes()).all(same)
}

/// Digits only: no sign, no list, no leading zeros.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    if !digits || value.is_empty() {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Trailer lines, each with its CRLF, and an empty one.
pub(super) fn trailers(lines: Bytes) -> Option<HeaderMap> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(&lines, &mut fields) {
        Ok(Status::Complete((_, fields))) => header_map(&lines, fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<RequestHead, HeadError> {
        request(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn framed(lines: &str) -> Result<Framing, HeadError> {
        read(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).map(|head| head.framing)
    }

    #[test]
    fn one_reading() {
        assert_eq!(framed("").unwrap(), Framing::Length(0));
        assert_eq!(framed("Content-Length: 5\r\n").unwrap(), Framing::Length(5));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n").unwrap(), Framing::Chunked);
        let head =
            read("GET /a?b HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\nE:\r\nX:  z \r\n\r\n").unwrap();
        assert_eq!(head.parts.uri, "/a?b");
        let values: Vec<_> = head.parts.headers.get_all("x").iter().map(|v| v.as_bytes()).collect();
        assert_eq!(values, ["caf\u{e9}".as_bytes(), b"z"]);
        assert_eq!(head.parts.headers["e"], "");
        assert!(!head.close);
        assert!(read("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").unwrap().close);
        assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().close);
        for target in ["*", "http://a/b", "a:443"] {
            assert!(read(&format!("GET {target} HTTP/1.1\r\n\r\n")).is_ok(), "{target}");
        }
    }

    #[test]
    fn raw_characters_of_a_target_are_encoded() {
        for (target, encoded) in [
            ("/caf\u{e9}?q=\u{e9}", "/caf%C3%A9?q=%C3%A9"),
            ("/<a>`?q=<`>", "/%3Ca%3E%60?q=%3C%60%3E"),
            ("/{a}|\"%3c", "/{a}|\"%3c"),
        ] {
            let head = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(head.parts.uri, encoded);
        }
    }

    #[test]
    fn two_readings() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content_Length: 5\r\n",
            "content_LENGTH: 5\r\nX: y\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer_Encoding: chunked\r\n",
            "X: a\n",
            "X: a\rb\r\n",
            "X: a\r\n b\r\n",
            "X : a\r\n",
            "X: a\0\r\n",
        ] {
            assert_eq!(framed(lines), Err(HeadError::Malformed), "{lines:?}");
        }
        let get =
            |target: &str| read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).map(drop);
        for target in ["/a#b", "/a b", "/a\u{7f}", " /a", "v1/a", "http://", "http://caf\u{e9}/"] {
            assert_eq!(get(target), Err(HeadError::Malformed), "{target}");
        }
        assert_eq!(get(&format!("/{}", "a".repeat(MAX_URI))), Err(HeadError::UriTooLong));
        let old = read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").map(drop);
        assert_eq!(old, Err(HeadError::Malformed));
        let many: String = (0..=MAX_FIELDS).map(|n| format!("x-{n}: y\r\n")).collect();
        assert_eq!(framed(&many), Err(HeadError::TooLarge));
    }

    #[test]
    fn too_long_before_the_end() {
        let endless = [b"GET /", &[b'a'; MAX_URI][..], &[b'b'; 100]].concat();
        assert_eq!(too_long(&endless), Some(HeadError::UriTooLong));
        assert_eq!(too_long(&endless[..MAX_URI]), None);
        let fields = [b"GET / HTTP/1.1\r\n", &[b'a'; MAX_HEAD][..]].concat();
        assert_eq!(too_long(&fields), Some(HeadError::TooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = request(&Bytes::from(bytes.clone()));
            let _ = trailers(Bytes::from(bytes.clone()));
            let mut head = b"GET / HTTP/1.1\r\n".to_vec();
            head.extend(&bytes);
            head.extend(b"\r\n\r\n");
            let _ = request(&Bytes::from(head));
        }
    }
}
