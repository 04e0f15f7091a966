//! The body of an answer on its way back. One without a coding passes with its words masked. One in
//! codings passes as it came (`original`) unless a word is found in it: where that is near enough to
//! its beginning, it comes decoded and masked, and what the header said of the bytes as they were is
//! put right; further on it breaks off.

mod as_it_came;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::Redactor;
use super::coding::{Codings, DecodeError, Pulled};
use super::fields::{has_coded_messages, has_events, put_right, remove_digests};
use super::original::Original;
use super::part::Part;
use super::stream::{HOLD_PATIENCE, HeldBack};

/// Why an answer cannot be searched: nobody here reads its coding, or it is part of something
/// encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer in an encoding that cannot be searched")]
pub struct Unsearchable;

/// Masks the words in a body, piece by piece, also where a word is cut by two pieces.
pub struct BodyRedactor {
    redactor: Arc<Redactor>,
    /// It passes as it came.
    original: Option<Box<Original>>,
    /// This part of it, and no more.
    part: Option<Part>,
    /// Those that are taken off.
    codings: Option<Codings>,
    /// What came and was only looked at.
    before: VecDeque<Bytes>,
    held: HeldBack,
    /// To be passed on next.
    ready: Bytes,
    /// The last frame may give more.
    draining: bool,
    /// No more comes from the upstream.
    all_came: bool,
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
        let part = codings.is_some() && status == StatusCode::PARTIAL_CONTENT;
        if has_coded_messages(headers) || part || status == StatusCode::IM_USED {
            return Err(Unsearchable);
        }
        let mut body = Self::as_it_is(redactor);
        if let Some(codings) = codings {
            if has_events(headers) || !codings.are_prompt() {
                put_right(headers);
                body.codings = Some(codings);
            } else {
                body.original = Some(Box::new(Original::new(codings)));
            }
        }
        Ok(body)
    }

    fn as_it_is(redactor: Arc<Redactor>) -> Self {
        Self {
            redactor,
            original: None,
            part: None,
            codings: None,
            before: VecDeque::new(),
            held: HeldBack::default(),
            ready: Bytes::new(),
            draining: false,
            all_came: false,
            ended: false,
            trailers: None,
            patience: None,
        }
    }

    /// What there is to say of the length of what is still to come, where `inner` says it of the
    /// upstream's.
    pub fn size(&self, inner: &SizeHint) -> SizeHint {
        if let Some(part) = &self.part {
            return SizeHint::with_exact(part.left());
        }
        let original = self.original.as_ref().map_or(0, |original| original.length());
        let held = original + (self.held.length() + self.ready.len()) as u64;
        match inner.exact() {
            Some(left) if self.codings.is_none() && self.trailers.is_none() => {
                SizeHint::with_exact(left + held)
            }
            _ => SizeHint::new(),
        }
    }

    /// Whether the body has ended and all of it was given.
    pub fn is_ended(&self) -> bool {
        let waits = self.original.as_ref().is_some_and(|original| original.length() > 0);
        self.ended && self.trailers.is_none() && !waits
    }

    /// Whether all that was asked for was given, whatever still comes of the upstream.
    pub fn is_given(&self) -> bool {
        self.part.is_some_and(|part| part.left() == 0)
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
        if self.original.is_some() {
            return self.poll_original(cx, &mut inner, &mut newer);
        }
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
                match self.poll_next(cx, &mut inner, &mut newer) {
                    Poll::Pending => match self.held.settle(&self.redactor.search) {
                        settled if settled.is_empty() => ready!(self.poll_patience(cx)),
                        settled => settled,
                    },
                    Poll::Ready(frame) => match frame?.map(Frame::into_data) {
                        None => self.end()?,
                        Some(Ok(data)) => self.take(data)?,
                        Some(Err(frame)) => {
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

    /// The next frame: of what was looked at before, or of the upstream's.
    fn poll_next<E>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
        newer: &mut impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<Result<Option<Frame<Bytes>>, E>> {
        if let Some(piece) = self.before.pop_front() {
            return Poll::Ready(Ok(Some(Frame::data(piece))));
        }
        if self.all_came {
            return Poll::Ready(Ok(None));
        }
        let polled = inner(cx);
        if let Some(newer) = newer() {
            self.redactor = newer;
            self.held.look_again();
            if let Some(original) = &mut self.original {
                original.look_again();
            }
        }
        polled.map(Option::transpose)
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
        ready!(self.poll_sleep(cx, HOLD_PATIENCE));
        Poll::Ready(self.held.release())
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, time: Duration) -> Poll<()> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(patience.as_mut().poll(cx));
        self.patience = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
pub(super) mod tests;
