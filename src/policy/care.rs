//! Care at load: routes that would hand a token to strangers, or let one be turned into a stronger
//! one.

use http::Method;

use super::pattern::{HostPattern, PathPattern};
use super::route::{Action, Route};
use crate::config::problem::Problems;
use crate::config::{Config, Endpoints, Grant};

/// Reports what one route of a config must not do by accident.
pub(super) fn check(route: &Route, config: &Config, allowed: bool, problems: &mut Problems) {
    if !matches!(route.action, Action::Inject(..)) {
        return;
    }
    if let HostPattern::OneLabel(suffix) = &route.host
        && let Some((rule, section)) = shared(suffix)
    {
        let message = format!(
            "`host`: `*.{suffix}` names hosts of many owners: public suffix rule `{rule}` ({section}) (route `{}`)",
            route.name
        );
        problems.error(
            route.line,
            "wildcard-public-suffix",
            message,
            "name the hosts that are meant, one route each: anybody can get another one there, and the token with it",
        );
    }
    if !allowed && let Some(endpoint) = token_endpoint(route, config) {
        let message = format!(
            "the route `{}` can reach `{endpoint}`, which gives out tokens, with a token of its own",
            route.name
        );
        problems.error(
            route.line,
            "token-endpoint-routed",
            message,
            "narrow `path` or `methods`, or say `allow_token_endpoint = true` where that is meant",
        );
    }
}

/// The rule of the public suffix list by which each `*.suffix` belongs to somebody else.
fn shared(suffix: &str) -> Option<(String, &'static str)> {
    // A rule may itself have a star: `*.compute.example` makes every host below it a suffix.
    let below = format!("x.{suffix}");
    for (name, rule) in [(suffix, suffix.to_owned()), (below.as_str(), format!("*.{suffix}"))] {
        let section = match psl2::lookup(name).filter(psl2::Domain::is_public_suffix) {
            Some(found) if found.is_private() => "private section: tenants of one provider",
            Some(found) if found.is_icann() => "ICANN section: a registry",
            _ => continue,
        };
        return Some((rule, section));
    }
    None
}

/// What the route can reach that gives out tokens: the endpoints that this config itself names,
/// those of well-known hosts, and the usual paths where the route's own patterns spell out paths at
/// all. A route for a whole host is not refused for what that host might have.
fn token_endpoint(route: &Route, config: &Config) -> Option<String> {
    let reaches = |method: &Method, path: &str| {
        PathPattern::parse(path).is_ok_and(|pattern| route.reaches(method, &pattern))
    };
    for credential in config.credentials.values() {
        let (Some(url), paths) = token_urls(&credential.grant) else { continue };
        let (Some(host), port) = (url.host(), url.port_u16().unwrap_or(443)) else { continue };
        if !route.host.matches(host) || route.port != port {
            continue;
        }
        if let Some(path) = paths.into_iter().find(|path| reaches(&Method::POST, path)) {
            return Some(format!("https://{host}{path}"));
        }
    }
    for (host, path) in KNOWN {
        if route.host.matches(host) && reaches(&Method::POST, path) {
            return Some(format!("https://{host}{path}"));
        }
    }
    let (host, path) = GITHUB_APP;
    if (route.names_paths() || signs(route, config))
        && route.host.matches(host)
        && reaches(&Method::POST, path)
    {
        return Some(format!("https://{host}{path}"));
    }
    let usual = || USUAL.iter().find(|path| reaches(&Method::POST, path));
    route.names_paths().then(usual).flatten().map(|path| (*path).to_owned())
}

/// Whether the route's token is an assertion signed here, which is what an app's endpoint takes.
fn signs(route: &Route, config: &Config) -> bool {
    let Action::Inject(name, _) = &route.action else { return false };
    config.credentials.get(name).is_some_and(|credential| matches!(credential.grant, Grant::Jwt(_)))
}

/// Where a grant gets its tokens. Of an issuer that is discovered only the origin is known before
/// it is asked: there, the usual paths stand for its own.
fn token_urls(grant: &Grant) -> (Option<&http::Uri>, Vec<&str>) {
    let oauth = match grant {
        Grant::AuthorizationCode(grant) => &grant.oauth,
        Grant::ClientCredentials(oauth) => oauth,
        Grant::Device(grant) => &grant.oauth,
        Grant::JwtBearer(grant) => &grant.oauth,
        Grant::RefreshToken(grant) => &grant.oauth,
        Grant::TokenExchange(grant) => &grant.oauth,
        Grant::Http(grant) => return (Some(&grant.call.url), vec![grant.call.url.path()]),
        Grant::Exec(_) | Grant::Jwt(_) | Grant::StaticKey(_) => return (None, vec![]),
    };
    match &oauth.endpoints {
        Endpoints::Named { token, .. } => (Some(token), vec![token.path()]),
        Endpoints::Discovered { url, .. } => (Some(url), USUAL.to_vec()),
    }
}

/// Endpoints of services that route hosts often share with their API.
const KNOWN: &[(&str, &str)] = &[
    ("gitlab.com", "/oauth/token"),
    ("gitlab.com", "/api/v4/personal_access_tokens/*/rotate"),
    ("sts.amazonaws.com", "/"),
    ("sts.googleapis.com", "/v1/token"),
    ("oauth2.googleapis.com", "/token"),
    ("login.microsoftonline.com", "/*/oauth2/v2.0/token"),
    ("iamcredentials.googleapis.com", "/v1/projects/*/serviceAccounts/*"),
];

/// Takes nothing but the assertion of an app, so a whole-host route with another token is as good
/// as one without it.
const GITHUB_APP: (&str, &str) = ("api.github.com", "/app/installations/*/access_tokens");

/// Where token endpoints usually stand.
const USUAL: &[&str] = &[
    "/oauth/token",
    "/oauth2/token",
    "/oauth2/v1/token",
    "/oauth/access_token",
    "/login/oauth/access_token",
    "/connect/token",
    "/token",
];
