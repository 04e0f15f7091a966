//! What may not reach the HTTP parser (invariant I3).
//!
//! [`Framed`] stands between the socket and the HTTP/1 library and lets one head at a time through, once
//! it has exactly one reading: the library would drop a `Content-Length` beside `Transfer-Encoding`,
//! take a bare LF for a line end, and read two requests where another reader sees one. In place of a
//! head that is refused the library gets a harmless one, and the [`Verdict`] says what to answer it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::chunks::Chunks;
use super::{HEAD_TIMEOUT, MAX_FIELDS, MAX_HEAD, MAX_URI};
use crate::model::reason::Reason;

/// What the library reads in place of a refused head.
const INSTEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// Why the head that the library is about to read was refused, if it was. Shared by the stream and the
/// service, which run on one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict(Arc<Mutex<Option<Reason>>>);

impl Verdict {
    /// To be asked when the library calls the service: a head is let through only once the one before
    /// has been.
    pub(super) fn take(&self) -> Option<Reason> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, reason: Reason) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// An HTTP/1 stream whose requests have one reading.
#[derive(Debug)]
pub(super) struct Framed<T> {
    io: T,
    buffer: BytesMut,
    phase: Phase,
    verdict: Verdict,
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// This many bytes of a body with a length are still to come.
    Body(u64),
    /// A chunked body.
    Chunked(Chunks),
    /// After a refusal: no more.
    End,
    /// Waiting for a whole head.
    Head,
    /// A good head of this many bytes is being handed over; the body comes next.
    Pass(usize, Body),
}

/// How the body of a request is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Chunked,
    Length(u64),
    Refused,
}

impl<T: AsyncRead + Unpin> Framed<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            phase: Phase::Head,
            verdict: Verdict::default(),
            deadline: None,
        }
    }

    /// The other end of its verdicts.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    fn refuse(&mut self, reason: Reason) {
        self.verdict.set(reason);
        self.deadline = None;
        self.buffer = BytesMut::from(INSTEAD);
        self.phase = Phase::Pass(INSTEAD.len(), Body::Refused);
    }

    /// Reads until a head is whole. `Ready(false)`: the client is done.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut seen = 0;
        loop {
            // RFC 9112 section 2.2: an empty line before a request is let pass.
            if self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
            }
            if let Some(at) = memchr::memmem::find(&self.buffer[seen..], b"\r\n\r\n") {
                let end = seen + at + 4;
                self.deadline = None;
                match check(&self.buffer[..end]) {
                    Ok(body) => self.phase = Phase::Pass(end, body),
                    Err(reason) => self.refuse(reason),
                }
                return Poll::Ready(Ok(true));
            }
            if let Some(reason) = too_long(&self.buffer) {
                self.refuse(reason);
                return Poll::Ready(Ok(true));
            }
            seen = self.buffer.len().saturating_sub(3);
            match poll_fill(&mut self.io, &mut self.buffer, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.buffer.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let deadline =
                        self.deadline.get_or_insert_with(|| Box::pin(sleep(HEAD_TIMEOUT)));
                    ready!(deadline.as_mut().poll(cx));
                    self.refuse(Reason::ClientTimeout);
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    /// Hands over at most `most` bytes; from the buffer first, else straight from the socket where that
    /// cannot read too far.
    fn poll_body(
        &mut self,
        most: u64,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            if out.remaining() as u64 <= most {
                let before = out.filled().len();
                ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
                return Poll::Ready(Ok(out.filled().len() - before));
            }
            if ready!(poll_fill(&mut self.io, &mut self.buffer, cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let take = self.buffer.len().min(most).min(out.remaining());
        out.put_slice(&self.buffer[..take]);
        self.buffer.advance(take);
        Poll::Ready(Ok(take))
    }

    /// The same for a chunked body, of which only what has one reading is handed over.
    fn poll_chunks(
        &mut self,
        mut chunks: Chunks,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() && ready!(poll_fill(&mut self.io, &mut self.buffer, cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let take = self.buffer.len().min(out.remaining());
        let whole = chunks.advance(&self.buffer[..take]).ok_or_else(|| {
            self.phase = Phase::End;
            io::Error::new(io::ErrorKind::InvalidData, "a chunked body with two readings")
        })?;
        out.put_slice(&self.buffer[..whole]);
        self.buffer.advance(whole);
        self.phase = if chunks.done() { Phase::Head } else { Phase::Chunked(chunks) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Framed<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.phase {
                Phase::Head => {
                    if !ready!(this.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Pass(left, body) => {
                    let take = left.min(out.remaining());
                    out.put_slice(&this.buffer[..take]);
                    this.buffer.advance(take);
                    this.phase = match (left - take, body) {
                        (0, Body::Chunked) => Phase::Chunked(Chunks::default()),
                        (0, Body::Length(0)) => Phase::Head,
                        (0, Body::Length(length)) => Phase::Body(length),
                        (0, Body::Refused) => Phase::End,
                        (left, body) => Phase::Pass(left, body),
                    };
                    return Poll::Ready(Ok(()));
                }
                Phase::Body(left) => {
                    let took = ready!(this.poll_body(left, cx, out))? as u64;
                    this.phase = if took == left { Phase::Head } else { Phase::Body(left - took) };
                    return Poll::Ready(Ok(()));
                }
                Phase::Chunked(chunks) => return this.poll_chunks(chunks, cx, out),
                // An end here would make the library drop the answer. What still comes is thrown away, so that
                // the answer is not lost in a reset.
                Phase::End => {
                    this.buffer.clear();
                    if ready!(poll_fill(&mut this.io, &mut this.buffer, cx))? == 0 {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn poll_fill<T: AsyncRead + Unpin>(
    io: &mut T,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    buffer.reserve(8 * 1024);
    tokio_util::io::poll_read_buf(Pin::new(io), cx, buffer)
}

fn too_long(head: &[u8]) -> Option<Reason> {
    let line = memchr::memchr(b'\n', head);
    match line {
        None if head.len() > MAX_URI + 64 => Some(Reason::UriTooLong),
        _ if head.len() > MAX_HEAD => Some(Reason::HeadersTooLarge),
        _ => None,
    }
}

/// Parses a whole head, strictly.
pub(super) fn parse<'h, 'b>(
    head: &'b [u8],
    fields: &'h mut [httparse::Header<'b>],
) -> Result<httparse::Request<'h, 'b>, Reason> {
    if !lines_end_in_crlf(head) {
        return Err(Reason::MalformedRequest);
    }
    let mut request = httparse::Request::new(fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => Ok(request),
        Err(httparse::Error::TooManyHeaders) => Err(Reason::HeadersTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(Reason::MalformedRequest),
    }
}

/// No bare CR or LF, which other readers take for line ends.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    let alone = |at: usize, byte: u8| match byte {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        _ => head.get(at + 1) != Some(&b'\n'),
    };
    !memchr::memchr2_iter(b'\r', b'\n', head).any(|at| alone(at, head[at]))
}

/// Whether a whole head has exactly one reading, and how its body is delimited.
fn check(head: &[u8]) -> Result<Body, Reason> {
    if head.len() > MAX_HEAD {
        return Err(Reason::HeadersTooLarge);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let request = parse(head, &mut fields)?;
    let target = request.path.unwrap_or_default().as_bytes();
    if target.len() > MAX_URI {
        return Err(Reason::UriTooLong);
    }
    // A fragment would be cut off, other bytes be read differently by different servers.
    if target.iter().any(|byte| !(0x21..0x7f).contains(byte) || *byte == b'#') {
        return Err(Reason::MalformedRequest);
    }
    if !is_target(target) {
        return Err(Reason::MalformedRequest);
    }
    delimiter(request.headers, request.version == Some(1))
}

/// The forms of RFC 9112 section 3.2, as the library reads them; it would answer others by itself.
fn is_target(target: &[u8]) -> bool {
    let form = target.starts_with(b"/") || target == b"*" || target.windows(3).any(|w| w == b"://");
    // Authority-form belongs to CONNECT, which is refused by the service.
    (form || !target.contains(&b'/')) && http::Uri::try_from(target).is_ok()
}

fn delimiter(fields: &[httparse::Header<'_>], one_point_one: bool) -> Result<Body, Reason> {
    let mut length = None;
    let mut chunked = false;
    for field in fields {
        // A twin with `_` frames the message for some servers and not for the library: nobody needs it.
        if is_twin(field.name, header::CONTENT_LENGTH)
            || is_twin(field.name, header::TRANSFER_ENCODING)
        {
            return Err(Reason::MalformedRequest);
        }
        if is(field.name, header::CONTENT_LENGTH) {
            let value = parse_length(field.value).ok_or(Reason::MalformedRequest)?;
            if length.replace(value).is_some() {
                return Err(Reason::MalformedRequest);
            }
        } else if is(field.name, header::TRANSFER_ENCODING) {
            // One coding, spelt plainly, and only where the version knows it.
            if chunked || !one_point_one || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Reason::MalformedRequest);
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Reason::MalformedRequest),
        (None, true) => Ok(Body::Chunked),
        (length, false) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

fn is(name: &str, field: http::HeaderName) -> bool {
    name.eq_ignore_ascii_case(field.as_str())
}

/// The name with `_` for `-`, which some servers read as the same.
fn is_twin(name: &str, field: http::HeaderName) -> bool {
    name.contains('_') && is(&name.replace('_', "-"), field)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    fn checked(lines: &str) -> Result<Body, Reason> {
        check(format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn one_reading() {
        assert_eq!(checked(""), Ok(Body::Length(0)));
        assert_eq!(checked("Content-Length: 5\r\n"), Ok(Body::Length(5)));
        assert_eq!(checked("Transfer-Encoding: Chunked\r\n"), Ok(Body::Chunked));
        assert_eq!(checked("X: caf\u{e9}\r\n"), Ok(Body::Length(0)));
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
            assert_eq!(checked(lines), Err(Reason::MalformedRequest), "{lines:?}");
        }
        let get =
            |target: &str| check(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        for target in ["/a#b", "/a b", "/caf\u{e9}", " /a", "v1/a", "/<a>", "http://"] {
            assert_eq!(get(target), Err(Reason::MalformedRequest), "{target}");
        }
        assert_eq!(get(&format!("/{}", "a".repeat(MAX_URI))), Err(Reason::UriTooLong));
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(old), Err(Reason::MalformedRequest));
    }

    /// Reads all of `input`, which arrives in pieces of `size`.
    async fn read(input: &[u8], size: usize) -> (Vec<u8>, Vec<Reason>) {
        let mut builder = tokio_test_io(input, size);
        let mut framed = Framed::new(&mut builder);
        let verdict = framed.verdict();
        let (mut output, mut refused) = (Vec::new(), Vec::new());
        let mut piece = [0; 7];
        let soon = std::time::Duration::from_millis(200);
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(soon, framed.read(&mut piece)).await {
            output.extend_from_slice(&piece[..read]);
            refused.extend(verdict.take());
        }
        (output, refused)
    }

    fn tokio_test_io(input: &[u8], size: usize) -> impl AsyncRead + Unpin + use<> {
        let (mut write, read) = tokio::io::duplex(size);
        let input = input.to_vec();
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut write, &input).await });
        read
    }

    #[tokio::test]
    async fn good_requests_pass_to_the_byte_in_any_pieces() {
        let input = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
            POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
        for size in [1, 2, 5, 64, 4096] {
            assert_eq!(read(input, size).await, (input.to_vec(), Vec::new()), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_after_a_refusal() {
        let input = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nHost: a\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
        for size in [1, 3, 4096] {
            let (output, refused) = read(input, size).await;
            assert_eq!(output, [&input[..28], INSTEAD].concat());
            assert_eq!(refused, [Reason::MalformedRequest]);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(read(&input, size));
        }
    }
}
