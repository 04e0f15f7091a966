//! The command line of `check`.

use clap::Args;

use super::Json;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 fine, 1 something online failed, 2 the config is wrong. --online sends no key anywhere but where \
                  the config says, uses no test token, and revokes it where the issuer can."
)]
pub(in crate::cli) struct Check {
    /// Look at issuers and upstreams too: names, TLS, clocks, and a test token of each credential
    #[arg(long)]
    pub(in crate::cli) online: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
