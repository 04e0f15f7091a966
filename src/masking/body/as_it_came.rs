//! A coded body that passes as it came: looked at before its head goes, and given as far as it was
//! searched.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::{BodyRedactor, Unsearchable};
use crate::masking::Redactor;
use crate::masking::coding::{Codings, DecodeError};
use crate::masking::fields::put_right;
use crate::masking::original::{Looked, Original};
use crate::masking::part::Part;
use crate::masking::stream::HOLD_PATIENCE;

/// So many encoded bytes are looked at before the head of an answer goes, and so long at most. An
/// echo is mostly an answer of less, and comes masked then.
const LOOK_AHEAD: u64 = 64 * 1024;
const LOOK_AHEAD_PATIENCE: Duration = Duration::from_millis(100);

impl BodyRedactor {
    /// For a part of a coded body, where the whole will come.
    pub fn begin_part(
        redactor: Arc<Redactor>,
        headers: &mut HeaderMap,
        part: Part,
    ) -> Result<Self, Unsearchable> {
        let codings = Codings::of(headers).ok().flatten().ok_or(Unsearchable)?;
        let original = Some(Box::new(Original::new(codings)));
        Ok(Self { original, part: Some(part), ..Self::as_it_is(redactor) })
    }

    /// Whether the beginning of the body says what becomes of its head.
    pub fn wants_to_look(&self) -> bool {
        self.original.is_some()
    }

    /// Looks at the beginning of the body, before its head goes, and puts that right where a word is
    /// in it. `newer` is as for [`Self::poll_following`].
    pub fn poll_look<E: From<DecodeError>>(
        &mut self,
        cx: &mut Context<'_>,
        headers: &mut HeaderMap,
        inner: &mut impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
        newer: &mut impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<Result<(), E>> {
        loop {
            let Some(original) = &mut self.original else { return Poll::Ready(Ok(())) };
            let mut looked = original.look(&self.redactor.search)?;
            if looked == Looked::All && !self.ended && original.length() < LOOK_AHEAD {
                match self.poll_next(cx, inner, newer) {
                    Poll::Ready(frame) => looked = self.take_original(frame?)?,
                    Poll::Pending => {
                        ready!(self.poll_sleep(cx, LOOK_AHEAD_PATIENCE));
                        return Poll::Ready(Ok(()));
                    }
                }
            } else if looked == Looked::All {
                self.patience = None;
                return Poll::Ready(Ok(()));
            }
            match looked {
                Looked::All => {}
                Looked::Told if self.part.is_some() => {
                    return Poll::Ready(Err(DecodeError::Told.into()));
                }
                Looked::Told => self.decode(headers),
                Looked::Tired => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// What came is decoded from its beginning on, to be masked.
    fn decode(&mut self, headers: &mut HeaderMap) {
        // The same as before: nothing has put the head right.
        self.codings = Codings::of(headers).ok().flatten();
        put_right(headers);
        self.before = self.original.take().map(|o| o.into_waiting()).unwrap_or_default();
        (self.ended, self.patience) = (false, None);
    }

    /// The next frame to pass on.
    pub(super) fn poll_original<E: From<DecodeError>>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
        newer: &mut impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        loop {
            let Some(original) = &mut self.original else { return Poll::Ready(None) };
            if self.part.is_some_and(|part| part.left() == 0) {
                return Poll::Ready(None);
            }
            let mut looked = original.look(&self.redactor.search)?;
            if looked == Looked::All {
                let mut piece = original.release();
                if !piece.is_empty() {
                    if let Some(part) = &mut self.part {
                        piece = part.take(piece);
                    }
                    if piece.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                if self.ended && self.part.is_some() {
                    return Poll::Ready(Some(Err(DecodeError::Truncated.into())));
                }
                if self.ended {
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                looked = match self.poll_next(cx, inner, newer) {
                    Poll::Ready(frame) => {
                        self.patience = None;
                        self.take_original(frame?)?
                    }
                    Poll::Pending => ready!(self.poll_settled(cx)),
                };
            }
            match looked {
                Looked::All => {}
                Looked::Told => return Poll::Ready(Some(Err(DecodeError::Told.into()))),
                Looked::Tired => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// A frame, or the end, of a body that passes as it came.
    fn take_original(&mut self, frame: Option<Frame<Bytes>>) -> Result<Looked, DecodeError> {
        let Some(original) = &mut self.original else { return Ok(Looked::All) };
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                original.push(data);
                return Ok(Looked::All);
            }
            Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
            None => {}
        }
        (self.all_came, self.ended) = (true, true);
        original.end(&self.redactor.search)
    }

    /// Nothing more comes for now: what can be said, or is let go after a while. Pending: only what
    /// comes next can tell.
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Looked> {
        let search = &self.redactor.search;
        let Some(original) = &mut self.original else { return Poll::Pending };
        let waited = original.length();
        let settled = original.settle(search);
        if settled != Looked::All || original.may_release() {
            return Poll::Ready(settled);
        }
        if waited == 0 || !original.is_brief(search) {
            return Poll::Pending;
        }
        ready!(self.poll_sleep(cx, HOLD_PATIENCE));
        if let Some(original) = &mut self.original {
            original.let_go();
        }
        Poll::Ready(Looked::All)
    }
}
