//! `complete-names`: names that only a config, a daemon or this program knows, for whoever presses
//! the tab key: routes, credentials, sessions, codes. What completion scripts know themselves
//! (commands, options, kinds) is not repeated here: exit code 1.
//!
//! A config that is broken, or not trusted, has no names, and nothing is said of it: somebody is
//! typing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory as _};

use super::admin_client::AdminClient;
use super::args::Cli;
use super::failure::{Exit, Failure};
use super::{codes, context, login, printer};
use crate::admin::wire::ListedSession;
use crate::config::Config;
use crate::config::index::Whereabouts;

/// How long somebody who types waits for the daemon.
const TYPIST_PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamesOf {
    /// Those of `explain CODE`.
    Codes,
    Credentials,
    /// Those that people log in for.
    Logins,
    Routes,
    Sessions,
}

#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    names: NamesOf,
    config: Option<PathBuf>,
    /// What stands there by now.
    begun: String,
}

/// `None`: the command line is another one.
pub(super) fn main(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let words: Vec<_> = args.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let [command, line @ ..] = words.as_slice() else { return None };
    if command != "complete-names" {
        return None;
    }
    let line = line.strip_prefix(&["--".to_owned()]).unwrap_or(line);
    let exit = match place(line) {
        Some(place) => say(&place).map_or_else(|failure| failure.exit, |()| Exit::Fine),
        // Told by the exit code: what clap knows belongs there.
        None => Exit::Failed,
    };
    Some(ExitCode::from(exit.code()))
}

fn say(place: &Cursor) -> Result<(), Failure> {
    // Without a config there are no names, and nothing is said.
    let all = names(place).unwrap_or_default();
    let fit = all.into_iter().filter(|name| name.starts_with(&place.begun));
    let lines: String = fit.map(|name| format!("{}\n", printer::plain(&name))).collect();
    printer::bytes(lines.as_bytes())
}

fn names(place: &Cursor) -> Option<BTreeSet<String>> {
    let config = || context::config_quietly(place.config.as_deref());
    Some(match place.names {
        NamesOf::Codes => codes::all().into_iter().map(|code| code.code.to_owned()).collect(),
        NamesOf::Credentials => config()?.credentials.keys().map(ToString::to_string).collect(),
        NamesOf::Logins => login::with_login(&config()?).map(ToString::to_string).collect(),
        NamesOf::Routes => {
            config()?.routes.iter().map(|route| route.value.name.to_string()).collect()
        }
        NamesOf::Sessions => sessions(&config()?).unwrap_or_default(),
    })
}

/// Those that are open, where a daemon runs.
fn sessions(config: &Config) -> Option<BTreeSet<String>> {
    let place = Whereabouts::find(&config.named).unwrap_or_else(|| Whereabouts::of(config));
    let asked = async {
        let mut daemon = AdminClient::connect(&place.socket).await.ok()?;
        daemon.get::<Vec<ListedSession>>("/v1/sessions").await.ok()
    };
    let runtime = context::runtime().ok()?;
    let sessions =
        runtime.block_on(async { tokio::time::timeout(TYPIST_PATIENCE, asked).await.ok() })??;
    Some(sessions.into_iter().map(|listed| listed.session.name).collect())
}

/// What belongs in the place of the last word, by the words before it; `None`: nothing that is ours
/// to know.
fn place(words: &[String]) -> Option<Cursor> {
    let (begun, before) = words.split_last()?;
    let cli = Cli::command();
    let mut command = &cli;
    let mut path = Vec::new();
    let (mut config, mut waiting): (_, Option<&Arg>) = (None, None);
    let mut positions = 0;
    for word in before {
        // Bash gives the sign of `--only=x` as a word of its own.
        if word == "=" && waiting.is_some() {
            continue;
        }
        if let Some(option) = waiting.take() {
            if option.get_id() == "config" {
                config = Some(PathBuf::from(word));
            }
            continue;
        }
        // What follows is another program's.
        if word == "--" || (path == ["run"] && !word.starts_with('-')) {
            return None;
        }
        if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
            if name == "--config" {
                config = Some(PathBuf::from(value));
            }
        } else if word.starts_with('-') {
            waiting = option(&cli, command, word);
        } else if let Some(below) = command.find_subcommand(word) {
            path.push(below.get_name());
            command = below;
        } else {
            positions += 1;
        }
    }
    let begun = begun.as_str();
    let (arg, begun) = match (waiting, begun.split_once('=')) {
        (Some(option), _) => (option, begun.strip_prefix('=').unwrap_or(begun)),
        (None, Some((name, value))) if name.starts_with("--") => {
            (option(&cli, command, name)?, value)
        }
        (None, _) if begun.starts_with('-') => return None,
        (None, _) => (command.get_positionals().nth(positions)?, begun),
    };
    let names = of_arg(&path, arg)?;
    Some(Cursor { names, config, begun: begun.to_owned() })
}

/// An option that waits for its value.
fn option<'a>(cli: &'a Command, command: &'a Command, word: &str) -> Option<&'a Arg> {
    let is_it = |arg: &&Arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| word.ends_with(short)),
    };
    let found = command.get_opts().find(is_it).or_else(|| cli.get_opts().find(is_it))?;
    found.get_action().takes_values().then_some(found)
}

/// What its values are names of.
fn of_arg(path: &[&str], arg: &Arg) -> Option<NamesOf> {
    match (path, arg.get_id().as_str()) {
        (["explain"], "what") => Some(NamesOf::Codes),
        (["login" | "logout"], "credential") => Some(NamesOf::Logins),
        (["credential", "rotate"], "name") | (_, "credential") => Some(NamesOf::Credentials),
        (["session", "end"], "name") | (_, "session") => Some(NamesOf::Sessions),
        (_, "only" | "route") => Some(NamesOf::Routes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<(NamesOf, Option<String>, String)> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let Cursor { names, config, begun } = place(&words)?;
        Some((names, config.map(|path| path.display().to_string()), begun))
    }

    #[test]
    fn knows_where_names_belong() {
        use NamesOf::{Codes, Credentials, Logins, Routes, Sessions};
        for (line, names, config, begun) in [
            ("explain no-", Codes, None, "no-"),
            ("run --only ", Routes, None, ""),
            ("run --only orders --only b", Routes, None, "b"),
            ("run --only=or", Routes, None, "or"),
            ("run --only = or", Routes, None, "or"),
            ("run --only =", Routes, None, ""),
            ("env --only x", Routes, None, "x"),
            ("session open --reason why --only x", Routes, None, "x"),
            ("audit tail --route ", Routes, None, ""),
            ("audit query --credential o", Credentials, None, "o"),
            ("audit query --session r", Sessions, None, "r"),
            ("login ", Logins, None, ""),
            ("--config a.toml login m", Logins, Some("a.toml"), "m"),
            ("login --config=a.toml -v --no-browser m", Logins, Some("a.toml"), "m"),
            ("logout ", Logins, None, ""),
            ("revoke --credential o", Credentials, None, "o"),
            ("revoke --session run-", Sessions, None, "run-"),
            ("session end env-", Sessions, None, "env-"),
            ("credential rotate ", Credentials, None, ""),
        ] {
            let wanted = Some((names, config.map(str::to_owned), begun.to_owned()));
            assert_eq!(found(line), wanted, "{line}");
        }
        for line in [
            "",
            "run ",
            "run -- login ",
            "run curl --only ",
            "run --o",
            "explain GET ",
            "login x ",
            "revoke --user ",
            "placeholder ",
            "session ",
            "trust ",
            "--config ",
            "no-such login ",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }
}
