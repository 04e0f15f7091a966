//! The answer to one request: the proof that it may go, or why it may not.

use std::sync::Arc;

use super::route::{Action, Route};
use crate::config::Placement;
use crate::model::ask::{Ask, Wants};
use crate::model::id::{CredentialName, RouteName};
use crate::model::reason::Reason;
use crate::model::target::Origin;

/// The proof that policy said yes to one request. Only [`Policy::decide`](super::Policy::decide)
/// makes one.
#[derive(Debug)]
pub struct Permit {
    pub(super) origin: Origin,
    pub(super) route: Option<Arc<Route>>,
    pub(super) strip: Vec<Placement>,
    pub(super) upgrades: Vec<Box<str>>,
    pub(super) refuses_keys: bool,
    pub(super) redacts: bool,
    pub(super) strips_cookies: bool,
}

impl Permit {
    /// Whether one of the matched routes allows an upgrade to this protocol, in lower case.
    pub fn allows_upgrade(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|allowed| **allowed == *protocol)
    }

    /// Whether a request with a standing key in it is refused.
    pub fn refuses_keys(&self) -> bool {
        self.refuses_keys
    }

    /// Whether the answer's body is searched for the token: unless every matched route says no.
    pub fn redacts(&self) -> bool {
        self.redacts
    }

    /// Whether the answer loses its cookies, which were bought with the token: unless every matched
    /// route says no.
    pub fn strips_cookies(&self) -> bool {
        self.strips_cookies
    }

    /// Where the request may go, and nowhere else.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The route that matched, if any did.
    pub fn route(&self) -> Option<&Arc<Route>> {
        self.route.as_ref()
    }

    /// Placements to empty: those of every route that matched.
    pub fn strip(&self) -> &[Placement] {
        &self.strip
    }

    /// Whose token belongs into the request.
    pub fn credential(&self) -> Option<&CredentialName> {
        match &self.route.as_ref()?.action {
            Action::Inject(credential, _) => Some(credential),
            Action::Deny | Action::Pass => None,
        }
    }

    /// What the token is asked for that belongs into the request.
    pub fn wants(&self) -> Option<&Arc<Wants>> {
        self.credential().and(self.route.as_ref()).map(|route| &route.wants)
    }

    /// Whether both come to the same, whichever routes they are of.
    pub(super) fn does_as(&self, other: &Self) -> bool {
        // By name, so that what is added to a permit is thought of here.
        let Self { origin, route: _, strip, upgrades, refuses_keys, redacts, strips_cookies } =
            self;
        let allows_no_more = |a: &[Box<str>], b: &[Box<str>]| a.iter().all(|one| b.contains(one));
        action(self) == action(other)
            && *origin == other.origin
            && *strip == other.strip
            && allows_no_more(upgrades, &other.upgrades)
            && allows_no_more(&other.upgrades, upgrades)
            && *refuses_keys == other.refuses_keys
            && *redacts == other.redacts
            && *strips_cookies == other.strips_cookies
    }

    /// Whether a token belongs into the request.
    pub fn injects(&self) -> bool {
        matches!(self.route.as_ref().map(|route| &route.action), Some(Action::Inject(..)))
    }
}

/// What policy says of a request that it does not permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The route that says so, where one does.
    pub route: Option<RouteName>,
}

/// What a request becomes: two readings of one path must agree on it.
fn action(permit: &Permit) -> Option<(&Action, &Ask)> {
    permit.route.as_ref().map(|route| (&route.action, &*route.ask))
}
