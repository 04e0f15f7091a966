//! `logout CREDENTIAL`: revokes a login at its issuer and forgets it.

use std::path::Path;

use super::admin_client::AdminClient;
use super::args::Logout;
use super::failure::Failure;
use super::{context, login, printer};
use crate::config::Config;
use crate::mint::Revoked;
use crate::mint::door::FlowError;
use crate::model::id::CredentialName;

pub(super) fn run(args: &Logout, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    let name = CredentialName::new(args.credential.as_str());
    let door = login::door(&config, &name)?;
    context::runtime()?.block_on(async {
        let logged_out = door.log_out().await.map_err(FlowError::from)?;
        // What was minted for it is of no use any more either.
        drop_tokens(&config, &name).await;
        match logged_out.map(|logged_out| logged_out.revoked) {
            None => printer::note(&format!("nobody was logged in for `{name}`")),
            Some(Some(Ok(Revoked::Done))) => {
                printer::note(&format!("logged out of `{name}`: revoked at its issuer, and deleted"));
            }
            Some(None) => printer::note(&format!("the login of `{name}` had ended: deleted")),
            Some(Some(Ok(Revoked::Unsupported))) => printer::warn(
                "logout-not-revoked",
                &format!("the login of `{name}` is deleted here, but its issuer names no way to revoke it"),
                "end it in your account at the issuer, where that matters",
            ),
            Some(Some(Err(error))) => {
                return Err(Failure::failed(
                    "logout-not-revoked",
                    format!("the login of `{name}` is deleted here, but not revoked: {error}"),
                    "end it in your account at the issuer",
                ));
            }
        }
        Ok(())
    })
}

/// Has a running daemon drop the tokens of a credential, which are those of whoever was logged in before.
pub(super) async fn drop_tokens(config: &Config, name: &CredentialName) {
    // Where none runs, nobody holds any.
    let Ok(mut daemon) = AdminClient::connect(&config.admin.socket).await else { return };
    if let Err(error) = daemon.drop_tokens(name).await {
        let hint = "they end by themselves, minutes from now";
        printer::warn("tokens-not-dropped", &format!("the daemon keeps its tokens: {error}"), hint);
    }
}
