//! What must hold of whatever is read as HTTP/1.1: for the fuzz target, and for its seeds in the tests.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::io::AsyncReadExt as _;
use valetkey::http1::answer::{self, AnswerHead};
use valetkey::http1::{
    Buffered, Decoder, Framing, HeadError, MAX_FIELDS, MAX_HEAD, challenge, encode, head,
};

/// A request: framed by one field at most, however carelessly that is looked for; its body the same in any
/// pieces; and written anew it is the same request.
pub fn request(input: &[u8]) {
    let (cut, bytes) = halves(input);
    let Some(Ok(head)) = request_head(bytes) else { return };
    let end = head::end(bytes, 0).unwrap_or_default();
    framed_once(&bytes[..end], head.framing, true);
    let body = body(head.framing, &bytes[end..], 0);
    assert_eq!(body, self::body(head.framing, &bytes[end..], cut), "pieces make a difference");
    let Some((content, ..)) = body else { return };
    let parts = head.parts;
    if parts.uri.authority().is_some() || !parts.uri.path().starts_with('/') {
        return;
    }
    let mut ours = Vec::new();
    let length = encode::Body::Length(content.len() as u64);
    encode::request_line(&mut ours, &parts.method, &parts.uri, &head.spelling);
    encode::fields(&mut ours, &parts.headers, length, &head.spelling);
    ours.extend_from_slice(encode::CRLF);
    let head_length = ours.len();
    ours.extend_from_slice(&content);
    // A head that was as long as it may be is longer with a length.
    if head_length > MAX_HEAD || parts.headers.len() >= MAX_FIELDS {
        return;
    }
    let again = request_head(&ours).and_then(Result::ok);
    let again = again.map(|again| (again.parts, again.framing));
    let Some((again, framing)) = again else { unreachable!("what we write we read") };
    assert_eq!((&again.method, &again.uri), (&parts.method, &parts.uri));
    assert_eq!(kept(&again.headers), kept(&parts.headers));
    assert_eq!(framing, Framing::Length(content.len() as u64));
    assert_eq!(self::body(framing, &ours[head_length..], 0).map(|b| b.0), Some(content));
}

/// An answer: what is taken of it is the same in any pieces, and written anew it is framed once, and the same.
pub fn answer(input: &[u8]) {
    let (cut, bytes) = halves(input);
    let whole = answer_head(bytes, bytes.len());
    let Some((answer, rest)) = whole else { return };
    let pieces = answer_head(bytes, cut.min(bytes.len()));
    let Some((other, other_rest)) = pieces else { unreachable!("a whole head has no one piece") };
    assert_eq!((&other.headers, &other_rest), (&answer.headers, &rest), "pieces make a difference");
    let mut ours = Vec::new();
    let framing = match answer.framing {
        Framing::Chunked => encode::Body::Chunked,
        Framing::Close => encode::Body::Close,
        Framing::Length(length) => encode::Body::Length(length),
    };
    encode::status_line(&mut ours, answer.status, answer.spelling.reason.as_deref());
    encode::fields(&mut ours, &answer.headers, framing, &answer.spelling);
    ours.extend_from_slice(encode::CRLF);
    framed_once(&ours, answer.framing, false);
    if let Some((again, _)) = answer_head(&ours, ours.len()) {
        assert_eq!((again.status, again.framing), (answer.status, answer.framing));
        assert_eq!(kept(&again.headers), kept(&answer.headers));
    } else {
        // A head that was as long as it may be is longer with usual words.
        assert!(ours.len() > bytes.len(), "what we write we read");
    }
    let body = body(answer.framing, &rest, 0);
    assert_eq!(body, self::body(answer.framing, &rest, cut), "pieces make a difference");
}

/// A head that comes in two pieces, and what is behind it.
fn answer_head(bytes: &[u8], cut: usize) -> Option<(AnswerHead, Vec<u8>)> {
    let (front, back) = bytes.split_at(cut);
    let (mut input, mut seen) = (BytesMut::from(front), 0);
    let first = answer::take(&mut input, &mut seen).ok()?;
    input.extend_from_slice(back);
    let head = match first {
        Some(head) => head,
        None => answer::take(&mut input, &mut seen).ok()??,
    };
    Some((head, input.to_vec()))
}

/// What a server asks for: whatever stands in a quoted string is text, and hides nothing of what stands behind it.
pub fn challenges(input: &[u8]) {
    let headers = |field: &[u8]| {
        let value = HeaderValue::from_bytes(field).ok()?;
        Some(HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]))
    };
    let Some(bare) = headers(input) else { return };
    assert!(challenge::challenges(&bare).count() <= challenge::MAX_CHALLENGES);
    let mut field = b"Bearer realm=\"".to_vec();
    for byte in input {
        if matches!(byte, b'"' | b'\\') {
            field.push(b'\\');
        }
        field.push(*byte);
    }
    field.extend_from_slice(b"\", error=ours");
    let Some(quoted) = headers(&field) else { return };
    assert!(challenge::errors(&quoted).eq(["ours"]), "a text is taken for a parameter");
}

fn request_head(bytes: &[u8]) -> Option<Result<head::RequestHead, HeadError>> {
    let end = head::end(bytes, 0)?;
    Some(head::request(&Bytes::copy_from_slice(&bytes[..end])))
}

/// Content, trailers, and how much of the bytes they were; `None` where the body is broken.
fn body(framing: Framing, bytes: &[u8], cut: usize) -> Option<(Vec<u8>, HeaderMap, usize)> {
    let (front, back) = bytes.split_at(cut.min(bytes.len()));
    let mut from = Buffered::new(front.chain(back), BytesMut::new());
    let (mut content, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut decoder = Decoder::new(framing);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let Poll::Ready(frame) = decoder.poll(&mut from, &mut context) else {
            unreachable!("memory never waits")
        };
        match frame.transpose().ok()? {
            None => break,
            Some(frame) => match frame.into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            },
        }
    }
    let (io, ahead) = from.into_parts();
    let (front, back) = io.into_inner();
    Some((content, trailers, bytes.len() - ahead.len() - front.len() - back.len()))
}

/// Looks for fields of framing as the most careless of readers would.
fn framed_once(head: &[u8], framing: Framing, twins: bool) {
    let (mut lengths, mut codings) = (0, 0);
    for line in head.split(|byte| matches!(byte, b'\r' | b'\n' | 0)).skip(1) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        let mut name = name.to_ascii_lowercase();
        if twins {
            name.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        }
        lengths += usize::from(name == b"content-length");
        codings += usize::from(name == b"transfer-encoding");
    }
    let said = match framing {
        Framing::Chunked => (0, 1),
        Framing::Close => (0, 0),
        Framing::Length(0) => (lengths.min(1), 0),
        Framing::Length(_) => (1, 0),
    };
    assert_eq!((lengths, codings), said);
}

/// The fields that are not ours to write.
fn kept(headers: &HeaderMap) -> Vec<(HeaderName, Vec<u8>)> {
    const OURS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];
    let kept = headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.as_bytes().to_vec())).collect()
}

/// Where to cut, and what.
fn halves(input: &[u8]) -> (usize, &[u8]) {
    match input {
        [at, bytes @ ..] => (usize::from(*at), bytes),
        [] => (0, input),
    }
}
