//! Two routes with different outcomes that match one request: found at load wherever that can be
//! proved. What depends on who asks is found at the request.

use std::sync::Arc;

use super::Policy;
use super::route::Route;
use crate::config::problem::Problems;

/// Reports each pair once, on the line of the later route.
pub(super) fn check(policy: &Policy, problems: &mut Problems) {
    for (name, routes) in &policy.exact {
        pairs(routes, problems);
        let wild = name.split_once('.').and_then(|(_, suffix)| policy.one_label.get(suffix));
        for (a, b) in wild.into_iter().flatten().flat_map(|b| routes.iter().map(move |a| (a, b))) {
            pair(a, b, problems);
        }
    }
    for routes in policy.one_label.values() {
        pairs(routes, problems);
    }
}

fn pairs(routes: &[Arc<Route>], problems: &mut Problems) {
    for (i, a) in routes.iter().enumerate() {
        for b in &routes[i + 1..] {
            pair(a, b, problems);
        }
    }
}

fn pair(a: &Route, b: &Route, problems: &mut Problems) {
    if a.agrees_with(b) || a.is_apart_by_placeholder(b) {
        return;
    }
    let (first, second) = if a.line <= b.line { (a, b) } else { (b, a) };
    let names = format!("`{}` (line {}) and `{}`", first.name, first.line, second.name);
    match a.overlaps(b) {
        Some(false) => {}
        Some(true) => problems.error(
            second.line,
            "ambiguous-route",
            format!("one request can match {names}, which do different things with it"),
            "make their methods, paths or clients disjoint, or give each a placeholder in `env`; order does not decide",
        ),
        None => problems.warn(
            second.line,
            "ambiguous-route",
            format!("a client can be served by both {names}; such a request is refused"),
            "name sessions, uids or users in both, not a mixture",
        ),
    }
}
