//! `status`: what the running daemon says of itself; never a value of a secret. Where none runs, who is logged in.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::admin_client::{ABSENT, AdminClient};
use super::args::Json;
use super::failure::Failure;
use super::local_time::Here;
use super::table::{cell, list, table};
use super::terminal::{BAD, paint};
use super::{context, printer};
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
        printer::json(&status)
    } else {
        printer::line(human(&Value::Object(status), &Here::new(false)))
    }
}

/// Logins outlive the daemon.
fn without_daemon(config: &Config, as_json: bool) -> Result<(), Failure> {
    let logins = daemon::stored_logins(config);
    if as_json {
        return printer::json(&json!({ "pid": null, "config": config.path, "logins": logins }));
    }
    if logins.is_empty() {
        return Ok(());
    }
    printer::line(self::logins(&logins, &Here::new(false)).trim_start())
}

/// One row for each.
fn facts(status: &Value, here: &Here) -> Vec<String> {
    let when = |time: &Value| here.short(&cell(time));
    vec![
        row("valetkey", &[&status["version"]], &format!("pid {}", cell(&status["pid"]))),
        row("up", &[], &span(&status["uptime_s"])),
        row("config", &[&status["config"]], ""),
        row("listening", &list(&status["listen"]).iter().collect::<Vec<_>>(), ""),
        row("metrics", &[&status["metrics"]], if status["metrics"].is_null() { "off" } else { "" }),
        row("policy", &[&status["policy"]], &format!("generation {}", cell(&status["generation"]))),
        row("unmatched", &[&status["unmatched"]], ""),
        row("connections", &[&status["connections"]], ""),
        row("requests", &[&status["requests"]], ""),
        row("audit", &[&status["audit"]["path"]], &audit(&status["audit"], here)),
        row("ca ends", &[], &[when(&status["ca_ends"]), roots(status)].join("  ")),
    ]
}

/// One row for a fact, one table for each list.
fn human(status: &Value, here: &Here) -> String {
    let when = |time: &Value| here.short(&cell(time));
    let mut rows = facts(status, here);
    rows.extend(restart(&status["restart"]));
    rows.extend(revoked(&status["revoked"]));
    rows.push(table(
        ["ROUTE", "HOST", "PORT", "CREDENTIAL", ""],
        list(&status["routes"]),
        |route| {
            let deny = if route["deny"] == true { "denies" } else { "" };
            [
                cell(&route["name"]),
                cell(&route["host"]),
                cell(&route["port"]),
                cell(&route["credential"]),
                deny.into(),
            ]
        },
    ));
    rows.push(table(
        ["CREDENTIAL", "GRANT", "LAST MINT", "AT", "TOKEN LIVES"],
        list(&status["credentials"]),
        |credential| {
            let last = &credential["last_mint"];
            [
                cell(&credential["name"]),
                cell(&credential["grant"]),
                cell(&last["code"]),
                when(&last["time"]),
                span(&credential["remaining_s"]),
            ]
        },
    ));
    rows.extend(list(&status["credentials"]).iter().filter_map(|credential| {
        let said = credential["last_error"]["issuer"].as_str()?;
        Some(format!("the issuer of `{}` says: {said}", cell(&credential["name"])))
    }));
    if !list(&status["logins"]).is_empty() {
        rows.push(logins(list(&status["logins"]), here));
    }
    rows.extend(list(&status["logins"]).iter().filter_map(|login| {
        let hint = login["step_up"].as_str()?;
        Some(format!("an upstream wants more of `{}`: {hint}", cell(&login["credential"])))
    }));
    rows.push(table(
        ["TOKEN OF", "FOR", "FINGERPRINT", "AGE", "LIVES"],
        list(&status["tokens"]),
        |token| {
            [
                cell(&token["credential"]),
                cell(&token["client"]),
                cell(&token["fingerprint"]),
                span(&token["age_s"]),
                span(&token["remaining_s"]),
            ]
        },
    ));
    rows.push(table(
        ["SESSION", "KIND", "USER", "UNTIL", ""],
        list(&status["sessions"]),
        |session| {
            [
                cell(&session["name"]),
                cell(&session["kind"]),
                cell(&session["user"]),
                when(&session["until"]),
                String::new(),
            ]
        },
    ));
    rows.extend(list(&status["sessions"]).iter().filter_map(|session| {
        let (name, address) = (cell(&session["name"]), session["holds_address"].as_str()?);
        Some(format!(
            "session {name} was given {address}, which is not ours any more: evaluate `valetkey env` in its shell again"
        ))
    }));
    rows.join("\n")
}

/// Who is logged in for which credential, and until when; below, what to do about those that cannot be read.
fn logins(all: &[Value], here: &Here) -> String {
    let mut text = login_table(all, here);
    for login in all {
        if let Some(hint) = login["hint"].as_str() {
            let (name, hint) = (cell(&login["credential"]), printer::pasteable(hint));
            text.push_str(&format!("\nlogin for `{name}`: {hint}"));
        }
        let missing: Vec<_> = list(&login["not_granted"]).iter().map(cell).collect();
        if !missing.is_empty() {
            let (name, missing) = (cell(&login["credential"]), missing.join(" "));
            let hint = format!("type: valetkey login {name}");
            let hint = printer::pasteable(&hint);
            text.push_str(&format!("\nlogin for `{name}`: not granted: {missing}; {hint}"));
        }
    }
    text
}

fn login_table(all: &[Value], here: &Here) -> String {
    table(["LOGIN FOR", "STATE", "USER", "SCOPE", "SINCE", "ENDS IN"], all, |login| {
        let state = [cell(&login["state"]), cell(&login["code"])].join(" ");
        [
            cell(&login["credential"]),
            state.trim_end().to_owned(),
            cell(&login["user"]),
            cell(&login["scope"]),
            here.short(&cell(&login["since"])),
            match (&login["until"], &login["state"]) {
                (Value::Null, Value::String(state)) if state == "logged-in" => {
                    "not said".to_owned()
                }
                _ => span(&login["remaining_s"]),
            },
        ]
    })
}

fn row(label: &str, values: &[&Value], note: &str) -> String {
    let values = values.iter().map(|value| cell(value)).filter(|cell| !cell.is_empty());
    let values = values.chain([note.to_owned()]).collect::<Vec<_>>().join("  ");
    format!("{label:<12}{}", values.trim_end())
}

/// What only a restart takes up; no row where there is nothing.
fn restart(restart: &Value) -> Option<String> {
    let changed: Vec<_> = list(&restart["changed"]).iter().map(cell).collect();
    let command = cell(&restart["command"]);
    let text = format!("{} changed since the start: {command}", changed.join(", "));
    (!changed.is_empty()).then(|| row("RESTART", &[], &paint(BAD, &text)))
}

/// How many roots there are, where that is more than one, and what would spare the next one.
fn roots(status: &Value) -> String {
    let more = status["ca_roots"].as_u64().filter(|roots| *roots > 1);
    let more = more.map(|roots| format!("{roots} roots"));
    let hint = status["ca_hint"].as_str().map(str::to_owned);
    more.into_iter().chain(hint).collect::<Vec<_>>().join(": ")
}

/// What is revoked; no row where nothing is.
fn revoked(lists: &Value) -> Option<String> {
    let all = lists["all"].is_string().then(|| "EVERYTHING".to_owned());
    let named = [("credential", "credentials"), ("session", "sessions"), ("user", "users")];
    let named = named.into_iter().flat_map(|(one, key)| {
        let names = lists[key].as_object().into_iter().flat_map(Map::keys);
        names.map(move |name| format!("{one} {name}"))
    });
    let all: Vec<_> = all.into_iter().chain(named).collect();
    (!all.is_empty()).then(|| row("REVOKED", &[], &paint(BAD, &all.join(", "))))
}

fn audit(audit: &Value, here: &Here) -> String {
    match (&audit["failing"], &audit["lost"]) {
        (Value::String(why), lost) => {
            let since = here.short(&cell(&audit["since"]));
            let failing = paint(BAD, &format!("FAILING since {since}"));
            format!("{failing}: {why}; {} lost", cell(lost))
        }
        (_, lost) => format!("{} lost", cell(lost)),
    }
}

fn span(seconds: &Value) -> String {
    let seconds = seconds.as_u64().map(Duration::from_secs);
    seconds.map(|life| humantime::format_duration(life).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_can_read_it() {
        let status = json!({
            "version": "1", "pid": 7, "uptime_s": 3661, "config": "/c.toml", "listen": ["127.0.0.1:8383"],
            "metrics": null, "policy": "sha256:00", "generation": 2, "unmatched": "deny",
            "connections": 1, "requests": 9, "ca_ends": "2026-12-01T00:00:00Z", "ca_roots": 2,
            "ca_hint": "`permit = […]` under [ca] spares the next one",
            "audit": { "path": "/a.jsonl", "failing": "no space", "since": "2026-11-01T00:00:00Z", "lost": 3 },
            "routes": [{ "name": "orders", "host": "api.example", "port": 443, "credential": "o", "deny": false }],
            "credentials": [{
                "name": "o", "grant": "client-credentials", "remaining_s": 90,
                "last_mint": { "code": "issuer-refused", "time": "2026-11-01T00:00:00Z" },
            }],
            "logins": [{
                "credential": "o", "state": "ended", "code": "login-reuse-detected",
                "user": "ada@example", "scope": "a b", "since": "2026-11-01T00:00:00Z",
            }],
            "tokens": [],
            "sessions": [{
                "name": "env-1", "kind": "env", "user": "ann", "until": "2026-11-01T00:00:00Z",
                "holds_address": "127.0.0.1:9000",
            }],
            "restart": { "changed": ["audit", "proxy.listen"], "command": "valetkey restart" },
            "revoked": { "all": null, "credentials": { "o": "t" }, "sessions": {}, "users": { "ann": "t" } },
        });
        let text = human(&status, &Here::new(true));
        for line in [
            "valetkey    1  pid 7",
            "up          1h 1m 1s",
            "metrics     off",
            "policy      sha256:00  generation 2",
            "audit       /a.jsonl  FAILING since 2026-11-01 00:00: no space; 3 lost",
            "ca ends     2026-12-01 00:00  2 roots: `permit = […]` under [ca] spares the next one",
            "ROUTE   HOST         PORT  CREDENTIAL",
            "orders  api.example  443   o",
            "o           client-credentials  issuer-refused  2026-11-01 00:00  1m 30s",
            "REVOKED     credential o, user ann",
            "o          ended login-reuse-detected  ada@example  a b    2026-11-01 00:00",
            "RESTART     audit, proxy.listen changed since the start: valetkey restart",
            "SESSION  KIND  USER  UNTIL",
            "env-1    env   ann   2026-11-01 00:00",
            "session env-1 was given 127.0.0.1:9000, which is not ours any more: evaluate `valetkey env` in its shell again",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
        }
    }
}
