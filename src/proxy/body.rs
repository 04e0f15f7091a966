//! Bodies in both directions: counted, never buffered, and tied to the record of their request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::upstream::Lease;
use crate::audit::{Outcome, Recorder};
use crate::inject::{Redactor, clean_answer};
use crate::model::reason::Reason;

/// What a client gets.
pub(super) enum Body {
    /// An answer of our own.
    Own(Option<Bytes>),
    /// The upstream's, as it comes.
    Streamed(Box<Streamed>),
}

/// What an answer's trailers are cleaned of, as its header was.
pub(super) struct Clean {
    pub(super) injected: bool,
    pub(super) redactor: Option<Arc<Redactor>>,
}

/// The upstream's body on its way to the client. Ends its request's record when it ends, or is dropped.
pub(super) struct Streamed {
    inner: Incoming,
    recorder: Option<Recorder>,
    clean: Clean,
    lease: Option<Lease>,
    sent: Arc<Sent>,
    outcome: Outcome,
}

impl Body {
    pub(super) fn own(bytes: Bytes) -> Self {
        Self::Own(Some(bytes))
    }

    /// `sent` counts the request's body; `lease` goes back to the pool at the end.
    pub(super) fn streamed(
        inner: Incoming,
        status: http::StatusCode,
        recorder: Recorder,
        clean: Clean,
        lease: Lease,
        sent: Arc<Sent>,
    ) -> Self {
        let outcome = Outcome { status: Some(status.as_u16()), ..Outcome::default() };
        let (recorder, lease) = (Some(recorder), Some(lease));
        let mut streamed = Streamed { inner, recorder, clean, lease, sent, outcome };
        // The server never asks an empty body for its end.
        if http_body::Body::is_end_stream(&streamed.inner) {
            streamed.end(None);
        }
        Self::Streamed(Box::new(streamed))
    }
}

impl Streamed {
    fn end(&mut self, code: Option<Reason>) {
        self.outcome.bytes_in = self.sent.bytes.load(Relaxed);
        self.outcome.code = code;
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(self.outcome);
        }
        if let (Some(lease), None) = (self.lease.take(), code) {
            lease.give_back();
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            self.end(Some(Reason::ClientGone));
        }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = match polled {
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
                clean_answer(self.clean.injected, self.clean.redactor.as_deref(), &mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => {
                self.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                frame
            }
        };
        if http_body::Body::is_end_stream(&self.inner) {
            self.end(None);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => Pin::new(streamed.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

/// What became of a request's body.
#[derive(Debug, Default)]
pub(super) struct Sent {
    bytes: AtomicU64,
    broke: AtomicBool,
}

impl Sent {
    /// Bytes so far: while they grow, nobody waits for an answer yet.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether the client's body ended in an error.
    pub(super) fn broke(&self) -> bool {
        self.broke.load(Relaxed)
    }
}

/// A request's body on its way upstream. Its trailers stay behind: they could be read as header fields.
pub(super) struct Upload {
    inner: Option<Incoming>,
    sent: Arc<Sent>,
}

impl Upload {
    pub(super) fn new(inner: Incoming, sent: Arc<Sent>) -> Self {
        let inner = (!http_body::Body::is_end_stream(&inner)).then_some(inner);
        Self { inner, sent }
    }

    /// What became of it so far.
    pub(super) fn sent(&self) -> Arc<Sent> {
        Arc::clone(&self.sent)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
            let frame = match ready!(Pin::new(inner).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.sent.broke.store(true, Relaxed);
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if let Some(data) = frame.data_ref() {
                self.sent.bytes.fetch_add(data.len() as u64, Relaxed);
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
