//! A compiled route, and what two routes must agree on to serve one request together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::cedar::Asked;
use super::pattern::{HostPattern, PathPattern};
use crate::config::wording::named;
use crate::config::{
    self, ClientSelector, Credential, Inject, OnStaticKey, PathSlot, Placement, Rate, Timeouts,
};
use crate::model::ask::{Ask, Template, Variable, Wants};
use crate::model::client::Client;
use crate::model::id::{CredentialName, RouteName};

/// One route, compiled at load.
#[derive(Debug)]
pub struct Route {
    pub name: RouteName,
    pub host: HostPattern,
    pub port: u16,
    /// What it does with what it matches.
    pub action: Action,
    /// What it asks of its credential.
    pub ask: Arc<Ask>,
    /// What its tokens are asked for then.
    pub wants: Arc<Wants>,
    /// Placements that are emptied before a token goes in.
    pub strip: Arc<[Placement]>,
    /// Protocols that an upgrade may switch to, lower case.
    pub upgrade: Vec<Box<str>>,
    /// Fields that are passed on though they could override something of the request.
    pub keep: Vec<HeaderName>,
    /// How long its requests may take where nothing moves.
    pub timeouts: Timeouts,
    /// Whether answers are searched for the token, bodies included.
    pub redacts: bool,
    /// Whether cookies that answers to requests with its token set stay behind.
    pub strips_cookies: bool,
    /// Whether an answer without a length that ends without TLS's word for it is an error.
    pub refuses_unvouched: bool,
    /// Whether its token goes in only where one of our placeholders stands.
    pub only_placeholders: bool,
    /// What each client may have of it.
    pub rate: Option<Rate>,
    /// Whether a standing key from the client is a refusal.
    pub refuses_keys: bool,
    methods: Option<Vec<Method>>,
    paths: Vec<PathPattern>,
    clients: Option<Vec<ClientSelector>>,
    /// What the templates of its token name of the client.
    names: Vec<Variable>,
    /// Variables in which `run` gives a bound placeholder.
    variables: Vec<String>,
    /// The path that its token goes into, beside what `paths` ask.
    slot: Option<(PathPattern, PathSlot)>,
    /// What policies must permit of it; `None`: there are none, and the route alone decides.
    pub(super) asked: Option<Asked>,
    /// Where it stands in the file.
    pub(super) line: usize,
}

/// What a route does with a request that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Deny,
    /// Puts this credential's token there.
    Inject(CredentialName, Inject),
    /// Lets pass without a token.
    Pass,
}

impl Route {
    /// Compiles the patterns; each that is wrong is reported by its message.
    pub(super) fn compile(
        route: &config::Route,
        credentials: &BTreeMap<CredentialName, Credential>,
        line: usize,
        mut report: impl FnMut(&'static str, String),
    ) -> Option<Self> {
        let host = HostPattern::parse(&route.host).map_err(|message| {
            report("bad-host", format!("`host`: {message}{}", named(&route.host)))
        });
        let mut paths = Vec::with_capacity(route.path.len());
        for text in &route.path {
            match PathPattern::parse(text) {
                Ok(pattern) => paths.push(pattern),
                Err(message) => report("bad-path", format!("`path`: {message}{}", named(text))),
            }
        }
        let methods = route
            .methods
            .iter()
            .filter_map(|m| Method::from_bytes(m.as_bytes()).ok())
            .collect::<Vec<_>>();
        let action = match (&route.credential, route.deny) {
            (_, true) => Action::Deny,
            (Some(credential), false) => Action::Inject(credential.clone(), route.inject.clone()),
            (None, false) => Action::Pass,
        };
        (paths.len() == route.path.len()).then_some(())?;
        let slot = match &action {
            Action::Inject(_, Inject::Path(slot)) => {
                let pattern = PathPattern::parse(slot.pattern());
                let pattern = pattern.map_err(|message| {
                    report("bad-path", format!("`inject`: {message}{}", named(slot.pattern())));
                });
                let pattern = pattern.ok()?;
                Some((pattern, slot.clone()))
            }
            _ => None,
        };
        let credential = route.credential.as_ref().and_then(|name| credentials.get(name));
        let wants = credential.map(|credential| credential.grant.wants(&route.ask));
        let claims = route.ask.claims.values().flat_map(Template::variables);
        let own = credential.map(|credential| credential.grant.ask().variables);
        let mut names: Vec<_> = claims.chain(own.unwrap_or_default()).collect();
        names.sort();
        names.dedup();
        Some(Self {
            name: route.name.clone(),
            host: host.ok()?,
            port: route.port,
            action,
            ask: Arc::new(route.ask.clone()),
            wants: Arc::new(wants.unwrap_or_default()),
            strip: joined(Arc::default(), &route.strip),
            upgrade: route.upgrade.clone(),
            keep: route.keep.clone(),
            timeouts: route.timeouts,
            redacts: route.redact,
            strips_cookies: route.strips_cookies,
            refuses_unvouched: route.refuses_unvouched,
            only_placeholders: route.only_placeholders,
            rate: route.rate_limit,
            refuses_keys: route.on_static_key == OnStaticKey::Deny,
            slot,
            names,
            methods: (!methods.is_empty()).then_some(methods),
            paths,
            clients: route.clients.clone(),
            variables: (route.env.iter())
                .filter(|(_, kind)| kind.binds())
                .map(|(name, _)| name.clone())
                .collect(),
            asked: None,
            line,
        })
    }

    /// Whether the route lists the method.
    pub fn matches_method(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|list| list.contains(method))
    }

    /// Whether one of its path patterns matches decoded segments.
    pub fn matches_path(&self, segments: &[Cow<'_, str>]) -> bool {
        (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(segments)))
            && self
                .slot
                .as_ref()
                .is_none_or(|(pattern, slot)| slot.fits(segments) && pattern.matches(segments))
    }

    /// The methods that it lists, for people.
    pub(super) fn methods_text(&self) -> String {
        listed(self.methods.iter().flatten())
    }

    /// Its path patterns, for people.
    pub(super) fn paths_text(&self) -> String {
        listed(self.paths.iter().chain(self.slot.iter().map(|(pattern, _)| pattern)))
    }

    /// Whom it serves, for people.
    pub(super) fn clients_text(&self) -> String {
        let word = |selector: &ClientSelector| match selector {
            ClientSelector::Session(name) => format!("session:{name}"),
            ClientSelector::Uid(uid) => format!("uid:{uid}"),
            ClientSelector::User(name) => format!("user:{name}"),
        };
        listed(self.clients.iter().flatten().map(word))
    }

    /// The slot of its token, where that is in the path.
    pub fn slot(&self) -> Option<&PathSlot> {
        self.slot.as_ref().map(|(_, slot)| slot)
    }

    /// Whether its patterns can match this path pattern with this method.
    pub(super) fn reaches(&self, method: &Method, path: &PathPattern) -> bool {
        self.matches_method(method)
            && (self.paths.is_empty() || self.paths.iter().any(|own| own.overlaps(path)))
            && self.slot.as_ref().is_none_or(|(own, _)| own.overlaps(path))
    }

    /// Whether one of its path patterns begins with a literal segment.
    pub(super) fn names_paths(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().any(PathPattern::begins_literally)
    }

    /// Whether it serves this client.
    pub fn serves(&self, client: &Client) -> bool {
        self.clients.as_ref().is_none_or(|list| {
            list.iter().any(|selector| match selector {
                ClientSelector::Session(name) => client.session.as_ref() == Some(name),
                ClientSelector::Uid(uid) => client.uid == Some(*uid),
                ClientSelector::User(name) => client.user.as_deref() == Some(name),
            })
        })
    }

    /// Whether a policy that it asks looks at the client's process.
    pub(super) fn needs_process(&self) -> bool {
        self.asked.as_ref().is_some_and(Asked::needs_process)
    }

    /// Whether the templates of its token can be filled for this client.
    pub(super) fn can_name(&self, client: &Client) -> bool {
        self.names.iter().all(|name| name.is_known_of(client))
    }

    /// Whether tools are given a placeholder that only this route, or one with the same variable,
    /// takes.
    pub(super) fn binds(&self) -> bool {
        !self.variables.is_empty()
    }

    /// Whether each gives a placeholder of its own, so that the one sent decides between them.
    pub(super) fn is_apart_by_placeholder(&self, other: &Self) -> bool {
        let shared = self.variables.iter().any(|name| other.variables.contains(name));
        self.binds() && other.binds() && !shared
    }

    /// Whether both lead to the same request upstream. A route that denies never conflicts: it
    /// wins.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let same = self.action == other.action
            && self.ask == other.ask
            && self.only_placeholders == other.only_placeholders;
        same || self.action == Action::Deny || other.action == Action::Deny
    }

    /// Whether some request matches both. `None`: it depends on the client (`uid:` and `user:` name
    /// the same person).
    pub(super) fn overlaps(&self, other: &Self) -> Option<bool> {
        if self.port != other.port || !self.host.overlaps(&other.host) {
            return Some(false);
        }
        let methods = match (&self.methods, &other.methods) {
            (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
            _ => true,
        };
        let paths = self.paths.is_empty()
            || other.paths.is_empty()
            || self.paths.iter().any(|a| other.paths.iter().any(|b| a.overlaps(b)));
        let paths = paths && self.slot_overlaps(other) && other.slot_overlaps(self);
        if !methods || !paths {
            return Some(false);
        }
        self.clients_overlap(other)
    }

    /// Whether what its slot asks of a path leaves room for the other's patterns.
    fn slot_overlaps(&self, other: &Self) -> bool {
        let Some((own, _)) = &self.slot else { return true };
        let slots = other.slot.as_ref().is_none_or(|(theirs, _)| own.overlaps(theirs));
        slots && (other.paths.is_empty() || other.paths.iter().any(|path| own.overlaps(path)))
    }

    fn clients_overlap(&self, other: &Self) -> Option<bool> {
        let (Some(a), Some(b)) = (&self.clients, &other.clients) else { return Some(true) };
        if a.iter().any(|selector| b.contains(selector)) {
            return Some(true);
        }
        let kind = std::mem::discriminant::<ClientSelector>;
        let mixed = a.iter().any(|x| b.iter().any(|y| kind(x) != kind(y)));
        if mixed { None } else { Some(false) }
    }
}

fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Both lists; nearly always they are one.
pub(super) fn joined(some: Arc<[Placement]>, more: &[Placement]) -> Arc<[Placement]> {
    let mut all = Vec::new();
    for placement in more.iter().filter(|placement| !some.contains(placement)) {
        if !all.contains(placement) {
            all.push(placement.clone());
        }
    }
    if all.is_empty() { some } else { some.iter().cloned().chain(all).collect() }
}
