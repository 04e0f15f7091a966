//! `grant = "static-key"`: said aloud, and how old the key may get.

use std::time::{Duration, SystemTime};

use super::Check;
use super::tables::parse_duration;
use crate::config::problem::Problems;
use crate::config::{SecretSource, StaticKey, file};

impl Check<'_> {
    pub(super) fn static_key(
        &self,
        table: file::StaticKeyTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<StaticKey> {
        let hint = "a standing key cannot be attributed and is slow to revoke; use a grant where the issuer has one";
        problems.warn(line, "standing-credential", "this credential is a static key", hint);
        let secret = self.secret(table.secret, line, problems)?;
        let max_age = match table.max_age.as_deref().map(|text| parse_duration(text, 3600)) {
            None => None,
            Some(Ok(age)) => Some(age),
            Some(Err(message)) => {
                let message = format!("`max_age`: {message}");
                problems.error(line, "bad-duration", message, "for example max_age = \"90d\"");
                return None;
            }
        };
        let since = match table.since.as_deref().map(day) {
            None => None,
            Some(Some(since)) => Some(since),
            Some(None) => {
                let message = "`since` takes a day";
                problems.error(line, "bad-date", message, "for example since = \"2026-01-31\"");
                return None;
            }
        };
        if since.is_some() && max_age.is_none() {
            let message = "`since` means nothing without `max_age`";
            problems.error(line, "missing-key", message, "for example max_age = \"90d\"");
            return None;
        }
        if max_age.is_some() && since.is_none() && !matches!(secret, SecretSource::File(_)) {
            let message = "`max_age` needs `since`: only a file shows when it was changed";
            problems.error(line, "missing-key", message, "for example since = \"2026-01-31\"");
            return None;
        }
        Some(StaticKey { secret, max_age, since })
    }
}

/// Midnight, UTC: a day more or less counts for nothing here, and nobody knows the hour.
fn day(text: &str) -> Option<SystemTime> {
    (text.len() == 10).then(|| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok())?
}

/// How much of a key's age is left; `None`: nothing.
pub fn left(key: &StaticKey, changed: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let Some(max_age) = key.max_age else { return Some(Duration::MAX) };
    // A key whose age cannot be told, or that is from the future, is refused: a bound that fails
    // open bounds nothing.
    let age = now.duration_since(key.since.or(changed)?).ok()?;
    max_age.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;

    #[test]
    fn ages_are_bounded_by_what_can_be_seen() {
        let config = |keys: &str| {
            format!(
                "config_version = 1\n[credentials.x]\ngrant = \"static-key\"\n{keys}\n[[routes]]\nname = \"x\"\nhost = \"api.x.example\"\ncredential = \"x\"\n"
            )
        };
        for (keys, code) in [
            ("secret = { env = \"A\" }\nmax_age = \"90d\"", "missing-key"),
            ("secret = { file = \"a\" }\nmax_age = \"soon\"", "bad-duration"),
            ("secret = { file = \"a\" }\nsince = \"2026-01-31\"", "missing-key"),
            ("secret = { env = \"A\" }\nmax_age = \"90d\"\nsince = \"31.1.2026\"", "bad-date"),
            ("secret = { env = \"A\" }\nmax_age = \"90d\"\nsince = \"2026-02-31\"", "bad-date"),
        ] {
            assert!(codes(&config(keys)).iter().any(|(_, found)| *found == code), "{keys}");
        }
        for keys in [
            "secret = { env = \"A\" }\nmax_age = \"90d\"\nsince = \"2026-01-31\"",
            "secret = { file = \"a\" }\nmax_age = \"90d\"",
        ] {
            assert!(super::super::tests::load(&config(keys)).is_ok(), "{keys}");
        }
    }
}
