//! `audit tail`, `query`, `inventory`, `verify` and `checkpoint`: all read the files and need no
//! daemon.

use std::path::Path;

use super::args::{Audit, AuditVerify};
use super::audit_failure::unreadable;
use super::failure::{Exit, Failure};
use super::terminal::{BAD, GOOD, ODD, paint};
use super::{audit_inventory, audit_search, context, printer};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::{Key, VerifyReport, verify_against};
use crate::config::index::Whereabouts;

pub(super) fn run(args: &Audit, explicit: Option<&Path>) -> Result<(), Failure> {
    let place = context::own_daemon(explicit)?;
    match args {
        Audit::Checkpoint => checkpoint(&place),
        Audit::Inventory(args) => audit_inventory::run(args, &context::config(explicit)?),
        Audit::Query(args) => audit_search::query(args, &place),
        Audit::Tail(args) => audit_search::tail(args, &place),
        Audit::Verify(args) => verify_all(args, &place),
    }
}

fn verify_all(args: &AuditVerify, place: &Whereabouts) -> Result<(), Failure> {
    let parse = |line: &String| {
        line.parse().map_err(|error| {
            let hint = "give the line as `valetkey audit checkpoint` printed it, in quotes";
            Failure::usage("bad-checkpoint", format!("{error}: {line}"), hint)
        })
    };
    let report = check(place, args.checkpoint.as_ref().map(parse).transpose()?)?;
    if args.json.json {
        printer::json(&report)?;
    } else {
        printer::line(human(&report))?;
    }
    if report.is_intact() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// A line for a trail that is not intact would vouch for what somebody made of it.
fn checkpoint(place: &Whereabouts) -> Result<(), Failure> {
    let report = report(place)?;
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
pub(super) fn report(place: &Whereabouts) -> Result<VerifyReport, Failure> {
    check(place, None)
}

fn check(place: &Whereabouts, checkpoint: Option<Checkpoint>) -> Result<VerifyReport, Failure> {
    let key = Key::read(&place.state_dir)?;
    let path = &place.audit;
    if key.is_none() && !path.exists() && checkpoint.is_none() {
        // Nothing was ever written: no key is needed for that.
        return Ok(VerifyReport::default());
    }
    verify_against(path, key.as_ref(), &place.state_dir, checkpoint)
        .map_err(|error| unreadable(path, &error))
}

/// A few lines for a person.
pub(super) fn human(report: &VerifyReport) -> String {
    let mut text = String::new();
    for (kind, style, list) in [("error", BAD, &report.problems), ("remark", ODD, &report.remarks)]
    {
        for found in list {
            text.push_str(&format!(
                "{}:{}: {}: {}\n  hint: {}\n",
                found.file.display(),
                found.line,
                paint(style, &format!("{kind}[{}]", found.code)),
                found.message,
                found.hint
            ));
        }
    }
    let (style, verdict) = if report.is_intact() { (GOOD, "intact") } else { (BAD, "NOT intact") };
    let verdict = paint(style, verdict);
    text.push_str(&match report.records {
        0 => format!("{verdict}: nothing is recorded"),
        n => format!("{verdict}: {n} records, {} to {}", report.first, report.last),
    });
    if report.torn {
        text.push_str("; the last line is being written, or its writer was killed");
    }
    text
}
