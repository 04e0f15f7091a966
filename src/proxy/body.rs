//! What a client gets: counted, never buffered, and tied to the record of its request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::live::{LiveRequest, Watch};
use super::pool::{Exchange, Home};
use super::upgrade::Upgraded;
use super::upload::{BodyError, Sent};
use crate::audit::{Outcome, Recorder};
use crate::http1::{AnswerBody, Unsent};
use crate::inject::clean_answer;
use crate::masking::{BodyRedactor, Redactor};
use crate::model::reason::Reason;

/// What an upstream sends.
pub(super) enum Reply {
    /// Over HTTP/1, with the connection it comes on; gone once that is home.
    Http1(Option<Box<Exchange>>),
    /// Over HTTP/2.
    Http2(Incoming),
}

impl Reply {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(Some(exchange)) => exchange.poll_body(cx).map_err(BodyError::from),
            Self::Http1(None) => Poll::Ready(None),
            Self::Http2(body) => {
                match ready!(http_body::Body::poll_frame(Pin::new(&mut *body), cx)) {
                    // The library takes a reset without an error for an end: it is one only where the
                    // stream was ended before.
                    None if !http_body::Body::is_end_stream(body) => {
                        Poll::Ready(Some(Err(BodyError::Incomplete)))
                    }
                    polled => Poll::Ready(polled.map(|frame| frame.map_err(BodyError::from))),
                }
            }
        }
    }

    /// Whether it was read to its end; at once where there is none.
    pub(super) fn done(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.as_ref().is_none_or(|exchange| exchange.done()),
            Self::Http2(body) => http_body::Body::is_end_stream(body),
        }
    }

    fn size(&self) -> SizeHint {
        match self {
            Self::Http1(Some(exchange)) => exchange.size(),
            Self::Http1(None) => SizeHint::with_exact(0),
            Self::Http2(body) => http_body::Body::size_hint(body),
        }
    }
}

/// What a client gets.
pub(super) enum Body {
    /// An answer of our own.
    Own(Option<Bytes>),
    /// The upstream's, as it comes.
    Streamed(Box<Streamed>),
    /// After a 101: no HTTP any more.
    Upgraded(Box<Upgraded>),
}

/// What an answer's trailers are cleaned of, as its header was, and its body.
pub(super) struct Clean {
    /// Whether cookies stay behind.
    pub(super) bought: bool,
    pub(super) redactor: Option<Arc<Redactor>>,
    pub(super) body: Option<Box<BodyRedactor>>,
    /// Nothing is said of the body's length: there is none, and the upstream speaks of another.
    pub(super) unsaid: bool,
}

/// The upstream's body on its way to the client. Ends its request's record when it ends, or is dropped.
pub(super) struct Streamed {
    inner: Reply,
    recorder: Option<Recorder>,
    /// Found by whoever ends it.
    _live: LiveRequest,
    watch: Watch,
    clean: Clean,
    home: Home,
    sent: Arc<Sent>,
    outcome: Outcome,
}

impl Body {
    pub(super) fn own(bytes: Bytes) -> Self {
        Self::Own(Some(bytes))
    }

    /// `sent` counts the request's body; the connection goes `home` at the end.
    pub(super) fn streamed(
        inner: Reply,
        status: http::StatusCode,
        recorder: Recorder,
        live: LiveRequest,
        clean: Clean,
        home: Home,
        sent: Arc<Sent>,
    ) -> Self {
        let outcome = Outcome { status: Some(status.as_u16()), ..Outcome::default() };
        let (recorder, watch) = (Some(recorder), live.watch());
        let mut streamed =
            Streamed { inner, recorder, _live: live, watch, clean, home, sent, outcome };
        // The server never asks an empty body for its end.
        if streamed.done() {
            streamed.end(None);
        }
        Self::Streamed(Box::new(streamed))
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
        if let Reply::Http1(exchange) = &mut self.inner
            && let Some(connection) =
                exchange.take().and_then(|exchange| exchange.into_connection())
        {
            self.home.take_back(connection);
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
        let polled = match &mut clean.body {
            None => inner.poll_frame(cx),
            Some(body) => body.poll(cx, |cx| inner.poll_frame(cx)),
        };
        let frame = match ready!(polled) {
            None => {
                self.end(None);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                // The client must see an error too, never a clean end.
                self.end(Some(Reason::UpstreamAnswerInvalid));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                clean_answer(self.clean.bought, self.clean.redactor.as_deref(), &mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => {
                self.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                frame
            }
        };
        if self.done() {
            self.end(None);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn done(&self) -> bool {
        let clean = &self.clean;
        clean.unsaid || self.inner.done() && clean.body.as_ref().is_none_or(|body| body.is_ended())
    }

    fn size(&self) -> SizeHint {
        if self.clean.unsaid {
            return SizeHint::new();
        }
        let size = self.inner.size();
        self.clean.body.as_ref().map_or(size, |body| body.size(&size))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            self.end(Some(Reason::ClientGone));
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
            Self::Streamed(streamed) => streamed.poll(cx),
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
