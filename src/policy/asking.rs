//! Cedar policies, asked about what routes permit.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use super::cedar::Verdict;
use super::facts::PolicyFacts;
use super::permit::Refusal;
use super::route::Route;
use super::{Policy, cedar, path};
use crate::model::reason::Reason;
use crate::model::target::Target;

/// Told where a policy looks at the process of a client of this machine, and none is found.
const UNFOUND: &str =
    "a policy looks at this tool's process, and it was not found in time: repeat the request";

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

    /// What forbids it where `%2F` is a slash, of any route that matches then or now. As with
    /// routes: what denies it so is heard, and that nobody permits it so is not.
    pub(super) fn forbidden_slashed(
        &self,
        facts: &PolicyFacts<'_>,
        reading: &[Cow<'_, str>],
        now: Option<&Arc<Route>>,
    ) -> Result<(), Refusal> {
        let then = self.fitting(facts, reading, false).filter(|it| it.serves(facts.client));
        for route in then.chain(now) {
            match self.ask(route, facts, reading) {
                Err(refusal) if refusal.policies.as_ref().is_none_or(|ids| !ids.is_empty()) => {
                    return Err(refusal);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Some upstreams take `delete` for DELETE: what refuses that refuses this.
    pub(super) fn as_in_capitals(&self, facts: &PolicyFacts<'_>) -> Result<(), Refusal> {
        let sent = facts.method.as_str();
        if !sent.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Ok(());
        }
        let capitals = Method::from_bytes(sent.to_ascii_uppercase().as_bytes());
        let refuse = |_| Refusal::of(Reason::MethodRefused, None);
        let method = &capitals.map_err(refuse)?;
        self.decide(PolicyFacts { method, ..*facts }).map(drop)
    }

    pub(super) fn ask(
        &self,
        route: &Route,
        facts: &PolicyFacts<'_>,
        segments: &[Cow<'_, str>],
    ) -> Result<Option<Arc<[Arc<str>]>>, Refusal> {
        let Some(asked) = &route.asked else { return Ok(None) };
        let refusal = Refusal::of(Reason::PolicyDenied, Some(route));
        if facts.context.process_unfound && asked.needs_process() {
            let (policies, hint) = (Some(Arc::default()), Some(UNFOUND.into()));
            return Err(Refusal { policies, hint, ..refusal });
        }
        match asked.judge(route, facts, &path::written(segments)) {
            Verdict::Permit { policies } => Ok(Some(policies)),
            Verdict::Forbid { policies, hint } => {
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
