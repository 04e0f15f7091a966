//! One timer for all the waits of a connection. Setting a timer for each request costs more than
//! judging it; this one is set anew only when it fires or when an earlier end is asked for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The timer stands at most this far ahead: waits of this length or more never move it.
const AHEAD: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Watchdog {
    sleep: Option<Pin<Box<Sleep>>>,
    end: Option<Instant>,
}

impl Watchdog {
    /// From now on, the wait under way ends after `patience`.
    pub(super) fn expect(&mut self, patience: Duration) {
        self.end = Some(Instant::now() + patience);
    }

    /// The wait under way ends at `end`.
    pub(super) fn expect_by(&mut self, end: Instant) {
        self.end = Some(end);
    }

    pub(super) fn rest(&mut self) {
        self.end = None;
    }

    /// Resolves when the wait is over its time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.end else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(AHEAD)));
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            if now >= end {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end.min(now + AHEAD));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn ends_the_last_wait_and_no_other() {
        let mut watchdog = Watchdog::default();
        let start = Instant::now();
        for patience in [300, 120, 10, 500] {
            watchdog.expect(Duration::from_secs(patience));
            let begun = Instant::now();
            poll_fn(|cx| watchdog.poll(cx)).await;
            assert_eq!(begun.elapsed().as_secs(), patience);
        }
        assert_eq!(start.elapsed().as_secs(), 930);
    }
}
