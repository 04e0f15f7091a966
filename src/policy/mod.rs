//! Floor 3: pure decisions. No I/O, no async, no secret.
//!
//! A [`Policy`] is one immutable snapshot, compiled from config. It answers two questions: what to
//! do with a connection ([`Policy::at_connect`]) and what to do with one request
//! ([`Policy::decide`]). The answer "yes" is a [`Permit`], which nobody else can make.

mod ambiguity;
mod asking;
mod care;
mod cedar;
mod explain;
mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hash;
mod path;
mod pattern;
mod permit;
mod route;

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::HashMap;
use http::{HeaderName, Method};

pub use asking::schema;
pub use explain::Explanation;
pub use facts::{AtConnect, Context, PolicyFacts};
pub use permit::{Permit, Refusal};
pub use route::{Action, Route};

use crate::config::problem::{Problem, Problems, Severity};
use crate::config::{Config, Placement, Timeouts, Unmatched};
use crate::model::ask::Ask;
use crate::model::host::Host;
use crate::model::id::{CredentialName, PolicyHash, RouteName};
use crate::model::reason::Reason;
use crate::model::target::{Origin, Scheme, Target};
use path::RequestPath;
use pattern::HostPattern;
use route::joined;

/// One immutable snapshot of all routes.
#[derive(Debug)]
pub struct Policy {
    hash: PolicyHash,
    exact: HashMap<Box<str>, Vec<Arc<Route>>>,
    one_label: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// What routes ask, by credential.
    asks: HashMap<CredentialName, Vec<Arc<Ask>>>,
    unmatched: Unmatched,
    /// Ports of routed hosts that are tunnelled where no route names them.
    tunnel_ports: Vec<u16>,
    /// Where no route says otherwise.
    timeouts: Timeouts,
    /// Some Cedar policy looks at processes.
    needs_process: bool,
}

impl Policy {
    /// Compiles the routes of a config. All problems come at once; with warnings only there is a
    /// policy too.
    pub fn compile(config: &Config) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Problems::of(&config.path);
        problems.place(Arc::clone(&config.places));
        let mut routes = Vec::with_capacity(config.routes.len());
        for located in &config.routes {
            let (route, credentials) = (&located.value, &config.credentials);
            let compiled = Route::compile(route, credentials, located.line, |code, message| {
                let name = &located.value.name;
                let bare = (code == "bad-host").then(|| pattern::bare(&route.host)).flatten();
                let usual = "`*` is one segment, `**` any number; a host may start with `*.`";
                let hint = bare.unwrap_or_else(|| usual.to_owned());
                problems.error(located.line, code, format!("{message} (route `{name}`)"), hint);
            });
            if let Some(route) = &compiled {
                care::check(route, config, located.value.allow_token_endpoint, &mut problems);
            }
            routes.extend(compiled);
        }
        cedar::asked(config, &mut routes, &mut problems);
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut policy = Self {
            hash: hash::of(config),
            exact: HashMap::default(),
            one_label: HashMap::default(),
            asks: HashMap::default(),
            unmatched: config.proxy.unmatched,
            tunnel_ports: config.proxy.tunnel_ports.clone(),
            timeouts: config.limits.timeouts,
            needs_process: routes.iter().any(|route| route.needs_process()),
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

    /// The hash that names this snapshot in the audit. Equal routes give equal hashes, whatever
    /// their order.
    pub fn hash(&self) -> &PolicyHash {
        &self.hash
    }

    /// How long requests may take where nothing moves and no route says otherwise.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// All routes, in no particular order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exact.values().chain(self.one_label.values()).flatten()
    }

    /// What to do with requests to hosts that no route names.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
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
            (true, _) if self.tunnel_ports.contains(&target.port) => AtConnect::Tunnel,
            (true, _) => AtConnect::Refuse(Reason::PortNotRouted),
            (false, Unmatched::Deny) => AtConnect::Refuse(Reason::NoRoute),
            (false, Unmatched::Tunnel) => AtConnect::Tunnel,
        }
    }

    /// Whether a route names this host, on whatever port.
    pub fn is_routed(&self, host: &Host) -> bool {
        self.of_host(host).next().is_some()
    }

    /// A request in the clear to an unrouted host: never a token, and a routed host never.
    pub fn decide_plain(&self, target: &Target) -> Result<Permit, Refusal> {
        let refuse = |reason| Err(Refusal::of(reason, None));
        match self.at_connect(target) {
            AtConnect::Intercept => refuse(Reason::TlsRequired),
            AtConnect::Refuse(reason) => refuse(reason),
            // A port of `tunnel_ports` is tunnelled as it comes, or not at all.
            AtConnect::Tunnel if self.is_routed(&target.host) => refuse(Reason::PortNotRouted),
            AtConnect::Tunnel => {
                let origin = Origin { scheme: Scheme::Http, target: target.clone() };
                Ok(Permit::without_route(origin, self.timeouts))
            }
        }
    }

    /// What to do with one request inside an intercepted connection.
    pub fn decide(&self, facts: PolicyFacts<'_>) -> Result<Permit, Refusal> {
        let refuse = |reason| Err(Refusal::of(reason, None));
        let method = facts.method.as_str();
        if method.eq_ignore_ascii_case("TRACE") || method.eq_ignore_ascii_case("TRACK") {
            return refuse(Reason::MethodRefused);
        }
        // `OPTIONS *` is about the server, not a path: no route speaks of it.
        if facts.path == "*" && facts.method == Method::OPTIONS {
            return self.no_match(&facts, None);
        }
        let Ok(path) = RequestPath::parse(facts.path) else { return refuse(Reason::AmbiguousPath) };
        if let Some(route) = path.slashed().and_then(|reading| self.denying(&facts, reading)) {
            return Err(Refusal::of(Reason::RouteDenied, Some(route)));
        }
        self.as_in_capitals(&facts)?;
        let permit = self.judge(&facts, path.segments())?;
        if let Some(reading) = path.slashed() {
            self.forbidden_slashed(&facts, reading, permit.route())?;
        }
        for reading in path.others() {
            if !permit.does_as(&self.judge(&facts, reading)?) {
                return refuse(Reason::AmbiguousPath);
            }
        }
        Ok(permit)
    }

    /// The permit of a request that also names these methods, which an upstream may take instead:
    /// the fields that name them stay where each has the same verdict, by the same route, and could
    /// be repeated as well as the request's own.
    pub fn also_for(
        &self,
        mut permit: Permit,
        facts: PolicyFacts<'_>,
        methods: &[Method],
    ) -> Permit {
        permit.keeps_method = methods.iter().all(|method| {
            let own = facts.method;
            let repeats = (method.is_safe() || !own.is_safe())
                && (method.is_idempotent() || !own.is_idempotent());
            let other = repeats.then(|| self.decide(PolicyFacts { method, ..facts }));
            let named = |permit: &Permit| permit.route().map(|route| route.name.clone());
            other.is_some_and(|other| {
                other.is_ok_and(|other| other.does_as(&permit) && named(&other) == named(&permit))
            })
        });
        permit
    }

    /// The routes that match, of those that deny or of the others: a host may have a thousand, and
    /// each is matched once.
    fn fitting<'a>(
        &'a self,
        facts: &'a PolicyFacts<'_>,
        segments: &'a [Cow<'_, str>],
        denying: bool,
    ) -> impl Iterator<Item = &'a Arc<Route>> {
        let fits = move |route: &&Arc<Route>| {
            (route.action == Action::Deny) == denying
                && route.port == facts.target.port
                && route.matches_method(facts.method)
                && route.matches_path(segments)
        };
        self.of_host(&facts.target.host).filter(fits)
    }

    fn denying<'a>(
        &'a self,
        facts: &'a PolicyFacts<'_>,
        segments: &'a [Cow<'_, str>],
    ) -> Option<&'a Arc<Route>> {
        self.fitting(facts, segments, true).find(|route| route.serves(facts.client))
    }

    fn judge(&self, facts: &PolicyFacts<'_>, segments: &[Cow<'_, str>]) -> Result<Permit, Refusal> {
        // Denial wins over everything, ambiguity included, whatever a session is limited to.
        if let Some(route) = self.denying(facts, segments) {
            return Err(Refusal::of(Reason::RouteDenied, Some(route)));
        }
        let allowed = |route: &Route| facts.allowed.is_none_or(|names| names.contains(&route.name));
        let bound = |route: &Route| facts.bound.is_some_and(|names| names.contains(&route.name));
        let serves = |route: &Route| route.serves(facts.client) && allowed(route);
        let only = |route: &Route| route.serves(facts.client) && !allowed(route);
        let fitting = || self.fitting(facts, segments, false);
        let chosen = facts.bound.and_then(|_| fitting().find(|r| serves(r) && bound(r)));
        let mut matched: Option<&Arc<Route>> = None;
        let mut strip: Option<Arc<[Placement]>> = None;
        let mut upgrades: Vec<Box<str>> = Vec::new();
        let mut keeps: Vec<HeaderName> = Vec::new();
        let (mut withheld, mut refuses_keys) = (None, false);
        let mut timeouts: Option<Timeouts> = None;
        let mut asked = false;
        let (mut redacts, mut strips_cookies, mut refuses_unvouched) = (false, false, false);
        for route in fitting() {
            if !serves(route) {
                // What the client can mend itself is said first.
                let reason = match only(route) {
                    true => Reason::RouteNotInSession,
                    false => withheld.unwrap_or(Reason::RouteNotForClient),
                };
                withheld = Some(reason);
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
                return Err(Refusal::of(reason, None));
            }
            asked |= route.asked.is_some();
            refuses_keys |= route.refuses_keys;
            redacts |= route.redacts;
            strips_cookies |= route.strips_cookies;
            refuses_unvouched |= route.refuses_unvouched;
            strip = Some(match strip {
                Some(strip) => joined(strip, &route.strip),
                None => Arc::clone(&route.strip),
            });
            upgrades.extend(route.upgrade.iter().cloned());
            keeps.extend(route.keep.iter().cloned());
            timeouts = Some(timeouts.map_or(route.timeouts, |all| all.longest(route.timeouts)));
            // Among routes that agree, the one whose name stands in the audit is the first by name.
            matched = matched.into_iter().chain([route]).min_by(|a, b| a.name.cmp(&b.name));
        }
        let Some(route) = matched else { return self.no_match(facts, withheld) };
        if facts.bound.is_some_and(|names| !self.is_for(names, route)) {
            return Err(Refusal::of(Reason::PlaceholderRefused, Some(route)));
        }
        if !route.can_name(facts.client) {
            return Err(Refusal::of(Reason::TemplateUnfilled, Some(route)));
        }
        // One whose placeholder did not come does not agree, and is not meant.
        let meant = |one: &&Arc<Route>| serves(one) && one.agrees_with(route);
        let policies = match asked {
            true => self.ask_all(fitting().filter(meant), route, facts, segments)?,
            false => None,
        };
        Ok(Permit {
            origin: Origin::https(facts.target.clone()),
            route: Some(Arc::clone(route)),
            strip: strip.unwrap_or_default(),
            upgrades,
            keeps,
            keeps_method: false,
            refuses_keys,
            redacts,
            strips_cookies,
            refuses_unvouched,
            leaves_own: false,
            timeouts: timeouts.unwrap_or(route.timeouts),
            policies,
        })
    }

    /// Whether a placeholder of these routes may bring this one's token: its own, or that of
    /// another that asks for the very same at the same hosts. Where there is no token, any may be
    /// sent: it is taken out.
    fn is_for(&self, names: &[RouteName], route: &Route) -> bool {
        let same = |other: &Arc<Route>| other.host == route.host && other.agrees_with(route);
        !matches!(route.action, Action::Inject(..))
            || names.contains(&route.name)
            || self.routes().any(|other| names.contains(&other.name) && same(other))
    }

    fn no_match(
        &self,
        facts: &PolicyFacts<'_>,
        withheld: Option<Reason>,
    ) -> Result<Permit, Refusal> {
        if let Some(reason) = withheld {
            return Err(Refusal::of(reason, None));
        }
        match self.unmatched {
            Unmatched::Deny => Err(Refusal::of(Reason::NoRoute, None)),
            Unmatched::Tunnel => {
                Ok(Permit::without_route(Origin::https(facts.target.clone()), self.timeouts))
            }
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

#[cfg(test)]
mod tests;
