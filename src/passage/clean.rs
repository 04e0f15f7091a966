//! Cleans an answer as it comes, after its head: the body, the trailers, and what
//! follows a switch of protocols. Tokens that its upstream is given meanwhile are masked, too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::given::Given;
use crate::config::Timeouts;
use crate::inject;
use crate::masking::{BodyRedactor, DecodeError, Redactor, Switched};
use crate::model::reason::Reason;
use crate::model::token::Token;
use crate::policy::Permit;

/// Cleans the rest of one answer. Only [`Passed::clean`](super::Passed::clean) makes one.
pub struct Clean {
    /// Whether cookies stay behind.
    bought: bool,
    follows: Option<Follows>,
    /// It is masked as long as this lives.
    _token: Option<Arc<Token>>,
    body: Option<Box<BodyRedactor>>,
    /// There is no body, and nothing is read that says there is.
    bare: bool,
    /// An end that TLS does not vouch for is as good as any.
    unvouched: bool,
    timeouts: Timeouts,
}

impl Clean {
    pub(super) fn new(
        bought: bool,
        follows: Option<Follows>,
        token: Option<Arc<Token>>,
        body: Option<Box<BodyRedactor>>,
        bare: bool,
        permit: &Permit,
    ) -> Self {
        let (unvouched, timeouts) = (permit.takes_unvouched_end(), permit.timeouts());
        Self { bought, follows, _token: token, body, bare, unvouched, timeouts }
    }

    /// How long the answer is waited for where nothing moves.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Whether a body may end with the connection and without TLS's word for it.
    pub fn takes_unvouched_end(&self) -> bool {
        self.unvouched
    }

    /// Whether [`Self::look`] has something to look at.
    pub fn wants_to_look(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.wants_to_look())
    }

    /// Looks at the beginning of a coded body, as [`Self::poll`] gets it, for as long as a client
    /// does not mind, and puts the head right where the body will not pass as it came.
    pub async fn look<E: From<DecodeError>>(
        &mut self,
        headers: &mut HeaderMap,
        mut inner: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Result<(), E> {
        let Self { follows, body, .. } = self;
        let Some(body) = body else { return Ok(()) };
        let mut newer = || follows.as_mut().and_then(Follows::moved);
        poll_fn(|cx| body.poll_look(cx, headers, &mut inner, &mut newer)).await
    }

    /// The next frame to pass on, from those that `inner` gives; trailers are cleaned as the head
    /// was.
    pub fn poll<E: From<DecodeError>>(
        &mut self,
        cx: &mut Context<'_>,
        mut inner: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let Self { bought, follows, body, .. } = self;
        let polled = match body {
            None => inner(cx),
            Some(body) => {
                body.poll_following(cx, inner, || follows.as_mut().and_then(Follows::moved))
            }
        };
        polled.map_ok(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                let redactor = follows.as_mut().and_then(Follows::redactor);
                inject::clean_answer(*bought, redactor.as_deref(), &mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        })
    }

    /// Whether nothing more comes. `inner`: whether nothing more comes of the upstream's.
    pub fn is_over(&self, inner: bool) -> bool {
        if self.bare {
            return true;
        }
        let body = self.body.as_ref();
        body.is_some_and(|body| body.is_given()) || inner && body.is_none_or(|body| body.is_ended())
    }

    /// What there is to say of the length of what is still to come, where `inner` says it of the
    /// upstream's.
    pub fn size(&self, inner: SizeHint) -> SizeHint {
        match &self.body {
            Some(body) => body.size(&inner),
            None => inner,
        }
    }
}

/// What an answer came to whose body cannot be decoded, or not be passed on.
pub fn why_undecoded(error: DecodeError) -> Reason {
    match error {
        DecodeError::Invalid | DecodeError::Truncated => Reason::UpstreamEncodingInvalid,
        DecodeError::Told => Reason::TokenEchoed,
        DecodeError::TooMuch => Reason::UpstreamEncodingRefused,
    }
}

/// Follows what an upstream is given.
pub(super) struct Follows {
    given: Arc<Given>,
    redactor: Option<Arc<Redactor>>,
    epoch: u64,
}

impl Follows {
    pub(super) fn new(given: Arc<Given>) -> Self {
        let (redactor, epoch) = given.redactor();
        Self { given, redactor, epoch }
    }

    /// What masks all that is known now.
    pub(super) fn redactor(&mut self) -> Option<Arc<Redactor>> {
        self.moved();
        self.redactor.clone()
    }

    /// The redactor, where there is another one than before.
    fn moved(&mut self) -> Option<Arc<Redactor>> {
        if self.given.epoch() == self.epoch {
            return None;
        }
        (self.redactor, self.epoch) = self.given.redactor();
        self.redactor.clone()
    }
}

/// An upstream's stream after a switch of protocols, masked towards whoever reads it.
pub struct Followed<T> {
    io: Switched<T>,
    follows: Follows,
}

impl<T> Followed<T> {
    /// `protocol`: as it was agreed on.
    pub fn new(io: T, given: Arc<Given>, protocol: &str) -> Self {
        let mut follows = Follows::new(given);
        let redactor =
            follows.redactor().unwrap_or_else(|| Arc::new(inject::redactor_of([].into_iter())));
        Self { io: Switched::new(io, redactor, protocol), follows }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Followed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, follows } = &mut *self;
        io.poll_read_following(cx, out, || follows.moved())
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Followed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
