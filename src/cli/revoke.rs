//! `revoke`: ends what a session, a credential, a user or everybody has, and keeps it ended.
//!
//! The daemon does it. Where none runs, what is revoked is written down for the next one, whatever
//! became of the config meanwhile.

use std::path::Path;

use super::args::{Revoke as Args, RevokeWhat};
use super::failure::{Failure, chain};
use super::join::{self, Stay};
use super::meant::{self, shown};
use super::session::user;
use super::{context, printer};
use crate::admin::wire::{Ended, Revoke, RevokeTarget};
use crate::client::peer::Users;
use crate::client::revoked::Subject;
use crate::config::index::Whereabouts;
use crate::model::hint::quoted;
use crate::model::id::CredentialName;

pub(super) fn run(args: &Args, explicit: Option<&Path>) -> Result<(), Failure> {
    let place = context::daemon(explicit)?;
    let what = what(&args.what)?;
    let order = Revoke { what: what.clone(), undo: args.undo, by: Some(user()) };
    let ended = context::runtime()?.block_on(async {
        match meant::find(&place).await? {
            Some(mut daemon) => Ok(Some(daemon.send::<Ended>("/v1/revoke", &order).await?)),
            // It can end what is held, tell issuers and say it in the audit: better than a list,
            // where it can be had.
            None => match context::config_quietly(explicit) {
                Some(config) => {
                    let mut daemon = join::join(&config, Stay::WhileUsed).await?;
                    Ok(Some(daemon.send::<Ended>("/v1/revoke", &order).await?))
                }
                None => write_down(&place, &what, args.undo).map(|()| None),
            },
        }
    })?;
    let Some(ended) = ended else {
        printer::note(&format!(
            "no daemon runs, and the config does not load: it is written down for the next one of {}",
            shown(&place.config)
        ));
        return at_rest(&what, args.undo);
    };
    meant::say(&place);
    if args.json {
        printer::json(&ended)?;
    } else {
        printer::line(text(&what, args.undo, &ended))?;
    }
    match &what {
        RevokeTarget::User(name) if ended.unknown => Err(unknown(name, ended.nearest.as_deref())),
        _ => Ok(()),
    }
}

/// What is known of users where no daemon runs.
fn at_rest(what: &RevokeTarget, undo: bool) -> Result<(), Failure> {
    let users = Users::read();
    match what {
        RevokeTarget::User(name) if !undo && !users.has(name) && *name != user() => {
            Err(unknown(name, users.nearest(name, std::iter::empty())))
        }
        _ => Ok(()),
    }
}

/// It holds, for a name may be of somebody who comes later; but it has ended nothing, and may be a
/// slip.
fn unknown(name: &str, nearest: Option<&str>) -> Failure {
    let meant = nearest.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    Failure::failed(
        "unknown-user",
        format!(
            "nobody named `{name}` is known here: it is revoked all the same, for whoever comes by that name"
        ),
        format!("{meant}take this one back: valetkey revoke --user {} --undo", quoted(name)),
    )
}

fn write_down(place: &Whereabouts, what: &RevokeTarget, undo: bool) -> Result<(), Failure> {
    let subject = match what {
        RevokeTarget::All => Subject::All,
        RevokeTarget::Credential(name) => Subject::Credential(CredentialName::new(name.as_str())),
        RevokeTarget::User(name) => Subject::User(name.as_str().into()),
        // Of the config, so that it takes one to know it; or of `run` and `env`, which are no
        // daemon's now.
        RevokeTarget::Session(name) => {
            return crate::daemon::end_at_rest(&place.state_dir, name)
                .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()));
        }
    };
    crate::daemon::revoke_at_rest(&place.state_dir, &subject, undo)
        .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()))
}

/// The command line lets through exactly one.
fn what(what: &RevokeWhat) -> Result<RevokeTarget, Failure> {
    match what {
        RevokeWhat { all: true, .. } => Ok(RevokeTarget::All),
        RevokeWhat { credential: Some(name), .. } => Ok(RevokeTarget::Credential(name.clone())),
        RevokeWhat { session: Some(name), .. } => Ok(RevokeTarget::Session(name.clone())),
        RevokeWhat { user: Some(name), .. } => Ok(RevokeTarget::User(name.clone())),
        RevokeWhat { all: false, credential: None, session: None, user: None } => {
            Err(Failure::usage("usage", "nothing was named", "`valetkey revoke --help`"))
        }
    }
}

fn text(what: &RevokeTarget, undo: bool, ended: &Ended) -> String {
    let name = match what {
        RevokeTarget::All => "everything".to_owned(),
        RevokeTarget::Credential(name) => format!("credential {name}"),
        RevokeTarget::Session(name) => format!("session {name}"),
        RevokeTarget::User(name) => format!("user {name}"),
    };
    if undo {
        return format!("{name} is permitted again");
    }
    let Ended { sessions, tokens, requests, .. } = ended;
    format!(
        "{name} is revoked: {sessions} sessions ended, {requests} running requests and tunnels cut, {tokens} tokens dropped \
         and revoked where their issuers can (`valetkey audit tail` says which)"
    )
}
