//! Policies written anew for Cedar, which walks them by recursion and spends more on each than on its
//! condition: rows of operators as trees, and many policies that forbid as one.

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PrincipalConstraint};
use serde_json::{Value, json};

use super::outline::is_shallow;

/// No policy of a config can be called so.
const MERGED: &str = "all that forbid";

/// The same policy with rows of `||` and `&&` as trees, which are evaluated in the same order; `None`:
/// it is too deep all the same.
pub(super) fn balanced(policy: &Policy) -> Option<Policy> {
    let json = tree(policy.to_json().ok()?);
    if !is_shallow(&json) {
        return None;
    }
    Policy::from_json(Some(policy.id().clone()), json).ok()
}

fn tree(value: Value) -> Value {
    for operator in ["||", "&&"] {
        // A record may have a field of that name, which is no operation.
        let operands = value.get(operator);
        if operands.is_some_and(|it| it.get("left").is_some() && it.get("right").is_some()) {
            let mut row = Vec::new();
            in_row(value, operator, &mut row);
            return of_row(row.into_iter().map(tree).collect(), operator);
        }
    }
    match value {
        Value::Array(list) => list.into_iter().map(tree).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, tree(value))).collect(),
        other => other,
    }
}

/// The operands of a row, from left to right.
fn in_row(mut value: Value, operator: &str, row: &mut Vec<Value>) {
    let operands = value.get_mut(operator).and_then(|it| {
        let left = it.get_mut("left")?.take();
        Some((left, it.get_mut("right")?.take()))
    });
    match operands {
        Some((left, right)) => {
            in_row(left, operator, row);
            in_row(right, operator, row);
        }
        None => row.push(value),
    }
}

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
        "conditions": [{ "kind": "when", "body": of_row(conditions, "||") }],
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

/// As a tree that is no deeper than it must be.
fn of_row(mut row: Vec<Value>, operator: &str) -> Value {
    if row.len() > 1 {
        let right = row.split_off(row.len() / 2);
        return json!({ operator: { "left": of_row(row, operator), "right": of_row(right, operator) } });
    }
    row.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_trees_of_the_same_order() {
        let policy = |condition: &str| -> Policy {
            format!("permit (principal, action, resource) when {{ {condition} }};").parse().unwrap()
        };
        let row =
            "(1 == 1 || 2 == 2 || 3 == 3 || 4 == 4) && true && {\"||\": 1, \"&&\": {}} == context";
        let tree = "(((1 == 1 || 2 == 2) || (3 == 3 || 4 == 4))) && (true && {\"||\": 1, \"&&\": {}} == context)";
        let json = |policy: &Policy| policy.to_json().unwrap();
        assert_eq!(json(&balanced(&policy(row)).unwrap()), json(&policy(tree)));
        assert_ne!(json(&policy(row)), json(&policy(tree)));
        let deep = format!("{}true", "if true then true else ".repeat(60));
        assert!(balanced(&policy(&deep)).is_none());
    }
}
