//! Times as people write and read them: in the zone of this machine, "yesterday 20:00", "2h" ago.

use std::time::SystemTime;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};

use super::failure::Failure;
use crate::model::clock::rfc3339_millis;

/// A zone, and what time it is.
#[derive(Clone, Debug)]
pub(super) struct Here {
    zone: TimeZone,
    now: ZonedDateTime,
}

impl Here {
    /// In this machine's zone (`TZ`, `/etc/localtime`), or in UTC.
    pub(super) fn new(utc: bool) -> Self {
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        Self { now: Timestamp::now().to_zoned_datetime(zone.clone()), zone }
    }

    pub(super) fn today(&self) -> Date {
        self.now.date()
    }

    /// The zone as a day's head names it.
    pub(super) fn zone(&self, at: &ZonedDateTime) -> String {
        at.strftime("%Z").to_string()
    }

    /// A record's time, here.
    pub(super) fn of_record(&self, rfc3339: &str) -> Option<ZonedDateTime> {
        let time: Timestamp = rfc3339.parse().ok()?;
        Some(time.to_zoned_datetime(self.zone.clone()))
    }

    /// A record's time as a cell: the time of day, and the day where it is another than today. What
    /// is no time stays as it is.
    pub(super) fn short(&self, rfc3339: &str) -> String {
        match self.of_record(rfc3339) {
            Some(at) if at.date() == self.today() => at.strftime("%H:%M:%S").to_string(),
            Some(at) => at.strftime("%Y-%m-%d %H:%M").to_string(),
            None => rfc3339.to_owned(),
        }
    }

    /// The end of a session that was just opened.
    pub(super) fn end(&self, rfc3339: Option<&str>) -> String {
        rfc3339.map_or_else(|| "the daemon's end".into(), |until| self.short(until))
    }

    /// What a person wrote, as records write it.
    pub(super) fn moment(&self, text: &str) -> Result<String, Failure> {
        self.read(text.trim()).map(rfc3339_millis).ok_or_else(|| {
            let hint = "as in 20:00, yesterday, \"yesterday 20:00\", monday, 2026-11-29, \"2026-11-29 20:00\" \
                        (local), 2h (ago), 2026-11-29T19:00:00Z";
            Failure::usage("bad-time", format!("this is no time: {text}"), hint)
        })
    }

    fn read(&self, text: &str) -> Option<SystemTime> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return SystemTime::try_from(time).ok();
        }
        let ago = text.strip_suffix("ago").unwrap_or(text).trim_end();
        if let Ok(ago) = humantime::parse_duration(ago) {
            return SystemTime::try_from(self.now.timestamp()).ok()?.checked_sub(ago);
        }
        let at = self.civil(&text.to_ascii_lowercase())?;
        // A time that a change of clocks leaves out or has twice: as it would have been before the
        // change.
        SystemTime::try_from(at.to_zoned_datetime(self.zone.clone()).ok()?).ok()
    }

    /// A day, a time of today, or both; with an offset in it, it was no time.
    fn civil(&self, text: &str) -> Option<DateTime> {
        if text == "now" {
            return Some(self.now.datetime());
        }
        let (day, time) = match text.split_once(' ').or_else(|| text.split_once('t')) {
            Some((day, time)) if self.day(day).is_some() => (day, Some(time.trim())),
            _ if self.day(text).is_some() => (text, None),
            _ => ("today", Some(text)),
        };
        let time = match time {
            Some(time) => clock(time)?,
            None => Time::midnight(),
        };
        Some(self.day(day)?.to_datetime(time))
    }

    fn day(&self, text: &str) -> Option<Date> {
        let today = self.today();
        match text {
            "today" => Some(today),
            "yesterday" => today.yesterday().ok(),
            _ => WEEKDAYS
                .iter()
                .position(|name| *name == text || name[..3] == *text)
                .and_then(|wanted| {
                    let now = usize::try_from(today.weekday().to_monday_zero_offset()).ok()?;
                    today.checked_sub(i64::try_from((now + 7 - wanted) % 7).ok()?.days()).ok()
                })
                .or_else(|| text.parse().ok()),
        }
    }
}

/// `8:00`, `20:00`, `20:00:30`.
fn clock(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| {
        let digits = part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i8>().ok().filter(|_| digits)
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// From the last of them, today included.
const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday evening, one hour east of Greenwich; five weeks ago the clocks were set back.
    fn here() -> Here {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now: Timestamp = "2026-11-29T19:30:00Z".parse().unwrap();
        Here { now: now.to_zoned_datetime(zone.clone()), zone }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, time) in [
            ("20:00", "2026-11-29T19:00:00.000Z"),
            ("8:05", "2026-11-29T07:05:00.000Z"),
            ("today", "2026-11-28T23:00:00.000Z"),
            ("yesterday", "2026-11-27T23:00:00.000Z"),
            ("Yesterday 20:00", "2026-11-28T19:00:00.000Z"),
            ("monday", "2026-11-22T23:00:00.000Z"),
            ("sun", "2026-11-28T23:00:00.000Z"),
            ("saturday 20:00", "2026-11-28T19:00:00.000Z"),
            ("2026-11-29", "2026-11-28T23:00:00.000Z"),
            ("2026-11-29 20:00", "2026-11-29T19:00:00.000Z"),
            ("2026-11-29T20:00:30", "2026-11-29T19:00:30.000Z"),
            ("2026-07-01 20:00", "2026-07-01T18:00:00.000Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00.000Z"),
            ("2026-03-29 02:30", "2026-03-29T01:30:00.000Z"),
            ("2026-11-29T19:00:00Z", "2026-11-29T19:00:00.000Z"),
            ("2026-11-29T21:00:00+02:00", "2026-11-29T19:00:00.000Z"),
            ("2026-11-29 21:00+02:00", "2026-11-29T19:00:00.000Z"),
            ("2h", "2026-11-29T17:30:00.000Z"),
            ("90 min ago", "2026-11-29T18:00:00.000Z"),
            ("now", "2026-11-29T19:30:00.000Z"),
        ] {
            assert_eq!(here().moment(text).ok().as_deref(), Some(time), "{text}");
        }
        for text in [
            "",
            "someday",
            "25:00",
            "20",
            "20:60",
            "+8:00",
            "2026-13-01",
            "2026-11-29 20",
            "yesterday at noon",
            "20:00:00:00",
            "99999999999999y",
        ] {
            assert_eq!(here().moment(text).unwrap_err().code, "bad-time", "{text}");
        }
    }

    #[test]
    fn a_cell_names_the_day_where_it_is_another() {
        assert_eq!(here().short("2026-11-29T06:00:00Z"), "07:00:00");
        assert_eq!(here().short("2026-12-01T00:00:00Z"), "2026-12-01 01:00");
        assert_eq!(here().short("never"), "never");
    }
}
