//! A stream with what was read ahead of need and what is still to be written.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One read of small things: a head, a short body. Two TLS records.
const SCRATCH: usize = 32 * 1024;
/// Content of up to this size is copied behind what is waiting, so that one write takes both.
pub(super) const SMALL: usize = 4 * 1024;
/// Small things that wait for a peer, in bytes: beyond it whoever makes more is waited with.
const MAX_UNTAKEN: usize = 64 * 1024;

thread_local! {
    /// Read into first: an idle connection then holds no buffer, a busy one only what came. Kept
    /// initialised, so nothing is zeroed; only the part that was read is ever looked at.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// A stream and its two buffers.
#[derive(Debug)]
pub struct Buffered<T> {
    io: T,
    /// Read and not yet used.
    pub(super) input: BytesMut,
    /// The peer will send no more.
    pub(super) ended: bool,
    /// Heads, framing and small content, to be written first.
    output: Vec<u8>,
    written: usize,
    /// Content to be written after that.
    content: Bytes,
    /// Framing to be written last.
    tail: &'static [u8],
    /// The stream took bytes that it may still hold itself, as TLS does while its socket is full.
    unflushed: bool,
}

impl<T> Buffered<T> {
    /// `input`: what was read from `io` already.
    pub fn new(io: T, input: BytesMut) -> Self {
        let (output, content) = (Vec::new(), Bytes::new());
        Self { io, input, ended: false, output, written: 0, content, tail: b"", unflushed: false }
    }

    /// Takes it apart; what is still to be written is lost.
    pub fn into_parts(self) -> (T, BytesMut) {
        (self.io, self.input)
    }

    /// Where heads and framing are written to. Only while [`Buffered::has_room`].
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Room for so much more: what grows leaves a copy behind that nobody wipes.
    pub(super) fn reserve(&mut self, more: usize) {
        self.output.reserve(more);
    }

    /// Whether more may be put into the output: there is no content in front of it, and not much
    /// else. What the peer took counts until it has all, because until then it is held.
    pub(super) fn has_room(&self) -> bool {
        self.is_plain() && self.output.len() < MAX_UNTAKEN
    }

    /// Whether no content waits behind the output.
    fn is_plain(&self) -> bool {
        self.content.is_empty() && self.tail.is_empty()
    }

    /// Whether anything has not left yet: as long as it is so, somebody must flush.
    pub(super) fn has_output(&self) -> bool {
        self.has_unwritten() || self.unflushed
    }

    fn has_unwritten(&self) -> bool {
        self.written < self.output.len() || !self.is_plain()
    }

    /// Puts content behind what is waiting, then `tail`.
    pub(super) fn push(&mut self, content: Bytes, tail: &'static [u8]) {
        debug_assert!(self.is_plain());
        if content.len() <= SMALL {
            self.output.extend_from_slice(&content);
            self.output.extend_from_slice(tail);
        } else {
            (self.content, self.tail) = (content, tail);
        }
    }

    fn advance(&mut self, mut written: usize) {
        let first = written.min(self.output.len() - self.written);
        self.written += first;
        written -= first;
        let second = written.min(self.content.len());
        self.content.advance(second);
        self.tail = &self.tail[written - second..];
        if self.written == self.output.len() {
            self.written = 0;
            // A head may hold a token: it has left, and is not kept.
            self.output.fill(0);
            // An idle connection keeps no more than a head's worth.
            if self.output.capacity() > SMALL {
                self.output = Vec::new();
            }
            self.output.clear();
        }
    }
}

impl<T: AsyncRead + Unpin> Buffered<T> {
    /// Reads once, behind what is there. 0: the peer is done.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.input.extend_from_slice(read.filled());
            self.ended = read.filled().is_empty();
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// The same for content of which much more is to come: no copy.
    pub(super) fn poll_fill_content(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(SCRATCH);
        let read =
            ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }
}

impl<T: AsyncWrite + Unpin> Buffered<T> {
    /// Writes all that is waiting, and has the stream pass it on.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unwritten() {
            let plain = self.is_plain();
            let head = &self.output[self.written..];
            let io = Pin::new(&mut self.io);
            let written = if plain {
                ready!(io.poll_write(cx, head))?
            } else {
                let slices =
                    [IoSlice::new(head), IoSlice::new(&self.content), IoSlice::new(self.tail)];
                ready!(io.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
