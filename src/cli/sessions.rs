//! `session list`, `open` and `end`: who may use the proxy now, for what, until when.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::admin_client::AdminClient;
use super::args::{Json, SessionCommand, SessionEnd, SessionOpen};
use super::environment::proxy_url;
use super::failure::Failure;
use super::join::{self, Stay};
use super::local_time::Here;
use super::session::{AskedSession, user};
use super::table::{cell, table};
use super::{context, meant, printer};
use crate::admin::wire::{ListedSession, SessionKind, SessionStatus};
use crate::client::session::Kind;
use crate::config::Config;
use crate::config::index::Whereabouts;

/// What `session open --json` prints: for whoever opened it, once.
#[derive(Serialize)]
struct Opened<'a> {
    name: &'a str,
    secret: &'a str,
    proxy: &'a str,
    url: &'a str,
    until: Option<&'a str>,
    placeholders: &'a std::collections::BTreeMap<String, String>,
}

pub(super) fn run(args: &SessionCommand, explicit: Option<&Path>) -> Result<(), Failure> {
    let runtime = context::runtime()?;
    match args {
        SessionCommand::End(args) => runtime.block_on(end(args, &context::daemon(explicit)?)),
        SessionCommand::List(args) => runtime.block_on(show(args, &context::daemon(explicit)?)),
        SessionCommand::Open(args) => runtime.block_on(open(args, &context::config(explicit)?)),
    }
}

async fn show(args: &Json, place: &Whereabouts) -> Result<(), Failure> {
    let mut daemon = AdminClient::connect(&place.socket).await?;
    if args.json {
        // As it comes: a newer daemon says more than we know.
        return printer::json(&daemon.get::<Value>("/v1/sessions").await?);
    }
    let sessions: Vec<ListedSession> = daemon.get("/v1/sessions").await?;
    printer::line(human(&sessions, &Here::new(false)))
}

/// One row for a session.
fn human(sessions: &[ListedSession], here: &Here) -> String {
    let head = ["SESSION", "KIND", "USER", "UNTIL", "ROUTES", "REASON", "PROJECT"];
    let text = table(head, sessions, |ListedSession { session, .. }| {
        [
            session.name.clone(),
            session.kind.clone(),
            cell(&session.user),
            here.short(&cell(&session.until)),
            session.routes.as_ref().map_or_else(|| "all".to_owned(), |names| names.join(", ")),
            cell(&session.reason),
            cell(&session.project),
        ]
        .map(|cell| printer::plain(&cell))
    });
    text.trim_start().to_owned()
}

async fn open(args: &SessionOpen, config: &Config) -> Result<(), Failure> {
    let user = args.user.clone().unwrap_or_else(user);
    let asked = AskedSession::new(&args.purpose);
    let mut daemon = join::join(config, Stay::Forever).await?;
    let mut wanted = asked.session(SessionKind::Open, &user, None, Some(args.life), config);
    wanted.uid = args.uid;
    let opened = daemon.open(&wanted).await?.believed(config)?;
    let url = proxy_url(&opened.proxy, &opened.name, &opened.secret);
    if args.json {
        return printer::json(&Opened {
            name: &opened.name,
            secret: &opened.secret,
            proxy: &opened.proxy,
            url: &url,
            until: opened.until.as_deref(),
            placeholders: &opened.placeholders,
        });
    }
    printer::line(url)?;
    let until = Here::new(false).end(opened.until.as_deref());
    printer::note(&format!(
        "a session is open until {until}; `valetkey session end {}` ends it\n\
         its tool must trust what this prints: valetkey ca show --pem",
        opened.name
    ));
    Ok(())
}

async fn end(args: &SessionEnd, place: &Whereabouts) -> Result<(), Failure> {
    let Some(name) = &args.name else { return end_many(args, place).await };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !plain {
        return Err(Failure::failed(
            "unknown-session",
            "there is no such session",
            "`valetkey session list` shows them",
        ));
    }
    meant::connect(place).await?.close(name).await?;
    printer::note(&format!("session {name} has ended"));
    meant::say(place);
    Ok(())
}

/// Those that somebody began and that are not the config's. One that has ended by itself meanwhile
/// has ended.
async fn end_many(args: &SessionEnd, place: &Whereabouts) -> Result<(), Failure> {
    let mut daemon = meant::connect(place).await?;
    let sessions: Vec<ListedSession> = daemon.get("/v1/sessions").await?;
    let user = user();
    let is_meant = |session: &SessionStatus| {
        session.kind != Kind::Preshared.as_str()
            && (args.all || session.user.as_ref() == Some(&user))
    };
    let (mut ended, mut failed) = (0, None);
    let sessions = sessions.into_iter().map(|listed| listed.session);
    for session in sessions.filter(is_meant) {
        match daemon.close(&session.name).await.map_err(Failure::from) {
            Err(failure) if failure.code == "unknown-session" => {}
            Ok(()) => ended += 1,
            // One that cannot be ended for good keeps none of the others.
            Err(failure) => failed = Some(failure),
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    printer::note(&match ended {
        0 => "there was none to end: `valetkey session list` shows all".to_owned(),
        1 => "1 session has ended".to_owned(),
        n => format!("{n} sessions have ended"),
    });
    meant::say(place);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_can_read_it() {
        let sessions = serde_json::from_value::<Vec<_>>(json!([{
            "name": "run-1", "kind": "run", "user": "ann", "reason": "a\u{1b}b", "project": "/p",
            "routes": ["orders", "billing"], "until": null,
        }]))
        .unwrap();
        let text = human(&sessions, &Here::new(true));
        assert_eq!(
            text,
            "SESSION  KIND  USER  UNTIL  ROUTES           REASON  PROJECT\n\
             run-1    run   ann          orders, billing  a?b     /p"
        );
    }
}
