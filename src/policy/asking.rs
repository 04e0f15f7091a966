//! Cedar policies, asked about what routes permit.

use std::borrow::Cow;
use std::sync::Arc;

use super::cedar::Verdict;
use super::facts::PolicyFacts;
use super::permit::Refusal;
use super::route::Route;
use super::{Policy, cedar, path};
use crate::model::reason::Reason;
use crate::model::target::Target;

/// The Cedar schema by which policies are validated: the same for every config.
pub fn schema() -> String {
    cedar::schema()
}

impl Policy {
    /// What policies say of each route that matches: one that forbids is enough. Those that permit
    /// are named of the one whose name stands in the audit.
    pub(super) fn ask_all<'a>(
        &self,
        matching: impl Iterator<Item = &'a Arc<Route>>,
        named: &Route,
        facts: &PolicyFacts<'_>,
        segments: &[Cow<'_, str>],
    ) -> Result<Option<Arc<[Arc<str>]>>, Refusal> {
        let mut policies = None;
        for route in matching {
            let permitting = self.ask(route, facts, segments)?;
            if route.name == named.name {
                policies = permitting;
            }
        }
        Ok(policies)
    }

    pub(super) fn ask(
        &self,
        route: &Route,
        facts: &PolicyFacts<'_>,
        segments: &[Cow<'_, str>],
    ) -> Result<Option<Arc<[Arc<str>]>>, Refusal> {
        let Some(asked) = &route.asked else { return Ok(None) };
        match asked.judge(route, facts, &path::written(segments)) {
            Verdict::Permit { policies } => Ok(Some(policies)),
            Verdict::Forbid { policies, hint } => {
                let refusal = Refusal::of(Reason::PolicyDenied, Some(route));
                Err(Refusal { policies: Some(policies), hint, ..refusal })
            }
        }
    }

    /// Whether a policy looks at the process of whoever asks this host for something.
    pub fn needs_process(&self, target: &Target) -> bool {
        let looks = |route: &Arc<Route>| route.port == target.port && route.needs_process();
        self.needs_process && self.of_host(&target.host).any(looks)
    }
}
