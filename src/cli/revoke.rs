//! `revoke`: ends what a session, a credential, a user or everybody has, and keeps it ended.
//!
//! The daemon does it; where none runs, one is started, so that what is revoked is written down.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::args::{Revoke, RevokeWhat};
use super::failure::Failure;
use super::join::{self, Stay};
use super::session::user;
use super::{context, printer};

/// As the daemon reads it.
#[derive(Serialize)]
struct Order {
    what: What,
    undo: bool,
    by: String,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    All,
    Credential(String),
    Session(String),
    User(String),
}

/// What there was to end.
#[derive(Deserialize, Serialize)]
struct Ended {
    sessions: usize,
    tokens: usize,
    requests: usize,
}

pub(super) fn run(args: &Revoke, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    let what = what(&args.what)?;
    let order = Order { what: what.clone(), undo: args.undo, by: user() };
    let ended: Ended = context::runtime()?.block_on(async {
        let mut daemon = join::join(&config, Stay::WhileUsed).await?;
        Ok::<_, Failure>(daemon.send("/v1/revoke", &order).await?)
    })?;
    if args.json {
        return printer::json(&ended);
    }
    printer::line(text(&what, args.undo, &ended))
}

/// The command line lets through exactly one.
fn what(what: &RevokeWhat) -> Result<What, Failure> {
    match what {
        RevokeWhat { all: true, .. } => Ok(What::All),
        RevokeWhat { credential: Some(name), .. } => Ok(What::Credential(name.clone())),
        RevokeWhat { session: Some(name), .. } => Ok(What::Session(name.clone())),
        RevokeWhat { user: Some(name), .. } => Ok(What::User(name.clone())),
        RevokeWhat { all: false, credential: None, session: None, user: None } => {
            Err(Failure::usage("usage", "nothing was named", "`valetkey revoke --help`"))
        }
    }
}

fn text(what: &What, undo: bool, ended: &Ended) -> String {
    let name = match what {
        What::All => "everything".to_owned(),
        What::Credential(name) => format!("credential {name}"),
        What::Session(name) => format!("session {name}"),
        What::User(name) => format!("user {name}"),
    };
    if undo {
        return format!("{name} is permitted again");
    }
    let Ended { sessions, tokens, requests } = ended;
    format!(
        "{name} is revoked: {sessions} sessions ended, {requests} running requests and tunnels cut, {tokens} tokens dropped \
         and revoked where their issuers can (`valetkey audit tail` says which)"
    )
}
