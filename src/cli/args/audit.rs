//! `audit` and its own commands.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::Json;
use crate::audit::Decision;
use crate::audit::query::Status;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Audit {
    /// Print the last requests and events, one line each
    Tail(Box<AuditTail>),
    /// Search by person, session, process, request, route, credential, token, what came of it, and
    /// time
    Query(Box<AuditQuery>),
    /// List the static keys that tools still send, and the config to replace each
    Inventory(Json),
    /// Check that no record was changed, removed or reordered
    Verify(AuditVerify),
    /// Print a line that names the last record, to be kept elsewhere for `verify --checkpoint`
    Checkpoint,
}

#[derive(Debug, Args)]
#[command(after_help = TIMES)]
pub(in crate::cli) struct AuditQuery {
    #[command(flatten)]
    pub(in crate::cli) filter: AuditFilter,
    /// The last so many [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    pub(in crate::cli) lines: Option<usize>,
    #[command(flatten)]
    pub(in crate::cli) form: AuditForm,
}

#[derive(Debug, Args)]
#[command(after_help = TIMES)]
pub(in crate::cli) struct AuditTail {
    /// The last so many
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub(in crate::cli) lines: usize,
    /// Go on printing what is appended
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    #[command(flatten)]
    pub(in crate::cli) filter: AuditFilter,
    #[command(flatten)]
    pub(in crate::cli) form: AuditForm,
}

const TIMES: &str = "TIME is local: 20:00 (today), yesterday, \"yesterday 20:00\", monday, 2026-11-29, \"2026-11-29 20:00\"; \
                     or so long ago: 2h; or with its zone: 2026-11-29T19:00:00Z.\n\
                     Records must have all that is asked for. Who used a token that was seen somewhere:  \
                     valetkey audit query --token - < FILE";

/// What is looked for, in `tail` and `query`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(in crate::cli) struct AuditFilter {
    /// Login name
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// Session, as `session list` shows it
    #[arg(long, value_name = "SESSION")]
    pub(in crate::cli) session: Option<String>,
    /// Process id, or program: its path or the last part of that
    #[arg(long, value_name = "PID|PROGRAM")]
    pub(in crate::cli) process: Option<String>,
    /// Method of the request
    #[arg(long, value_name = "METHOD")]
    pub(in crate::cli) method: Option<String>,
    /// Host of the request
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Option<String>,
    /// Path of the request, or what it is below; `*` is any characters
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) path: Option<String>,
    /// Route
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) route: Option<String>,
    /// Credential
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) credential: Option<String>,
    /// Fingerprint of a token or a static key; `-` reads the token itself from stdin
    #[arg(long, value_name = "FINGERPRINT")]
    pub(in crate::cli) token: Option<String>,
    /// What was decided
    #[arg(long, value_name = "DECISION", value_parser = PossibleValuesParser::new(Decision::ALL.map(Decision::as_str)))]
    pub(in crate::cli) decision: Option<String>,
    /// The same as --decision deny
    #[arg(long, conflicts_with = "decision")]
    pub(in crate::cli) denied: bool,
    /// Why a request was refused or failed
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) code: Option<String>,
    /// Policy that decided, by its id
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) policy: Option<String>,
    /// What the tool got, as 403, or 4xx for all of them
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub(in crate::cli) status: Option<Status>,
    /// From then on
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
}

/// How it is shown.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Form")]
pub(in crate::cli) struct AuditForm {
    /// Print each record with all that a person may want to know of it, however long the line
    #[arg(long, conflicts_with = "json")]
    pub(in crate::cli) long: bool,
    /// Times in UTC, also those that are asked for
    #[arg(long)]
    pub(in crate::cli) utc: bool,
    /// Print the records as they stand in the file
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

fn status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| "a status is as 403, or 4xx for all of them".to_owned())
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditVerify {
    /// A line that `audit checkpoint` printed: its record and all before it must be as they were
    #[arg(long, value_name = "LINE")]
    pub(in crate::cli) checkpoint: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
