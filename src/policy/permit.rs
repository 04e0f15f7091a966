//! The answer to one request: the proof that it may go, or why it may not.

use std::sync::Arc;

use http::HeaderName;

use super::route::{Action, Route};
use crate::config::{Inject, Placement, Timeouts};
use crate::model::ask::{Ask, Wants};
use crate::model::id::{CredentialName, RouteName};
use crate::model::overriding::names_method;
use crate::model::reason::Reason;
use crate::model::target::{Origin, Scheme};

/// The proof that policy said yes to one request. Only [`Policy::decide`](super::Policy::decide)
/// makes one.
#[derive(Debug)]
pub struct Permit {
    pub(super) origin: Origin,
    pub(super) route: Option<Arc<Route>>,
    pub(super) strip: Arc<[Placement]>,
    pub(super) upgrades: Vec<Box<str>>,
    pub(super) keeps: Vec<HeaderName>,
    /// The method that a field names has the same verdict.
    pub(super) keeps_method: bool,
    pub(super) refuses_keys: bool,
    pub(super) redacts: bool,
    pub(super) strips_cookies: bool,
    pub(super) refuses_unvouched: bool,
    /// The client's own credential goes, and no token.
    pub(super) leaves_own: bool,
    pub(super) timeouts: Timeouts,
    /// The policies that permit it, by id; `None`: none were asked.
    pub(super) policies: Option<Arc<[Arc<str>]>>,
}

impl Permit {
    /// For what no route speaks of: nothing of ours goes in.
    pub(super) fn without_route(origin: Origin, timeouts: Timeouts) -> Self {
        Self {
            origin,
            route: None,
            strip: Arc::default(),
            upgrades: Vec::new(),
            keeps: Vec::new(),
            keeps_method: false,
            refuses_keys: false,
            redacts: false,
            strips_cookies: false,
            refuses_unvouched: true,
            leaves_own: false,
            timeouts,
            policies: None,
        }
    }

    /// The policies that permit it, by id; `None`: none were asked.
    pub fn policies(&self) -> Option<&Arc<[Arc<str>]>> {
        self.policies.as_ref()
    }

    /// Whether one of the matched routes allows an upgrade to this protocol, in lower case.
    pub fn allows_upgrade(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|allowed| **allowed == *protocol)
    }

    /// Whether a field of this name is passed on, though it could override something of the
    /// request.
    pub fn keeps(&self, name: &HeaderName) -> bool {
        // Where the token goes, what stands there is taken out anyway, or is the client's own.
        let slot = self.route.as_ref().and_then(|route| match &route.action {
            Action::Inject(_, inject) => inject.header(),
            Action::Deny | Action::Pass => None,
        });
        // In the clear nothing is judged but the host, and nothing of ours goes there.
        self.origin.scheme == Scheme::Http
            || slot == Some(name)
            || self.keeps.contains(name)
            || self.keeps_method && names_method(name.as_str())
    }

    /// Whether the fields stay that name another method.
    pub fn keeps_method(&self) -> bool {
        self.keeps_method
    }

    /// The fields that the matched routes name to be passed on.
    pub fn kept(&self) -> &[HeaderName] {
        &self.keeps
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

    /// Whether an answer without a length may end without TLS's word for it: if every matched
    /// route says so.
    pub fn takes_unvouched_end(&self) -> bool {
        !self.refuses_unvouched
    }

    /// How long the request may take where nothing moves.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
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

    /// Whose token belongs into the request, and where.
    pub fn inject(&self) -> Option<(&CredentialName, &Inject)> {
        match &self.route.as_ref()?.action {
            Action::Inject(credential, inject) if !self.leaves_own => Some((credential, inject)),
            Action::Deny | Action::Inject(..) | Action::Pass => None,
        }
    }

    /// Whose token belongs into the request.
    pub fn credential(&self) -> Option<&CredentialName> {
        self.inject().map(|(credential, _)| credential)
    }

    /// Whether a token goes in only where one of our placeholders stands.
    pub fn only_placeholders(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.only_placeholders)
    }

    /// The same request without a token: what the client sends in its place goes.
    pub fn leaving_own(mut self) -> Self {
        let action = self.route.as_ref().map(|route| &route.action);
        let stays = |placement: &&Placement| match (placement, action) {
            (Placement::Header(owned), Some(Action::Inject(_, inject))) => {
                inject.header() != Some(owned)
            }
            (Placement::Query(owned), Some(Action::Inject(_, Inject::Query(name)))) => {
                owned != name
            }
            _ => true,
        };
        self.strip = self.strip.iter().filter(stays).cloned().collect();
        self.leaves_own = true;
        self
    }

    /// Where the client's own credential goes, if it does.
    pub fn own_slot(&self) -> Option<&Inject> {
        match &self.route.as_ref()?.action {
            Action::Inject(_, inject) if self.leaves_own => Some(inject),
            Action::Deny | Action::Inject(..) | Action::Pass => None,
        }
    }

    /// What the token is asked for that belongs into the request.
    pub fn wants(&self) -> Option<&Arc<Wants>> {
        self.credential().and(self.route.as_ref()).map(|route| &route.wants)
    }

    /// Whether both come to the same, whichever routes they are of.
    pub(super) fn does_as(&self, other: &Self) -> bool {
        // By name, so that what is added to a permit is thought of here.
        let Self {
            origin,
            route: _,
            strip,
            upgrades,
            keeps,
            keeps_method: _,
            refuses_keys,
            redacts,
            strips_cookies,
            refuses_unvouched,
            leaves_own: _,
            // The longest of all that matched.
            timeouts: _,
            policies: _,
        } = self;
        action(self) == action(other)
            && *origin == other.origin
            && *strip == other.strip
            && alike(upgrades, &other.upgrades)
            && alike(keeps, &other.keeps)
            && *refuses_keys == other.refuses_keys
            && *redacts == other.redacts
            && *strips_cookies == other.strips_cookies
            && *refuses_unvouched == other.refuses_unvouched
            && self.only_placeholders() == other.only_placeholders()
    }

    /// Whether a token belongs into the request.
    pub fn injects(&self) -> bool {
        self.inject().is_some()
    }
}

/// What policy says of a request that it does not permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The route that says so, where one does.
    pub route: Option<RouteName>,
    /// The policies that forbid it, by id; `None`: it is not they who refuse.
    pub policies: Option<Arc<[Arc<str>]>>,
    /// What they tell the client to do.
    pub hint: Option<Arc<str>>,
}

impl Refusal {
    /// For this reason, and by this route where one says so.
    pub(super) fn of(reason: Reason, route: Option<&Route>) -> Self {
        Self { reason, route: route.map(|route| route.name.clone()), policies: None, hint: None }
    }
}

/// Whether both hold the same, in any order.
fn alike<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.iter().all(|one| b.contains(one)) && b.iter().all(|one| a.contains(one))
}

/// What a request becomes: two readings of one path must agree on it.
fn action(permit: &Permit) -> Option<(&Action, &Ask)> {
    permit.route.as_ref().map(|route| (&route.action, &*route.ask))
}
