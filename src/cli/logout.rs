//! `logout CREDENTIAL`: revokes a login at its issuer and forgets it.

use std::path::Path;
use std::sync::Arc;

use super::admin_client::AdminClient;
use super::args::Logout;
use super::failure::{Failure, chain};
use super::{context, login, meant, printer};
use crate::admin::wire::Login;
use crate::audit::{Audit, Event};
use crate::config::Config;
use crate::daemon;
use crate::mint::Revocation;
use crate::mint::door::{Door, FlowError};
use crate::model::clock::{Clock, SystemClock};
use crate::model::hint::quoted;
use crate::model::id::CredentialName;
use crate::store::logins::{Entry, Logins};

pub(super) fn run(args: &Logout, explicit: Option<&Path>) -> Result<(), Failure> {
    // Before anything is made anew where the daemon's state should be.
    context::runtime()?.block_on(meant::find(&context::daemon(explicit)?))?;
    let config = context::config_to_use(explicit)?;
    let name = CredentialName::new(args.credential.as_str());
    let left_behind: Vec<_> = Logins::new(&config.logins)
        .left_behind(&daemon::known_logins(&config))
        .into_iter()
        .filter(|entry| entry.whose().credential == name)
        .collect();
    context::runtime()?.block_on(async {
        // Nothing else can be meant by the name of a credential that is gone.
        let is_gone = !config.credentials.contains_key(&name) && !left_behind.is_empty();
        if args.left_behind || is_gone {
            return end_left_behind(&config, &name, left_behind).await;
        }
        let door = login::door(&config, &name)?;
        end(&config, &name, &door, "").await?;
        if !left_behind.is_empty() {
            printer::warn(
                "login-left-behind",
                &format!(
                    "`{name}` has {} more, made with an earlier `issuer` or `client_id`",
                    left_behind.len()
                ),
                &format!("end it as well: valetkey logout {} --left-behind", quoted(name.as_str())),
            );
        }
        Ok(())
    })
}

/// Those that the config asks for no more, each at the issuer that it came from.
async fn end_left_behind(
    config: &Config,
    name: &CredentialName,
    entries: Vec<Entry>,
) -> Result<(), Failure> {
    if entries.is_empty() {
        printer::note(&format!("no login of `{name}` was left behind"));
        return Ok(());
    }
    let client = daemon::issuers(config)
        .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut first = Ok(());
    for entry in entries {
        let at = format!(" at {}", entry.whose().issuer);
        let now = config.credentials.get(name);
        let door = Door::left_behind(entry, now, &client, &clock);
        // One that its issuer doesn't take back keeps none of the others.
        let ended = end(config, name, &door, &at).await;
        first = first.and(ended);
    }
    first
}

/// Ends one. `at`: where it was made, in a few words, or nothing.
async fn end(config: &Config, name: &CredentialName, door: &Door, at: &str) -> Result<(), Failure> {
    let logged_out = door.log_out().await.map_err(FlowError::from)?;
    // What was minted for it is of no use any more either.
    let user = logged_out.as_ref().and_then(|out| out.user.clone());
    if logged_out.is_some() {
        tell(config, name, user.as_deref(), false).await;
    }
    match logged_out.map(|logged_out| logged_out.revoked) {
        None => printer::note(&format!("nobody was logged in for `{name}`{at}")),
        Some(Some(Ok(Revocation::Done))) => {
            printer::note(&format!(
                "logged out of `{name}`{at}: revoked at its issuer, and deleted"
            ));
        }
        Some(None) => printer::note(&format!("the login of `{name}`{at} had ended: deleted")),
        Some(Some(Ok(Revocation::Unsupported))) => printer::warn(
            "logout-not-revoked",
            &format!(
                "the login of `{name}`{at} is deleted here, but its issuer names no way to revoke it"
            ),
            "end it in your account at the issuer, where that matters",
        ),
        Some(Some(Err(error))) => {
            return Err(Failure::failed(
                "logout-not-revoked",
                format!("the login of `{name}`{at} is deleted here, but not revoked: {error}"),
                "end it in your account at the issuer",
            ));
        }
    }
    Ok(())
}

/// Tells the daemon, which drops the tokens of whoever was logged in before and records it; where
/// none runs, it is recorded here.
pub(super) async fn tell(
    config: &Config,
    name: &CredentialName,
    user: Option<&str>,
    logged_in: bool,
) {
    let login = Login { credential: name.clone(), logged_in, user: user.map(str::to_owned) };
    if let Ok(mut daemon) = AdminClient::connect(&config.admin.socket).await {
        if let Err(error) = daemon.login(&login).await {
            let hint = "they end by themselves, minutes from now";
            let message =
                format!("the daemon keeps its tokens, and has not recorded this: {error}");
            printer::warn("tokens-not-dropped", &message, hint);
        }
        return;
    }
    record(config, login.event());
}

/// Writes a record where no daemon does.
pub(super) fn record(config: &Config, event: Event<'_>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let recorded = Audit::open(&config.audit, &config.state_dir, clock).and_then(|(audit, _)| {
        audit.event(event)?;
        audit.flush()
    });
    if let Err(error) = recorded {
        printer::warn(
            "audit-unwritable",
            &format!("this is not in the audit: {error}"),
            error.hint(),
        );
    }
}
