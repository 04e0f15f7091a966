//! Whether a client's HTTP/2 connection lives, without taking a reader that pauses for one that is
//! gone. The library asks by PING on a clock of its own; a client whose program waits for its own
//! output reads nothing then, and does not answer. So that clock stands still while an answer is
//! under way, as long as a client may take nothing of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

/// What moves on one connection.
pub(super) struct Pulse {
    begun: Instant,
    /// Milliseconds from then to when something of a request or an answer was last seen to move.
    moved: AtomicU64,
    /// Requests whose answer has not been handed over to its end.
    open: AtomicUsize,
    /// How long a client may take nothing.
    stall: Duration,
    /// Bytes that the kernel took.
    taken: Arc<AtomicU64>,
    /// Called where it took nothing for that long.
    give_up: Box<dyn Fn() + Send + Sync>,
}

impl Pulse {
    pub(super) fn new(
        stall: Duration,
        taken: Arc<AtomicU64>,
        give_up: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (moved, open) = Default::default();
        let give_up = Box::new(give_up);
        Arc::new(Self { begun: Instant::now(), moved, open, stall, taken, give_up })
    }

    pub(super) fn moves(&self) {
        let since = self.begun.elapsed().as_millis();
        self.moved.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn has_open(&self, streams: usize) {
        self.open.store(streams, Relaxed);
    }

    /// Until when silence means nothing.
    fn quiet_until(&self) -> Option<Instant> {
        let moved = self.begun + Duration::from_millis(self.moved.load(Relaxed));
        let end = moved + self.stall;
        (self.open.load(Relaxed) > 0 && end > Instant::now()).then_some(end)
    }
}

/// The library's clock.
#[derive(Clone)]
pub(super) struct Patient(pub(super) Arc<Pulse>);

struct Nap {
    inner: Pin<Box<tokio::time::Sleep>>,
    pulse: Arc<Pulse>,
}

impl Timer for Patient {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until((Instant::now() + duration).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        let inner = Box::pin(tokio::time::sleep_until(deadline.into()));
        Box::pin(Nap { inner, pulse: Arc::clone(&self.0) })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl Sleep for Nap {}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.inner.as_mut().poll(cx));
            let Some(end) = self.pulse.quiet_until() else { return Poll::Ready(()) };
            self.inner.as_mut().reset(end);
        }
    }
}

/// Measures how long the kernel takes nothing of what is written.
pub(super) struct Stuck {
    pulse: Arc<Pulse>,
    /// Bytes that it had taken when the wait began, and its end.
    since: Option<(u64, Pin<Box<tokio::time::Sleep>>)>,
}

impl Stuck {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, since: None }
    }

    /// All that was written is in the kernel's hands.
    pub(super) fn is_over(&mut self) {
        self.since = None;
    }

    /// Something waits. Ready: for too long. What TLS took into its own buffer is no progress.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let taken = self.pulse.taken.load(Relaxed);
        let end = Instant::now() + self.pulse.stall;
        let (before, sleep) =
            self.since.get_or_insert_with(|| (taken, Box::pin(tokio::time::sleep_until(end))));
        if *before != taken {
            *before = taken;
            sleep.as_mut().reset(end);
        }
        ready!(sleep.as_mut().poll(cx));
        (self.pulse.give_up)();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn pulse() -> Arc<Pulse> {
        Pulse::new(Duration::from_secs(120), Arc::default(), || {})
    }

    async fn slept(pulse: &Arc<Pulse>, seconds: u64) -> u64 {
        let begun = Instant::now();
        Patient(Arc::clone(pulse)).sleep(Duration::from_secs(seconds)).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_an_answer_waits() {
        let pulse = pulse();
        assert_eq!(slept(&pulse, 60).await, 60);
        pulse.has_open(1);
        pulse.moves();
        assert_eq!(slept(&pulse, 60).await, 120, "a reader that pauses");
        assert_eq!(slept(&pulse, 20).await, 20, "for too long");
        pulse.moves();
        pulse.has_open(0);
        assert_eq!(slept(&pulse, 60).await, 60, "with nothing to wait for");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_the_kernel_takes_is_progress() {
        let pulse = pulse();
        let mut stuck = Stuck::new(Arc::clone(&pulse));
        let begun = Instant::now();
        for _ in 0..3 {
            let wait = tokio::time::timeout(Duration::from_secs(50), poll_fn(|cx| stuck.poll(cx)));
            // What TLS holds makes no difference.
            if wait.await.is_ok() {
                break;
            }
        }
        assert_eq!(begun.elapsed().as_secs(), 120);
        stuck.is_over();
        let begun = Instant::now();
        for _ in 0..3 {
            let wait = tokio::time::timeout(Duration::from_secs(100), poll_fn(|cx| stuck.poll(cx)));
            assert!(wait.await.is_err());
            pulse.taken.fetch_add(1, Relaxed);
        }
        poll_fn(|cx| stuck.poll(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 420);
    }
}
