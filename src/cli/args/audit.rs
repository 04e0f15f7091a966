//! `audit` and its own commands.

use clap::{Args, Subcommand};

use super::Json;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Audit {
    /// Print the last records, one line each
    Tail(AuditTail),
    /// Search by person, session, process, host, route, credential, token and time
    Query(Box<AuditQuery>),
    /// List the static keys that tools still send, and the config to replace each
    Inventory(Json),
    /// Check that no record was changed, removed or reordered
    Verify(AuditVerify),
    /// Print a line that names the last record, to be kept elsewhere for `verify --checkpoint`
    Checkpoint,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Records must have all that is asked for. Who used a token that was seen somewhere:  \
                        valetkey audit query --token - < FILE"
)]
pub(in crate::cli) struct AuditQuery {
    /// Login name
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// Session, as `session list` shows it
    #[arg(long, value_name = "SESSION")]
    pub(in crate::cli) session: Option<String>,
    /// Process id, or program: its path or the last part of that
    #[arg(long, value_name = "PID|PROGRAM")]
    pub(in crate::cli) process: Option<String>,
    /// Host of the request
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Option<String>,
    /// Route
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) route: Option<String>,
    /// Credential
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) credential: Option<String>,
    /// Fingerprint of a token or a static key; `-` reads the token itself from stdin
    #[arg(long, value_name = "FINGERPRINT")]
    pub(in crate::cli) token: Option<String>,
    /// Why a request was refused or failed
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) code: Option<String>,
    /// From then on: a time in UTC, or so long ago, as "2h"
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
    /// Print the records as they stand in the file
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditVerify {
    /// A line that `audit checkpoint` printed: its record and all before it must be as they were
    #[arg(long, value_name = "LINE")]
    pub(in crate::cli) checkpoint: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditTail {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub(in crate::cli) lines: usize,
    /// Go on printing what is appended
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// Print the records as they stand in the file
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
