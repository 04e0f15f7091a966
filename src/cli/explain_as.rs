//! `explain --as KEY=VALUE,…`: who would ask, and in which circumstances.

use std::time::{Duration, SystemTime};

use super::failure::Failure;
use super::session;
use crate::client::peer::Users;
use crate::config::wording::meant;
use crate::model::client::{Client, Parent, Process};
use crate::model::id::SessionName;
use crate::policy::Context;

/// What may be said of whoever asks.
const KEYS: [&str; 11] = [
    "command",
    "exe",
    "hour",
    "parent",
    "project",
    "reason",
    "session",
    "session_age",
    "uid",
    "user",
    "weekday",
];

const HINT: &str =
    "as in: valetkey explain --as user=ann,exe=/usr/bin/curl GET https://api.example.com/v1/orders";

/// Whoever is said to ask; what is not said is as for a tool of this user without a session.
#[derive(Debug, Default)]
pub(super) struct Asker {
    user: Option<String>,
    uid: Option<u32>,
    session: Option<String>,
    process: Option<Process>,
    project: Option<String>,
    reason: Option<String>,
    session_age: Option<u64>,
    hour: Option<u64>,
    weekday: Option<u64>,
}

impl Asker {
    /// A part without a key belongs to the value before it, which had a comma.
    pub(super) fn parse(said: &[String]) -> Result<Self, Failure> {
        let mut asker = Self::default();
        for all in said {
            let mut pairs: Vec<(&str, String)> = Vec::new();
            for part in all.split(',') {
                let key = part.split_once('=').filter(|(key, _)| {
                    pairs.is_empty()
                        || key.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b))
                });
                match (key, pairs.last_mut()) {
                    (Some((key, value)), _) => pairs.push((key, value.to_owned())),
                    (None, Some((_, value))) => *value += &format!(",{part}"),
                    (None, None) => return Err(unknown(part)),
                }
            }
            for (key, value) in pairs {
                asker.set(key, value)?;
            }
        }
        Ok(asker)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), Failure> {
        let number = |most: u64| match value.parse() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(no_number(key, &value, most)),
        };
        let process = self.process.take();
        let mut process = process.unwrap_or_else(|| Process {
            pid: 0,
            exe: None,
            command: Vec::new(),
            parent: None,
        });
        match key {
            "command" => process.command = vec![value.into()],
            "exe" => process.exe = Some(value.into()),
            "parent" => process.parent = Some(Parent { pid: 0, exe: Some(value.into()) }),
            "hour" => self.hour = Some(number(23)?),
            "project" => self.project = Some(value),
            "reason" => self.reason = Some(value),
            "session" => self.session = Some(value),
            "session_age" => self.session_age = Some(number(u64::from(u32::MAX))?),
            "uid" => self.uid = number(u64::from(u32::MAX))?.try_into().ok(),
            "user" => self.user = Some(value),
            "weekday" => match number(7)? {
                0 => return Err(no_number(key, &value, 7)),
                day => self.weekday = Some(day),
            },
            _ => return Err(unknown(key)),
        }
        self.process = Some(process);
        Ok(())
    }

    pub(super) fn client(&self) -> Client {
        let users = Users::read();
        let (uid, user) = match (self.uid, &self.user) {
            (None, None) => {
                (Some(rustix::process::getuid().as_raw()), Some(session::user().into()))
            }
            (Some(uid), None) => (Some(uid), users.name(uid)),
            (uid, Some(user)) => (uid.or_else(|| users.uid(user)), Some(user.as_str().into())),
        };
        Client {
            session: self.session.as_deref().map(SessionName::new),
            uid,
            user,
            ..Client::default()
        }
    }

    pub(super) fn context(&self, now: SystemTime) -> Context<'_> {
        let age = self.session_age.or(self.session.as_ref().map(|_| 0));
        Context {
            process: self.process.as_ref(),
            process_unfound: false,
            project: self.project.as_deref(),
            reason: self.reason.as_deref(),
            session_age: age.map(Duration::from_secs),
            now: self.at(now),
        }
    }

    /// The next time that it is this hour of this weekday.
    fn at(&self, now: SystemTime) -> SystemTime {
        const HOUR: u64 = 3600;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR;
        let hour = self.hour.unwrap_or(since % 24);
        let mut days = since / 24;
        // The first day of all was a Thursday, the fourth of its week.
        while self.weekday.is_some_and(|weekday| (days + 3) % 7 + 1 != weekday) {
            days += 1;
        }
        SystemTime::UNIX_EPOCH + Duration::from_secs((days * 24 + hour) * HOUR)
    }
}

fn unknown(key: &str) -> Failure {
    let hint = format!("{}{HINT}; keys: {}", meant(key, KEYS.into_iter()), KEYS.join(", "));
    Failure::usage("explain-as", format!("`--as` knows no such key: {key}"), hint)
}

fn no_number(key: &str, value: &str, most: u64) -> Failure {
    let message = format!("`{key}` is a number, at most {most}, and not {value}");
    Failure::usage("explain-as", message, HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &[&str]) -> Result<Asker, String> {
        let said: Vec<_> = said.iter().map(|text| (*text).to_owned()).collect();
        Asker::parse(&said).map_err(|failure| failure.message)
    }

    #[test]
    fn values_may_have_commas() {
        let asker =
            parse(&["user=ann,exe=/usr/bin/curl", "reason=fix a, b, and c=d,session=run-1"]);
        let asker = asker.unwrap();
        assert_eq!(asker.user.as_deref(), Some("ann"));
        assert_eq!(asker.reason.as_deref(), Some("fix a, b, and c=d"));
        assert_eq!(asker.client().session, Some(SessionName::new("run-1")));
        let context = asker.context(SystemTime::UNIX_EPOCH);
        assert_eq!(context.process.unwrap().exe.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(context.session_age, Some(Duration::ZERO), "just opened");
        assert_eq!(parse(&[]).unwrap().context(SystemTime::UNIX_EPOCH).session_age, None);
    }

    #[test]
    fn what_it_cannot_mean_is_said() {
        for (said, message) in [
            ("curl", "no such key: curl"),
            ("usr=ann", "no such key: usr"),
            ("hour=24", "at most 23"),
            ("weekday=0", "at most 7"),
            ("uid=ann", "is a number"),
            ("", "no such key"),
        ] {
            let error = parse(&[said]).unwrap_err();
            assert!(error.contains(message), "{said}: {error}");
        }
    }

    #[test]
    fn a_time_is_that_hour_of_that_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (hour, weekday) in [(0, 1), (23, 7), (12, 3)] {
            let asker = parse(&[&format!("hour={hour},weekday={weekday}")]).unwrap();
            let recorded = asker.context(now).recorded();
            assert_eq!((&recorded["hour"], &recorded["weekday"]), (&hour.into(), &weekday.into()));
        }
    }
}
