//! `[limits]` and `rate_limit` of routes.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{Check, Names};
use crate::config::problem::Problems;
use crate::config::{Limits, PresharedSession, Rate, Timeouts, file, wording};
use crate::model::id::{CredentialName, SessionName};

impl Check<'_> {
    pub(super) fn check_limits(
        &self,
        table: file::LimitsTable,
        timeouts: Timeouts,
        sessions: &[PresharedSession],
        credentials: &Names,
        problems: &mut Problems,
    ) -> Limits {
        let per_client = table.per_client.and_then(|value| self.rate(&value, problems));
        let known: Vec<_> = sessions.iter().map(|session| session.name.as_str()).collect();
        let sessions = self.rates(table.sessions, "session", &known, SessionName::new, problems);
        let known: Vec<_> = credentials.keys().map(|credential| credential.as_str()).collect();
        let credentials =
            self.rates(table.credentials, "credential", &known, CredentialName::new, problems);
        let body = table.body.and_then(|value| self.size(&value, problems));
        Limits { per_client, sessions, credentials, body, timeouts }
    }

    /// What is not said is as in `usual`.
    pub(super) fn timeouts(
        &self,
        table: file::TimeoutsTable,
        usual: Timeouts,
        problems: &mut Problems,
    ) -> Timeouts {
        let file::TimeoutsTable { head, idle, stall } = table;
        Timeouts {
            head: self.duration(head, usual.head, 1, problems),
            idle: self.duration(idle, usual.idle, 1, problems),
            stall: self.duration(stall, usual.stall, 1, problems),
        }
    }

    fn size(&self, value: &Spanned<String>, problems: &mut Problems) -> Option<u64> {
        let size = value.get_ref().parse::<bytesize::ByteSize>().ok();
        if size.is_none() {
            let hint = "a number of bytes: \"512KiB\", \"64MiB\", \"2GiB\"";
            problems.error(self.line(value), "bad-size", "this is not a size", hint);
        }
        size.map(|size| size.as_u64())
    }

    fn rates<T: Ord>(
        &self,
        table: BTreeMap<Spanned<String>, Spanned<String>>,
        what: &str,
        known: &[&str],
        named: impl Fn(String) -> T,
        problems: &mut Problems,
    ) -> BTreeMap<T, Rate> {
        let mut rates = BTreeMap::new();
        for (name, value) in table {
            if !known.contains(&name.get_ref().as_str()) {
                let message =
                    format!("a limit names a {what} that does not exist: `{}`", name.get_ref());
                let meant = wording::meant(name.get_ref(), known.iter().copied());
                let hint = format!("{meant}add the {what} or correct the name");
                problems.error(self.line(&name), "unknown-limit", message, hint);
            }
            if let Some(rate) = self.rate(&value, problems) {
                rates.insert(named(name.into_inner()), rate);
            }
        }
        rates
    }

    pub(super) fn rate(&self, value: &Spanned<String>, problems: &mut Problems) -> Option<Rate> {
        let rate = Rate::parse(value.get_ref());
        if rate.is_none() {
            let hint = "a number from 1 to 1000000 over a time: \"100/s\", \"60/m\", \"1000/h\"";
            let message = format!("this is not a rate{}", wording::named(value.get_ref()));
            problems.error(self.line(value), "bad-rate", message, hint);
        }
        rate
    }
}
