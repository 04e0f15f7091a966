//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date in the one form that may be sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How long to stay away, at most [`MAX`]; `None` where the field is absent, doubled or malformed.
pub(super) fn parse(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut values = headers.get_all(RETRY_AFTER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number are too many seconds as well.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        date(text)?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX))
}

/// IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn date(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.strip_suffix(" GMT")?.split([' ', ':']);
    let mut next = || parts.next();
    let day: u64 = next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let hour: u64 = next()?.parse().ok().filter(|hour| *hour < 24)?;
    let minute: u64 = next()?.parse().ok().filter(|minute| *minute < 60)?;
    let second: u64 = next()?.parse().ok().filter(|second| *second <= 60)?;
    let days = days_since_1970(year, month, day);
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
}

/// Counting years from March puts the leap day last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Longer than this nobody is kept away by one answer.
const MAX: Duration = Duration::from_secs(3600);
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn at(text: &str, now: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        parse(&headers, UNIX_EPOCH + Duration::from_secs(now)).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates() {
        assert_eq!(at("120", 0), Some(120));
        assert_eq!(at("0", 0), Some(0));
        assert_eq!(at("3600", 0), Some(3600));
        assert_eq!(at("99999999999999999999999", 0), Some(3600));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 90), Some(90));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 90), Some(0));
        assert_eq!(at("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800 - 5), Some(5));
        assert_eq!(at("Thu, 01 Jan 1970 00:00:07 GMT", 0), Some(7));
        for bad in ["", "-1", "soon", "1.5", "06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(at(bad, 0), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[ -~]{0,40}") {
            at(&text, 0);
        }
    }
}
