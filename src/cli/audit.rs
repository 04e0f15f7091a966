//! `audit tail`, `query`, `inventory`, `verify` and `checkpoint`: all read the files and need no daemon.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::args::{Audit, AuditQuery, AuditTail, AuditVerify};
use super::failure::{Exit, Failure};
use super::{audit_inventory, audit_line};
use super::{context, printer};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::query::Query;
use crate::audit::read::RecordError;
use crate::audit::tail::Tail;
use crate::audit::{AuditError, Key, VerifyReport, verify_against};
use crate::config::Config;
use crate::model::clock::rfc3339_millis;
use crate::model::secret::Secret;

/// Read of a token on stdin, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// Between two looks at the file, with `--follow`.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(args: &Audit, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    match args {
        Audit::Checkpoint => checkpoint(&config),
        Audit::Inventory(args) => audit_inventory::run(args, &config),
        Audit::Query(args) => query(args, &config),
        Audit::Tail(args) => tail(args, &config),
        Audit::Verify(args) => verify_all(args, &config),
    }
}

fn tail(args: &AuditTail, config: &Config) -> Result<(), Failure> {
    let path = &config.audit.path;
    let unreadable = |error| unreadable(path, &error);
    let mut tail = Tail::open(path, args.lines).map_err(unreadable)?;
    print(&tail.poll().map_err(unreadable)?, args.json)?;
    if !args.follow {
        return Ok(());
    }
    context::runtime()?.block_on(async {
        // Until Ctrl-C, or until the reader of stdout goes away.
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            print(&tail.poll().map_err(unreadable)?, args.json)?;
        }
    })
}

fn query(args: &AuditQuery, config: &Config) -> Result<(), Failure> {
    let path = &config.audit.path;
    let query = wanted(args, SystemTime::now())?;
    let (mut failed, mut found) = (None, false);
    let result = query.run(path, |line, record| {
        found = true;
        let printed = if args.json {
            printer::line(&line.bytes)
        } else {
            printer::line(audit_line::of_record(record))
        };
        failed = printed.err();
        failed.is_none()
    });
    result.map_err(|error| unreadable_record(path, &error))?;
    match failed {
        Some(failure) => Err(failure),
        None if !found && !args.json => {
            printer::note("nothing in the audit answers to that");
            Ok(())
        }
        None => Ok(()),
    }
}

/// The question, times as records write them. A token itself comes on stdin, never as an argument.
fn wanted(args: &AuditQuery, now: SystemTime) -> Result<Query, Failure> {
    let token = match args.token.as_deref() {
        Some("-") => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text).map_err(|error| {
                Failure::failed(
                    "stdin-unreadable",
                    error,
                    "pipe the token in: … | valetkey audit query --token -",
                )
            })?;
            Some(Secret::new(text.trim()).fingerprint().to_string())
        }
        other => other.map(str::to_owned),
    };
    let time = |text: &Option<String>| match text {
        Some(text) => moment(text, now).map(Some),
        None => Ok(None),
    };
    Ok(Query {
        user: args.user.clone(),
        session: args.session.clone(),
        process: args.process.clone(),
        host: args.host.as_ref().map(|host| host.to_ascii_lowercase()),
        route: args.route.clone(),
        credential: args.credential.clone(),
        token,
        code: args.code.clone(),
        since: time(&args.since)?,
        until: time(&args.until)?,
    })
}

/// `2026-01-31T12:00:00Z`, or so long ago: `2h`.
fn moment(text: &str, now: SystemTime) -> Result<String, Failure> {
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
    let time = humantime::parse_rfc3339_weak(text).ok().or_else(ago);
    time.map(rfc3339_millis).ok_or_else(|| {
        let hint = "\"2026-01-31T12:00:00Z\" (UTC), or so long ago: \"2h\"";
        Failure::usage("bad-time", format!("this is no time: {text}"), hint)
    })
}

fn print(lines: &[String], json: bool) -> Result<(), Failure> {
    for line in lines {
        if json {
            printer::line(line)?;
        } else {
            printer::line(audit_line::of_json(line))?;
        }
    }
    Ok(())
}

fn verify_all(args: &AuditVerify, config: &Config) -> Result<(), Failure> {
    let parse = |line: &String| {
        line.parse().map_err(|error| {
            let hint = "give the line as `valetkey audit checkpoint` printed it, in quotes";
            Failure::usage("bad-checkpoint", format!("{error}: {line}"), hint)
        })
    };
    let report = check(config, args.checkpoint.as_ref().map(parse).transpose()?)?;
    if args.json.json {
        printer::json(&report)?;
    } else {
        printer::line(human(&report))?;
    }
    if report.is_intact() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// A line for a trail that is not intact would vouch for what somebody made of it.
fn checkpoint(config: &Config) -> Result<(), Failure> {
    let report = report(config)?;
    match report.checkpoint {
        Some(checkpoint) => printer::line(checkpoint.to_string()),
        None if report.is_intact() => Err(Failure::failed(
            "audit-empty",
            "there is no record to name yet",
            "start the daemon first: `valetkey run -- true`",
        )),
        None => Err(Failure::failed(
            "audit-not-intact",
            "the audit is not intact",
            "`valetkey audit verify` says what is wrong with it",
        )),
    }
}

/// Checks the whole trail of this config.
pub(super) fn report(config: &Config) -> Result<VerifyReport, Failure> {
    check(config, None)
}

fn check(config: &Config, checkpoint: Option<Checkpoint>) -> Result<VerifyReport, Failure> {
    let key = Key::read(&config.state_dir)?;
    let path = &config.audit.path;
    if key.is_none() && !path.exists() && checkpoint.is_none() {
        // Nothing was ever written: no key is needed for that.
        return Ok(VerifyReport::default());
    }
    verify_against(path, key.as_ref(), &config.state_dir, checkpoint)
        .map_err(|error| unreadable(path, &error))
}

/// A few lines for a person.
pub(super) fn human(report: &VerifyReport) -> String {
    let mut text = String::new();
    for (kind, list) in [("error", &report.problems), ("remark", &report.remarks)] {
        for found in list {
            text.push_str(&format!(
                "{}:{}: {kind}[{}]: {}\n  hint: {}\n",
                found.file.display(),
                found.line,
                found.code,
                found.message,
                found.hint
            ));
        }
    }
    let verdict = if report.is_intact() { "intact" } else { "NOT intact" };
    text.push_str(&match report.records {
        0 => format!("{verdict}: nothing is recorded"),
        n => format!("{verdict}: {n} records, {} to {}", report.first, report.last),
    });
    if report.torn {
        text.push_str("; the last line is being written, or its writer was killed");
    }
    text
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(
        "audit-unreadable",
        format!("cannot read the audit: {}: {error}", path.display()),
        "check owner and permissions of the state directory",
    )
}

pub(super) fn unreadable_record(path: &Path, error: &RecordError) -> Failure {
    match error {
        RecordError::Io(error) => unreadable(path, error),
        RecordError::Shape { .. } => Failure::failed(
            "audit-damaged",
            super::failure::chain(error),
            "`valetkey audit verify` says what is wrong with it",
        ),
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self::failed(error.code(), super::failure::chain(&error), error.hint())
    }
}
