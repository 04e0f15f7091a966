//! An upstream's stream after a switch of protocols, with the words masked in what it sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Redactor, SwitchedRedactor};

const SWITCHED_PIECE: usize = 16 * 1024;

/// Masked towards whoever reads it.
pub struct Switched<T> {
    io: T,
    redactor: SwitchedRedactor,
    ready: Bytes,
    ended: bool,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<T> Switched<T> {
    /// `protocol`: as it was agreed on.
    pub fn new(io: T, redactor: Arc<Redactor>, protocol: &str) -> Self {
        let redactor = SwitchedRedactor::new(redactor, protocol);
        Self { io, redactor, ready: Bytes::new(), ended: false, patience: None }
    }
}

impl<T: AsyncRead + Unpin> Switched<T> {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        newer: &mut impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<io::Result<Bytes>> {
        let mut piece = BytesMut::zeroed(SWITCHED_PIECE);
        let mut buffer = ReadBuf::new(&mut piece);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer)?;
        if let Some(newer) = newer() {
            self.redactor.follow(newer);
        }
        if polled.is_pending() {
            let Some(patience) = self.redactor.patience() else { return Poll::Pending };
            let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(patience)));
            ready!(patience.as_mut().poll(cx));
            self.patience = None;
            return Poll::Ready(Ok(self.redactor.release()));
        }
        self.patience = None;
        let length = buffer.filled().len();
        if length == 0 {
            self.ended = true;
            return Poll::Ready(Ok(self.redactor.end()));
        }
        piece.truncate(length);
        Poll::Ready(Ok(self.redactor.pass(piece.freeze())))
    }
}

impl<T: AsyncRead + Unpin> Switched<T> {
    /// Reads with more words to look for as time goes on. `newer` is asked after each piece, before that is looked at,
    /// and gives what to search for from there on, where that has changed.
    pub fn poll_read_following(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        mut newer: impl FnMut() -> Option<Arc<Redactor>>,
    ) -> Poll<io::Result<()>> {
        while self.ready.is_empty() && !self.ended {
            self.ready = ready!(self.poll_piece(cx, &mut newer))?;
        }
        let take = out.remaining().min(self.ready.len());
        out.put_slice(&self.ready[..take]);
        self.ready.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Switched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_following(cx, out, || None)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Switched<T> {
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
