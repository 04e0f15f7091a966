//! A counter in front of the HTTP/2 server: it sees every frame's head on its way in and out, and
//! ends a connection whose control frames go nowhere (PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
//! RST_STREAM, CONTINUATION, empty DATA: CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671).
//!
//! Such a frame costs one credit; an answer that moves earns some back, and so does time. The
//! library below has bounds of its own for some of these, none for PING, SETTINGS, PRIORITY and
//! WINDOW_UPDATE.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::{Pulse, Stuck};

/// Control frames that a client may send without an answer that moves: it may open every stream
/// that we allow and give them all up. A reset counts with the request before it, so this is 512
/// frames of those.
const CREDIT: u32 = 256;
/// Earned in a second, so that a quiet connection may ping for ever.
const PER_SECOND: f64 = 5.0;
/// The most that time has earned when the credit is gone.
const MAX_EARNED: f64 = 50.0;
/// Earned by a frame of an answer: the client may move two windows and ping for it.
const PER_ANSWER_FRAME: u32 = 3;
/// Costs of a stream that we had to reset because the client broke a rule; more than a short answer
/// to it has earned.
const PER_FAULT: u32 = 8;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
/// Codes of RST_STREAM that blame nobody: NO_ERROR, REFUSED_STREAM, CANCEL (RFC 9113 section 7).
const BLAMELESS: [u32; 3] = [0, 7, 8];
/// A frame's head, and that of RST_STREAM together with its code.
const HEAD: usize = 9;
const HEAD_AND_CODE: usize = 13;
/// The largest padding of a DATA frame and the byte that says how long it is.
const MAX_PADDING: u32 = 256;
/// `PRI * HTTP/2.0…` (RFC 9113 section 3.4).
const PREFACE: u32 = 24;

/// The client connection below an HTTP/2 server.
pub(super) struct FloodGuard<S> {
    io: S,
    read: Heads,
    written: Heads,
    account: Account,
    answers: Answers,
    stuck: Stuck,
}

impl<S> FloodGuard<S> {
    pub(super) fn new(io: S, pulse: Arc<Pulse>) -> Self {
        let read = Heads { skip: PREFACE, ..Heads::default() };
        let (written, account) = (Heads::default(), Account::new(Instant::now()));
        let stuck = Stuck::new(Arc::clone(&pulse));
        let answers = Answers { open: Vec::new(), last: 0, pulse };
        Self { io, read, written, account, answers, stuck }
    }

    /// What is written waits, and for how long it may.
    fn waits<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.stuck.poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

/// The streams whose answer is still to end.
struct Answers {
    open: Vec<u32>,
    last: u32,
    pulse: Arc<Pulse>,
}

impl Answers {
    fn received(&mut self, head: FrameHead) {
        match head.kind {
            // A later one has trailers.
            HEADERS if head.stream > self.last => {
                self.last = head.stream;
                self.open.push(head.stream);
                self.pulse.has_open(self.open.len());
            }
            RST_STREAM => self.end(head.stream),
            _ => {}
        }
        self.pulse.moves();
    }

    fn sent(&mut self, head: FrameHead) {
        match head.kind {
            DATA | HEADERS => {
                self.pulse.moves();
                if head.flags & END_STREAM != 0 {
                    self.end(head.stream);
                }
            }
            RST_STREAM => self.end(head.stream),
            _ => {}
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(at) = self.open.iter().position(|open| *open == stream) {
            self.open.swap_remove(at);
            self.pulse.has_open(self.open.len());
        }
    }
}

/// The frame heads in a stream of bytes that comes in any pieces.
#[derive(Default)]
struct Heads {
    head: [u8; HEAD_AND_CODE],
    have: usize,
    /// Bytes until the next head.
    skip: u32,
}

/// What a head says that matters here.
#[derive(Clone, Copy)]
struct FrameHead {
    kind: u8,
    flags: u8,
    stream: u32,
    length: u32,
    code: u32,
}

impl Heads {
    /// Calls `each` for every head that is complete by these bytes.
    fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            // No more than `skip`, a u32.
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(self.wanted() - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            // The kind, once known, may want more.
            if self.have >= HEAD && self.have == self.wanted() {
                let [a, b, c, kind, flags, i, j, k, l, w, x, y, z] = self.head;
                let stream = u32::from_be_bytes([i & 0x7f, j, k, l]);
                let length = u32::from_be_bytes([0, a, b, c]);
                let code = u32::from_be_bytes([w, x, y, z]);
                // What of the payload is not part of this.
                self.skip = length.saturating_sub((self.have - HEAD) as u32);
                self.have = 0;
                each(FrameHead { kind, flags, stream, length, code });
            }
        }
    }

    /// Bytes of the head that is being read, as far as it is known.
    fn wanted(&self) -> usize {
        let reset = self.have >= HEAD && self.head[..4] == [0, 0, 4, RST_STREAM];
        if reset { HEAD_AND_CODE } else { HEAD }
    }
}

/// Credit of one connection.
struct Account {
    credit: u32,
    /// When time last earned something.
    since: Instant,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { credit: CREDIT, since: now }
    }

    /// A frame of the client's. What carries a request is bounded elsewhere.
    fn received(&mut self, head: FrameHead) {
        let empty = match head.flags & PADDED {
            0 => head.length == 0,
            _ => head.length <= MAX_PADDING,
        };
        match head.kind {
            DATA if !empty || head.flags & END_STREAM != 0 => {}
            HEADERS | GOAWAY => {}
            _ => self.spend(1),
        }
    }

    fn spend(&mut self, frames: u32) {
        self.credit = self.credit.saturating_sub(frames);
    }

    /// A frame of ours: an answer earns, a stream that we had to reset costs.
    fn sent(&mut self, head: FrameHead) {
        match head.kind {
            DATA | HEADERS | PUSH_PROMISE => {
                self.credit = CREDIT.min(self.credit + PER_ANSWER_FRAME);
            }
            RST_STREAM if BLAMELESS.contains(&head.code) => self.spend(1),
            RST_STREAM => self.spend(PER_FAULT),
            _ => {}
        }
    }

    /// Whether the client may go on.
    fn is_in_credit(&mut self, now: Instant) -> bool {
        if self.credit == 0 {
            let earned = now.saturating_duration_since(self.since).as_secs_f64() * PER_SECOND;
            self.credit = earned.min(MAX_EARNED) as u32;
            self.since = now;
        }
        self.credit > 0
    }
}

fn flood() -> io::Error {
    io::Error::other("too many HTTP/2 control frames that go nowhere")
}

impl<S: AsyncRead + Unpin> AsyncRead for FloodGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.account.is_in_credit(Instant::now()) {
            return Poll::Ready(Err(flood()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.read.pass(&buf.filled()[before..], |head| {
            this.account.received(head);
            this.answers.received(head);
        });
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FloodGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        let written = ready!(this.waits(polled, cx))?;
        this.written.pass(buf.get(..written).unwrap_or(buf), |head| {
            this.account.sent(head);
            this.answers.sent(head);
        });
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        let written = ready!(this.waits(polled, cx))?;
        let mut left = written;
        for buf in bufs {
            let part = buf.len().min(left);
            this.written.pass(&buf[..part], |head| {
                this.account.sent(head);
                this.answers.sent(head);
            });
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        if polled.is_ready() {
            this.stuck.is_over();
        }
        this.waits(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn pulse() -> Arc<Pulse> {
        Pulse::new(Duration::from_secs(120), Arc::default(), || {})
    }

    #[test]
    fn answers_are_open_until_their_last_frame() {
        let mut answers = Answers { open: Vec::new(), last: 0, pulse: pulse() };
        let head = |kind, flags, stream| FrameHead { kind, flags, stream, length: 9, code: 0 };
        for stream in [1, 3, 5, 7] {
            answers.received(head(HEADERS, 4, stream));
        }
        // Trailers of a request, and of an answer.
        answers.received(head(HEADERS, END_STREAM, 3));
        answers.sent(head(HEADERS, 4, 1));
        assert_eq!(answers.open, [1, 3, 5, 7]);
        answers.sent(head(DATA, END_STREAM, 1));
        answers.sent(head(RST_STREAM, 0, 1));
        answers.sent(head(HEADERS, END_STREAM, 3));
        answers.received(head(RST_STREAM, 0, 5));
        assert_eq!(answers.open, [7]);
        answers.sent(head(RST_STREAM, 0, 7));
        assert!(answers.open.is_empty());
    }

    fn heads(bytes: &[u8], size: usize) -> Vec<(u8, u8, u32)> {
        let (mut heads, mut found) = (Heads::default(), Vec::new());
        for piece in bytes.chunks(size) {
            heads.pass(piece, |h| found.push((h.kind, h.flags, h.length)));
        }
        found
    }

    #[test]
    fn heads_are_found_in_any_pieces() {
        let all = [
            frame(0, 1, b"data"),
            frame(3, 0, &[0, 0, 0, 7]),
            frame(6, 0, &[9; 8]),
            frame(4, 1, b""),
        ];
        let bytes = all.concat();
        for size in 1..=bytes.len() {
            let found = heads(&bytes, size);
            assert_eq!(found, [(0, 1, 4), (3, 0, 4), (6, 0, 8), (4, 1, 0)], "{size}");
        }
    }

    #[test]
    fn control_frames_use_up_the_credit_and_answers_restore_it() {
        let now = Instant::now();
        let ping = FrameHead { kind: 6, flags: 0, stream: 1, length: 8, code: 0 };
        let answer = FrameHead { kind: DATA, flags: 0, stream: 1, length: 1, code: 0 };
        let mut account = Account::new(now);
        for _ in 0..10 * CREDIT {
            account.received(ping);
            account.sent(answer);
        }
        assert!(account.is_in_credit(now));
        for _ in 0..CREDIT {
            assert!(account.is_in_credit(now));
            account.received(ping);
        }
        assert!(!account.is_in_credit(now));
        assert!(account.is_in_credit(now + Duration::from_secs(1)), "time restores it");
    }

    #[test]
    fn what_carries_something_is_free() {
        let now = Instant::now();
        let mut account = Account::new(now);
        for head in [
            FrameHead { kind: DATA, flags: 0, stream: 1, length: 1, code: 0 },
            FrameHead { kind: DATA, flags: END_STREAM, stream: 1, length: 0, code: 0 },
            FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 300, code: 0 },
            FrameHead { kind: HEADERS, flags: 5, stream: 1, length: 40, code: 0 },
        ] {
            for _ in 0..2 * CREDIT {
                account.received(head);
            }
            assert_eq!(account.credit, CREDIT);
        }
        for flags in [0, PADDED] {
            account.received(FrameHead { kind: DATA, flags, stream: 1, length: 0, code: 0 });
        }
        account.sent(FrameHead { kind: RST_STREAM, flags: 0, stream: 1, length: 4, code: 8 });
        assert_eq!(account.credit, CREDIT - 3);
        account.sent(FrameHead { kind: RST_STREAM, flags: 0, stream: 1, length: 4, code: 1 });
        assert_eq!(account.credit, CREDIT - 3 - PER_FAULT);
    }

    #[tokio::test]
    async fn a_flood_ends_the_connection() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut frames = FloodGuard::new(server, pulse());
        client.write_all(&[b'P'; PREFACE as usize]).await.unwrap();
        for _ in 0..CREDIT {
            client.write_all(&frame(6, 0, &[0; 8])).await.unwrap();
        }
        drop(client);
        let mut all = Vec::new();
        let error = frames.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.to_string(), flood().to_string());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
            heads(&bytes, size);
        }
    }
}
