//! Many policies that forbid as one: what Cedar spends on each beside its condition is most of the
//! price.

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PrincipalConstraint};
use serde_json::{Value, json};

/// No policy of a config can be called so.
const MERGED: &str = "all that forbid";

/// The same policies, with those that forbid whomever as one that forbids where any of them does.
/// Their actions and resources are looked at no more: they must apply. `None`: there are fewer than
/// two.
pub(super) fn forbids_as_one<'a>(policies: impl Iterator<Item = &'a Policy>) -> Option<PolicySet> {
    let (mut conditions, mut rest) = (Vec::new(), Vec::new());
    for policy in policies {
        let any = policy.principal_constraint() == PrincipalConstraint::Any;
        if policy.effect() == Effect::Forbid && any {
            conditions.push(condition(&policy.to_json().ok()?)?);
        } else {
            rest.push(policy.clone());
        }
    }
    if conditions.len() < 2 {
        return None;
    }
    let all = json!({ "op": "All" });
    let merged = json!({
        "effect": "forbid",
        "principal": all,
        "action": all,
        "resource": all,
        "conditions": [{ "kind": "when", "body": any_of(conditions) }],
    });
    rest.push(Policy::from_json(Some(PolicyId::new(MERGED)), merged).ok()?);
    PolicySet::from_policies(rest).ok()
}

/// All of its `when` and none of its `unless`, in Cedar's JSON.
fn condition(policy: &Value) -> Option<Value> {
    let mut whole: Option<Value> = None;
    for one in policy.get("conditions")?.as_array()? {
        let body = one.get("body")?.clone();
        let one = match one.get("kind")?.as_str()? {
            "when" => body,
            "unless" => json!({ "!": { "arg": body } }),
            _ => return None,
        };
        whole = Some(match whole {
            Some(before) => json!({ "&&": { "left": before, "right": one } }),
            None => one,
        });
    }
    whole
}

/// As a tree that is no deeper than it must be: Cedar walks it by recursion.
fn any_of(mut conditions: Vec<Value>) -> Value {
    if conditions.len() > 1 {
        let right = conditions.split_off(conditions.len() / 2);
        return json!({ "||": { "left": any_of(conditions), "right": any_of(right) } });
    }
    conditions.pop().unwrap_or(Value::Bool(false))
}
