//! The command lines of `login` and `logout`.

use clap::Args;

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Login {
    /// The credential, whose grant is `device` or `authorization-code`
    pub(in crate::cli) credential: String,
    /// Print the address only, and open no browser
    #[arg(long)]
    pub(in crate::cli) no_browser: bool,
    /// Ask for an authentication of one of these kinds, as an upstream may want (RFC 9470): as in
    /// 'urn:example:mfa phr'
    #[arg(long, value_name = "ACR")]
    pub(in crate::cli) acr_values: Option<String>,
    /// Ask for an authentication that is no older than this
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::cli) max_age: Option<u64>,
    /// Print what came of it as one JSON document
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Logout {
    /// The credential
    pub(in crate::cli) credential: String,
    /// End the logins of it that were made with an earlier `issuer` or `client_id`, as `status`
    /// shows them
    #[arg(long)]
    pub(in crate::cli) left_behind: bool,
}
