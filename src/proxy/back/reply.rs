//! The body of an upstream's answer, as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::lent::Loan;
use super::pool::UpstreamExchange;
use super::upload::BodyError;
use crate::http1;

pub enum Reply {
    /// Over HTTP/1, with the connection it comes on; gone once that is home.
    Http1(Option<Box<UpstreamExchange>>),
    /// Over HTTP/2, with the upload that may still be under way.
    Http2(Incoming, Loan),
}

impl Reply {
    /// `unvouched`: an end with the connection and without TLS's word for it is as good as any.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        unvouched: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(Some(exchange)) => match exchange.poll_body(cx) {
                Poll::Ready(Some(Err(http1::BodyError::Unvouched))) if unvouched => {
                    Poll::Ready(None)
                }
                polled => polled.map_err(BodyError::from),
            },
            Self::Http1(None) => Poll::Ready(None),
            Self::Http2(body, _) => {
                match ready!(http_body::Body::poll_frame(Pin::new(&mut *body), cx)) {
                    // The library takes a reset without an error for an end: it is one only where
                    // the stream was ended before.
                    None if !http_body::Body::is_end_stream(body) => {
                        Poll::Ready(Some(Err(BodyError::Incomplete)))
                    }
                    polled => Poll::Ready(polled.map(|frame| frame.map_err(BodyError::from))),
                }
            }
        }
    }

    /// Whether it was read to its end; at once where there is none.
    pub fn done(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.as_ref().is_none_or(|exchange| exchange.done()),
            Self::Http2(body, _) => http_body::Body::is_end_stream(body),
        }
    }

    pub fn size(&self) -> SizeHint {
        match self {
            Self::Http1(Some(exchange)) => exchange.size(),
            Self::Http1(None) => SizeHint::with_exact(0),
            Self::Http2(body, _) => http_body::Body::size_hint(body),
        }
    }
}
