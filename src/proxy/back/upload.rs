//! What a client sends: counted, never buffered, cut where it is over its limit or its request has
//! ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::drained::Drained;
use crate::http1::{self, Inbound};
use crate::masking::DecodeError;
use crate::model::reason::Reason;
use crate::passage;
use crate::proxy::live::Watch;

/// A body that ended before its end, in either direction.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("a body that was cut")]
    Cut,
    /// It broke off, or had two readings.
    #[error(transparent)]
    Http1(#[from] http1::BodyError),
    #[error("an HTTP/2 stream failed")]
    Http2(#[from] hyper::Error),
    /// An HTTP/2 stream was reset in the middle of it.
    #[error("a body that breaks off")]
    Incomplete,
    /// It cannot be searched for tokens, or holds one that cannot be masked.
    #[error(transparent)]
    Unsearchable(#[from] DecodeError),
}

impl BodyError {
    /// What an answer that ended so is said to have come to.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unsearchable(error) => passage::why_undecoded(*error),
            Self::Http1(http1::BodyError::Unvouched) => Reason::UpstreamCutShort,
            Self::Cut | Self::Http1(_) | Self::Http2(_) | Self::Incomplete => {
                Reason::UpstreamAnswerInvalid
            }
        }
    }
}

#[derive(Debug)]
pub enum RequestBody {
    Empty,
    Http1(Arc<dyn Inbound>),
    Http2(Drained),
}

impl RequestBody {
    pub fn http1(body: Option<Arc<dyn Inbound>>) -> Self {
        body.map_or(Self::Empty, Self::Http1)
    }

    pub fn http2(body: Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            Self::Empty
        } else {
            Self::Http2(Drained::new(body))
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        let polled = match body {
            Self::Empty => return Poll::Ready(None),
            Self::Http1(inbound) => inbound.poll_frame(cx).map_err(BodyError::from),
            Self::Http2(body) => return Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        };
        if matches!(polled, Poll::Ready(None)) {
            // Read to its end, it lets go of the connection, which may be switched now.
            *body = Self::Empty;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(inbound) => inbound.done(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(inbound) => inbound.size(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// What became of a request's body.
#[derive(Debug, Default)]
pub struct Sent {
    bytes: AtomicU64,
    broke: AtomicBool,
    exceeded: AtomicBool,
    /// All of it was given out.
    whole: AtomicBool,
    /// The client was asked for more, and has sent nothing yet.
    waits: AtomicBool,
    /// 1xx answers.
    informed: AtomicU64,
}

impl Sent {
    /// Bytes so far: while they grow, nobody waits for an answer yet.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Changes as long as the request moves: by bytes of its body, or by a 1xx.
    pub fn moves(&self) -> (u64, u64) {
        (self.bytes.load(Relaxed), self.informed.load(Relaxed))
    }

    /// A 1xx answer came.
    pub fn informed(&self) {
        self.informed.fetch_add(1, Relaxed);
    }

    /// Whether all of it was given out.
    pub fn whole(&self) -> bool {
        self.whole.load(Relaxed)
    }

    /// Whether it is the client that is waited for.
    pub fn waits_for_client(&self) -> bool {
        !self.whole() && self.waits.load(Relaxed)
    }

    /// Whether the client sent more than it may: what came before is gone.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    /// Whether the client's body ended in an error.
    pub fn broke(&self) -> bool {
        self.broke.load(Relaxed)
    }
}

/// Bytes of an upload that are kept until its upstream has begun to answer: what most calls of an
/// API send. A window of HTTP/2 is as large by default, so hardly more is under way by then.
pub const MAX_KEPT: usize = 64 * 1024;

/// A request's body on its way upstream. Its trailers stay behind: they could be read as header
/// fields.
pub struct Upload {
    inner: RequestBody,
    sent: Arc<Sent>,
    watch: Option<Watch>,
    /// In bytes, of all of it.
    most: u64,
    /// To be sent once more, before the rest.
    front: Bytes,
    /// All that was given out, `front` included. A copy: what came may hold much larger buffers.
    kept: Option<Vec<u8>>,
}

impl Upload {
    /// `most`: after so many bytes it is cut off.
    pub fn new(inner: RequestBody, watch: Watch, most: u64) -> Self {
        Self { watch: Some(watch), most, ..Self::of(inner, Arc::default()) }
    }

    /// Nothing, for a request that is sent again; counted with the first.
    pub fn empty(sent: Arc<Sent>) -> Self {
        Self::of(RequestBody::Empty, sent)
    }

    fn of(inner: RequestBody, sent: Arc<Sent>) -> Self {
        sent.whole.store(http_body::Body::is_end_stream(&inner), Relaxed);
        Self { inner, sent, watch: None, most: 0, front: Bytes::new(), kept: None }
    }

    #[cfg(test)]
    pub fn for_test(inner: RequestBody, most: u64) -> Self {
        Self { most, ..Self::of(inner, Arc::default()) }
    }

    /// From now on what is given out is kept, as far as [`MAX_KEPT`] goes.
    pub fn keep(&mut self) {
        if self.kept.is_none() {
            self.kept = Some(Vec::new());
        }
    }

    /// Keeps nothing more.
    pub fn keep_no_more(&mut self) {
        self.kept = None;
    }

    /// The whole upload, as it was before anything of it was given out. `None`: not all was kept.
    pub fn rewound(mut self) -> Option<Self> {
        let kept = self.kept.as_ref()?;
        let given = kept.len() - self.front.len();
        self.sent.bytes.fetch_sub(given as u64, Relaxed);
        self.front = Bytes::copy_from_slice(kept);
        Some(self)
    }

    /// What became of it so far.
    pub fn sent(&self) -> &Arc<Sent> {
        &self.sent
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.watch.as_mut().is_some_and(|watch| watch.poll_cut(cx).is_ready()) {
                return Poll::Ready(Some(Err(BodyError::Cut)));
            }
            if !self.front.is_empty() {
                let front = std::mem::take(&mut self.front);
                self.sent.bytes.fetch_add(front.len() as u64, Relaxed);
                return Poll::Ready(Some(Ok(Frame::data(front))));
            }
            let polled = Pin::new(&mut self.inner).poll_frame(cx);
            self.sent.waits.store(polled.is_pending(), Relaxed);
            let frame = match ready!(polled) {
                None => {
                    self.sent.whole.store(true, Relaxed);
                    return Poll::Ready(None);
                }
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.sent.broke.store(true, Relaxed);
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if let Some(data) = frame.data_ref() {
                let length = data.len() as u64;
                let before = self.sent.bytes.fetch_add(length, Relaxed);
                if before.saturating_add(length) > self.most {
                    self.sent.exceeded.store(true, Relaxed);
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                self.kept = self.kept.take().filter(|kept| kept.len() + data.len() <= MAX_KEPT);
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(data);
                }
                self.sent.whole.store(self.inner.is_end_stream(), Relaxed);
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut size, front) = (self.inner.size_hint(), self.front.len() as u64);
        if let Some(upper) = size.upper() {
            size.set_upper(upper.saturating_add(front));
        }
        size.set_lower(size.lower().saturating_add(front));
        size
    }
}
