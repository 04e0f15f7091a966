//! The upstream's body on its way to the client: counted, and the end of its request's record.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::hudsucker::{Body, Error};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;

use crate::audit::{Outcome, Recorder};
use crate::model::reason::Reason;

/// A body that tells the recorder when it ends, breaks off, or is dropped.
pub(super) struct Recorded {
    inner: Body,
    recorder: Option<Recorder>,
    outcome: Outcome,
}

impl Recorded {
    pub(super) fn wrap(inner: Body, recorder: Recorder, status: u16) -> Body {
        let outcome = Outcome { status: Some(status), ..Outcome::default() };
        let mut body = Self { inner, recorder: Some(recorder), outcome };
        // The server never asks an empty body for its end.
        if http_body::Body::is_end_stream(&body.inner) {
            body.end(None);
        }
        Body::from(BoxBody::new(body))
    }

    fn end(&mut self, code: Option<Reason>) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(Outcome { code, ..self.outcome });
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.end(Some(Reason::ClientGone));
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                this.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                if http_body::Body::is_end_stream(&this.inner) {
                    this.end(None);
                }
            }
            Some(Err(_)) => this.end(Some(Reason::UpstreamAnswerInvalid)),
            None => this.end(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.inner)
    }
}
