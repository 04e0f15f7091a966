//! Time by two clocks. The monotonic clock stands still while a laptop sleeps, and the wall
//! clock can be set back; an end that either of them has reached is reached.

use std::time::{Duration, Instant, SystemTime};

/// One instant, read from both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What a calendar says; may jump.
    pub wall: SystemTime,
    /// What a stopwatch says; may stand still during suspend.
    pub mono: Instant,
}

/// Where moments come from: the system, or a hand-moved clock in tests.
pub trait Clock: Send + Sync {
    /// The present, by both clocks.
    fn now(&self) -> Moment;

    /// The stopwatch alone: half the price, for what is only measured.
    fn mono(&self) -> Instant {
        self.now().mono
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::now(), mono: Instant::now() }
    }

    fn mono(&self) -> Instant {
        Instant::now()
    }
}

/// An end that has come as soon as either clock says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    wall: SystemTime,
    mono: Instant,
}

impl Deadline {
    /// `life` after `now`. A life too long for a clock to hold counts as 10 years.
    pub fn after(now: Moment, life: Duration) -> Self {
        let life = life.min(Duration::from_secs(10 * 365 * 24 * 3600));
        Self { wall: now.wall + life, mono: now.mono + life }
    }

    /// Whether either clock has reached it.
    pub fn passed(&self, now: Moment) -> bool {
        now.wall >= self.wall || now.mono >= self.mono
    }

    /// What is left by the clock that is nearer to it; zero once passed.
    pub fn remaining(&self, now: Moment) -> Duration {
        let wall = self.wall.duration_since(now.wall).unwrap_or_default();
        wall.min(self.mono.saturating_duration_since(now.mono))
    }

    /// The end as a calendar would write it, for people and audit records.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }
}

/// RFC 3339 in UTC with milliseconds, for records.
pub fn rfc3339_millis(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(writable(time)).to_string()
}

/// RFC 3339 in UTC with whole seconds, for people.
pub fn rfc3339_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(writable(time)).to_string()
}

/// Times that are written one after the other, RFC 3339 with milliseconds: the second is the last
/// one's, as a rule, and then only three digits are made anew.
#[derive(Debug, Default)]
pub struct Stamps {
    /// Seconds since 1970 that `text` says.
    second: Option<u64>,
    /// Its milliseconds are written over: `2026-01-31T23:59:59.000Z`.
    text: String,
}

impl Stamps {
    /// As [`rfc3339_millis`], which it calls where the second is not the last one's.
    pub fn millis(&mut self, time: SystemTime) -> &str {
        let since = writable(time).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.text = rfc3339_millis(time);
            self.second = Some(since.as_secs());
        }
        let millis = since.subsec_millis();
        self.text.truncate("2026-01-31T23:59:59.".len());
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            self.text.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        self.text.push('Z');
        &self.text
    }
}

/// Four digits hold no other year: a clock set before 1970 or after 9999 is shown at these ends,
/// where writing it as it is would panic.
fn writable(time: SystemTime) -> SystemTime {
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND_OF_9999);
    time.clamp(SystemTime::UNIX_EPOCH, latest)
}

const LAST_SECOND_OF_9999: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_says_what_the_calendar_says() {
        let mut stamps = Stamps::default();
        for millis in
            [0, 1, 999, 1_000, 1_010, 1_000, 86_399_999, 253_402_300_799_999, 253_402_300_900_000]
        {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(stamps.millis(time), rfc3339_millis(time));
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(stamps.millis(before), rfc3339_millis(before));
    }

    #[test]
    fn writing_a_time_never_panics() {
        assert_eq!(rfc3339_millis(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339_seconds(before), "1970-01-01T00:00:00Z");
        let after = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND_OF_9999 + 5);
        assert_eq!(rfc3339_millis(after), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn either_clock_ends_it() {
        let now = SystemClock.now();
        let end = Deadline::after(now, Duration::from_secs(60));
        let later = Duration::from_secs(61);
        assert!(!end.passed(now));
        assert!(end.passed(Moment { wall: now.wall + later, mono: now.mono }));
        assert!(end.passed(Moment { wall: now.wall - later * 1000, mono: now.mono + later }));
        assert_eq!(
            end.remaining(Moment { wall: now.wall + later, mono: now.mono }),
            Duration::ZERO
        );
    }
}
