//! Writing an answer to a client as it comes from upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::buffered::Buffered;
use super::connection::{AnswerPatience, Half, Shared};
use super::server::Service;
use super::spelling::Spelling;
use super::watchdog::Watchdog;
use super::{encode, head};

/// The body of an answer. Whoever sends it drives the upload of its request, too.
pub trait AnswerBody: http_body::Body<Data = Bytes> + Unpin {
    /// Moves the upload on while nobody takes the answer. `false`: the answer was ended meanwhile.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool;
    /// How long it is waited for.
    fn patience(&self) -> AnswerPatience;
    /// How the fields of the answer were spelt, and its reason phrase.
    fn spelling(&mut self) -> Spelling;
    /// It will not be asked for more, and why.
    fn cut(&mut self, why: Unsent);
}

/// Why the rest of an answer was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The client closed before it had all of the answer.
    Gone,
    /// Nothing more came of it.
    Silent,
    /// The client took nothing of the answer for as long as it is waited for.
    Stalled,
}

pub(super) enum Written {
    /// The client is gone, or must see an error.
    Broken,
    /// Whole; whether the connection may go on.
    /// `by_close`: the client knows its end by that of the connection.
    Whole { close: bool, by_close: bool },
}

/// How the answer to this request is framed (RFC 9112 section 6).
fn framing(answer: &Response<impl AnswerBody>, method: &Method, http11: bool) -> encode::Body {
    let bare = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match answer.body().size_hint().exact() {
        _ if bare || *method == Method::HEAD => encode::Body::AsNamed,
        Some(length) => encode::Body::Length(length),
        None if http11 => encode::Body::Chunked,
        None => encode::Body::Close,
    }
}

/// What is to be written.
pub(super) struct Outgoing<'a, B> {
    pub(super) answer: Response<B>,
    pub(super) method: &'a Method,
    /// The connection ends after it.
    pub(super) close: bool,
}

/// Writes an answer as it comes.
pub(super) async fn write<T, S>(
    shared: &Shared<T>,
    watchdog: &mut Watchdog,
    service: &S,
    answered: Outgoing<'_, S::Body>,
) -> Written
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    let Outgoing { answer, method, close } = answered;
    let http11 = shared.lock().http11;
    let framing = framing(&answer, method, http11);
    let (head, mut body) = answer.into_parts();
    let patience = body.patience();
    let close = close
        || framing == encode::Body::Close
        || head::connection_names(&head.headers, "close")
        || shared.lock().owes_much();
    {
        let Half { io, .. } = &mut *shared.lock();
        let spelling = body.spelling();
        encode::status_line(io.output(), head.status, spelling.reason.as_deref());
        encode::fields(io.output(), &head.headers, framing, &spelling);
        if close {
            encode::own_field(io.output(), CONNECTION.as_str(), b"close", &spelling);
        }
        if head.headers.contains_key(UPGRADE) {
            encode::own_field(io.output(), CONNECTION.as_str(), b"upgrade", &spelling);
        }
        io.output().extend_from_slice(encode::CRLF);
    }
    let ended = framing == encode::Body::AsNamed;
    let mut writer = AnswerWriter { framing, ended, patience, stuck: None };
    watchdog.expect(patience.stream);
    let taken = || service.taken();
    let whole = poll_fn(|cx| writer.poll(shared, watchdog, &mut body, &taken, cx)).await;
    watchdog.rest();
    match whole {
        Ok(()) => Written::Whole { close, by_close: framing == encode::Body::Close },
        Err(why) => {
            if let Some(why) = why {
                body.cut(why);
            }
            Written::Broken
        }
    }
}

struct AnswerWriter {
    framing: encode::Body,
    /// The body's end is in the output.
    ended: bool,
    patience: AnswerPatience,
    /// Bytes that the kernel had taken when what is written began to wait, and when it was. What a
    /// buffer of ours took since, that of TLS included, is no progress.
    stuck: Option<(u64, Instant)>,
}

impl AnswerWriter {
    /// `Err(None)`: the body itself knows why.
    fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        shared: &Shared<T>,
        watchdog: &mut Watchdog,
        body: &mut impl AnswerBody,
        taken: &impl Fn() -> u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Option<Unsent>>> {
        loop {
            let mut waits = false;
            if !self.ended && shared.lock().io.has_room() {
                // Without the lock: an upload that is still under way reads from the same
                // connection.
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        watchdog.expect(self.patience.stream);
                        self.push(&mut shared.lock().io, frame);
                        continue;
                    }
                    // What came before is sent on; the error shows by the missing end.
                    Poll::Ready(Some(Err(_))) => {
                        let _ = shared.lock().io.poll_flush(cx);
                        return Poll::Ready(Err(None));
                    }
                    Poll::Ready(None) => {
                        self.end(&mut shared.lock().io, None);
                        continue;
                    }
                    Poll::Pending => waits = true,
                }
            }
            let mut half = shared.lock();
            let flushed = half.io.poll_flush(cx);
            match flushed {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Some(Unsent::Gone))),
                Poll::Ready(Ok(())) if self.ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if !waits => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !half.watch(cx) {
                return Poll::Ready(Err(Some(Unsent::Gone)));
            }
            if flushed.is_pending() && !half.body.done() {
                half.writer = Some(cx.waker().clone());
            }
            drop(half);
            let why = if flushed.is_pending() {
                // The client reads no more, but it may still send.
                if !body.drive(cx) {
                    return Poll::Ready(Err(None));
                }
                let taken = taken();
                let stuck = self.stuck.filter(|(before, _)| *before == taken);
                let (_, since) = *self.stuck.insert(stuck.unwrap_or((taken, Instant::now())));
                watchdog.expect_by(since + self.patience.stall);
                Unsent::Stalled
            } else {
                if self.stuck.take().is_some() {
                    watchdog.expect(self.patience.stream);
                }
                Unsent::Silent
            };
            ready!(watchdog.poll(cx));
            return Poll::Ready(Err(Some(why)));
        }
    }

    fn push<T>(&mut self, io: &mut Buffered<T>, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(content) if content.is_empty() => {}
            Ok(content) if self.framing == encode::Body::Chunked => {
                encode::chunk(io.output(), &content);
                io.push(content, encode::CRLF);
            }
            Ok(content) => io.push(content, b""),
            Err(frame) => {
                let trailers = frame.into_trailers().ok();
                self.end(io, trailers.as_ref());
            }
        }
    }

    fn end<T>(&mut self, io: &mut Buffered<T>, trailers: Option<&HeaderMap>) {
        if self.framing == encode::Body::Chunked && !self.ended {
            encode::last_chunk(io.output(), trailers);
        }
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::ReadBuf;
    use tokio::time::{Interval, interval};

    use super::super::connection::{Half, Patience};
    use super::super::decode::Decoder;
    use super::super::head::{Framing, HeadError};
    use super::super::server::Arrived;
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    /// Takes all, as TLS does for a while, and passes nothing on.
    struct Full;

    impl AsyncRead for Full {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Full {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// An event every fifty seconds.
    struct Events(Interval, Arc<Mutex<Option<Unsent>>>);

    fn events(why: Arc<Mutex<Option<Unsent>>>) -> Response<Events> {
        Response::new(Events(interval(Duration::from_secs(50)), why))
    }

    impl http_body::Body for Events {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            ready!(self.0.poll_tick(cx));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: x")))))
        }
    }

    impl AnswerBody for Events {
        fn drive(&mut self, _: &mut Context<'_>) -> bool {
            true
        }

        fn patience(&self) -> AnswerPatience {
            let seconds = Duration::from_secs;
            AnswerPatience { stall: seconds(120), stream: seconds(3600) }
        }

        fn spelling(&mut self) -> Spelling {
            Spelling::default()
        }

        fn cut(&mut self, why: Unsent) {
            *self.1.lock().unwrap() = Some(why);
        }
    }

    /// A client of which the kernel takes something every so many seconds, for so long.
    struct Reader {
        since: Instant,
        every: u64,
        until: u64,
        asked: AtomicU64,
    }

    impl Service for Reader {
        type Body = Events;
        const PATIENCE: Patience = Patience { head: TEN, idle: TEN, drain: TEN };

        async fn answer(&self, _: Arrived) -> Response<Events> {
            events(Arc::default())
        }

        fn refuse(&self, _: HeadError) -> Response<Events> {
            events(Arc::default())
        }

        fn failed(&self) -> Response<Events> {
            events(Arc::default())
        }

        fn taken(&self) -> u64 {
            self.asked.fetch_add(1, Relaxed);
            self.since.elapsed().as_secs().min(self.until) / self.every
        }

        async fn stopping(&self) {}
    }

    /// When a reader of this kind is given up.
    async fn given_up(every: u64, until: u64) -> u64 {
        let io = Buffered::new(Full, Default::default());
        let body = Decoder::new(Framing::Length(0));
        let shared = Shared::new(Half { io, body, http11: true, waits: false, writer: None });
        let why = Arc::default();
        let answer = events(Arc::clone(&why));
        let since = Instant::now();
        let reader = Reader { since, every, until, asked: AtomicU64::new(0) };
        let outgoing = Outgoing { answer, method: &Method::GET, close: false };
        let written = write(&shared, &mut Watchdog::default(), &reader, outgoing).await;
        assert!(matches!(written, Written::Broken));
        assert_eq!(*why.lock().unwrap(), Some(Unsent::Stalled));
        since.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_buffer_takes_is_no_progress() {
        assert_eq!(given_up(1000, 1000).await, 120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        // The last it takes at 400 s is noticed at once: an event comes then.
        assert_eq!(given_up(100, 400).await, 520);
    }
}
