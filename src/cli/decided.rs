//! What `run` and `env` decided, on stderr: `-v` in a few lines, `-vv` each variable. No value of a
//! placeholder, of a session's secret or of what the user's own variables held is among them, but
//! for hosts of `NO_PROXY`.

use std::ffi::OsStr;
use std::path::Path;

use super::join::Joined;
use super::printer;
use super::session::ToolSession;
use crate::config::search::{self, By};
use crate::config::{Config, Route};

/// More routes than this are counted, unless all is asked for.
const MAX_ROUTES: usize = 20;
/// Where what is ours begins in it; what the user has there stands before.
const JAVA_OPTIONS: (&str, &str) = ("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=");

/// Says so, as often as `-v` was given.
pub(super) fn say(verbose: u8, explicit: Option<&Path>, config: &Config, open: &ToolSession) {
    let often = usize::from(verbose.min(2));
    let all = [lines(explicit, config, open, often > 1), variables(open)];
    all.iter().take(often).flatten().for_each(|line| printer::note(line));
}

fn lines(explicit: Option<&Path>, config: &Config, open: &ToolSession, whole: bool) -> Vec<String> {
    let facts = &open.facts;
    let joined = match facts.joined {
        Joined::Found => "was there",
        Joined::Started => "started for this",
    };
    let until = open.until.as_deref().map_or("its command ends".to_owned(), str::to_owned);
    let mut lines = vec![
        format!("config: {} ({})", config.named.display(), why(explicit)),
        format!("state: {}", config.state_dir.display()),
        format!("daemon: process {} at {}, {joined}", facts.pid, open.proxy),
        format!("session: {}, until {until}", open.name),
    ];
    lines.extend(facts.parent.as_ref().map(|parent| format!("parent proxy: {parent}")));
    let most = if whole { usize::MAX } else { MAX_ROUTES };
    let routes = || config.routes.iter().map(|route| &route.value);
    lines.extend(routes().take(most).map(|route| shown(route, open)));
    if let Some(more @ 1..) = config.routes.len().checked_sub(most) {
        lines.push(format!("and {more} routes more: -vv"));
    }
    lines.push(format!("trust: {}", facts.bundle.display()));
    let (set, removed) = (&open.environment.set, &open.environment.remove);
    let names = |names: &mut dyn Iterator<Item = &String>| {
        names.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    lines.push(format!("variables set: {}", names(&mut set.keys())));
    if !removed.is_empty() {
        lines.push(format!("variables removed: {}", names(&mut removed.iter())));
    }
    lines
}

/// Why it is this config and no other.
fn why(explicit: Option<&Path>) -> &'static str {
    match search::candidates(explicit).chosen.map(|chosen| chosen.by) {
        Some(By::Flag) => "by --config",
        Some(By::Variable) => "by VALETKEY_CONFIG",
        Some(By::Home) => "your own: no other is named or nearer",
        Some(By::Project) => "the project's own, as it was trusted",
        None => "it is gone by now",
    }
}

fn shown(route: &Route, open: &ToolSession) -> String {
    let gets = match (&route.credential, route.deny) {
        (_, true) => "refused".to_owned(),
        (Some(credential), false) => format!("token of `{credential}`"),
        (None, false) => "passes without a token".to_owned(),
    };
    let given = |name: &&String| open.facts.placeholders.contains(*name);
    let sets: Vec<_> = route.env.keys().filter(given).map(String::as_str).collect();
    let sets = match sets.as_slice() {
        [] => String::new(),
        names => format!(", sets {}", names.join(" ")),
    };
    format!("route {}: {}:{}: {gets}{sets}", route.name, route.host, route.port)
}

/// One line a variable.
fn variables(open: &ToolSession) -> Vec<String> {
    let (set, removed) = (&open.environment.set, &open.environment.remove);
    let set = set.iter().map(|(name, value)| {
        let was = if std::env::var_os(name).is_some() { " (was set before)" } else { "" };
        format!("set {name}={}{was}", value_shown(name, value, open))
    });
    let was_there = |name: &&String| std::env::var_os(name).is_some();
    let removed = removed.iter().filter(was_there).map(|name| format!("removed {name}"));
    set.chain(removed).collect()
}

fn value_shown(name: &str, value: &OsStr, open: &ToolSession) -> String {
    if open.facts.placeholders.contains(name) {
        return "<placeholder>".to_owned();
    }
    let value = value.to_string_lossy();
    if name == JAVA_OPTIONS.0 {
        let at = value.find(JAVA_OPTIONS.1).unwrap_or_default();
        let theirs = if at > 0 { "<yours> " } else { "" };
        return format!("{theirs}{}", &value[at..]);
    }
    without_password(&value)
}

/// A URL with its password masked.
fn without_password(value: &str) -> String {
    let masked = || {
        let (scheme, rest) = value.split_once("://")?;
        let (login, host) = rest.rsplit_once('@')?;
        let user = login.split(':').next()?;
        Some(format!("{scheme}://{user}:****@{host}"))
    };
    masked().unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        assert_eq!(without_password("http://run-1:s@cret@h:1"), "http://run-1:****@h:1");
        assert_eq!(without_password("/a/b@c"), "/a/b@c");
    }
}
