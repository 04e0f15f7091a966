//! Floor 8: what a person touches. A command becomes an exit code.
//!
//! One file per command; `args` holds the clap types, `printer` is the only place that prints,
//! `failure` is how every command says why it didn't do what it was asked.

mod admin_client;
mod args;
mod audit;
mod audit_advice;
mod audit_brief;
mod audit_failure;
mod audit_inventory;
mod audit_line;
mod audit_search;
mod believed;
mod bench;
mod bundles;
mod ca;
mod check;
mod check_online;
mod check_places;
mod check_running;
mod check_secrets;
mod child;
pub mod codes;
mod command_line;
mod complete_names;
mod completions;
mod context;
mod credential;
mod decided;
mod demo;
mod env;
mod environment;
mod explain;
mod explain_as;
mod failure;
mod given;
mod init;
mod join;
mod life;
mod local_time;
mod login;
mod logout;
mod meant;
mod no_proxy;
mod placeholder;
mod platform;
mod printer;
mod revoke;
mod run;
mod schema;
mod serve;
mod session;
mod sessions;
mod shell;
mod status;
mod table;
mod terminal;
mod trust;
mod trust_summary;
mod trusted;
mod unfit;
mod unreached;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, Policy};
use failure::{Exit, Failure};
use platform::Keeper;

use crate::store::watch;

/// Reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    // The daemon starts this program beside each helper.
    if let Some(code) = watch::main(std::env::args_os()) {
        return code;
    }
    // Completion scripts ask it; nobody types it, so it is none of the commands that they complete.
    if let Some(code) = complete_names::main(std::env::args_os()) {
        return code;
    }
    // Before anything of ours is in memory that others of our user must not read.
    let keeper = Keeper::begin(names_run(std::env::args_os()));
    let exit = match Cli::try_parse() {
        Ok(cli) => finish(run(cli, &keeper)),
        Err(error) => usage(&error),
    };
    ExitCode::from(exit.code())
}

fn finish(result: Result<Exit, Failure>) -> Exit {
    result.unwrap_or_else(|failure| {
        printer::failure(&failure);
        failure.exit
    })
}

fn run(cli: Cli, keeper: &Keeper) -> Result<Exit, Failure> {
    terminal::choose(cli.color);
    printer::name_config(cli.config.as_deref());
    let config = cli.config.as_deref();
    match cli.command {
        Command::Audit(args) => audit::run(&args, config),
        Command::Bench(args) => bench::run(&args, config),
        Command::Ca(args) => ca::run(&args, config),
        Command::Check(args) => check::run(&args, config),
        Command::Completions(args) => completions::run(&args),
        Command::Credential(args) => credential::run(&args, config),
        Command::Demo(args) => demo::run(&args),
        Command::Env(args) => env::run(&args, config, cli.verbose),
        Command::Explain(args) => explain::run(&args, config),
        Command::Init(args) => init::run(&args, config),
        Command::Placeholder(args) => placeholder::run(&args),
        Command::Logs(args) => life::logs(&args, config),
        Command::Ps(args) => life::ps(&args),
        Command::Restart => life::restart(config),
        Command::Stop => life::stop(config),
        Command::Login(args) => login::run(&args, config),
        Command::Logout(args) => logout::run(&args, config),
        Command::Revoke(args) => revoke::run(&args, config),
        Command::Run(args) => return run::run(&args, config, cli.verbose, keeper),
        Command::Policy(Policy::Schema) => schema::policy(),
        Command::Schema => schema::run(),
        Command::Serve(args) => serve::run(&args, config, cli.verbose),
        Command::Session(args) => sessions::run(&args, config),
        Command::Status(args) => status::run(&args, config),
        Command::Trust(args) => trust::run(&args, cli.verbose),
    }
    .map(|()| Exit::Fine)
}

/// `--help`, `--version` and what clap could not read.
fn usage(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return finish(printer::bytes(text.as_bytes()).map(|()| Exit::Fine));
    }
    let exit = if names_run(std::env::args_os()) { Exit::Child(125) } else { Exit::Usage };
    printer::usage(&text);
    exit
}

/// Whether a command line that could not be read is one of `run`, whose own failures are 125.
fn names_run(args: impl Iterator<Item = OsString>) -> bool {
    let mut args = args.skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--config") => drop(args.next()),
            Some(flag) if flag.starts_with('-') => {}
            command => return command == Some("run"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Those that a hint gives a `--config`.
    #[test]
    fn commands_of_a_config_are_known() {
        let none = ["completions", "demo", "placeholder", "policy", "ps", "schema", "trust"];
        let cli = Cli::command();
        let all = cli.get_subcommands().map(clap::Command::get_name);
        let mut of_a_config: Vec<_> = all.filter(|name| !none.contains(name)).collect();
        of_a_config.sort_unstable();
        assert_eq!(of_a_config, crate::model::hint::OF_A_CONFIG);
    }

    /// What a code tells somebody to type is a command line.
    #[test]
    fn commands_of_codes_can_be_typed() {
        let mut commands = 0;
        for code in codes::all() {
            let next = &*code.next;
            let quoted = next.split('`').skip(1).step_by(2);
            let typed = next.strip_prefix("type: ").and_then(|hint| hint.split([',', ';']).next());
            for text in
                quoted.chain(typed).map(|text| text.replace("eval \"$(", "").replace(")\"", ""))
            {
                if !text.starts_with("valetkey ") {
                    continue;
                }
                let line = crate::model::hint::with_config(&text, " --config x.toml");
                let words: Vec<_> =
                    line.split(' ').map(|word| if word == "N" { "1" } else { word }).collect();
                let known = Cli::try_parse_from(&words);
                let lacks = |kind| {
                    matches!(kind, ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelp)
                };
                assert!(known.as_ref().err().is_none_or(|e| lacks(e.kind())), "{text}: {known:?}");
                commands += 1;
            }
        }
        assert!(commands > 40, "{commands}");
    }

    #[test]
    fn knows_run_in_a_broken_command_line() {
        let names = |line: &str| names_run(line.split(' ').map(OsString::from));
        assert!(names("valetkey run") && names("valetkey --config run run"));
        assert!(!names("valetkey check run") && !names("valetkey"));
    }
}
