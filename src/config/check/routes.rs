//! `[[routes]]`: everything about a route but its patterns, which `policy` compiles.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use toml::Spanned;

use super::Check;
use crate::config::problem::{Located, Problems};
use crate::config::wording::{meant, named};
use crate::config::{ClientSelector, Inject, PathSlot, Placement, Route, Timeouts, env, file};
use crate::model::id::{CredentialName, RouteName, SessionName};
use crate::model::placeholder::Kind;

/// Fields that frame or route the message: neither strippable nor a place for a token.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_> {
    pub(super) fn check_routes(
        &self,
        list: Vec<(file::RouteTable, usize)>,
        credentials: &BTreeMap<CredentialName, usize>,
        timeouts: Timeouts,
        problems: &mut Problems,
    ) -> Vec<Located<Route>> {
        let mut names = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut routes = Vec::with_capacity(list.len());
        for (route, line) in list {
            self.name(route.name.get_ref(), self.line(&route.name), "route", problems);
            if !names.insert(route.name.get_ref().clone()) {
                let message = format!("two routes are named `{}`", route.name.get_ref());
                problems.error(self.line(&route.name), "duplicate-name", message, "rename one");
            }
            let route = self.check_route(route, line, timeouts, problems);
            if let Some(name) = &route.credential {
                used.insert(name.clone());
                if !credentials.contains_key(name) {
                    let message = format!("`credential` names none that there is: `{name}`");
                    let meant = meant(name.as_str(), credentials.keys().map(|name| name.as_str()));
                    let hint = format!("{meant}add [credentials.{name}] or correct the name");
                    problems.error(line, "unknown-credential", message, hint);
                }
            }
            routes.push(Located { value: route, line });
        }
        for (name, line) in credentials.iter().filter(|(name, _)| !used.contains(*name)) {
            problems.warn(
                *line,
                "unused-credential",
                format!("no route uses the credential `{name}`"),
                "name it in a route",
            );
        }
        if routes.is_empty() {
            problems.warn(
                0,
                "no-routes",
                "there are no routes, so no token goes anywhere",
                "add a [[routes]] entry",
            );
        }
        routes
    }

    fn check_route(
        &self,
        mut route: file::RouteTable,
        line: usize,
        timeouts: Timeouts,
        problems: &mut Problems,
    ) -> Route {
        let ask = self.check_ask(&mut route, problems);
        let credential =
            route.credential.as_ref().map(|name| CredentialName::new(name.get_ref().as_str()));
        consistent(&route, credential.is_some(), line, problems);
        let port = route.port.map_or(443, |port| {
            if *port.get_ref() == 0 {
                problems.error(
                    self.line(&port),
                    "bad-port",
                    "`port` must be from 1 to 65535: `0`",
                    "absent means 443",
                );
            }
            port.into_inner()
        });
        let credential =
            route.credential.as_ref().map(|name| CredentialName::new(name.get_ref().as_str()));
        let methods = route.methods.map(|list| {
            let line = self.line(&list);
            self.methods(list.into_inner(), line, problems)
        });
        let path = route.path.map(|list| {
            if list.get_ref().is_empty() {
                problems.error(
                    self.line(&list),
                    "empty-list",
                    "`path = []` matches nothing",
                    "take it out to match all paths",
                );
            }
            list.into_inner()
        });
        let strip = route.strip.into_iter().filter_map(|text| {
            let line = self.line(&text);
            placement(text.get_ref())
                .map_err(|message| {
                    let message = format!("{message}{}", named(text.get_ref()));
                    let hint = "\"header:NAME\" or \"query:NAME\"";
                    problems.error(line, "bad-placement", message, hint)
                })
                .ok()
        });
        let strip = strip.collect();
        let inject = route.inject.map(|value| {
            let line = self.line(&value);
            inject(value.into_inner()).unwrap_or_else(|message| {
                problems.error(line, "bad-inject", message, "{ header = \"authorization\", scheme = \"Bearer\" }, { basic = { user = \"x\" } }, { query = \"key\" } or { path = \"/bot{token}/**\" }");
                default_inject()
            })
        });
        let clients = route.clients.map(|list| {
            let line = self.line(&list);
            clients(list.into_inner(), line, problems)
        });
        let upgrade = self.upgrades(&route.upgrade, problems);
        let keep = self.kept(&route.keep, problems);
        let mut env = BTreeMap::new();
        for (name, value) in route.env {
            if let Some(kind) = self.variable(&name, &value, problems) {
                env.insert(name, kind);
            }
        }
        Route {
            name: RouteName::new(route.name.into_inner()),
            host: route.host.into_inner(),
            port,
            methods: methods.unwrap_or_default(),
            path: path.unwrap_or_default(),
            credential,
            ask,
            strip,
            inject: inject.unwrap_or_else(default_inject),
            env,
            clients,
            upgrade,
            keep,
            timeouts: self.timeouts(route.timeouts, timeouts, problems),
            rate_limit: route.rate_limit.and_then(|value| self.rate(&value, problems)),
            deny: route.deny,
            redact: route.redact.unwrap_or(true),
            strips_cookies: match route.cookies {
                file::Cookies::Pass => false,
                file::Cookies::Strip => true,
            },
            refuses_unvouched: match route.truncation {
                file::Truncation::Pass => false,
                file::Truncation::Refuse => true,
            },
            only_placeholders: route.when == file::When::Placeholder,
            on_static_key: route.on_static_key,
            allow_token_endpoint: route.allow_token_endpoint,
        }
    }

    fn methods(&self, list: Vec<String>, line: usize, problems: &mut Problems) -> Vec<String> {
        if list.is_empty() {
            problems.error(
                line,
                "empty-list",
                "`methods = []` matches nothing",
                "take it out to match all methods",
            );
        }
        for method in &list {
            let plain =
                !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
            if !plain {
                let capitals = method.to_ascii_uppercase();
                let hint = match capitals.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                    true if !method.is_empty() => format!("write \"{capitals}\""),
                    _ => "for example [\"GET\", \"HEAD\"]".to_owned(),
                };
                let message =
                    format!("a method of `methods` is one word in capitals{}", named(method));
                problems.error(line, "bad-method", message, hint);
            } else if ["TRACE", "TRACK", "CONNECT"].contains(&method.as_str()) {
                problems.error(
                    line,
                    "bad-method",
                    format!("a method of `methods` never carries a token: `{method}`"),
                    "take it out",
                );
            }
        }
        list
    }

    fn variable(
        &self,
        name: &str,
        value: &Spanned<String>,
        problems: &mut Problems,
    ) -> Option<Kind> {
        let line = self.line(value);
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !plain || name.is_empty() {
            problems.error(
                line,
                "bad-variable",
                format!("`env` takes names of environment variables{}", named(name)),
                "letters, digits and `_`",
            );
        }
        if let Some(why) = env::reserved(name) {
            let message = format!("`env` cannot set `{name}`: {why}");
            let hint = "name the variable that the tool reads its API key from";
            problems.error(line, "reserved-variable", message, hint);
        }
        let kind = value.get_ref().strip_prefix("placeholder:").and_then(Kind::parse);
        if kind.is_none() {
            let kinds = Kind::ALL.map(Kind::as_str).join(", ");
            // Only what says itself that it is none: a real key is what stands here by mistake.
            let wrong = value.get_ref().strip_prefix("placeholder:");
            let meant = wrong.map(|kind| meant(kind, Kind::ALL.into_iter().map(Kind::as_str)));
            let hint = format!(
                "{}write \"placeholder:KIND\", which is one of {kinds}",
                meant.unwrap_or_default()
            );
            let message = match wrong {
                Some(kind) => format!("there is no such kind of placeholder{}", named(kind)),
                None => "`env` gives placeholders only".to_owned(),
            };
            problems.error(line, "bad-placeholder", message, hint);
        }
        kind
    }
}

/// What a route says must fit together.
fn consistent(route: &file::RouteTable, credential: bool, line: usize, problems: &mut Problems) {
    if !credential && (route.inject.is_some() || !route.env.is_empty()) && !route.deny {
        let hint = "add `credential`, or take `inject` and `env` out";
        problems.error(line, "no-credential", "the route injects but names no credential", hint);
    }
    if !credential && route.when == file::When::Placeholder {
        let hint = "add `credential`, or take `when` out";
        problems.error(line, "no-credential", "`when` without a credential says nothing", hint);
    }
    if route.deny && credential {
        problems.error(
            line,
            "denied-credential",
            "a route that denies takes no credential",
            "take one of both out",
        );
    }
}

fn default_inject() -> Inject {
    Inject::Header { name: http::header::AUTHORIZATION, scheme: Some("Bearer".into()) }
}

fn field(name: &str) -> Result<HeaderName, String> {
    let field =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| "this is no header name".to_owned())?;
    if FRAMING.contains(&field.as_str()) {
        return Err(format!("`{field}` frames or routes the message"));
    }
    Ok(field)
}

fn placement(text: &str) -> Result<Placement, String> {
    match text.split_once(':') {
        Some(("header", name)) => Ok(Placement::Header(field(name)?)),
        Some(("query", name)) if !name.is_empty() => Ok(Placement::Query(name.to_owned())),
        _ => Err("this is no placement".to_owned()),
    }
}

fn inject(inject: file::InjectTable) -> Result<Inject, String> {
    match inject {
        file::InjectTable { header: Some(name), scheme, basic: None, query: None, path: None } => {
            let name = field(&name)?;
            let scheme = match scheme {
                None if name == http::header::AUTHORIZATION => Some("Bearer".to_owned()),
                scheme => scheme.filter(|s| !s.is_empty()),
            };
            let legal = |s: &String| {
                s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=:".contains(&b))
            };
            if !scheme.iter().all(legal) {
                return Err("`scheme` is one word".to_owned());
            }
            Ok(Inject::Header { name, scheme })
        }
        file::InjectTable { header: None, scheme: None, basic, query, path } => {
            match (basic, query, path) {
                (Some(basic), None, None) => basic_user(basic.user),
                (None, Some(name), None) if !name.is_empty() => Ok(Inject::Query(name)),
                (None, None, Some(path)) => Ok(Inject::Path(PathSlot::parse(&path)?)),
                _ => Err(ONE_OF.to_owned()),
            }
        }
        _ => Err(ONE_OF.to_owned()),
    }
}

fn basic_user(user: String) -> Result<Inject, String> {
    // RFC 7617 section 2: a colon would end the user part.
    if user.contains(':') || !user.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        return Err("`user` may not hold a colon or control characters".to_owned());
    }
    Ok(Inject::Basic { user })
}

const ONE_OF: &str = "`inject` is one of header (with scheme), basic, query and path";

fn clients(list: Vec<String>, line: usize, problems: &mut Problems) -> Vec<ClientSelector> {
    if list.is_empty() {
        problems.error(
            line,
            "empty-list",
            "`clients = []` serves nobody",
            "take it out to serve everyone",
        );
    }
    let mut selectors = Vec::new();
    for text in list {
        match text.split_once(':') {
            Some(("session", name)) if !name.is_empty() => {
                selectors.push(ClientSelector::Session(SessionName::new(name)))
            }
            Some(("user", name)) if !name.is_empty() => {
                selectors.push(ClientSelector::User(name.to_owned()))
            }
            Some(("uid", uid)) if uid.parse::<u32>().is_ok() => {
                selectors.extend(uid.parse().map(ClientSelector::Uid));
            }
            _ => problems.error(
                line,
                "bad-client",
                format!("an entry of `clients` is no client{}", named(&text)),
                "\"session:NAME\", \"uid:N\" or \"user:NAME\"",
            ),
        }
    }
    selectors
}
