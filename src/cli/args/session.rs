//! The command line of `session`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Json, Purpose, session_time};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SessionCommand {
    /// Show all open ones
    List(Json),
    /// Open one and print its proxy URL, for a tool that `run` and `env` don't reach
    Open(SessionOpen),
    /// End some: their tokens are revoked, what they have under way is cut
    End(SessionEnd),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SessionOpen {
    #[command(flatten)]
    pub(in crate::cli) purpose: Purpose,
    /// Whose it is [default: you]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// The user of this machine who may use it, by number [default: you]; root always may
    #[arg(long, value_name = "UID")]
    pub(in crate::cli) uid: Option<u32>,
    /// Its life, as "30m"
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = session_time)]
    pub(in crate::cli) life: Duration,
    /// Print one JSON document
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(in crate::cli) struct SessionEnd {
    /// As `session list` shows it
    #[arg(value_name = "SESSION", group = "which")]
    pub(in crate::cli) name: Option<String>,
    /// All that `run`, `env` and `session open` began in your name
    #[arg(long, group = "which")]
    pub(in crate::cli) mine: bool,
    /// All that they began for anybody; those of the config stay
    #[arg(long, group = "which")]
    pub(in crate::cli) all: bool,
}
