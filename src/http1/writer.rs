//! Writing an answer to a client as it comes from upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};

use super::buffered::Buffered;
use super::connection::{Half, Patience, Shared};
use super::spelling::Spelling;
use super::watchdog::Watchdog;
use super::{encode, head};

/// The body of an answer. Whoever sends it drives the upload of its request, too.
pub trait AnswerBody: http_body::Body<Data = Bytes> + Unpin {
    /// Moves the upload on while nobody takes the answer. `false`: the answer was ended meanwhile.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool;
    /// How the fields of the answer were spelt, and its reason phrase.
    fn spelling(&mut self) -> Spelling;
    /// It will not be asked for more, and why.
    fn cut(&mut self, why: Unsent);
}

/// Why the rest of an answer was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The client closed before it had all of the answer.
    Gone,
    /// Nothing more came of it.
    Silent,
    /// The client took nothing of the answer for as long as it is waited for.
    Stalled,
}

pub(super) enum Written {
    /// The client is gone, or must see an error.
    Broken,
    /// Whole; whether the connection may go on.
    Whole { close: bool },
}

/// How the answer to this request is framed (RFC 9112 section 6).
fn framing(answer: &Response<impl AnswerBody>, method: &Method, http11: bool) -> encode::Body {
    let bare = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match answer.body().size_hint().exact() {
        _ if bare || *method == Method::HEAD => encode::Body::AsNamed,
        Some(length) => encode::Body::Length(length),
        None if http11 => encode::Body::Chunked,
        None => encode::Body::Close,
    }
}

/// Writes an answer as it comes.
pub(super) async fn write<T: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared<T>,
    watchdog: &mut Watchdog,
    patience: &Patience,
    answer: Response<impl AnswerBody>,
    method: &Method,
    close: bool,
) -> Written {
    let http11 = shared.lock().http11;
    let framing = framing(&answer, method, http11);
    let (head, mut body) = answer.into_parts();
    let close = close
        || framing == encode::Body::Close
        || head::connection_names(&head.headers, "close")
        || shared.lock().owes_much();
    {
        let Half { io, .. } = &mut *shared.lock();
        let spelling = body.spelling();
        encode::status_line(io.output(), head.status, spelling.reason.as_deref());
        encode::fields(io.output(), &head.headers, framing, &spelling);
        if close {
            encode::own_field(io.output(), CONNECTION.as_str(), b"close", &spelling);
        }
        if head.headers.contains_key(UPGRADE) {
            encode::own_field(io.output(), CONNECTION.as_str(), b"upgrade", &spelling);
        }
        io.output().extend_from_slice(encode::CRLF);
    }
    let mut writer = AnswerWriter { framing, ended: framing == encode::Body::AsNamed, patience };
    watchdog.expect(patience.stream);
    let whole = poll_fn(|cx| writer.poll(shared, watchdog, &mut body, cx)).await;
    watchdog.rest();
    match whole {
        Ok(()) => Written::Whole { close },
        Err(why) => {
            if let Some(why) = why {
                body.cut(why);
            }
            Written::Broken
        }
    }
}

struct AnswerWriter<'a> {
    framing: encode::Body,
    /// The body's end is in the output.
    ended: bool,
    patience: &'a Patience,
}

impl AnswerWriter<'_> {
    /// `Err(None)`: the body itself knows why.
    fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        shared: &Shared<T>,
        watchdog: &mut Watchdog,
        body: &mut impl AnswerBody,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Option<Unsent>>> {
        loop {
            let mut waits = false;
            if !self.ended && shared.lock().io.has_room() {
                // Without the lock: an upload that is still under way reads from the same
                // connection.
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        watchdog.expect(self.patience.stream);
                        self.push(&mut shared.lock().io, frame);
                        continue;
                    }
                    // What came before is sent on; the error shows by the missing end.
                    Poll::Ready(Some(Err(_))) => {
                        let _ = shared.lock().io.poll_flush(cx);
                        return Poll::Ready(Err(None));
                    }
                    Poll::Ready(None) => {
                        self.end(&mut shared.lock().io, None);
                        continue;
                    }
                    Poll::Pending => waits = true,
                }
            }
            let mut half = shared.lock();
            let flushed = half.io.poll_flush(cx);
            match flushed {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Some(Unsent::Gone))),
                Poll::Ready(Ok(())) if self.ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if !waits => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !half.watch(cx) {
                return Poll::Ready(Err(Some(Unsent::Gone)));
            }
            drop(half);
            let why = if flushed.is_pending() {
                // The client reads no more, but it may still send.
                if !body.drive(cx) {
                    return Poll::Ready(Err(None));
                }
                watchdog.expect_at_most(self.patience.stall);
                Unsent::Stalled
            } else {
                Unsent::Silent
            };
            ready!(watchdog.poll(cx));
            return Poll::Ready(Err(Some(why)));
        }
    }

    fn push<T>(&mut self, io: &mut Buffered<T>, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(content) if content.is_empty() => {}
            Ok(content) if self.framing == encode::Body::Chunked => {
                encode::chunk(io.output(), &content);
                io.push(content, encode::CRLF);
            }
            Ok(content) => io.push(content, b""),
            Err(frame) => {
                let trailers = frame.into_trailers().ok();
                self.end(io, trailers.as_ref());
            }
        }
    }

    fn end<T>(&mut self, io: &mut Buffered<T>, trailers: Option<&HeaderMap>) {
        if self.framing == encode::Body::Chunked && !self.ended {
            encode::last_chunk(io.output(), trailers);
        }
        self.ended = true;
    }
}
