//! A program that was built without Cedar: it has no config that asks for policies.

use std::convert::Infallible;

use super::Verdict;
use crate::config::Config;
use crate::config::problem::Problems;
use crate::policy::facts::PolicyFacts;
use crate::policy::route::Route;

const HINT: &str =
    "build it with its default features, or take `cedar` out of [policy]: then routes alone decide";

/// What a route asks policies.
#[derive(Debug)]
pub(in crate::policy) struct Unasked(Infallible);

impl Unasked {
    pub(in crate::policy) fn needs_process(&self) -> bool {
        match self.0 {}
    }

    pub(in crate::policy) fn judge(&self, _: &Route, _: &PolicyFacts<'_>, _: &str) -> Verdict {
        match self.0 {}
    }
}

/// Reports that there are policies, if there are.
pub(in crate::policy) fn asked(config: &Config, _: &mut [Route], problems: &mut Problems) {
    if let Some(named) = config.policies.named.first() {
        let message = "`cedar` names policies, and this program was built without Cedar";
        problems.error(named.line, "cedar-missing", message, HINT);
    }
}

/// The schema of no policy.
pub(in crate::policy) fn schema() -> String {
    format!("// This program was built without Cedar: {HINT}\n")
}
