//! Which policies can apply to a route and a method, by their scopes, and what those alone decide.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use http::Method;

use super::Verdict;
use super::ask::{self, Actions, Kinds, MethodAction, Names, Told};
use super::merge;
use super::schema::{READ, WRITE};
use crate::policy::facts::PolicyFacts;
use crate::policy::route::Route;

/// What a route asks policies.
#[derive(Debug)]
pub(in crate::policy) struct Asked {
    names: Names,
    applying: Arc<ByMethod>,
}

/// The policies that can apply to a route, by method. Most routes share one.
#[derive(Debug)]
struct ByMethod {
    /// Where they are not those of all others.
    some: Vec<(Method, Arc<Selected>)>,
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
    /// As it was written: what is wrong with it is said by that.
    pub(super) policy: Policy,
    /// The same as it is asked.
    asked: Policy,
    pub(super) id: Arc<str>,
    pub(super) hint: Option<Arc<str>>,
    looks_at_process: bool,
}

impl Known {
    pub(super) fn new(
        policy: &Policy,
        asked: &Policy,
        id: Arc<str>,
        hint: Option<Arc<str>>,
    ) -> Self {
        let looks_at_process = looks_at_process(asked);
        let [policy, asked] = [policy, asked].map(|policy| policy.new_id(PolicyId::new(&id)));
        Self { policy, asked, id, hint, looks_at_process }
    }
}

/// All policies, where they can apply, and what was made of some of them so far: there may be a
/// hundred thousand routes.
pub(super) struct Selection<'a> {
    all: &'a [Known],
    actions: Arc<Actions>,
    everywhere: Vec<usize>,
    /// By the route or credential that they name.
    within: HashMap<EntityUid, Vec<usize>>,
    by_method: HashMap<Vec<usize>, Arc<ByMethod>>,
    selected: HashMap<Vec<usize>, Arc<Selected>>,
}

impl Asked {
    /// Whether some policy looks at the client's process.
    pub(in crate::policy) fn needs_process(&self) -> bool {
        self.applying.needs_process
    }

    /// Whether they say no to whatever the route permits.
    pub(super) fn never_permits(&self, route: &Route) -> bool {
        let no = |selected: &Selected| match selected {
            Selected::Always(verdict) => matches!(verdict, Verdict::Forbid { .. }),
            Selected::Depends(sets) => sets.all.policies().all(|it| it.effect() == Effect::Forbid),
        };
        let mut some = self.applying.some.iter();
        no(&self.applying.others)
            && some.all(|(method, selected)| !route.matches_method(method) || no(selected))
    }

    /// What they say of a request that the route permits, at this path.
    pub(in crate::policy) fn judge(
        &self,
        route: &Route,
        facts: &PolicyFacts<'_>,
        path: &str,
    ) -> Verdict {
        let of_method = self.applying.some.iter().find(|(method, _)| method == facts.method);
        match &**of_method.map_or(&self.applying.others, |(_, selected)| selected) {
            Selected::Always(verdict) => verdict.clone(),
            Selected::Depends(sets) => ask::ask(sets, &self.names, route, facts, path),
        }
    }
}

impl<'a> Selection<'a> {
    pub(super) fn of(all: &'a [Known], actions: &Arc<Actions>, kinds: &Kinds) -> Self {
        let (mut everywhere, mut within) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for (at, known) in all.iter().enumerate() {
            match known.policy.resource_constraint() {
                ResourceConstraint::Any => everywhere.push(at),
                ResourceConstraint::Is(kind) if kinds.are_routes(&kind) => everywhere.push(at),
                // Of no route.
                ResourceConstraint::Is(_) => {}
                ResourceConstraint::IsIn(kind, _) if !kinds.are_routes(&kind) => {}
                ResourceConstraint::Eq(uid) if !kinds.is_route(&uid) => {}
                ResourceConstraint::Eq(uid)
                | ResourceConstraint::In(uid)
                | ResourceConstraint::IsIn(_, uid) => within.entry(uid).or_default().push(at),
            }
        }
        let (by_method, selected) = (HashMap::new(), HashMap::new());
        Self { all, actions: Arc::clone(actions), everywhere, within, by_method, selected }
    }

    /// Those for one route.
    pub(super) fn route(&mut self, names: Names) -> Asked {
        let of_route = self.within.get(&names.route).into_iter().flatten();
        let of_credential = names.credential.iter().filter_map(|uid| self.within.get(uid));
        let more = of_route.chain(of_credential.flatten());
        let mut applying: Vec<usize> = self.everywhere.iter().chain(more).copied().collect();
        applying.sort_unstable();
        let applying = match self.by_method.get(&applying) {
            Some(made) => Arc::clone(made),
            None => {
                let made = Arc::new(self.by_method(&applying));
                self.by_method.insert(applying, Arc::clone(&made));
                made
            }
        };
        Asked { names, applying }
    }

    fn by_method(&mut self, applying: &[usize]) -> ByMethod {
        let unregistered = Method::from_bytes(b"-").unwrap_or_default();
        let others = self.of_action(applying, &unregistered);
        let mut some = Vec::new();
        for name in READ.iter().chain(&WRITE) {
            let Ok(method) = name.parse::<Method>() else { continue };
            let selected = self.of_action(applying, &method);
            if !Arc::ptr_eq(&selected, &others) {
                some.push((method, selected));
            }
        }
        let needs_process = applying.iter().any(|at| self.all[*at].looks_at_process);
        ByMethod { some, others, needs_process }
    }

    fn of_action(&mut self, applying: &[usize], method: &Method) -> Arc<Selected> {
        let action = self.actions.of(method);
        let applies = |at: &&usize| applies_to(&self.all[**at].policy, &action);
        let chosen: Vec<usize> = applying.iter().filter(applies).copied().collect();
        if let Some(made) = self.selected.get(&chosen) {
            return Arc::clone(made);
        }
        let made = Arc::new(self.selected(&chosen));
        self.selected.insert(chosen, Arc::clone(&made));
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
        let policies = chosen.iter().map(|at| self.all[*at].asked.clone());
        let merged = merge::forbids_as_one(chosen.iter().map(|at| &self.all[*at].asked));
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

fn applies_to(policy: &Policy, action: &MethodAction) -> bool {
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
