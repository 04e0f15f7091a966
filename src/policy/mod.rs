//! Floor 3: pure decisions. No I/O, no async, no secret.
//!
//! A [`Policy`] is one immutable snapshot, compiled from config. It answers two questions: what to
//! do with a connection ([`Policy::at_connect`]) and what to do with one request
//! ([`Policy::decide`]). The answer "yes" is a [`Permit`], which nobody else can make.

mod ambiguity;
mod care;
mod explain;
mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hash;
mod path;
mod pattern;
mod route;

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::HashMap;
use http::Method;

pub use explain::Explanation;
pub use facts::{AtConnect, RequestFacts};
pub use route::{Action, Route};

use crate::config::problem::{Problem, Problems, Severity};
use crate::config::{Config, Placement, Unmatched};
use crate::model::ask::{Ask, Wants};
use crate::model::host::Host;
use crate::model::id::{CredentialName, PolicyHash, RouteName};
use crate::model::reason::Reason;
use crate::model::target::{Origin, Scheme, Target};
use path::RequestPath;
use pattern::HostPattern;

/// One immutable snapshot of all routes.
#[derive(Debug)]
pub struct Policy {
    hash: PolicyHash,
    exact: HashMap<Box<str>, Vec<Arc<Route>>>,
    one_label: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// What routes ask, by credential.
    asks: HashMap<CredentialName, Vec<Arc<Ask>>>,
    unmatched: Unmatched,
}

/// The proof that policy said yes to one request. Only [`Policy::decide`] makes one.
#[derive(Debug)]
pub struct Permit {
    origin: Origin,
    route: Option<Arc<Route>>,
    strip: Vec<Placement>,
    upgrades: Vec<Box<str>>,
    refuses_keys: bool,
    redacts: bool,
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
    fn does_as(&self, other: &Self) -> bool {
        // By name, so that what is added to a permit is thought of here.
        let Self { origin, route: _, strip, upgrades, refuses_keys, redacts } = self;
        let allows_no_more = |a: &[Box<str>], b: &[Box<str>]| a.iter().all(|one| b.contains(one));
        action(self) == action(other)
            && *origin == other.origin
            && *strip == other.strip
            && allows_no_more(upgrades, &other.upgrades)
            && allows_no_more(&other.upgrades, upgrades)
            && *refuses_keys == other.refuses_keys
            && *redacts == other.redacts
    }

    /// Whether a token belongs into the request.
    pub fn injects(&self) -> bool {
        matches!(self.route.as_ref().map(|route| &route.action), Some(Action::Inject(..)))
    }
}

/// Policy said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The route that says so, where one does.
    pub route: Option<RouteName>,
}

impl Policy {
    /// Compiles the routes of a config. All problems come at once; with warnings only there is a policy too.
    pub fn compile(config: &Config) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Problems::of(&config.path);
        let mut routes = Vec::with_capacity(config.routes.len());
        for located in &config.routes {
            let (route, credentials) = (&located.value, &config.credentials);
            let compiled = Route::compile(route, credentials, located.line, |code, message| {
                let message = format!("{message} (route `{}`)", located.value.name);
                problems.error(
                    located.line,
                    code,
                    message,
                    "`*` is one segment, `**` any number; a host may start with `*.`",
                );
            });
            if let Some(route) = &compiled {
                care::check(route, config, located.value.allow_token_endpoint, &mut problems);
            }
            routes.extend(compiled.map(Arc::new));
        }
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut policy = Self {
            hash: hash::of(config),
            exact: HashMap::default(),
            one_label: HashMap::default(),
            asks: HashMap::default(),
            unmatched: config.proxy.unmatched,
        };
        for route in routes {
            if let Action::Inject(credential, _) = &route.action {
                let asks = policy.asks.entry(credential.clone()).or_default();
                if !asks.contains(&route.ask) {
                    asks.push(Arc::clone(&route.ask));
                }
            }
            let bucket = match &route.host {
                HostPattern::Exact(name) => policy.exact.entry(name.clone()),
                HostPattern::OneLabel(suffix) => policy.one_label.entry(suffix.clone()),
            };
            bucket.or_default().push(route);
        }
        ambiguity::check(&policy, &mut problems);
        let problems = problems.into_sorted();
        if problems.iter().any(|p| p.severity == Severity::Error) {
            Err(problems)
        } else {
            Ok((policy, problems))
        }
    }

    /// The hash that names this snapshot in the audit. Equal routes give equal hashes, whatever their order.
    pub fn hash(&self) -> &PolicyHash {
        &self.hash
    }

    /// All routes, in no particular order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exact.values().chain(self.one_label.values()).flatten()
    }

    /// What to do with requests to hosts that no route names.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// The credentials whose tokens may go to this host, with what its routes ask of them.
    pub fn credentials_of(
        &self,
        host: &Host,
    ) -> impl Iterator<Item = (&CredentialName, &Arc<Ask>)> {
        self.of_host(host).filter_map(|route| match &route.action {
            Action::Inject(credential, _) => Some((credential, &route.ask)),
            Action::Deny | Action::Pass => None,
        })
    }

    /// Whether some route asks this of a credential.
    pub fn asks(&self, credential: &CredentialName, ask: &Ask) -> bool {
        self.asks.get(credential).is_some_and(|asks| asks.iter().any(|of| ask.is_of(of)))
    }

    /// The path as it may be written down: what stands in the slot of a token is masked, whether or
    /// not the request is one that the route serves. It may be a real key.
    pub fn recorded_path<'a>(&self, target: &Target, path: &'a str) -> Cow<'a, str> {
        let mut recorded = Cow::Borrowed(path);
        for slot in self.of_host(&target.host).filter_map(|route| route.slot()) {
            let parsed = RequestPath::parse(path).ok();
            let here = parsed.as_ref().filter(|parsed| slot.fits(parsed.segments()));
            if let Some(masked) = here.and_then(|_| slot.fill(&recorded, "****")) {
                recorded = Cow::Owned(masked);
            } else if parsed.is_none_or(|parsed| parsed.others().any(|other| slot.fits(other)))
                || slot.shows(path)
            {
                // Where it stands cannot be said.
                return Cow::Borrowed("/****");
            }
        }
        recorded
    }

    /// What to do with a connection to `target`.
    pub fn at_connect(&self, target: &Target) -> AtConnect {
        let mut routed = false;
        for route in self.of_host(&target.host) {
            if route.port == target.port {
                return AtConnect::Intercept;
            }
            routed = true;
        }
        match (routed, self.unmatched) {
            (true, _) => AtConnect::Refuse(Reason::PortNotRouted),
            (false, Unmatched::Deny) => AtConnect::Refuse(Reason::NoRoute),
            (false, Unmatched::Tunnel) => AtConnect::Tunnel,
        }
    }

    /// A request in the clear to an unrouted host: never a token, and a routed host never.
    pub fn decide_plain(&self, target: &Target) -> Result<Permit, Refusal> {
        let refuse = |reason| Err(Refusal { reason, route: None });
        match self.at_connect(target) {
            AtConnect::Intercept => refuse(Reason::TlsRequired),
            AtConnect::Refuse(reason) => refuse(reason),
            AtConnect::Tunnel => {
                let origin = Origin { scheme: Scheme::Http, target: target.clone() };
                Ok(Permit {
                    origin,
                    route: None,
                    strip: Vec::new(),
                    upgrades: Vec::new(),
                    refuses_keys: false,
                    redacts: false,
                })
            }
        }
    }

    /// What to do with one request inside an intercepted connection.
    pub fn decide(&self, facts: RequestFacts<'_>) -> Result<Permit, Refusal> {
        let refuse = |reason| Err(Refusal { reason, route: None });
        let method = facts.method.as_str();
        if method.eq_ignore_ascii_case("TRACE") || method.eq_ignore_ascii_case("TRACK") {
            return refuse(Reason::MethodRefused);
        }
        // `OPTIONS *` is about the server, not a path: no route speaks of it.
        if facts.path == "*" && facts.method == Method::OPTIONS {
            return self.no_match(&facts, false);
        }
        let Ok(path) = RequestPath::parse(facts.path) else { return refuse(Reason::AmbiguousPath) };
        let permit = self.judge(&facts, path.segments())?;
        for reading in path.others() {
            if !permit.does_as(&self.judge(&facts, reading)?) {
                return refuse(Reason::AmbiguousPath);
            }
        }
        Ok(permit)
    }

    fn judge(
        &self,
        facts: &RequestFacts<'_>,
        segments: &[Cow<'_, str>],
    ) -> Result<Permit, Refusal> {
        let fits = |route: &&Arc<Route>| {
            route.port == facts.target.port
                && route.matches_method(facts.method)
                && route.matches_path(segments)
        };
        // What a route does is looked at first: a host may have a thousand, and each is matched once.
        let fitting = |denying: bool| {
            let of_kind = move |route: &&Arc<Route>| (route.action == Action::Deny) == denying;
            self.of_host(&facts.target.host).filter(of_kind).filter(fits)
        };
        // Denial wins over everything, ambiguity included, whatever a session is limited to.
        if let Some(route) = fitting(true).find(|route| route.serves(facts.client)) {
            return Err(Refusal { reason: Reason::RouteDenied, route: Some(route.name.clone()) });
        }
        let allowed = |route: &Route| facts.allowed.is_none_or(|names| names.contains(&route.name));
        let bound = |route: &Route| facts.bound.is_some_and(|names| names.contains(&route.name));
        let serves = |route: &Route| route.serves(facts.client) && allowed(route);
        let chosen = facts.bound.and_then(|_| fitting(false).find(|r| serves(r) && bound(r)));
        let mut matched: Option<&Arc<Route>> = None;
        let mut strip: Vec<Placement> = Vec::new();
        let mut upgrades: Vec<Box<str>> = Vec::new();
        let (mut withheld, mut refuses_keys, mut redacts) = (false, false, false);
        for route in fitting(false) {
            if !serves(route) {
                withheld = true;
                continue;
            }
            // Of routes that each give a placeholder of their own, the one sent decides.
            if chosen.is_some_and(|it| route.binds() && !bound(route) && !it.agrees_with(route)) {
                continue;
            }
            if let Some(other) = matched.filter(|other| !other.agrees_with(route)) {
                let decides = facts.bound.is_none() && other.is_apart_by_placeholder(route);
                let reason =
                    if decides { Reason::PlaceholderMissing } else { Reason::AmbiguousRoute };
                return Err(Refusal { reason, route: None });
            }
            refuses_keys |= route.refuses_keys;
            redacts |= route.redacts;
            for placement in route.strip.iter() {
                if !strip.contains(placement) {
                    strip.push(placement.clone());
                }
            }
            upgrades.extend(route.upgrade.iter().cloned());
            // Among routes that agree, the one whose name stands in the audit is the first by name.
            matched = matched.into_iter().chain([route]).min_by(|a, b| a.name.cmp(&b.name));
        }
        let Some(route) = matched else { return self.no_match(facts, withheld) };
        if facts.bound.is_some_and(|names| !self.is_for(names, route)) {
            let route = Some(route.name.clone());
            return Err(Refusal { reason: Reason::PlaceholderRefused, route });
        }
        Ok(Permit {
            origin: Origin::https(facts.target.clone()),
            route: Some(Arc::clone(route)),
            strip,
            upgrades,
            refuses_keys,
            redacts,
        })
    }

    /// Whether a placeholder of these routes may bring this one's token: its own, or that of another that asks
    /// for the very same at the same hosts. Where there is no token, any may be sent: it is taken out.
    fn is_for(&self, names: &[RouteName], route: &Route) -> bool {
        let same = |other: &Arc<Route>| other.host == route.host && other.agrees_with(route);
        !matches!(route.action, Action::Inject(..))
            || names.contains(&route.name)
            || self.routes().any(|other| names.contains(&other.name) && same(other))
    }

    fn no_match(&self, facts: &RequestFacts<'_>, withheld: bool) -> Result<Permit, Refusal> {
        if withheld {
            return Err(Refusal { reason: Reason::RouteNotForClient, route: None });
        }
        match self.unmatched {
            Unmatched::Deny => Err(Refusal { reason: Reason::NoRoute, route: None }),
            Unmatched::Tunnel => Ok(Permit {
                origin: Origin::https(facts.target.clone()),
                route: None,
                strip: Vec::new(),
                upgrades: Vec::new(),
                refuses_keys: false,
                redacts: false,
            }),
        }
    }

    /// Routes that name this host: exactly, or by its suffix after one label.
    fn of_host(&self, host: &Host) -> impl Iterator<Item = &Arc<Route>> {
        let name = host.name();
        let exact = name.and_then(|name| self.exact.get(name));
        let wild = name
            .and_then(|name| name.split_once('.'))
            .and_then(|(_, suffix)| self.one_label.get(suffix));
        exact.into_iter().chain(wild).flatten()
    }
}

/// What a request becomes: two readings of one path must agree on it.
fn action(permit: &Permit) -> Option<(&Action, &Ask)> {
    permit.route.as_ref().map(|route| (&route.action, &*route.ask))
}

#[cfg(test)]
mod tests;
