//! From text to [`Config`], with all problems at once.
//!
//! Each table is deserialised on its own, and again without the offending key, so that one
//! mistake doesn't hide the next.

mod asks;
mod credentials;
mod exec;
mod http;
mod limits;
mod login;
mod oauth;
mod parent;
mod passing;
mod policies;
mod proxy;
mod routes;
mod static_key;
mod tables;
mod together;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::found::MAX_CONFIG;
use super::held::Kept;
use super::load::LoadError;
use super::places::Places;
use super::problem::{Problem, Problems};
pub use static_key::left;
pub use together::parent_is_us;

use super::{Config, Timeouts, file, wording};
use crate::model::hex::hex;
use crate::model::id::CredentialName;

/// Checks `text`, which is the content of `path`.
pub fn parse(
    path: &Path,
    text: &[u8],
    state_dir: PathBuf,
) -> Result<(Config, Vec<Problem>), LoadError> {
    parse_with(path, text, state_dir, &Kept::default())
}

/// The same with other files in the place of some that it has run or believed.
pub(super) fn parse_with(
    path: &Path,
    text: &[u8],
    state_dir: PathBuf,
    kept: &Kept,
) -> Result<(Config, Vec<Problem>), LoadError> {
    let mut problems = Problems::of(path);
    let config = Check::new(path, text, state_dir, kept, &mut problems)
        .and_then(|check| check.run(&mut problems));
    match config {
        Some(mut config) if !problems.any_error() => {
            config.text_sha256 = hex(digest::digest(&digest::SHA256, text).as_ref());
            config.digest.clone_from(&config.text_sha256);
            Ok((config, problems.into_sorted()))
        }
        readable => Err(LoadError::Invalid {
            path: path.to_owned(),
            problems: problems.into_sorted(),
            readable: readable.map(Box::new),
        }),
    }
}

/// A table's text, still with its place.
type Table<'a> = Spanned<DeValue<'a>>;
/// Names of credentials with their lines.
type Names = BTreeMap<CredentialName, usize>;

/// One run over one file.
struct Check<'a> {
    path: &'a Path,
    dir: &'a Path,
    state_dir: PathBuf,
    kept: &'a Kept,
    lines: Lines,
    places: Arc<Places>,
    root: DeTable<'a>,
}

/// Byte offset to line number.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect())
    }

    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|newline| *newline < offset)
    }
}

impl<'a> Check<'a> {
    fn new(
        path: &'a Path,
        text: &'a [u8],
        state_dir: PathBuf,
        kept: &'a Kept,
        problems: &mut Problems,
    ) -> Option<Self> {
        if text.len() as u64 > MAX_CONFIG {
            let message = format!("the config is larger than {MAX_CONFIG} bytes");
            problems.error(
                0,
                "config-too-large",
                message,
                "split it by purpose, one config for each",
            );
            return None;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            problems.error(0, "config-syntax", "the config is not UTF-8", "save it as UTF-8 text");
            return None;
        };
        let lines = Lines::of(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(0, |span| lines.at(span.start));
            problems.error(
                line,
                "config-syntax",
                one_line(error.message()),
                "the file is TOML 1.0: toml.io",
            );
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        let root = root.into_inner();
        let places = Arc::new(Places::of(&root, &|offset| lines.at(offset)));
        problems.place(Arc::clone(&places));
        errors.is_empty().then_some(Self { path, dir, state_dir, kept, lines, places, root })
    }

    fn run(mut self, problems: &mut Problems) -> Option<Config> {
        self.version(problems);
        let proxy = self.table("proxy", problems);
        let ca = self.table("ca", problems);
        let upstream = self.table("upstream", problems);
        let audit = self.table("audit", problems);
        let admin = self.table("admin", problems);
        let logins = self.table("logins", problems);
        let policies = self.table("policy", problems);
        let mut limits: file::LimitsTable = self.table("limits", problems);
        let sessions: Vec<(file::SessionTable, usize)> = self.list("sessions", problems);
        let routes: Vec<(file::RouteTable, usize)> = self.list("routes", problems);
        let (credentials, known) = self.credentials(problems);
        for (key, _) in std::mem::take(&mut self.root) {
            let line = self.lines.at(key.span().start);
            let said = wording::unknown_key(key.get_ref(), &TABLES);
            problems.error(line, said.code, said.message, said.hint);
        }

        let asked = std::mem::take(&mut limits.timeouts);
        let timeouts = self.timeouts(asked, Timeouts::default(), problems);
        let mut routes = self.check_routes(routes, &known, timeouts, problems);
        asks::narrow(&mut routes, &credentials, problems);
        let sessions = self.check_sessions(sessions, &routes, problems);
        let config = Config {
            path: self.path.to_owned(),
            named: self.path.to_owned(),
            digest: String::new(),
            text_sha256: String::new(),
            held: None,
            state: None,
            unexposed: false,
            proxy: self.check_proxy(proxy, problems),
            limits: self.check_limits(limits, timeouts, &sessions, &known, problems),
            sessions,
            ca: self.check_ca(ca, problems),
            upstream: self.check_upstream(upstream, problems),
            audit: self.check_audit(audit, problems),
            admin: self.check_admin(admin, problems),
            logins: self.check_logins(logins),
            policies: self.check_policies(policies, problems),
            credentials,
            routes,
            state_dir: self.state_dir,
            places: self.places,
        };
        together::check(&config, problems);
        Some(config)
    }

    fn version(&mut self, problems: &mut Problems) {
        let hint = "write `config_version = 1` on the first line";
        match self.root.remove("config_version") {
            None => problems.error(1, "config-version", "`config_version` is missing", hint),
            Some(value) if value.get_ref().as_integer().is_some_and(|i| i.as_str() == "1") => {}
            Some(value) => {
                let line = self.lines.at(value.span().start);
                problems.error(
                    line,
                    "config-version",
                    "this program knows config_version = 1 only",
                    hint,
                );
            }
        }
    }

    fn table<T: DeserializeOwned + Default>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> T {
        let Some(value) = self.root.remove(key) else { return T::default() };
        self.read(value, problems).map(|(read, _)| read).unwrap_or_default()
    }

    fn list<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(T, usize)> {
        let Some(value) = self.root.remove(key) else { return Vec::new() };
        let line = self.lines.at(value.span().start);
        let DeValue::Array(array) = value.into_inner() else {
            let hint = format!("write each as a table of its own, headed [[{key}]]");
            problems.error(line, "wrong-type", format!("`{key}` must be a list of tables"), hint);
            return Vec::new();
        };
        array.into_iter().filter_map(|value| self.read(value, problems)).collect()
    }

    /// Reads one table with its line. A key that is wrong is reported, taken out, and the rest is
    /// read again.
    fn read<T: DeserializeOwned>(
        &self,
        value: Table<'a>,
        problems: &mut Problems,
    ) -> Option<(T, usize)> {
        let line = self.lines.at(value.span().start);
        let span = value.span();
        let mut value = value;
        let mut seen = false;
        loop {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return Some((read, line)),
                Err(error) => error,
            };
            // A key that was taken out must not be reported as missing.
            if !(seen && error.message().starts_with("missing field")) {
                self.report(&error, &value, problems);
            }
            seen = true;
            let at = error.span().unwrap_or_default();
            let DeValue::Table(table) = value.get_mut() else { return None };
            let before = table.len();
            let rest = std::mem::take(table).into_iter();
            *table = rest
                .filter(|(key, value)| !overlaps(&key.span(), &at) && !overlaps(&value.span(), &at))
                .collect();
            if table.len() == before || at == span {
                return None;
            }
        }
    }

    fn report(&self, error: &toml::de::Error, table: &Table<'a>, problems: &mut Problems) {
        let table_line = self.lines.at(table.span().start);
        let span = error.span().filter(|span| !span.is_empty());
        let line = span.as_ref().map_or(table_line, |span| self.lines.at(span.start));
        let at = span.and_then(|span| within(table.get_ref(), &span));
        let said = wording::of(&one_line(error.message()), at);
        problems.error(line, said.code, said.message, said.hint);
    }

    /// Names stand in audit, URLs and environment: a small alphabet keeps all readers in agreement.
    fn name(&self, name: &str, line: usize, what: &str, problems: &mut Problems) {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain || name.is_empty() || name.len() > 64 {
            let message = format!("this cannot be a {what}'s name{}", wording::named(name));
            let hint = "1 to 64 letters, digits, `.`, `_` or `-`";
            problems.error(line, "bad-name", message, hint);
        }
    }

    fn line<T>(&self, value: &Spanned<T>) -> usize {
        self.lines.at(value.span().start)
    }

    fn beside_config(&self, path: PathBuf) -> PathBuf {
        self.dir.join(path)
    }

    /// The file itself, or what is used in its place.
    fn held(&self, path: PathBuf) -> PathBuf {
        self.kept.copies.get(&path).cloned().unwrap_or(path)
    }
}

fn overlaps(a: &std::ops::Range<usize>, b: &std::ops::Range<usize>) -> bool {
    !b.is_empty() && a.start < b.end && b.start < a.end
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(" ")
}

/// What a place in a table is.
fn within<'t>(value: &'t DeValue<'_>, span: &std::ops::Range<usize>) -> Option<wording::At<'t>> {
    let DeValue::Table(table) = value else { return None };
    let at = |(key, value): &(&Spanned<Cow<'_, str>>, &Table<'_>)| {
        overlaps(&key.span(), span) || overlaps(&value.span(), span)
    };
    let (key, value) = table.iter().find(at)?;
    let entry = match value.get_ref() {
        DeValue::Array(list) => list.iter().find(|entry| entry.span() == *span),
        _ => None,
    };
    let value = entry.unwrap_or(value).get_ref();
    let here = wording::At { key: key.get_ref().as_ref(), value, is_entry: entry.is_some() };
    Some(within(value, span).unwrap_or(here))
}

/// The keys of the file itself.
const TABLES: [&str; 12] = [
    "config_version",
    "proxy",
    "sessions",
    "ca",
    "upstream",
    "audit",
    "admin",
    "logins",
    "policy",
    "limits",
    "credentials",
    "routes",
];

#[cfg(test)]
mod tests;
