//! `status`: what the running daemon says of itself; never a value of a secret. Where none runs,
//! who is logged in.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::admin_client::{ABSENT, AdminClient, AdminError};
use super::args::Json;
use super::failure::Failure;
use super::local_time::Here;
use super::table::{cell, table};
use super::terminal::{BAD, paint};
use super::{context, printer};
use crate::admin::wire::{
    AuditStatus, CredentialStatus, DaemonStatus, DistrustStatus, ListedSession, LoginStatus,
    RestartNeeded, RevokedStatus,
};
use crate::config::Config;
use crate::daemon;

pub(super) fn run(args: &Json, explicit: Option<&Path>) -> Result<(), Failure> {
    let place = context::daemon(explicit)?;
    let status = context::runtime()?.block_on(async {
        let mut daemon = AdminClient::connect(&place.socket).await?;
        Ok::<Map<String, Value>, Failure>(daemon.get("/v1/status").await?)
    });
    let status = match status {
        // The failure is said after it, and the exit code is the failure's: probes ask this.
        Err(failure) if failure.code == ABSENT => {
            // What it could say of logins takes a config that loads.
            without_daemon(&context::config(explicit)?, args.json)?;
            return Err(failure);
        }
        status => status?,
    };
    if args.json {
        // As it comes: a newer daemon says more than we know.
        return printer::json(&status);
    }
    let status = serde_json::from_value(Value::Object(status)).map_err(AdminError::from)?;
    printer::line(human(&status, &Here::new(false)))
}

/// What `--json` prints where no daemon runs.
#[derive(Serialize)]
struct AtRest<'a> {
    config: &'a Path,
    logins: &'a [LoginStatus],
    /// Always `None`: of no process.
    pid: Option<u32>,
}

/// Logins outlive the daemon.
fn without_daemon(config: &Config, as_json: bool) -> Result<(), Failure> {
    let logins = daemon::stored_logins(config);
    if as_json {
        return printer::json(&AtRest { config: &config.path, logins: &logins, pid: None });
    }
    if logins.is_empty() {
        return Ok(());
    }
    printer::line(self::logins(&logins, &Here::new(false)).trim_start())
}

fn facts(status: &DaemonStatus, here: &Here) -> Vec<String> {
    let metrics = status.metrics.as_deref().unwrap_or("off");
    vec![
        row("valetkey", &[&status.version, &format!("pid {}", status.pid)]),
        row("up", &[&span(Some(status.uptime_s))]),
        row("config", &[&status.config.display().to_string()]),
        row("listening", &status.listen.iter().map(String::as_str).collect::<Vec<_>>()),
        row("metrics", &[metrics]),
        row("policy", &[&status.policy, &format!("generation {}", status.generation)]),
        row("unmatched", &[&status.unmatched]),
        row("connections", &[&status.connections.to_string()]),
        row("requests", &[&status.requests.to_string()]),
        row("audit", &[&status.audit.path.display().to_string(), &audit(&status.audit, here)]),
        row("ca ends", &[&here.short(&status.ca_ends), &roots(status)]),
    ]
}

/// One row for a fact, one table for each list.
fn human(status: &DaemonStatus, here: &Here) -> String {
    let mut rows = facts(status, here);
    rows.extend(status.restart.as_ref().and_then(restart));
    rows.extend(revoked(&status.revoked));
    let head = ["ROUTE", "HOST", "PORT", "CREDENTIAL", ""];
    rows.push(table(head, &status.routes, |route| {
        let deny = if route.deny { "denies" } else { "" };
        let (port, credential) = (route.port.to_string(), cell(&route.credential));
        [route.name.clone(), route.host.clone(), port, credential, deny.into()]
    }));
    rows.extend(credentials(&status.credentials, here));
    if !status.logins.is_empty() {
        rows.push(logins(&status.logins, here));
    }
    rows.extend(status.logins.iter().filter_map(|login| {
        let hint = login.step_up.as_ref()?;
        Some(format!("an upstream wants more of `{}`: {hint}", login.credential))
    }));
    let head = ["TOKEN OF", "FOR", "FINGERPRINT", "AGE", "LIVES"];
    rows.push(table(head, &status.tokens, |token| {
        let (age, lives) = (span(token.age_s), span(token.remaining_s));
        let fingerprint = cell(&token.fingerprint);
        [token.credential.clone(), token.client.clone(), fingerprint, age, lives]
    }));
    rows.extend(sessions(&status.sessions, here));
    rows.extend(distrust(&status.distrust, here));
    rows.join("\n")
}

/// A table, and below it what issuers said to mints that failed.
fn credentials(all: &[CredentialStatus], here: &Here) -> Vec<String> {
    let head = ["CREDENTIAL", "GRANT", "LAST MINT", "AT", "TOKEN LIVES"];
    let rows = table(head, all, |credential| {
        let last = credential.last_mint.as_ref();
        [
            credential.name.clone(),
            credential.grant.clone(),
            last.map(|last| last.code.clone()).unwrap_or_default(),
            last.map(|last| here.short(&last.time)).unwrap_or_default(),
            span(credential.remaining_s),
        ]
    });
    let said = all.iter().filter_map(|credential| {
        let said = credential.last_error.as_ref()?.issuer.as_ref()?;
        Some(format!("the issuer of `{}` says: {said}", credential.name))
    });
    std::iter::once(rows).chain(said).collect()
}

/// A table of programs that do not trust the local CA, and below it what that may be.
fn distrust(all: &[DistrustStatus], here: &Here) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    // The path is whatever its user made it.
    let name = |of: &DistrustStatus| printer::plain(of.exe.as_deref().unwrap_or("not found"));
    let rows = table(["BROKE OFF TLS", "TIMES", "LAST", "HOST"], all, |of| {
        [name(of), of.times.to_string(), here.short(&of.last), of.host.clone()]
    });
    let why = all.iter().filter(|of| of.exe.is_some()).map(|of| {
        let exe = name(of);
        if of.ends_others {
            format!(
                "{exe}: one of its TLS libraries trusts the local CA and another does not; config/tools.md says what each reads"
            )
        } else {
            format!("{exe} does not trust the local CA: `valetkey env` prints the variables to set")
        }
    });
    std::iter::once(rows).chain(why).collect()
}

/// A table, and below it which sessions have an address that is not ours any more.
fn sessions(all: &[ListedSession], here: &Here) -> Vec<String> {
    let head = ["SESSION", "KIND", "USER", "UNTIL", ""];
    let rows = table(head, all, |ListedSession { session, .. }| {
        let until = here.short(&cell(&session.until));
        [session.name.clone(), session.kind.clone(), cell(&session.user), until, String::new()]
    });
    let elsewhere = all.iter().filter_map(|ListedSession { session, holds_address }| {
        let (name, address) = (&session.name, holds_address.as_ref()?);
        Some(format!(
            "session {name} was given {address}, which is not ours any more: evaluate `valetkey env` in its shell again"
        ))
    });
    std::iter::once(rows).chain(elsewhere).collect()
}

/// Who is logged in for which credential, and until when; below, what to do about those that cannot
/// be read.
fn logins(all: &[LoginStatus], here: &Here) -> String {
    let mut text = login_table(all, here);
    for login in all {
        let name = &login.credential;
        if let Some(hint) = &login.hint {
            text.push_str(&format!("\nlogin for `{name}`: {}", printer::pasteable(hint)));
        }
        let missing = login.not_granted.as_deref().unwrap_or_default().join(" ");
        if !missing.is_empty() {
            let hint = format!("type: valetkey login {name}");
            let hint = printer::pasteable(&hint);
            text.push_str(&format!("\nlogin for `{name}`: not granted: {missing}; {hint}"));
        }
    }
    text
}

fn login_table(all: &[LoginStatus], here: &Here) -> String {
    table(["LOGIN FOR", "STATE", "USER", "SCOPE", "SINCE", "ENDS IN"], all, |login| {
        let state = [login.state.clone(), cell(&login.code)].join(" ");
        let ends = match &login.until {
            None if login.state == "logged-in" => "not said".to_owned(),
            _ => span(login.remaining_s),
        };
        [
            login.credential.clone(),
            state.trim_end().to_owned(),
            cell(&login.user),
            cell(&login.scope),
            here.short(&cell(&login.since)),
            ends,
        ]
    })
}

fn row(label: &str, values: &[&str]) -> String {
    let values: Vec<_> = values.iter().copied().filter(|value| !value.is_empty()).collect();
    format!("{label:<12}{}", values.join("  ").trim_end())
}

/// What only a restart takes up; no row where there is nothing.
fn restart(restart: &RestartNeeded) -> Option<String> {
    let RestartNeeded { changed, command } = restart;
    let text = format!("{} changed since the start: {command}", changed.join(", "));
    (!changed.is_empty()).then(|| row("RESTART", &[&paint(BAD, &text)]))
}

/// How many roots there are, where that is more than one, and what would spare the next one.
fn roots(status: &DaemonStatus) -> String {
    let more = (status.ca_roots > 1).then(|| format!("{} roots", status.ca_roots));
    more.into_iter().chain(status.ca_hint.clone()).collect::<Vec<_>>().join(": ")
}

/// What is revoked; no row where nothing is.
fn revoked(lists: &RevokedStatus) -> Option<String> {
    let RevokedStatus { all, credentials, sessions, users } = lists;
    let all = all.is_some().then(|| "EVERYTHING".to_owned());
    let named = [("credential", credentials), ("session", sessions), ("user", users)];
    let named = named
        .into_iter()
        .flat_map(|(one, names)| names.keys().map(move |name| format!("{one} {name}")));
    let all: Vec<_> = all.into_iter().chain(named).collect();
    (!all.is_empty()).then(|| row("REVOKED", &[&paint(BAD, &all.join(", "))]))
}

fn audit(audit: &AuditStatus, here: &Here) -> String {
    let lost = format!("{} lost", audit.lost);
    match &audit.failing {
        Some(why) => {
            let since = here.short(&cell(&audit.since));
            let failing = paint(BAD, &format!("FAILING since {since}"));
            format!("{failing}: {why}; {lost}")
        }
        None => lost,
    }
}

fn span(seconds: Option<u64>) -> String {
    let life = seconds.map(Duration::from_secs);
    life.map(|life| humantime::format_duration(life).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whoever names a program writes no line of ours.
    #[test]
    fn a_program_is_in_one_line_whatever_its_path() {
        let exe = Some("/opt/a\nvaletkey  all is well".to_owned());
        let said = distrust(&[DistrustStatus { exe, ..Default::default() }], &Here::new(true));
        assert!(said.iter().all(|text| !text.contains("\nvaletkey")), "{said:?}");
    }

    /// No day in it is today: of that one only the time is shown.
    #[test]
    fn a_person_can_read_it() {
        let status = json!({
            "version": "1", "pid": 7, "uptime_s": 3661, "config": "/c.toml", "listen": ["127.0.0.1:8383"],
            "metrics": null, "policy": "sha256:00", "generation": 2, "unmatched": "deny",
            "connections": 1, "requests": 9, "ca_ends": "2096-12-01T00:00:00Z", "ca_roots": 2,
            "ca_hint": "`permit = […]` under [ca] spares the next one",
            "audit": { "path": "/a.jsonl", "failing": "no space", "since": "2016-11-01T00:00:00Z", "lost": 3 },
            "routes": [{ "name": "orders", "host": "api.example", "port": 443, "credential": "o", "deny": false }],
            "credentials": [{
                "name": "o", "grant": "client-credentials", "remaining_s": 90,
                "last_mint": { "code": "issuer-refused", "time": "2016-11-01T00:00:00Z" },
            }],
            "logins": [{
                "credential": "o", "state": "ended", "code": "login-reuse-detected",
                "user": "ada@example", "scope": "a b", "since": "2016-11-01T00:00:00Z",
            }],
            "tokens": [],
            "sessions": [{
                "name": "env-1", "kind": "env", "user": "ann", "until": "2016-11-01T00:00:00Z",
                "holds_address": "127.0.0.1:9000",
            }],
            "restart": { "changed": ["audit", "proxy.listen"], "command": "valetkey restart" },
            "revoked": { "all": null, "credentials": { "o": "t" }, "sessions": {}, "users": { "ann": "t" } },
        });
        let status = serde_json::from_value(status).unwrap();
        let text = human(&status, &Here::new(true));
        for line in [
            "valetkey    1  pid 7",
            "up          1h 1m 1s",
            "metrics     off",
            "policy      sha256:00  generation 2",
            "audit       /a.jsonl  FAILING since 2016-11-01 00:00: no space; 3 lost",
            "ca ends     2096-12-01 00:00  2 roots: `permit = […]` under [ca] spares the next one",
            "ROUTE   HOST         PORT  CREDENTIAL",
            "orders  api.example  443   o",
            "o           client-credentials  issuer-refused  2016-11-01 00:00  1m 30s",
            "REVOKED     credential o, user ann",
            "o          ended login-reuse-detected  ada@example  a b    2016-11-01 00:00",
            "RESTART     audit, proxy.listen changed since the start: valetkey restart",
            "SESSION  KIND  USER  UNTIL",
            "env-1    env   ann   2016-11-01 00:00",
            "session env-1 was given 127.0.0.1:9000, which is not ours any more: evaluate `valetkey env` in its shell again",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
        }
    }
}
