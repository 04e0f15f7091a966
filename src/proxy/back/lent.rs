//! A request's body as the HTTP/2 library gets it: lent, so that it can be had back, from its first
//! byte, where the upstream says that it has begun nothing (RFC 9113 section 8.7). The library
//! itself gives back only what it never looked at.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::upload::{BodyError, Sent, Upload};
use crate::model::lock::lock;

/// What the library sends. `None`: no body. Both ends run on one thread: the lock is never waited
/// for.
pub struct Lent(Option<Arc<Mutex<LentUpload>>>);

/// What both ends see.
struct LentUpload {
    /// `None`: it was taken back, or its request is over.
    upload: Option<Upload>,
    /// Who waits for more of it.
    waker: Option<Waker>,
}

/// What the lender keeps, until the request is over: with it goes the upload, so that nobody reads
/// on in a connection that may have another request by then.
pub struct Loan {
    lent: Lent,
    sent: Arc<Sent>,
}

/// Lends an upload until it is taken back or its request is over.
pub fn lend(mut upload: Upload) -> (Lent, Loan) {
    let sent = Arc::clone(upload.sent());
    if upload.is_end_stream() {
        return (Lent(None), Loan { lent: Lent(None), sent });
    }
    upload.keep();
    let shared = Arc::new(Mutex::new(LentUpload { upload: Some(upload), waker: None }));
    (Lent(Some(Arc::clone(&shared))), Loan { lent: Lent(Some(shared)), sent })
}

impl Loan {
    /// Takes it back, to be sent from its first byte. `None`: more was sent than is kept.
    pub fn take_back(mut self) -> Option<Upload> {
        match self.lent.0.take() {
            None => Some(Upload::empty(Arc::clone(&self.sent))),
            Some(shared) => lock(&shared).upload.take()?.rewound(),
        }
    }

    /// It will not be needed from its first byte again: the upstream has begun to answer.
    pub fn settle(&self) {
        if let Some(shared) = &self.lent.0
            && let Some(upload) = &mut lock(shared).upload
        {
            upload.keep_no_more();
        }
    }

    /// The request is over: whoever still sends it gets its end, or an error where more would come.
    pub fn end(&mut self) {
        let Some(shared) = self.lent.0.take() else { return };
        let mut lent = lock(&shared);
        let whole = lent.upload.as_ref().is_some_and(|upload| upload.is_end_stream());
        lent.upload = whole.then(|| Upload::empty(Arc::clone(&self.sent)));
        if let Some(waker) = lent.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.end();
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(shared) = &self.0 else { return Poll::Ready(None) };
        let LentUpload { upload, waker } = &mut *lock(shared);
        let Some(upload) = upload else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        let polled = Pin::new(upload).poll_frame(cx);
        if polled.is_pending() {
            waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(shared) = &self.0 else { return true };
        lock(shared).upload.as_ref().is_some_and(|upload| upload.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.0 else { return SizeHint::with_exact(0) };
        lock(shared).upload.as_ref().map_or_else(SizeHint::new, |upload| upload.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::Wake;

    use http::HeaderMap;

    use super::*;
    use crate::http1::Inbound;
    use crate::proxy::back::upload::{MAX_KEPT, RequestBody};

    /// A client that has sent these pieces, and then sends nothing more.
    #[derive(Debug)]
    struct Pieces(Mutex<Vec<Bytes>>);

    impl Inbound for Pieces {
        fn poll_frame(
            &self,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, crate::http1::BodyError>>> {
            let mut pieces = lock(&self.0);
            let next = (!pieces.is_empty()).then(|| Ok(Frame::data(pieces.remove(0))));
            next.map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)))
        }

        fn done(&self) -> bool {
            lock(&self.0).is_empty()
        }

        fn size(&self) -> SizeHint {
            SizeHint::with_exact(lock(&self.0).iter().map(|piece| piece.len() as u64).sum())
        }

        fn inform(&self, _: http::StatusCode, _: &HeaderMap) {}
    }

    fn upload(pieces: &[usize]) -> Upload {
        let pieces = pieces.iter().enumerate().map(|(n, size)| Bytes::from(vec![n as u8; *size]));
        let body = RequestBody::http1(Some(Arc::new(Pieces(Mutex::new(pieces.collect())))));
        Upload::for_test(body, 1 << 30)
    }

    /// Takes so many frames.
    fn take(body: &mut (impl http_body::Body<Data = Bytes> + Unpin), frames: usize) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        for _ in 0..frames {
            let polled = Pin::new(&mut *body).poll_frame(&mut cx);
            let Poll::Ready(Some(Ok(frame))) = polled else { panic!("no frame") };
            all.extend_from_slice(&frame.into_data().unwrap());
        }
        all
    }

    #[test]
    fn what_was_lent_comes_back_from_its_first_byte() {
        for seen in 0..=3 {
            let (mut lent, loan) = lend(upload(&[3, 4, 5]));
            assert_eq!(lent.size_hint().exact(), Some(12));
            take(&mut lent, seen);
            let sent = Arc::clone(&loan.sent);
            let back = loan.take_back().unwrap();
            assert_eq!((back.size_hint().exact(), sent.bytes()), (Some(12), 0), "{seen}");
            assert!(!back.is_end_stream());
            // A second time, in the middle of what is sent again.
            let (mut lent, loan) = lend(back);
            take(&mut lent, usize::from(seen > 0));
            let mut back = loan.take_back().unwrap();
            let again = take(&mut back, if seen == 0 { 3 } else { 4 - seen });
            assert_eq!(again, b"\0\0\0\x01\x01\x01\x01\x02\x02\x02\x02\x02", "{seen}");
            assert!(back.is_end_stream());
            assert_eq!((back.size_hint().exact(), sent.bytes()), (Some(0), 12), "{seen}");
            let mut cx = Context::from_waker(Waker::noop());
            let polled = Pin::new(&mut lent).poll_frame(&mut cx);
            assert!(matches!(polled, Poll::Ready(Some(Err(BodyError::Cut)))), "{polled:?}");
        }
    }

    #[test]
    fn more_than_is_kept_does_not_come_back() {
        let (mut lent, loan) = lend(upload(&[MAX_KEPT - 1, 1, 1]));
        take(&mut lent, 2);
        let (mut lent, loan) = lend(loan.take_back().unwrap());
        take(&mut lent, 2);
        assert!(loan.take_back().is_none());
    }

    #[test]
    fn what_is_settled_is_kept_no_longer() {
        let (mut lent, loan) = lend(upload(&[3, 4]));
        take(&mut lent, 1);
        loan.settle();
        assert_eq!(take(&mut lent, 1), [1; 4]);
        assert!(lent.is_end_stream());
    }

    #[test]
    fn no_body_comes_back_as_none() {
        let (lent, loan) = lend(upload(&[]));
        assert!(lent.is_end_stream() && lent.size_hint().exact() == Some(0));
        assert!(loan.take_back().is_some_and(|upload| upload.is_end_stream()));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    /// The library's task goes on after the answer, when what its client sends may be another
    /// request.
    #[test]
    fn an_upload_ends_with_its_answer() {
        for whole in [false, true] {
            let client = Arc::new(Pieces(Mutex::new(vec![Bytes::from("one"), "two".into()])));
            let body = RequestBody::http1(Some(Arc::<Pieces>::clone(&client) as _));
            let (mut lent, loan) = lend(Upload::for_test(body, 1 << 30));
            let woken = Arc::<Woken>::default();
            let waker = Waker::from(Arc::clone(&woken));
            let mut cx = Context::from_waker(&waker);
            take(&mut lent, if whole { 2 } else { 1 });
            if whole {
                assert!(Pin::new(&mut lent).poll_frame(&mut cx).is_pending());
            }
            drop(loan);
            assert_eq!(woken.0.load(Relaxed), whole, "who waits for more is told");
            lock(&client.0).push("of the next request".into());
            match (whole, Pin::new(&mut lent).poll_frame(&mut cx)) {
                (true, Poll::Ready(None)) | (false, Poll::Ready(Some(Err(BodyError::Cut)))) => {}
                (_, polled) => panic!("whole: {whole}, {polled:?}"),
            }
        }
    }
}
