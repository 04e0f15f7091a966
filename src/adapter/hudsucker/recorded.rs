//! The upstream's body on its way to the client: counted, and the end of its request's record.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::hudsucker::{Body, Error};
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;

use crate::audit::{Outcome, Recorder};
use crate::masking::DecodeError;
use crate::model::reason::Reason;
use crate::passage::{self, Clean};

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Io(io::Error::other(error))
    }
}

/// What an answer that ended so is said to have come to.
pub(super) fn why(error: &Error) -> Reason {
    let decoding = match error {
        Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<DecodeError>()),
        _ => None,
    };
    decoding.map_or(Reason::UpstreamAnswerInvalid, |error| passage::why_undecoded(*error))
}

/// Failed after the decision.
pub(super) fn finish(recorder: Recorder, reason: Reason) {
    let status = Some(passage::status(reason).as_u16());
    recorder.finish(Outcome { status, code: Some(reason), ..Outcome::default() });
}

/// A body that is cleaned, and tells the recorder when it ends, breaks off, or is dropped.
pub(super) struct Answering {
    inner: Body,
    clean: Clean,
    recorder: Option<Recorder>,
    outcome: Outcome,
}

impl Answering {
    /// Passes an answer on, its head having been cleaned.
    pub(super) fn pass(
        response: Response<Body>,
        clean: Clean,
        recorder: Recorder,
    ) -> Response<Body> {
        let status = Some(response.status().as_u16());
        let outcome = Outcome { status, ..Outcome::default() };
        response.map(|inner| {
            let mut body = Self { inner, clean, recorder: Some(recorder), outcome };
            // The server never asks an empty body for its end.
            if body.is_over() {
                body.end(None);
            }
            Body::from(BoxBody::new(body))
        })
    }

    fn is_over(&self) -> bool {
        self.clean.is_over(http_body::Body::is_end_stream(&self.inner))
    }

    fn end(&mut self, code: Option<Reason>) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(Outcome { code, ..self.outcome });
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.end(Some(Reason::ClientGone));
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Self { inner, clean, .. } = this;
        let frame =
            ready!(clean.poll(context, |context| Pin::new(&mut *inner).poll_frame(context)));
        match &frame {
            Some(Ok(frame)) => {
                this.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.is_over() {
                    this.end(None);
                }
            }
            Some(Err(error)) => this.end(Some(why(error))),
            None => this.end(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.clean.size(http_body::Body::size_hint(&self.inner))
    }
}
