//! The side towards upstreams: one request at a time on a connection, the answer's head, then its
//! body. Whoever reads the answer drives the upload too; no task of its own does.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::answer::{self, AnswerHead, AnswerHeadError};
use super::buffered::{Buffered, SMALL};
use super::decode::Decoder;
use super::head::{self, Framing};
use super::spelling::Spelling;
use super::{BodyError, encode};

/// Heads of 1xx before the one that counts.
const MAX_INFORMATIONAL: u8 = 16;

/// How long an upstream may take to say 100 before the body is sent all the same, as clients do it
/// (RFC 9110 section 10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// What an upstream connection runs over.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection without a request on it. `G`: what is held until its end, such as its place in a
/// count.
pub struct Connection<G>(Buffered<Box<dyn Io>>, G);

impl<G> Connection<G> {
    /// A connection on which nothing was said yet.
    pub fn new(io: impl Io + 'static, open: G) -> Self {
        Self(Buffered::new(Box::new(io), BytesMut::new()), open)
    }

    /// Whether nothing has come on it: neither its end nor an answer that nobody asked for. What is
    /// on its way shows only once the runtime has looked.
    pub fn is_quiet(&mut self) -> bool {
        self.0.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl<G> fmt::Debug for Connection<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Why an upstream gave no answer to a request.
#[derive(Debug)]
pub enum Failure {
    /// Its head is none, or has two readings.
    Head(AnswerHeadError),
    /// It is not valid HTTP/1.1.
    Invalid,
    /// The connection was closed before a byte of the answer.
    Silent,
    /// The connection failed in the middle of the answer's head.
    Io(io::Error),
    /// The client's body broke off: the upstream waits for the rest in vain.
    Upload,
}

/// How much of a body may be copied behind its head.
fn small(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).min(SMALL)
}

/// A request with a body `B` on its way and the answer coming back, on a connection that holds `G`.
pub struct Exchange<B, G> {
    connection: Connection<G>,
    upload: B,
    chunked: bool,
    uploaded: bool,
    /// The upstream takes no more of the upload; it may have answered all the same.
    refused: bool,
    /// The client's body broke off.
    broken: bool,
    no_body: bool,
    close: bool,
    body: Decoder,
    seen: usize,
    informational: u8,
    /// The client waits for a 100 before it sends its body; a silent upstream is given this long.
    holding: Option<Pin<Box<Sleep>>>,
}

/// The head of the answer that counts.
pub struct Answer {
    /// The status of the final answer.
    pub status: StatusCode,
    /// Its fields, as the upstream wrote them.
    pub headers: HeaderMap,
    /// How they were spelt, and its reason phrase.
    pub spelling: Spelling,
}

impl<B, G> Exchange<B, G>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Writes the head of `request` (its URI absolute) into the connection's buffer, spelt as the
    /// client did. `upgrade`: the protocol that it asks for.
    pub fn new(
        mut connection: Connection<G>,
        request: &Request<()>,
        upgrade: Option<&str>,
        spelling: &Spelling,
        upload: B,
    ) -> Self {
        let size = upload.size_hint().exact();
        let framing = match size {
            // A request without a body has no framing, unless its method suggests one (RFC 9110
            // section 8.6).
            Some(0) if !has_content(request.method()) => encode::Body::Close,
            Some(length) => encode::Body::Length(length),
            None => encode::Body::Chunked,
        };
        connection.0.reserve(encode::length(request) + size.map_or(0, small));
        let out = connection.0.output();
        encode::request_line(out, request.method(), request.uri(), spelling);
        encode::fields(out, request.headers(), framing, spelling);
        if let Some(upgrade) = upgrade {
            encode::own_field(out, "connection", b"upgrade", spelling);
            encode::own_field(out, "upgrade", upgrade.as_bytes(), spelling);
        }
        out.extend_from_slice(encode::CRLF);
        Self {
            connection,
            uploaded: upload.is_end_stream(),
            chunked: size.is_none(),
            upload,
            refused: false,
            broken: false,
            no_body: request.method() == Method::HEAD,
            close: false,
            body: Decoder::new(Framing::Length(0)),
            seen: 0,
            informational: 0,
            holding: head::expects_continue(request.headers())
                .then(|| Box::pin(sleep(CONTINUE_TIMEOUT))),
        }
    }

    /// Sends, and waits for the head that counts; 1xx before it go to `inform`.
    pub async fn head(
        &mut self,
        mut inform: impl FnMut(StatusCode, HeaderMap),
    ) -> Result<Answer, Failure> {
        poll_fn(|cx| self.poll_head(&mut inform, cx)).await
    }

    fn poll_head(
        &mut self,
        inform: &mut impl FnMut(StatusCode, HeaderMap),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, Failure>> {
        self.drive(cx);
        loop {
            if self.broken {
                return Poll::Ready(Err(Failure::Upload));
            }
            let io = &mut self.connection.0;
            if let Some(head) =
                answer::take(&mut io.input, &mut self.seen).map_err(Failure::Head)?
            {
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
                {
                    return Poll::Ready(self.begin(head));
                }
                self.informational += 1;
                if self.informational > MAX_INFORMATIONAL {
                    return Poll::Ready(Err(Failure::Invalid));
                }
                if head.status == StatusCode::CONTINUE {
                    self.holding = None;
                }
                inform(head.status, head.headers);
                self.drive(cx);
                continue;
            }
            match ready!(io.poll_fill(cx)) {
                Ok(0) if io.input.is_empty() && self.informational == 0 => {
                    return Poll::Ready(Err(Failure::Silent));
                }
                Ok(0) => return Poll::Ready(Err(Failure::Invalid)),
                Ok(_) => {}
                Err(error) if io.input.is_empty() && self.informational == 0 => {
                    tracing::debug!(%error, "an upstream connection ended");
                    return Poll::Ready(Err(Failure::Silent));
                }
                Err(error) => return Poll::Ready(Err(Failure::Io(error))),
            }
        }
    }

    /// The answer that counts begins, if it is one to this request.
    fn begin(&mut self, head: AnswerHead) -> Result<Answer, Failure> {
        let AnswerHead { status, headers, framing, close, spelling } = head;
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        if switched && (!self.uploaded || self.connection.0.has_output()) {
            // What is left of the body would be read as the other protocol.
            return Err(Failure::Invalid);
        }
        if self.holding.take().is_some() {
            // It was not asked for, and a 100 could no longer be said.
            self.refused = true;
        }
        let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = if self.no_body || bare || switched { Framing::Length(0) } else { framing };
        self.close = close || framing == Framing::Close;
        self.body = Decoder::new(framing);
        Ok(Answer { status, headers, spelling })
    }

    /// Moves the upload on as far as it goes. Errors are found by whoever reads: an upstream may
    /// refuse the rest of an upload and answer.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if self.refused {
            return;
        }
        if self.holding.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            self.holding = None;
        }
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            tracing::debug!(%error, "an upload ended early");
            self.refused = true;
        }
    }

    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<dyn Error + Send + Sync>>> {
        let io = &mut self.connection.0;
        loop {
            while !self.uploaded && self.holding.is_none() && io.has_room() {
                match Pin::new(&mut self.upload).poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => {
                        self.uploaded = true;
                        if self.chunked {
                            encode::last_chunk(io.output(), None);
                        }
                    }
                    Poll::Ready(Some(frame)) => {
                        // Trailers stay behind: they could be read as header fields.
                        let frame = frame.map_err(|error| {
                            self.broken = true;
                            error.into()
                        })?;
                        let Ok(content) = frame.into_data() else { continue };
                        if self.chunked && !content.is_empty() {
                            encode::chunk(io.output(), &content);
                            io.push(content, encode::CRLF);
                        } else {
                            io.push(content, b"");
                        }
                    }
                }
            }
            if !io.has_output() {
                return if self.uploaded { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(io.poll_flush(cx))?;
        }
    }

    /// The next frame of the answer's body.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.uploaded || self.connection.0.has_output() {
            self.drive(cx);
        }
        if self.broken {
            return Poll::Ready(Some(Err(BodyError::Incomplete)));
        }
        self.body.poll(&mut self.connection.0, cx)
    }

    /// Whether the answer was read to its end.
    pub fn done(&self) -> bool {
        self.body.done()
    }

    /// What is known of the length still to come.
    pub fn size(&self) -> SizeHint {
        self.body.size()
    }

    /// The connection, if it may carry another request.
    pub fn into_connection(self) -> Option<Connection<G>> {
        let io = &self.connection.0;
        let clean = self.uploaded && !self.refused && !io.has_output() && io.input.is_empty();
        (clean && self.body.done() && !self.close && !io.ended).then_some(self.connection)
    }

    /// The stream, what was read behind the head, and its place in the count: after a 101 it is no
    /// longer ours to read.
    pub fn into_stream(self) -> (Box<dyn Io>, BytesMut, G) {
        let Connection(io, open) = self.connection;
        let (io, input) = io.into_parts();
        (io, input, open)
    }
}

fn has_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf, duplex};

    /// Takes all at once and holds it, as TLS does while its socket is full: it leaves with the
    /// second flush.
    struct Holds {
        held: usize,
        asked: bool,
        left: Arc<AtomicUsize>,
    }

    impl AsyncRead for Holds {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Holds {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held += bytes.len();
            self.asked = false;
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.asked, true) {
                return Poll::Pending;
            }
            let held = std::mem::take(&mut self.held);
            self.left.fetch_add(held, Relaxed);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn the_end_of_an_upload_is_not_left_in_the_stream() {
        const LENGTH: usize = SMALL + 1;
        let left = Arc::new(AtomicUsize::new(0));
        let io = Holds { held: 0, asked: false, left: Arc::clone(&left) };
        let request = Request::post("https://api.example/up").body(()).unwrap();
        let upload = Full::new(Bytes::from_static(&[7; LENGTH]));
        let mut exchange =
            Exchange::new(Connection::new(io, ()), &request, None, &Spelling::default(), upload);
        let mut cx = Context::from_waker(Waker::noop());
        exchange.drive(&mut cx);
        assert_eq!(left.load(Relaxed), 0);
        exchange.drive(&mut cx);
        assert!(left.load(Relaxed) > LENGTH, "{} bytes left", left.load(Relaxed));
    }

    /// What is still to be written would be lost, or be read as the other protocol.
    #[tokio::test]
    async fn nothing_is_switched_to_before_the_whole_request_is_written() {
        const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n";
        for reads in [false, true] {
            let (near, mut far) = duplex(SWITCHED.len());
            let request = Request::post("https://api.example/up").body(()).unwrap();
            let (upload, spelling) = (Full::new(Bytes::from("its body")), Spelling::default());
            let mut exchange =
                Exchange::new(Connection::new(near, ()), &request, Some("x"), &spelling, upload);
            let upstream = async {
                let mut asked = Vec::new();
                while reads && !asked.ends_with(b"its body") {
                    far.read_buf(&mut asked).await.unwrap();
                }
                far.write_all(SWITCHED).await.unwrap();
            };
            let (answer, ()) = tokio::join!(exchange.head(|_, _| {}), upstream);
            let status = answer.map(|answer| answer.status);
            match reads {
                true => assert_eq!(status.unwrap(), StatusCode::SWITCHING_PROTOCOLS),
                false => assert!(matches!(status, Err(Failure::Invalid)), "{status:?}"),
            }
        }
    }
}
