//! `env`: the variables that `run` would set, as statements that a shell evaluates, with a
//! session of eight hours that survives the daemon; `--unset` takes them away again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde::Serialize;

use super::admin_client::{AdminClient, AdminError};
use super::args::{Env, Shell};
use super::environment::Environment;
use super::failure::{Failure, chain};
use super::given::{Given, SessionOfShell};
use super::join::Stay;
use super::local_time::Here;
use super::session;
use super::{context, decided, printer, shell};
use crate::admin::wire::SessionKind;
use crate::daemon;
use crate::model::hint::config_flag;

/// What a daemon says of a session that is gone.
const UNKNOWN_SESSION: &str = "unknown-session";

#[derive(Serialize)]
struct EnvReport<'a> {
    set: BTreeMap<&'a str, std::borrow::Cow<'a, str>>,
    unset: Vec<&'a str>,
    until: Option<&'a str>,
}

pub(super) fn run(args: &Env, explicit: Option<&Path>, verbose: u8) -> Result<(), Failure> {
    let runtime = context::runtime()?;
    if args.unset {
        return runtime.block_on(unset(args));
    }
    let config = context::config(explicit)?;
    context::say_which(explicit);
    runtime.block_on(async {
        let mut open =
            session::begin(&config, Stay::Forever, SessionKind::Env, &args.purpose).await?;
        decided::say(verbose, explicit, &config, &open);
        open.say_warnings();
        let session = SessionOfShell {
            name: open.name.clone(),
            config: config.named.clone(),
            state_dir: config.state_dir.clone(),
            socket: config.admin.socket.clone(),
        };
        Given::read(&inherited).and(session, &mut open.environment.set, &inherited);
        warn_of_secrets(&open.environment);
        if args.json {
            return printer::json(&EnvReport {
                set: (open.environment.set.iter())
                    .map(|(name, value)| (name.as_str(), value.to_string_lossy()))
                    .collect(),
                unset: Vec::new(),
                until: open.until.as_deref(),
            });
        }
        let shell = dialect(args);
        let mut script = Vec::new();
        for (name, value) in &open.environment.set {
            script.extend(shell.export(name, value));
        }
        printer::bytes(&script)?;
        let until = Here::new(false).end(open.until.as_deref());
        printer::note(&format!("a session is open until {until}; `valetkey env --unset` ends it"));
        Ok(())
    })
}

/// The user's own shell keeps what it has: whoever set a secret there may need it to restart the
/// daemon. `run` removes it from what it starts.
fn warn_of_secrets(environment: &Environment) {
    let held: Vec<&str> = (environment.remove.iter())
        .map(String::as_str)
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if !held.is_empty() {
        printer::warn(
            "secret-in-shell",
            &format!("tools started in this shell can read a secret: {}", held.join(", ")),
            "unset it here once the daemon runs, or keep it in a file: secret = { file = … }",
        );
    }
}

/// Ends every session that this shell was given, and gives it back what its variables were before.
async fn unset(args: &Env) -> Result<(), Failure> {
    let given = Given::read(&inherited);
    let mut left = Vec::new();
    for session in &given.sessions {
        if let Err(failure) = end_session(session).await {
            left.push((session, failure));
        }
    }
    let before = given.restored();
    if args.json {
        let set = before
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?.to_string_lossy())));
        let unset =
            before.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str());
        printer::json(&EnvReport { set: set.collect(), unset: unset.collect(), until: None })?;
    } else {
        let shell = dialect(args);
        let names = before.iter().filter(|(name, _)| shell::is_name(name));
        let script = names.flat_map(|(name, value)| match value {
            Some(value) => shell.export(name, value),
            None => shell.unset(name),
        });
        printer::bytes(&script.collect::<Vec<u8>>())?;
    }
    match left.as_slice() {
        [] if given.sessions.is_empty() => Err(Failure::failed(
            "env-not-set",
            "this shell has no variables of `valetkey env`",
            "nothing to do; `valetkey session list` shows what is open",
        )),
        [] => {
            printer::note(&format!("ended: {}", given.names()));
            Ok(())
        }
        [(session, failure), ..] => Err(Failure::failed(
            "session-still-open",
            format!("the session {} could not be ended: {}", session.name, failure.message),
            format!("valetkey session end {}{}", session.name, config_flag(&session.config)),
        )),
    }
}

/// By the daemon, or where none runs in what the next one finds. One that is gone already is as
/// good.
async fn end_session(session: &SessionOfShell) -> Result<(), Failure> {
    match AdminClient::connect(&session.socket).await {
        Ok(mut daemon) => match daemon.close(&session.name).await {
            Err(AdminError::Refused { code, .. }) if code == UNKNOWN_SESSION => Ok(()),
            other => Ok(other?),
        },
        Err(AdminError::Absent { .. }) => daemon::end_at_rest(&session.state_dir, &session.name)
            .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint())),
        Err(error) => Err(error.into()),
    }
}

fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn dialect(args: &Env) -> Shell {
    let users = std::env::var_os("SHELL");
    args.shell.unwrap_or_else(|| Shell::of_user(users.as_deref().map(OsStr::new)))
}
