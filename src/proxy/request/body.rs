//! What a client gets: counted, never buffered, and tied to the record of its request.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use crate::audit::{Outcome, Recorder};
use crate::config::Timeouts;
use crate::http1::{AnswerBody, AnswerPatience, Spelling, Unsent};
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::passage::{self, Clean, Refused};
use crate::proxy::back::pool::Home;
use crate::proxy::back::reply::Reply;
use crate::proxy::back::upgrade::Upgraded;
use crate::proxy::back::upload::{BodyError, Sent};
use crate::proxy::live::{LiveRequest, Watch};

/// The body of what a client is answered.
pub enum Body {
    /// An answer of our own.
    Own(Option<Bytes>),
    /// The upstream's, as it comes.
    Streamed(Box<Streamed>),
    /// After a 101: no HTTP any more.
    Upgraded(Box<Upgraded>),
}

/// The upstream's body on its way to the client. Ends its request's record when it ends, or is
/// dropped.
pub struct Streamed {
    inner: Reply,
    recorder: Option<Recorder>,
    /// Found by whoever ends it.
    live: LiveRequest,
    watch: Watch,
    spelling: Spelling,
    clean: Clean,
    home: Home,
    sent: Arc<Sent>,
    outcome: Outcome,
    /// What came of it while its head was held back.
    ahead: Option<Result<Frame<Bytes>, BodyError>>,
}

/// How long the head of an early answer waits for what follows it.
const HEAD_ALONE: Duration = Duration::from_millis(100);

impl Body {
    /// An answer of our own to a request that goes no further.
    pub fn refusal(refused: &Refused, request: RequestId, close: bool) -> Response<Self> {
        passage::response(refused, request, close).map(|bytes| Self::Own(Some(bytes)))
    }

    /// `sent` counts the request's body; the connection goes `home` at the end.
    pub fn streamed(
        inner: Reply,
        (status, spelling): (http::StatusCode, Spelling),
        recorder: Recorder,
        live: LiveRequest,
        clean: Clean,
        home: Home,
        sent: Arc<Sent>,
    ) -> Self {
        let outcome = Outcome { status: Some(status.as_u16()), ..Outcome::default() };
        let (recorder, watch) = (Some(recorder), live.watch());
        let ahead = None;
        let mut streamed =
            Streamed { inner, recorder, live, watch, spelling, clean, home, sent, outcome, ahead };
        // The server never asks an empty body for its end.
        if streamed.done() {
            streamed.end(None);
        }
        Self::Streamed(Box::new(streamed))
    }

    /// Waits for the first of it, so that head and body leave together, where the body is quick. A
    /// client that sees the head of an error alone may end its upload short of the length that it
    /// said (curl 7.88 does); the HTTP/2 library then resets the stream, and the rest is lost.
    pub async fn lead(&mut self) {
        let Self::Streamed(streamed) = self else { return };
        if !streamed.done() {
            let first = timeout(HEAD_ALONE, poll_fn(|cx| streamed.poll(cx))).await;
            streamed.ahead = first.ok().flatten();
        }
    }
}

impl AnswerBody for Body {
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Self::Streamed(streamed) = self else { return true };
        if let Poll::Ready(reason) = streamed.watch.poll_cut(cx) {
            streamed.end(Some(reason));
            return false;
        }
        if let Reply::Http1(Some(exchange)) = &mut streamed.inner {
            exchange.drive(cx);
        }
        true
    }

    fn patience(&self) -> AnswerPatience {
        let timeouts = match self {
            Self::Streamed(streamed) => streamed.clean.timeouts(),
            Self::Own(_) | Self::Upgraded(_) => Timeouts::default(),
        };
        AnswerPatience { stall: timeouts.stall, stream: timeouts.idle }
    }

    fn spelling(&mut self) -> Spelling {
        match self {
            Self::Streamed(streamed) => std::mem::take(&mut streamed.spelling),
            Self::Own(_) | Self::Upgraded(_) => Spelling::default(),
        }
    }

    fn cut(&mut self, why: Unsent) {
        let Self::Streamed(streamed) = self else { return };
        streamed.end(Some(match why {
            Unsent::Gone => Reason::ClientGone,
            Unsent::Silent => Reason::UpstreamTimeout,
            Unsent::Stalled => Reason::ClientTimeout,
        }));
    }
}

impl Streamed {
    fn end(&mut self, code: Option<Reason>) {
        self.outcome.bytes_in = self.sent.bytes();
        // An upstream may have answered before its upload was cut off.
        self.outcome.code = code.or(self.sent.exceeded().then_some(Reason::BodyTooLarge));
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(self.outcome);
        }
        match &mut self.inner {
            Reply::Http1(exchange) => {
                let exchange = exchange.take();
                if let Some(connection) = exchange.and_then(|exchange| exchange.into_connection()) {
                    self.home.take_back(connection);
                }
            }
            Reply::Http2(_, upload) => upload.end(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.recorder.is_some()
            && let Poll::Ready(reason) = self.watch.poll_cut(cx)
        {
            self.end(Some(reason));
            return Poll::Ready(Some(Err(BodyError::Cut)));
        }
        let Self { inner, clean, .. } = self;
        let unvouched = clean.takes_unvouched_end();
        let frame = match ready!(clean.poll(cx, |cx| inner.poll_frame(cx, unvouched))) {
            None => {
                self.end(None);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                // The client must see an error too, never a clean end.
                self.end(Some(error.reason()));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        self.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.done() {
            self.end(None);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn done(&self) -> bool {
        self.ahead.is_none() && self.clean.is_over(self.inner.done())
    }

    fn size(&self) -> SizeHint {
        let size = self.clean.size(self.inner.size());
        let Some(Ok(ahead)) = &self.ahead else { return size };
        let ahead = ahead.data_ref().map_or(0, |data| data.len() as u64);
        size.exact().map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest + ahead))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            self.end(Some(self.live.is_cut().unwrap_or(Reason::ClientGone)));
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => match streamed.ahead.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => streamed.poll(cx),
            },
            Self::Upgraded(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.done(),
            Self::Upgraded(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(streamed) => streamed.size(),
            Self::Upgraded(_) => SizeHint::with_exact(0),
        }
    }
}
