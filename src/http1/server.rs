//! The side towards clients: heads in, answers out, one after the other on one connection.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{Method, Response, StatusCode, Version, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::buffered::Buffered;
use super::connection::{Half, Inbound, Patience, Shared};
use super::decode::Decoder;
use super::head::{Framing, RequestHead};
use super::spelling::Spelling;
use super::watchdog::Watchdog;
use super::writer::{AnswerBody, Outgoing, Written, write};
use super::{HeadError, encode, head};

/// What is still read after the end of our side, so that an answer is not lost in a reset.
const MAX_LINGER: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);
/// What is still read of an upload after its answer, in bytes: as long as something comes every so
/// often, and no longer than the service has patience.
const MAX_DRAINED: usize = 1024 * 1024 * 1024;
const DRAIN_IDLE: Duration = Duration::from_secs(5);

/// Whoever answers the requests of connections.
pub trait Service: Sync {
    /// The body of an answer.
    type Body: AnswerBody;
    /// How long a client, and what answers it, may take.
    const PATIENCE: Patience;

    /// Answers one request. A panic costs this request, and then its connection.
    fn answer(&self, arrived: Arrived) -> impl Future<Output = Response<Self::Body>> + Send;
    /// What to say to a head that has no one reading, or none in time.
    fn refuse(&self, error: HeadError) -> Response<Self::Body>;
    /// What to say after a panic.
    fn failed(&self) -> Response<Self::Body>;
    /// Bytes that the kernel has taken of what was written to this client.
    fn taken(&self) -> u64;
    /// Resolves when no further request is wanted.
    fn stopping(&self) -> impl Future<Output = ()> + Send;
}

/// A request, and the way back for 1xx answers.
pub struct Arrived {
    /// The head, with everything but the body.
    pub parts: request::Parts,
    /// Where its body comes from, if it has one.
    pub body: Option<Arc<dyn Inbound>>,
    /// The connection that it came on, for 1xx answers.
    pub inbound: Arc<dyn Inbound>,
    /// How its fields were spelt.
    pub spelling: Spelling,
}

/// What came next on a connection.
#[expect(clippy::large_enum_variant, reason = "moved once for each request, never stored")]
enum Next {
    End,
    Refused(HeadError),
    Request(RequestHead),
}

/// Serves a connection to its end. After an upgrade it gives the stream back, with what was read
/// from it, and the answer's body, which holds the upstream's.
pub async fn serve<T, S>(io: Buffered<T>, service: &S) -> Option<(T, BytesMut, S::Body)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let body = Decoder::new(Framing::Length(0));
    let half = Half { io, body, http11: true, waits: false, writer: None };
    let shared = Arc::new(Shared::new(half));
    let mut watchdog = Watchdog::default();
    let (mut stopping, mut stops, mut shut) = (pin!(service.stopping()), false, false);
    // Asked again after it has said so, which a future must not be.
    let mut stopping = pin!(poll_fn(move |cx| {
        stops = stops || stopping.as_mut().poll(cx).is_ready();
        if stops { Poll::Ready(()) } else { Poll::Pending }
    }));
    loop {
        let (answer, method, close) =
            match next(&shared, &mut watchdog, &S::PATIENCE, stopping.as_mut()).await {
                Next::End => break,
                Next::Refused(error) => (service.refuse(error), Method::GET, true),
                Next::Request(head) => {
                    let (method, close) = (head.parts.method.clone(), head.close);
                    match answer(&shared, service, head).await {
                        Some(answer) => (answer, method, close),
                        None => return None,
                    }
                }
            };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switch(shared, answer).await;
        }
        let stop = poll_fn(|cx| Poll::Ready(stopping.as_mut().poll(cx).is_ready())).await;
        let answered = Outgoing { answer, method: &method, close: close || stop };
        match write(&shared, &mut watchdog, service, answered).await {
            Written::Whole { close: true, by_close } => {
                shut = by_close;
                break;
            }
            Written::Whole { close: false, .. } => {
                let done = shared.lock().body.done();
                if !done && !drain(&shared, &mut watchdog, S::PATIENCE.drain, &mut stopping).await {
                    linger(&shared).await;
                    return None;
                }
            }
            // No end of the stream is said: the client must not take what it got for all.
            Written::Broken => return None,
        }
    }
    if shut {
        // The client waits for this before all else.
        let _ = timeout(LINGER, poll_fn(|cx| shared.lock().poll_end(cx))).await;
    }
    let (done, waits) = {
        let half = shared.lock();
        (half.body.done(), half.waits)
    };
    if !done && !waits {
        drain(&shared, &mut watchdog, S::PATIENCE.drain, &mut stopping).await;
    }
    linger(&shared).await;
    None
}

/// Waits for the next head.
async fn next<T: AsyncRead + Unpin>(
    shared: &Shared<T>,
    watchdog: &mut Watchdog,
    patience: &Patience,
    mut stopping: Pin<&mut impl Future<Output = ()>>,
) -> Next {
    watchdog.expect(patience.idle);
    let (mut seen, mut begun) = (0, false);
    let next = poll_fn(|cx| {
        let mut half = shared.lock();
        let polled = half.poll_head(&mut seen, cx);
        if polled.is_ready() {
            return polled;
        }
        if half.io.input.is_empty() {
            // An idle connection holds no buffer.
            half.io.input = BytesMut::new();
            if stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::End);
            }
        } else if !begun {
            begun = true;
            watchdog.expect(patience.head);
        }
        ready!(watchdog.poll(cx));
        Poll::Ready(if begun { Next::Refused(HeadError::Late) } else { Next::End })
    });
    let next = next.await;
    watchdog.rest();
    next
}

impl<T: AsyncRead + Unpin> Half<T> {
    fn poll_head(&mut self, seen: &mut usize, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            // RFC 9112 section 2.2: an empty line before a request is let pass.
            if self.io.input.starts_with(b"\r\n") {
                self.io.input.advance(2);
                *seen = 0;
            }
            if let Some(end) = head::end(&self.io.input, *seen) {
                let bytes = self.io.input.split_to(end).freeze();
                return Poll::Ready(match head::request(&bytes) {
                    Ok(head) => Next::Request(head),
                    Err(error) => Next::Refused(error),
                });
            }
            if let Some(error) = head::too_long(&self.io.input) {
                return Poll::Ready(Next::Refused(error));
            }
            if head::has_bare_line_feed(&self.io.input, *seen) {
                return Poll::Ready(Next::Refused(HeadError::Malformed));
            }
            *seen = self.io.input.len();
            if self.io.ended {
                return Poll::Ready(Next::End);
            }
            // A client that goes in the middle of a head is told nothing.
            if ready!(self.io.poll_fill(cx)).is_err() {
                return Poll::Ready(Next::End);
            }
        }
    }
}

/// Has the request answered. `None`: the client went away meanwhile.
async fn answer<T, S>(
    shared: &Arc<Shared<T>>,
    service: &S,
    head: RequestHead,
) -> Option<Response<S::Body>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let inbound: Arc<dyn Inbound> = Arc::clone(shared) as _;
    let body = {
        let mut half = shared.lock();
        half.body = Decoder::new(head.framing);
        half.http11 = head.parts.version == Version::HTTP_11;
        half.waits = half.http11 && head::expects_continue(&head.parts.headers);
        (!half.body.done()).then(|| Arc::clone(&inbound))
    };
    let arrived = Arrived { parts: head.parts, body, inbound, spelling: head.spelling };
    // In a box: a connection that waits for its next request does not hold room for it.
    let mut answering = Box::pin(service.answer(arrived));
    poll_fn(|cx| {
        // After a panic the future is never polled again, only dropped (I12).
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => return Poll::Ready(Some(answer)),
            Err(_) => return Poll::Ready(Some(service.failed())),
            Ok(Poll::Pending) => {}
        }
        let mut half = shared.lock();
        let told = !half.io.has_output() || !matches!(half.io.poll_flush(cx), Poll::Ready(Err(_)));
        if told && half.watch(cx) { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

/// Says 101 and hands the stream over.
async fn switch<T, B>(shared: Arc<Shared<T>>, answer: Response<B>) -> Option<(T, BytesMut, B)>
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: AnswerBody,
{
    let (head, mut body) = answer.into_parts();
    {
        let Half { io, .. } = &mut *shared.lock();
        let spelling = body.spelling();
        encode::status_line(io.output(), head.status, spelling.reason.as_deref());
        encode::fields(io.output(), &head.headers, encode::Body::Close, &spelling);
        let upgrade = UPGRADE.as_str().as_bytes();
        encode::own_field(io.output(), CONNECTION.as_str(), upgrade, &spelling);
        io.output().extend_from_slice(encode::CRLF);
    }
    poll_fn(|cx| shared.lock().io.poll_flush(cx)).await.ok()?;
    // The request had no body and is over: nobody else holds the connection.
    let half = Arc::into_inner(shared)?.into_inner();
    let (io, input) = half.io.into_parts();
    Some((io, input, body))
}

/// Reads what still comes of a request's body, so that its connection can carry another request,
/// or so that the answer isn't lost: many clients send all of it before they read. `false`: its end
/// did not come within `most`, or before the proxy stops.
async fn drain<T: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared<T>,
    watchdog: &mut Watchdog,
    most: Duration,
    stopping: &mut Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let mut left = MAX_DRAINED;
    watchdog.expect(DRAIN_IDLE);
    let drained = poll_fn(|cx| {
        loop {
            let Half { io, body, .. } = &mut *shared.lock();
            if io.has_output() && matches!(io.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(false);
            }
            match body.poll(io, cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                    watchdog.expect(DRAIN_IDLE);
                }
                Poll::Pending => {
                    let stops = stopping.as_mut().poll(cx).is_ready();
                    return if stops {
                        Poll::Ready(false)
                    } else {
                        watchdog.poll(cx).map(|()| false)
                    };
                }
            }
        }
    });
    let drained = timeout(most, drained).await.unwrap_or(false);
    watchdog.rest();
    drained
}

impl<T: AsyncWrite + Unpin> Half<T> {
    /// Says the end of our side.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.io.poll_flush(cx))?;
        self.io.poll_shutdown(cx)
    }
}

/// Lets the client read the answer before unread bytes of its own reset the connection.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(shared: &Shared<T>) {
    let mut left = MAX_LINGER;
    let drained = poll_fn(|cx| {
        let mut half = shared.lock();
        ready!(half.poll_end(cx))?;
        loop {
            half.io.input.clear();
            let read = ready!(half.io.poll_fill(cx))?;
            left = left.saturating_sub(read);
            if read == 0 || left == 0 {
                return Poll::Ready(std::io::Result::Ok(()));
            }
        }
    });
    let _ = timeout(LINGER, drained).await;
}
