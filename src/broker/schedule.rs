//! When to mint: ahead of a token's end, and how long to wait after a failure. Pure.

use std::time::Duration;

use crate::model::clock::{Deadline, Moment};
use crate::model::id::random_bytes;
use crate::model::token::Token;

/// When a token is minted anew while it still serves: at 80 to 85 % of what is left of its life,
/// so that tokens minted together are not all renewed together.
pub(super) fn refresh_at(token: &Token, now: Moment, jitter: f64) -> Deadline {
    Deadline::after(now, token.end().remaining(now).mul_f64(0.80 + 0.05 * jitter))
}

/// How long nobody asks the issuer after `failures` failures in a row: 1 s doubling to 24 s, and
/// up to a quarter more, so at most one call a second and never more than 30 s; but at least what
/// the issuer asked for.
pub(super) fn delay(failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(LONGEST);
    doubled.mul_f64(1.0 + 0.25 * jitter).max(retry_after.unwrap_or_default())
}

/// A random number from 0 to 1.
pub(super) fn jitter() -> f64 {
    f64::from(random_bytes()[0]) / 255.0
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_up_to_half_a_minute() {
        let seconds: Vec<_> = (1..=7).map(|n| delay(n, None, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 24, 24]);
        assert_eq!(delay(99, None, 1.0), Duration::from_secs(30));
        assert_eq!(delay(1, Some(Duration::from_secs(3600)), 1.0), Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(failures: u32, jitter in 0.0..=1.0) {
            let delay = delay(failures, None, jitter);
            prop_assert!(delay >= FIRST && delay <= Duration::from_secs(30));
        }
    }
}
