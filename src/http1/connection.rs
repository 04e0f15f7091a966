//! A client's connection, as three know it: its loop, the request under way, and the writer of the
//! answer.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::buffered::Buffered;
use super::decode::Decoder;
use super::spelling::Spelling;
use super::{BodyError, encode};

/// Pipelined bytes taken while an answer is under way.
const MAX_AHEAD: usize = 16 * 1024;

/// The rest of a body that is read for the sake of the next request, in bytes.
const MAX_OWED: u64 = 64 * 1024;

/// How long a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// While a connection has no request.
    pub idle: Duration,
    /// While it still sends a body whose answer it has.
    pub drain: Duration,
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct AnswerPatience {
    /// While the client takes nothing of it.
    pub stall: Duration,
    /// While nothing more comes of it.
    pub stream: Duration,
}

/// A connection as its request sees it.
pub trait Inbound: Send + Sync {
    /// The next frame of the request's body.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;
    /// Whether the body was read to its end.
    fn done(&self) -> bool;
    /// What is known of its length.
    fn size(&self) -> SizeHint;
    /// Passes on a 1xx answer (RFC 9110 section 15.2).
    fn inform(&self, status: StatusCode, headers: &HeaderMap);
}

impl fmt::Debug for dyn Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound")
    }
}

/// Shared by the connection's loop and the body of its request, which run in one task: the lock is
/// never waited for.
pub(super) struct Shared<T>(Mutex<Half<T>>);

pub(super) struct Half<T> {
    pub(super) io: Buffered<T>,
    pub(super) body: Decoder,
    pub(super) http11: bool,
    /// It waits for a 100 before it sends its body.
    pub(super) waits: bool,
    /// Who writes the answer, where the client does not take it: a task that reads the upload may
    /// flush for it.
    pub(super) writer: Option<Waker>,
}

impl<T> Shared<T> {
    pub(super) fn new(half: Half<T>) -> Self {
        Self(Mutex::new(half))
    }

    /// The connection itself, for whoever is the last to have it.
    pub(super) fn into_inner(self) -> Half<T> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Half<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Inbound for Shared<T> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Half { io, body, waits, writer, .. } = &mut *self.lock();
        // Whoever reads the body wants it.
        if std::mem::take(waits) && io.input.is_empty() && io.has_room() {
            encode::status_line(io.output(), StatusCode::CONTINUE, None);
            io.output().extend_from_slice(encode::CRLF);
        }
        // Here, because an upload to an HTTP/2 upstream runs in a task of its own. An error shows
        // below.
        if io.has_output() {
            let _ = io.poll_flush(cx);
            if let Some(writer) = writer.take() {
                writer.wake();
            }
        }
        body.poll(io, cx)
    }

    fn done(&self) -> bool {
        self.lock().body.done()
    }

    fn size(&self) -> SizeHint {
        self.lock().body.size()
    }

    fn inform(&self, status: StatusCode, headers: &HeaderMap) {
        let Half { io, http11, waits, .. } = &mut *self.lock();
        if status == StatusCode::CONTINUE {
            *waits = false;
        }
        if *http11 && io.has_room() {
            encode::status_line(io.output(), status, None);
            encode::fields(io.output(), headers, encode::Body::Close, &Spelling::default());
            io.output().extend_from_slice(encode::CRLF);
        }
    }
}

impl<T> Half<T> {
    /// Whether so much of the request's body may still come that the connection is closed rather
    /// than read on: also where nobody asked for it, and what comes next may be another request.
    pub(super) fn owes_much(&self) -> bool {
        !self.body.done()
            && (self.waits || self.body.size().exact().is_none_or(|left| left > MAX_OWED))
    }
}

impl<T: AsyncRead + Unpin> Half<T> {
    /// Reads ahead while an answer is under way, to see whether the client is still there. One that
    /// said it will send no more may still read. `false`: it is gone.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) -> bool {
        while self.body.done() && !self.io.ended && self.io.input.len() < MAX_AHEAD {
            match self.io.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return false,
            }
        }
        true
    }
}
