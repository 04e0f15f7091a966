//! `env`: the variables that `run` would set, as statements that a shell evaluates, with a
//! session of eight hours that survives the daemon; `--unset` takes them away again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;

use super::admin_client::AdminClient;
use super::args::{Env, Shell};
use super::environment::{self, Environment};
use super::failure::Failure;
use super::join::Stay;
use super::session::{self, Kind};
use super::{context, printer, shell};
use crate::config::Config;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    set: BTreeMap<&'a str, std::borrow::Cow<'a, str>>,
    unset: Vec<&'a str>,
    until: Option<&'a str>,
}

pub(super) fn run(args: &Env, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    let runtime = context::runtime()?;
    if args.unset {
        return runtime.block_on(unset(args, &config));
    }
    runtime.block_on(async {
        let open = session::begin(&config, Stay::Forever, Kind::Env, &args.purpose).await?;
        open.say_warnings();
        warn_of_secrets(&open.environment);
        if args.json {
            return printer::json(&Report {
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
        let until = open.until.as_deref().unwrap_or("the daemon's end");
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

async fn unset(args: &Env, config: &Config) -> Result<(), Failure> {
    end_session(config).await;
    let routes = config.routes.iter().flat_map(|route| route.value.env.keys());
    let names = environment::names(routes.map(String::as_str));
    if args.json {
        let unset = names.into_iter().collect();
        return printer::json(&Report { set: BTreeMap::new(), unset, until: None });
    }
    let shell = dialect(args);
    let script: Vec<u8> = names
        .into_iter()
        .filter(|name| shell::is_name(name))
        .flat_map(|name| shell.unset(name))
        .collect();
    printer::bytes(&script)
}

/// Ends the session that this shell's proxy variable names, if it is one of ours and lives.
async fn end_session(config: &Config) {
    let Some(name) = std::env::var("HTTPS_PROXY").ok().and_then(|url| session_in(&url)) else {
        return;
    };
    if let Ok(mut daemon) = AdminClient::connect(&config.admin.socket).await {
        // Gone already is as good.
        let _ = daemon.close(&name).await;
    }
}

/// The session's name in a proxy URL of `env`.
fn session_in(url: &str) -> Option<String> {
    let (userinfo, _) = url.strip_prefix("http://")?.split_once('@')?;
    let name = userinfo.split(':').next()?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain && name.starts_with("env-")).then(|| name.to_owned())
}

fn dialect(args: &Env) -> Shell {
    let users = std::env::var_os("SHELL");
    args.shell.unwrap_or_else(|| Shell::of_user(users.as_deref().map(OsStr::new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_session_only() {
        let name = session_in("http://env-01ab:secret@127.0.0.1:8383");
        assert_eq!(name.as_deref(), Some("env-01ab"));
        for url in ["http://127.0.0.1:8383", "http://ci:x@h:1", "http://env-/x:y@h:1", ""] {
            assert_eq!(session_in(url), None, "{url}");
        }
    }
}
