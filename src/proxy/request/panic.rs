//! A panic while one request is served is that request's error and nobody else's (invariant I12).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Resolves to `None` when the inner future panics.
pub struct Caught<F>(pub Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the future is never polled again, only dropped.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_that_requests_alone() {
        // As two streams of one connection: polled by one task, in turn.
        async fn fails() -> u16 {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }
        let lost = Caught(Box::pin(fails()));
        let neighbour = Caught(Box::pin(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            200
        }));
        assert_eq!(tokio::join!(lost, neighbour), (None, Some(200)));
    }
}
