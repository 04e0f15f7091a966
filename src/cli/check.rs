//! `check`: everything that is wrong with the config, at once.

use std::path::Path;

use serde::Serialize;

use super::args::Check;
use super::check_online::{self, Finding};
use super::failure::{Exit, Failure};
use super::terminal::{BAD, GOOD, ODD, flow, paint};
use super::{check_places, check_running, check_secrets, context, printer};
use crate::config::Config;
use crate::config::problem::{Problem, Severity};
use crate::config::{LoadError, load};
use crate::policy::Policy;

#[derive(Serialize)]
struct CheckReport<'a> {
    ok: bool,
    problems: &'a [Problem],
    /// With `--online`, of a config that can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<&'a [Finding]>,
}

pub(super) fn run(args: &Check, explicit: Option<&Path>) -> Result<(), Failure> {
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
    let online = match args.online && ok {
        true => Some(look_online(explicit)?),
        false => None,
    };
    let reached = online.iter().flatten().all(|finding| !finding.has_failed());
    if args.json.json {
        let (ok, online) = (ok && reached, online.as_deref());
        printer::json(&CheckReport { ok, problems: &problems, online })?;
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
    for finding in online.iter().flatten().filter(|_| !args.json.json) {
        printer::line(finding.shown())?;
    }
    match (ok, reached) {
        (false, _) => Err(Failure::silent(Exit::Usage)),
        (true, false) => Err(Failure::silent(Exit::Failed)),
        (true, true) => Ok(()),
    }
}

/// With the files that were judged, and no others: secrets are read.
fn look_online(explicit: Option<&Path>) -> Result<Vec<Finding>, Failure> {
    let config = context::config_to_use(explicit)?;
    context::runtime()?.block_on(check_online::look(&config))
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
    let mut parts =
        vec![count(config.routes.len(), "route"), count(config.credentials.len(), "credential")];
    if config.policies.are_asked() {
        parts.push(count(config.policies.files.len(), "policy file"));
    }
    format!("{}: {}: {}", paint(GOOD, "fine"), config.path.display(), parts.join(", "))
}
