//! `check`: everything that is wrong with the config, at once.

use std::path::Path;

use serde::Serialize;

use super::args::Json;
use super::failure::{Exit, Failure};
use super::terminal::{BAD, GOOD, ODD, flow, paint};
use super::{check_places, check_running, check_secrets, context, printer};
use crate::config::Config;
use crate::config::problem::{Problem, Severity};
use crate::config::{LoadError, load};
use crate::policy::Policy;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: &'a [Problem],
}

pub(super) fn run(args: &Json, explicit: Option<&Path>) -> Result<(), Failure> {
    context::warn_of_passed_over(explicit);
    let (config, problems) = match load(explicit) {
        Ok((config, mut problems)) => {
            look_further(&config, &mut problems);
            (Some(config), problems)
        }
        Err(LoadError::Invalid { mut problems, readable, .. }) => {
            if let Some(config) = readable {
                look_further(&config, &mut problems);
            }
            (None, problems)
        }
        Err(error) => return Err(error.into()),
    };
    let ok = problems.iter().all(|problem| problem.severity == Severity::Warning);
    if args.json {
        printer::json(&Report { ok, problems: &problems })?;
    } else {
        for problem in &problems {
            printer::line(shown(problem))?;
        }
        if let Some(config) = config.filter(|_| ok) {
            printer::line(summary(&config))?;
            if let Some(note) = super::ca::outgrown(&config) {
                printer::note(&note);
            }
        }
    }
    if ok { Ok(()) } else { Err(Failure::silent(Exit::Usage)) }
}

/// What shows only when the config is looked at as a whole, and at what it names.
fn look_further(config: &Config, problems: &mut Vec<Problem>) {
    problems.extend(policy_problems(config));
    problems.extend(check_secrets::problems(config));
    problems.extend(check_places::problems(config));
    problems.extend(check_running::problems(config));
    problems.sort_by_key(|problem| (problem.severity, problem.line));
}

/// As it displays itself, its severity in colour.
fn shown(problem: &Problem) -> String {
    let (word, style) = match problem.severity {
        Severity::Error => ("error", BAD),
        Severity::Warning => ("warning", ODD),
    };
    let mark = format!("{word}[{}]", problem.code);
    flow(&printer::cleaned(problem).to_string()).replacen(&mark, &paint(style, &mark), 1)
}

/// What only the compiled policy can know.
fn policy_problems(config: &Config) -> Vec<Problem> {
    match Policy::compile(config) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: {}: {}, {}",
        paint(GOOD, "fine"),
        config.path.display(),
        count(config.routes.len(), "route"),
        count(config.credentials.len(), "credential")
    )
}
