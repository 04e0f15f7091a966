//! Why: which route, credential and placement would apply to a request, and what stood in the way
//! of the others. Mints nothing and asks nobody.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{Method, Uri};
use serde::Serialize;

use super::path::RequestPath;
use super::{Action, AtConnect, Context, Policy, PolicyFacts};
use crate::config::wording::nearest;
use crate::config::{Inject, Placement};
use crate::model::client::Client;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};

/// What would happen to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub method: String,
    /// Scheme, host, port and path judged; never the query.
    pub url: String,
    /// `inject`, `pass`, `tunnel` or `deny`.
    pub decision: &'static str,
    /// The code of the refusal; `None`: it is not denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'static, str>>,
    /// The route that matched; `None`: none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The credential whose token would go in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The placement that its token would go to; `None`: no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// What would be emptied first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip: Vec<String>,
    /// Fields that its route passes on though they could override something of the request. All
    /// others of their kind stay behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The policies that decided, by id; empty where none permits it; `None`: none were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// The routes of the host, and why each does or doesn't match.
    pub considered: Vec<String>,
    /// Where none matched: the one that nearly did, and what would have to be otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// The hash of the policy that judged, as in audit records.
    pub policy: String,
}

impl Policy {
    /// Explains one request as `client` would send it through the proxy. `Err`: the URL is none.
    pub fn explain(
        &self,
        client: &Client,
        context: Context<'_>,
        method: &Method,
        url: &Uri,
    ) -> Result<Explanation, Reason> {
        let scheme = match url.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(Reason::MalformedRequest),
        };
        let authority = url.authority().map_or("", |a| a.as_str());
        let target = Target::parse(authority, Some(scheme.default_port()))
            .map_err(|_| Reason::MalformedRequest)?;
        let mut explanation = Explanation {
            method: method.to_string(),
            url: format!(
                "{}://{target}{}",
                scheme.as_str(),
                self.recorded_path(&target, url.path())
            ),
            decision: "deny",
            code: None,
            hint: None,
            route: None,
            credential: None,
            placement: None,
            strip: Vec::new(),
            keep: Vec::new(),
            policies: None,
            considered: self.considered(client, method, &target, url.path()),
            nearest: None,
            policy: self.hash().to_string(),
        };
        if scheme == Scheme::Http {
            match self.decide_plain(&target) {
                Ok(permit) => explanation.permit(&permit),
                Err(refusal) => explanation.refuse(refusal.reason),
            }
            return Ok(explanation);
        }
        let seen = SeenByRoute {
            client,
            method,
            target: &target,
            path: RequestPath::parse(url.path()).ok(),
        };
        match self.at_connect(&target) {
            AtConnect::Refuse(reason) => explanation.refuse(reason),
            AtConnect::Tunnel => explanation.decision = "tunnel",
            AtConnect::Intercept => {
                let facts = PolicyFacts {
                    client,
                    allowed: None,
                    method,
                    target: &target,
                    path: url.path(),
                    bound: None,
                    context,
                };
                match self.decide(facts) {
                    Ok(permit) => explanation.permit(&permit),
                    Err(refusal) => {
                        explanation.refuse(refusal.reason);
                        explanation.route = refusal.route.map(|name| name.to_string());
                        explanation.policies = refusal.policies.as_deref().map(listed);
                        explanation.hint =
                            refusal.hint.map(|hint| hint.to_string().into()).or(explanation.hint);
                    }
                }
            }
        }
        if explanation.route.is_none() && seen.path.is_some() {
            explanation.nearest = self.nearest(&seen);
        }
        Ok(explanation)
    }

    /// The route that nearly matched, and what keeps it from it.
    fn nearest(&self, seen: &SeenByRoute<'_>) -> Option<String> {
        let of_host = self.of_host(&seen.target.host).map(|route| (route, seen.lacks(route)));
        let near = of_host.filter(|(_, lacks)| !lacks.is_empty()).min_by_key(|(route, lacks)| {
            // Nobody looks for the one that refuses.
            (lacks.len(), route.action == Action::Deny, &route.name)
        });
        if let Some((route, lacks)) = near {
            return Some(format!("{} would match if {}", route.name, lacks.join(", and if ")));
        }
        if self.of_host(&seen.target.host).next().is_some() {
            return None;
        }
        let host = seen.target.host.name()?;
        let mut routes: Vec<_> = self.routes().collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        let patterns: Vec<_> = routes.iter().map(|route| route.host.to_string()).collect();
        let near = nearest(host, patterns.iter().map(String::as_str))?;
        let route = routes.into_iter().zip(&patterns).find(|(_, host)| *host == near)?.0;
        Some(format!("{} would match if the host were {near}", route.name))
    }

    fn considered(
        &self,
        client: &Client,
        method: &Method,
        target: &Target,
        path: &str,
    ) -> Vec<String> {
        let path = RequestPath::parse(path).ok();
        let why = |route: &super::Route| {
            if route.port != target.port {
                return format!("other port ({})", route.port);
            }
            let Some(path) = &path else { return "the path has two readings".to_owned() };
            match (
                route.matches_method(method),
                route.matches_path(path.segments()),
                route.serves(client),
            ) {
                (false, ..) => format!("other methods ({})", route.methods_text()),
                (_, false, _) => format!("other paths ({})", route.paths_text()),
                (.., false) => format!("other clients ({})", route.clients_text()),
                _ => "matches".to_owned(),
            }
        };
        self.of_host(&target.host).map(|route| format!("{}: {}", route.name, why(route))).collect()
    }
}

/// A request, as far as a route can look at it.
struct SeenByRoute<'a> {
    client: &'a Client,
    method: &'a Method,
    target: &'a Target,
    path: Option<RequestPath<'a>>,
}

impl SeenByRoute<'_> {
    /// What would have to be otherwise for this route of its host.
    fn lacks(&self, route: &super::Route) -> Vec<String> {
        let path = self.path.as_ref();
        let fits = path.is_some_and(|path| route.matches_path(path.segments()));
        let lacks = [
            (route.port == self.target.port, format!("the port were {}", route.port)),
            (
                route.matches_method(self.method),
                format!("the method were {}", route.methods_text().replace(", ", " or ")),
            ),
            (fits, format!("the path were {}", route.paths_text().replace(", ", " or "))),
            (route.serves(self.client), format!("it were sent by {}", route.clients_text())),
        ];
        lacks.into_iter().filter(|(is_so, _)| !is_so).map(|(_, text)| text).collect()
    }
}

impl Explanation {
    fn refuse(&mut self, reason: Reason) {
        self.code = Some(reason.code());
        self.hint = Some(reason.hint().into());
    }

    fn permit(&mut self, permit: &super::Permit) {
        self.decision = if permit.injects() { "inject" } else { "pass" };
        self.policies = permit.policies().map(|policies| listed(policies));
        let Some(route) = permit.route() else { return };
        self.route = Some(route.name.to_string());
        self.strip = permit.strip().iter().map(placement).collect();
        self.keep = permit.kept().iter().map(ToString::to_string).collect();
        if let Action::Inject(credential, inject) = &route.action {
            self.credential = Some(credential.to_string());
            self.placement = Some(match inject {
                Inject::Basic { user } => format!("authorization: Basic {user}:TOKEN"),
                Inject::Header { name, scheme: Some(scheme) } => format!("{name}: {scheme} TOKEN"),
                Inject::Header { name, scheme: None } => format!("{name}: TOKEN"),
                Inject::Path(slot) => format!("path {}", slot.template()),
                Inject::Query(name) => format!("query {name}=TOKEN"),
            });
            if let Some(placement) = self.placement.as_mut().filter(|_| permit.only_placeholders())
            {
                placement.push_str(" (where a placeholder stands)");
            }
        }
    }
}

fn listed(policies: &[Arc<str>]) -> Vec<String> {
    policies.iter().map(ToString::to_string).collect()
}

fn placement(placement: &Placement) -> String {
    match placement {
        Placement::Header(name) => format!("header:{name}"),
        Placement::Query(name) => format!("query:{name}"),
    }
}

/// A few lines for a person.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        write!(f, "decision    {}", self.decision)?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        let rows = [
            ("route", &self.route),
            ("credential", &self.credential),
            ("placement", &self.placement),
        ];
        for (name, value) in
            rows.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
        {
            write!(f, "\n{name:<12}{value}")?;
        }
        if !self.strip.is_empty() {
            write!(f, "\n{:<12}{}", "strip", self.strip.join(", "))?;
        }
        if !self.keep.is_empty() {
            write!(f, "\n{:<12}{}", "keep", self.keep.join(", "))?;
        }
        if let Some(policies) = &self.policies {
            let verb = if self.decision == "deny" { "forbidden by" } else { "permitted by" };
            let text = match policies.as_slice() {
                [] => "none permits it".to_owned(),
                ids => format!("{verb} {}", ids.join(", ")),
            };
            write!(f, "\n{:<12}{text}", "policies")?;
        }
        for (i, line) in self.considered.iter().enumerate() {
            write!(f, "\n{:<12}{line}", if i == 0 { "considered" } else { "" })?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "\n{:<12}{nearest}", "nearest")?;
        }
        write!(f, "\n{:<12}{}", "policy", self.policy)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n{:<12}{hint}", "hint")?;
        }
        Ok(())
    }
}
