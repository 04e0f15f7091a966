//! The body of an answer on its way back: its content codings taken off, its forms masked, and what
//! the header said of the bytes as they were put right.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, RANGE,
    SEC_WEBSOCKET_EXTENSIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::Redactor;
use super::coding::{Codings, DecodeError, Pulled, is_asked_for};
use super::stream::{HOLD_PATIENCE, HeldBack};

/// Digests of a body as it was (RFC 9530, RFC 3230, RFC 1864).
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];
/// How messages of gRPC and of Connect are compressed, each for itself.
static MESSAGES_ENCODING: [HeaderName; 2] =
    [HeaderName::from_static("grpc-encoding"), HeaderName::from_static("connect-content-encoding")];
static MESSAGES_ACCEPT_ENCODING: [HeaderName; 2] = [
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
];
/// RFC 3229: the difference to another answer.
static A_IM: HeaderName = HeaderName::from_static("a-im");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Why an answer cannot be searched: nobody here reads its coding, or it is part of something
/// encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer in an encoding that cannot be searched")]
pub struct Unsearchable;

/// Asks the upstream for an answer that can be searched: in codings that are taken off here, or in
/// none where a part is asked for; WebSocket without compression, gRPC without.
pub fn ask(headers: &mut HeaderMap) {
    if headers.contains_key(RANGE) {
        headers.insert(ACCEPT_ENCODING, IDENTITY);
    } else if headers.contains_key(ACCEPT_ENCODING) {
        let known = |part: &&str| is_asked_for(part.split(';').next().unwrap_or_default().trim());
        let kept: Vec<&str> = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim).filter(known))
            .collect();
        // Parts of a legal value are legal.
        let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|value| !value.is_empty());
        headers.insert(ACCEPT_ENCODING, kept.unwrap_or(IDENTITY));
    }
    for name in &MESSAGES_ACCEPT_ENCODING {
        if headers.contains_key(name) {
            headers.insert(name.clone(), IDENTITY);
        }
    }
    headers.remove(&A_IM);
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
}

/// Masks the words in a body, piece by piece, also where a word is cut by two pieces.
pub struct BodyRedactor {
    redactor: Arc<Redactor>,
    codings: Option<Codings>,
    held: HeldBack,
    /// To be passed on next.
    ready: Bytes,
    /// The last frame may give more.
    draining: bool,
    ended: bool,
    trailers: Option<HeaderMap>,
    /// Until what waits is let go.
    patience: Option<Pin<Box<Sleep>>>,
}

impl BodyRedactor {
    /// For the body behind this head, which is put right where the body will be decoded.
    pub fn begin(
        redactor: Arc<Redactor>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Result<Self, Unsearchable> {
        let codings = Codings::of(headers).map_err(|_| Unsearchable)?;
        let coded = |name| headers.get(name).is_some_and(|value| *value != IDENTITY);
        let messages = MESSAGES_ENCODING.iter().any(coded);
        let part = codings.is_some() && status == StatusCode::PARTIAL_CONTENT;
        if messages || part || status == StatusCode::IM_USED {
            return Err(Unsearchable);
        }
        if codings.is_some() {
            for name in [CONTENT_ENCODING, CONTENT_LENGTH, ACCEPT_RANGES] {
                headers.remove(name);
            }
            if headers.get(ETAG).is_some_and(|tag| !tag.as_bytes().starts_with(b"W/")) {
                headers.remove(ETAG);
            }
            remove_digests(headers);
        }
        Ok(Self { codings, ..Self::as_it_is(redactor) })
    }

    /// An answer without a body: its length is not the one that a body would have after decoding.
    /// Whether it stays.
    pub fn of_none(headers: &mut HeaderMap) -> bool {
        let plain = matches!(Codings::of(headers), Ok(None));
        if !plain {
            headers.remove(CONTENT_LENGTH);
        }
        plain
    }

    fn as_it_is(redactor: Arc<Redactor>) -> Self {
        Self {
            redactor,
            codings: None,
            held: HeldBack::default(),
            ready: Bytes::new(),
            draining: false,
            ended: false,
            trailers: None,
            patience: None,
        }
    }

    /// What there is to say of the length of what is still to come, where `inner` says it of the
    /// upstream's.
    pub fn size(&self, inner: &SizeHint) -> SizeHint {
        let held = (self.held.length() + self.ready.len()) as u64;
        match inner.exact() {
            Some(left) if self.codings.is_none() => SizeHint::with_exact(left + held),
            _ => SizeHint::new(),
        }
    }

    /// Whether the body has ended and all of it was given.
    pub fn is_ended(&self) -> bool {
        self.ended && self.trailers.is_none()
    }

    /// The next frame to pass on, from those that `inner` gives.
    pub fn poll<E: From<DecodeError>>(
        &mut self,
        cx: &mut Context<'_>,
        inner: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        self.poll_following(cx, inner, || None)
    }

    /// The same with more words to look for as time goes on. `newer` is asked after each frame, before that is looked
    /// at, and gives what to search for from there on, where that has changed.
    pub fn poll_following<E: From<DecodeError>>(
        &mut self,
        cx: &mut Context<'_>,
        mut inner: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
        mut newer: impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        loop {
            let piece = if !self.ready.is_empty() {
                std::mem::take(&mut self.ready)
            } else if self.draining {
                ready!(self.poll_more(cx))?
            } else if self.ended {
                return Poll::Ready(
                    self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
                );
            } else {
                let polled = inner(cx);
                if let Some(newer) = newer() {
                    self.redactor = newer;
                    self.held.look_again();
                }
                match polled {
                    Poll::Pending => match self.held.settle(&self.redactor.search) {
                        settled if settled.is_empty() => ready!(self.poll_patience(cx)),
                        settled => settled,
                    },
                    Poll::Ready(None) => self.end()?,
                    Poll::Ready(Some(frame)) => match frame?.into_data() {
                        Ok(data) => self.take(data)?,
                        Err(frame) => {
                            self.trailers = frame.into_trailers().ok();
                            self.end()?
                        }
                    },
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Result<Bytes, DecodeError> {
        self.patience = None;
        match &mut self.codings {
            None => Ok(self.pass(data)),
            Some(codings) => {
                codings.push(data);
                self.draining = true;
                Ok(Bytes::new())
            }
        }
    }

    /// Some of what can be passed on now; the rest is `ready`.
    fn pass(&mut self, piece: Bytes) -> Bytes {
        let [waited, rest] = self.held.pass(&self.redactor.search, piece);
        if waited.is_empty() {
            return rest;
        }
        self.ready = rest;
        waited
    }

    /// More of what came of the last bytes; nothing: that was all.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, DecodeError>> {
        loop {
            match self.codings.as_mut().map_or(Ok(Pulled::All), Codings::pull)? {
                Pulled::Piece(piece) => {
                    let piece = self.pass(piece);
                    if !piece.is_empty() {
                        return Poll::Ready(Ok(piece));
                    }
                }
                Pulled::All => {
                    self.draining = false;
                    return Poll::Ready(Ok(Bytes::new()));
                }
                Pulled::Tired => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The rest, after the last bytes and all that came of them.
    fn end(&mut self) -> Result<Bytes, DecodeError> {
        self.ended = true;
        self.codings.as_ref().map_or(Ok(()), Codings::end)?;
        let rest = self.held.end(&self.redactor.search);
        if let Some(trailers) = &mut self.trailers
            && (self.codings.is_some() || self.held.was_masked())
        {
            // They do not fit a body that was changed.
            remove_digests(trailers);
        }
        Ok(rest)
    }

    /// The few bytes that wait, once nothing has come after them for a while.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !self.held.is_brief(&self.redactor.search) {
            return Poll::Pending;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(HOLD_PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        self.patience = None;
        Poll::Ready(self.held.release())
    }
}

fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
