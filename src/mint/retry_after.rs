//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date in one of the forms of section
//! 5.6.7.

use std::time::{Duration, SystemTime};

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
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX))
}

/// Longer than this nobody is kept away by one answer.
const MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

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
        for obsolete in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(at(obsolete, 784_111_777 - 90), Some(90), "{obsolete}");
        }
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
