//! The upstream's body on its way to the client: counted, and the end of its request's record.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::hudsucker::{Body, Error};
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;

use super::{answer, handler};
use crate::audit::{Outcome, Recorder};
use crate::masking::{BodyRedactor, DecodeError, Redactor};
use crate::model::reason::Reason;

impl From<DecodeError> for Error {
    fn from(_: DecodeError) -> Self {
        Self::Decode
    }
}

/// Passes an answer on. `redactor`: what its body is searched for.
pub(super) fn pass(
    mut response: Response<Body>,
    redactor: Option<Arc<Redactor>>,
    recorder: Recorder,
) -> Response<Body> {
    let status = response.status();
    let empty = http_body::Body::is_end_stream(response.body());
    let mut searched = None;
    if let Some(redactor) = redactor {
        if empty {
            BodyRedactor::of_none(response.headers_mut());
        } else if let Ok(body) = BodyRedactor::begin(redactor, status, response.headers_mut()) {
            searched = Some(Box::new(body));
        } else {
            let (id, reason) = (recorder.request(), Reason::UpstreamEncodingRefused);
            handler::finish(recorder, reason);
            return answer::of(reason, id);
        }
    }
    response.map(|body| Recorded::wrap(body, searched, recorder, status.as_u16()))
}

/// A body that tells the recorder when it ends, breaks off, or is dropped.
pub(super) struct Recorded {
    inner: Body,
    searched: Option<Box<BodyRedactor>>,
    recorder: Option<Recorder>,
    outcome: Outcome,
}

impl Recorded {
    fn wrap(
        inner: Body,
        searched: Option<Box<BodyRedactor>>,
        recorder: Recorder,
        status: u16,
    ) -> Body {
        let outcome = Outcome { status: Some(status), ..Outcome::default() };
        let mut body = Self { inner, searched, recorder: Some(recorder), outcome };
        // The server never asks an empty body for its end.
        if body.is_over() {
            body.end(None);
        }
        Body::from(BoxBody::new(body))
    }

    fn is_over(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
            && self.searched.as_ref().is_none_or(|searched| searched.is_ended())
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
        let Self { inner, searched, .. } = this;
        let mut poll = |context: &mut Context<'_>| Pin::new(&mut *inner).poll_frame(context);
        let frame = ready!(match searched {
            None => poll(context),
            Some(searched) => searched.poll(context, poll),
        });
        match &frame {
            Some(Ok(frame)) => {
                this.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.is_over() {
                    this.end(None);
                }
            }
            Some(Err(_)) => this.end(Some(Reason::UpstreamAnswerInvalid)),
            None => this.end(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let size = http_body::Body::size_hint(&self.inner);
        self.searched.as_ref().map_or(size, |searched| searched.size(&size))
    }
}
