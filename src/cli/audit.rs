//! `audit tail` and `audit verify`: both read the files and need no daemon.

use std::path::Path;
use std::time::Duration;

use super::args::{Audit, AuditTail, Json};
use super::audit_line;
use super::failure::{Exit, Failure};
use super::{context, printer};
use crate::audit::tail::Tail;
use crate::audit::{AuditError, Key, VerifyReport, verify};
use crate::config::Config;

/// Between two looks at the file, with `--follow`.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(args: &Audit, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    match args {
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

fn verify_all(args: &Json, config: &Config) -> Result<(), Failure> {
    let report = report(config)?;
    if args.json {
        printer::json(&report)?;
    } else {
        printer::line(human(&report))?;
    }
    if report.is_intact() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// Checks the whole trail of this config.
pub(super) fn report(config: &Config) -> Result<VerifyReport, Failure> {
    let key = Key::read(&config.state_dir)?;
    let path = &config.audit.path;
    if key.is_none() && !path.exists() {
        // Nothing was ever written: no key is needed for that.
        return Ok(VerifyReport::default());
    }
    verify(path, key.as_ref()).map_err(|error| unreadable(path, &error))
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

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self::failed(error.code(), super::failure::chain(&error), error.hint())
    }
}
