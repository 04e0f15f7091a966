//! The command line as clap types, and nothing else. Doc comments are the help texts.

mod audit;
mod check;
mod login;
mod session;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::placeholder::Kind;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(super) use audit::{Audit, AuditFilter, AuditForm, AuditQuery, AuditTail, AuditVerify};
pub(super) use check::Check;
pub(super) use login::{Login, Logout};
pub(super) use session::{SessionCommand, SessionEnd, SessionOpen};

/// A local HTTPS proxy that swaps placeholder API keys for freshly minted, short-lived tokens
#[derive(Debug, Parser)]
#[command(
    name = "valetkey",
    version,
    max_term_width = 100,
    after_help = "Start with `valetkey demo`, which needs nothing, then `valetkey init`."
)]
pub(super) struct Cli {
    /// Config file [default: $VALETKEY_CONFIG, the nearest valetkey.toml upwards, the user's own]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,

    /// Say more on stderr; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Whether stdout has colours; auto: a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(super) color: Colour,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the whole story on this machine, offline: placeholder in, token out
    Demo(Json),
    /// Write a commented config, create the local CA and say what to do next
    Init(Init),
    /// Run a command behind the proxy, with placeholders and a session of its own
    Run(Run),
    /// Print the variables that `run` would set, for eval in a shell
    Env(Env),
    /// Run the proxy in the foreground
    Serve(Serve),
    /// Report everything that is wrong with the config, with file, line and hint
    Check(Check),
    /// Say which route, credential and placement a request would get, or what a code means
    Explain(Explain),
    /// Allow a project's own config, as it is now
    Trust(Trust),
    /// Log in at the issuer of a credential, by a code or with a browser
    Login(Login),
    /// Revoke a login at its issuer and forget it
    Logout(Logout),
    /// Show what the running proxy knows: routes, credentials, sessions
    Status(Json),
    /// List all daemons of yours, with config, address and state
    Ps(Json),
    /// End the daemon of this config, in good order
    Stop,
    /// End the daemon of this config and start it with this shell's environment
    Restart,
    /// Print the log of a daemon that runs in the background
    Logs(Logs),
    /// List, open and end sessions: who may use the proxy, for what, until when
    #[command(subcommand)]
    Session(SessionCommand),
    /// End a session, a credential, a user or everything at once, and keep it ended
    Revoke(Revoke),
    /// Follow, search or check the audit trail; list the static keys still in use
    #[command(subcommand)]
    Audit(Audit),
    /// Show or renew the local certificate authority
    #[command(subcommand)]
    Ca(Ca),
    /// Print a placeholder that passes a tool's own check of its key
    Placeholder(PlaceholderKind),
    /// Measure what the proxy adds to a request: direct against proxied
    Bench(Bench),
    /// Print the JSON schema of the config: every key, its values, its default
    Schema,
    /// Cedar policies, which must permit what a route permits
    #[command(subcommand)]
    Policy(Policy),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Replace the key of a credential
    #[command(subcommand)]
    Credential(Credential),
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Print the Cedar schema: who may do what to what, and what policies see of a request
    Schema,
}

#[derive(Debug, Subcommand)]
pub(super) enum Credential {
    /// Read a new key from stdin and store it before the old one goes
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The credential, whose secret is a file
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "It is worthless, and taken out wherever it comes. It names no session: those that `run` and `env` set do."
)]
pub(super) struct PlaceholderKind {
    /// Whose keys it looks like
    #[arg(value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)))]
    pub(super) kind: String,
}

/// What a session is for, in `run`, `env` and `session open`.
#[derive(Debug, Default, Args)]
pub(super) struct Purpose {
    /// What it is for, in a few words; stands in the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Allow this route alone; may be given several times
    #[arg(long, value_name = "ROUTE")]
    pub(super) only: Vec<String>,
}

/// A session without an end is none.
fn session_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (1..=366 * 24 * 3600).contains(&time.as_secs()) {
        Ok(time)
    } else {
        Err("from one second to a year".to_owned())
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "New requests are refused at once, tokens are revoked at their issuers, streams and tunnels end within \
                  seconds. Credentials, users, --all and sessions of the config stay revoked until --undo, whatever restarts."
)]
pub(super) struct Revoke {
    #[command(flatten)]
    pub(super) what: RevokeWhat,
    /// Take a revocation back
    #[arg(long)]
    pub(super) undo: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct RevokeWhat {
    /// A session, as `session list` shows it
    #[arg(long, value_name = "SESSION")]
    pub(super) session: Option<String>,
    /// Whatever a credential mints
    #[arg(long, value_name = "NAME")]
    pub(super) credential: Option<String>,
    /// All sessions and processes of a user; `uid:N` where it has no name
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Everybody and everything
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Json {
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// So many lines of its end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub(super) lines: usize,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub(super) follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write it [default: --config, $VALETKEY_CONFIG, then the user's own place]
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: the command's own; 127 not found, 126 not executable, 128+n ended by \
                  signal n, 125 failed before it started."
)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) purpose: Purpose,
    /// Print nothing of ours but why it failed before it started, and ask nothing
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "Use it as:  eval \"$(valetkey env)\"")]
pub(super) struct Env {
    #[command(flatten)]
    pub(super) purpose: Purpose,
    /// Whose syntax to print [default: by $SHELL]
    #[arg(long, value_enum, value_name = "SHELL")]
    pub(super) shell: Option<Shell>,
    /// Print how to remove the variables again, and end the session
    #[arg(long)]
    pub(super) unset: bool,
    /// Print one JSON document
    #[arg(long, conflicts_with = "shell")]
    pub(super) json: bool,
}

/// The syntax of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// sh, dash, ksh and their like
    Posix,
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Stop after this long without a session and a connection, as "10m"
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) idle_exit: Option<Duration>,
    /// Leave the caller's session (what `run` and `env` start)
    #[arg(long, hide = true)]
    pub(super) detached: bool,
    /// Serve this very config, or none (what `run` and `env` have judged)
    #[arg(long, hide = true, value_name = "DIGEST")]
    pub(super) expect: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A CODE is what stands in `error[CODE]`, in an answer and in the audit: letters, digits and dashes, \
                  without dot, slash or colon. It needs no config."
)]
pub(super) struct Explain {
    /// As in GET, with a URL; or a code alone, as in no-route
    #[arg(value_name = "METHOD|CODE", required_unless_present = "codes")]
    pub(super) what: Option<String>,
    /// As in https://api.example.com/v1/orders
    #[arg(value_name = "URL")]
    pub(super) url: Option<String>,
    /// Who would ask, for policies: user, uid, session, exe, command, parent, project, reason, session_age, hour, weekday
    #[arg(long, value_name = "KEY=VALUE,...", requires = "url")]
    pub(super) r#as: Vec<String>,
    /// List all codes, a line each
    #[arg(long, conflicts_with_all = ["what", "url"])]
    pub(super) codes: bool,
    #[command(flatten)]
    pub(super) json: Json,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without URL it measures an API, an issuer and a daemon of its own, on loopback."
)]
pub(super) struct Bench {
    /// What to GET, as in https://api.example.com/v1/orders, through this config's daemon
    pub(super) url: Option<String>,
    /// Warm requests in each round and road; a tenth as many cold ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) requests: u32,
    /// How often the roads take turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(super) rounds: u32,
    /// Warm requests under way at once
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) connections: u32,
    /// Stop after this long, with what there is
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = bench_time)]
    pub(super) time: Duration,
    /// Draw the latencies into this file
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// The URL may be on another machine, which gets all these requests
    #[arg(long)]
    pub(super) yes_remote: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Bench {
    /// The most requests that the API may see, both roads together.
    pub(super) fn most(&self) -> u64 {
        let warm = u64::from(self.requests) + u64::from(self.connections);
        2 * u64::from(self.rounds) * (warm + warm / 10 + 1) + 10
    }
}

/// At most five minutes: it is a look, not a load test.
fn bench_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > Duration::from_secs(300) {
        Err("five minutes are the most".to_owned())
    } else {
        Ok(time)
    }
}

#[derive(Debug, Args)]
pub(super) struct Trust {
    /// The project's config
    #[arg(default_value = "valetkey.toml", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Show all that is trusted, since when, and whether it still is what was trusted
    #[arg(long, conflicts_with_all = ["file", "remove"])]
    pub(super) list: bool,
    /// Trust this config no longer, be it there or gone
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    pub(super) remove: Option<PathBuf>,
    /// With --list: print one JSON document
    #[arg(long, requires = "list")]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Describe the authority: names it may sign, end, fingerprint
    Show(CaShow),
    /// Make one more root, for what starts from now on; nothing that runs loses trust
    Rotate(CaRotate),
}

#[derive(Debug, Args)]
pub(super) struct CaRotate {
    /// Someone may have the key: trust nothing old any more; running tools must be started anew
    #[arg(long)]
    pub(super) compromised: bool,
    #[command(flatten)]
    pub(super) json: Json,
}

#[derive(Debug, Args)]
pub(super) struct CaShow {
    /// Print the certificates in PEM, to be added to a trust store
    #[arg(long, conflicts_with = "json")]
    pub(super) pem: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}
