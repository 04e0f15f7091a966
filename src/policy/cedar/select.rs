//! Which policies can apply to a route and a method, by their scopes, and what those alone decide.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use http::Method;

use super::Verdict;
use super::ask::{self, Names, Told};
use super::merge;
use super::schema::{READ, WRITE};
use crate::policy::facts::PolicyFacts;
use crate::policy::route::Route;

/// What a route asks policies.
#[derive(Debug)]
pub(in crate::policy) struct Asked {
    names: Names,
    by_method: Vec<(Method, Arc<Selected>)>,
    /// What holds for a method that no registry has.
    others: Arc<Selected>,
    needs_process: bool,
}

/// The policies that can apply.
#[derive(Debug)]
pub(super) enum Selected {
    /// Whatever the request is.
    Always(Verdict),
    Depends(Box<Sets>),
}

/// The same policies, to be asked in two ways.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) all: PolicySet,
    /// With those that forbid as one policy, which says as much but for its name, at a third of the
    /// price: nearly every request is permitted. `None`: there is nothing to gain.
    pub(super) merged: Option<PolicySet>,
}

/// One policy, read.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) policy: Policy,
    pub(super) id: Arc<str>,
    pub(super) hint: Option<Arc<str>>,
    looks_at_process: bool,
}

impl Known {
    pub(super) fn new(policy: &Policy, id: Arc<str>, hint: Option<Arc<str>>) -> Self {
        let looks_at_process = looks_at_process(policy);
        Self { policy: policy.new_id(PolicyId::new(&id)), id, hint, looks_at_process }
    }
}

/// All policies, and the sets of them that were made so far: most routes and methods share one.
pub(super) struct Selection<'a> {
    pub(super) all: &'a [Known],
    made: HashMap<Vec<usize>, Arc<Selected>>,
}

impl Asked {
    /// Whether some policy looks at the client's process.
    pub(in crate::policy) fn needs_process(&self) -> bool {
        self.needs_process
    }

    /// Whether they say no to whatever comes.
    pub(super) fn never_permits(&self) -> bool {
        let no = |selected: &Selected| match selected {
            Selected::Always(verdict) => matches!(verdict, Verdict::Forbid { .. }),
            Selected::Depends(sets) => sets.all.policies().all(|it| it.effect() == Effect::Forbid),
        };
        no(&self.others) && self.by_method.iter().all(|(_, selected)| no(selected))
    }

    /// What they say of a request that the route permits, at this path.
    pub(in crate::policy) fn judge(
        &self,
        route: &Route,
        facts: &PolicyFacts<'_>,
        path: &str,
    ) -> Verdict {
        let of_method = self.by_method.iter().find(|(method, _)| method == facts.method);
        match &**of_method.map_or(&self.others, |(_, selected)| selected) {
            Selected::Always(verdict) => verdict.clone(),
            Selected::Depends(sets) => ask::ask(sets, &self.names, route, facts, path),
        }
    }
}

impl<'a> Selection<'a> {
    pub(super) fn of(all: &'a [Known]) -> Self {
        Self { all, made: HashMap::new() }
    }

    /// Those for one route.
    pub(super) fn route(&mut self, names: Names, route: &Route) -> Asked {
        let mut applying = Vec::new();
        for (at, known) in self.all.iter().enumerate() {
            if applies_to_route(&known.policy, &names) {
                applying.push(at);
            }
        }
        let methods = READ.iter().chain(&WRITE).filter_map(|name| name.parse::<Method>().ok());
        let mut by_method = Vec::new();
        for method in methods.filter(|method| route.matches_method(method)) {
            let selected = self.of_action(&applying, &names, &method);
            by_method.push((method, selected));
        }
        let others =
            self.of_action(&applying, &names, &Method::from_bytes(b"-").unwrap_or_default());
        let needs_process = applying.iter().any(|at| self.all[*at].looks_at_process);
        Asked { names, by_method, others, needs_process }
    }

    fn of_action(&mut self, applying: &[usize], names: &Names, method: &Method) -> Arc<Selected> {
        let applies = |at: &&usize| applies_to_action(&self.all[**at].policy, names, method);
        let chosen: Vec<usize> = applying.iter().filter(applies).copied().collect();
        if let Some(made) = self.made.get(&chosen) {
            return Arc::clone(made);
        }
        let made = Arc::new(self.selected(&chosen));
        self.made.insert(chosen, Arc::clone(&made));
        made
    }

    fn selected(&self, chosen: &[usize]) -> Selected {
        let of = |effect| {
            let all = chosen.iter().map(|at| &self.all[*at]);
            all.filter(move |known| known.policy.effect() == effect)
        };
        let ids = |all: &[&Known]| all.iter().map(|known| Arc::clone(&known.id)).collect();
        let always =
            |effect| of(effect).filter(|known| is_always(&known.policy)).collect::<Vec<_>>();
        let forbidding = always(Effect::Forbid);
        if let Some(first) = forbidding.first() {
            let hint = first.hint.clone();
            return Selected::Always(Verdict::Forbid { policies: ids(&forbidding), hint });
        }
        if chosen.is_empty() {
            return Selected::Always(Verdict::Forbid { policies: Arc::default(), hint: None });
        }
        let permitting = always(Effect::Permit);
        if !permitting.is_empty() && of(Effect::Forbid).next().is_none() {
            return Selected::Always(Verdict::Permit { policies: ids(&permitting) });
        }
        let policies = chosen.iter().map(|at| self.all[*at].policy.clone());
        let merged = merge::forbids_as_one(chosen.iter().map(|at| &self.all[*at].policy));
        match PolicySet::from_policies(policies) {
            Ok(all) => Selected::Depends(Sets { all, merged }.into()),
            // No two have one id: load has seen to it. What cannot be asked is denied.
            Err(_duplicate) => {
                Selected::Always(Verdict::Forbid { policies: Arc::default(), hint: None })
            }
        }
    }
}

/// Whether it says the same of everything within its resource and action.
fn is_always(policy: &Policy) -> bool {
    policy.principal_constraint() == PrincipalConstraint::Any && !policy.has_non_scope_constraint()
}

fn applies_to_route(policy: &Policy, names: &Names) -> bool {
    let within = |uid: &EntityUid| *uid == names.route || Some(uid) == names.credential.as_ref();
    match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::In(uid) => within(&uid),
        ResourceConstraint::Eq(uid) => uid == names.route,
        ResourceConstraint::Is(kind) => kind == *names.route.type_name(),
        ResourceConstraint::IsIn(kind, uid) => kind == *names.route.type_name() && within(&uid),
    }
}

fn applies_to_action(policy: &Policy, names: &Names, method: &Method) -> bool {
    let action = names.actions.of(method);
    let within = |uid: &EntityUid| *uid == action.uid || *uid == action.group;
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.iter().any(within),
        ActionConstraint::Eq(uid) => uid == action.uid,
    }
}

/// By the words of its canonical form: one too many costs a short wait, one too few would be a
/// guess.
fn looks_at_process(policy: &Policy) -> bool {
    let Ok(json) = policy.to_json() else { return true };
    let text = json.to_string();
    ["exe", "command", "parent"].iter().any(|word| text.contains(word))
}

/// Of all policies, by what Cedar calls them.
pub(super) fn by_id(all: &[Known]) -> Told {
    let entry =
        |known: &Known| (known.policy.id().clone(), (Arc::clone(&known.id), known.hint.clone()));
    all.iter().map(entry).collect()
}
