//! What a route asks of its credential (`scope`, `audience`, `resource`, `claims`): it narrows,
//! never widens.

use std::collections::BTreeMap;

use ::http::header::AUTHORIZATION;
use toml::Spanned;

use super::Check;
use super::credentials::is_scope;
use crate::config::problem::{Located, Problems};
use crate::config::{Credential, Grant, Inject, Route, file};
use crate::model::ask::{Ask, Template};
use crate::model::id::CredentialName;

/// Claims that each token has by itself, or that say whose and what for it is.
pub(super) const RESERVED_CLAIMS: &[&str] = &["aud", "exp", "iat", "iss", "jti", "nbf"];

impl Check<'_> {
    pub(super) fn check_ask(&self, route: &mut file::RouteTable, problems: &mut Problems) -> Ask {
        let many = |value: Option<Spanned<file::OneOrMany>>| {
            value.map(|value| {
                let span = value.span();
                Spanned::new(span, value.into_inner().into_vec())
            })
        };
        let scope = self.words(route.scope.take(), "scope", is_scope, problems);
        let audience = many(route.audience.take());
        let audience = self.words(audience, "audience", is_audience, problems);
        let resource = many(route.resource.take());
        let resource = self.words(resource, "resource", is_resource, problems);
        let mut claims = BTreeMap::new();
        for (name, text) in std::mem::take(&mut route.claims) {
            let line = self.line(&text);
            if RESERVED_CLAIMS.contains(&name.as_str()) {
                let message = format!("a route cannot set the claim `{name}`");
                problems.error(line, "reserved-claim", message, "choose another name");
            }
            match Template::parse(text.get_ref()) {
                Ok(template) => drop(claims.insert(name, template)),
                Err(error) => problems.error(line, "bad-template", error.to_string(), TEMPLATE),
            }
        }
        let personal = claims.values().any(|text| text.variables().next().is_some());
        Ask { scope, audience, resource, claims, personal, who: None }
    }

    fn words(
        &self,
        list: Option<Spanned<Vec<String>>>,
        key: &str,
        legal: impl Fn(&str) -> bool,
        problems: &mut Problems,
    ) -> Vec<String> {
        let Some(list) = list else { return Vec::new() };
        let line = self.line(&list);
        let list = list.into_inner();
        if list.is_empty() {
            let message = format!("`{key} = []` asks for nothing");
            problems.error(
                line,
                "empty-list",
                message,
                "take it out to ask as the credential says",
            );
        }
        check_words(&list, key, line, legal, problems);
        list
    }
}

/// Reports entries that are not of their kind.
pub(super) fn check_words(
    list: &[String],
    key: &str,
    line: usize,
    legal: impl Fn(&str) -> bool,
    problems: &mut Problems,
) {
    if !list.iter().all(|word| legal(word)) {
        let (code, hint) = match key {
            "scope" => ("bad-scope", "one scope an entry, of the characters that RFC 6749 allows"),
            "resource" => ("bad-resource", "an absolute URI without fragment (RFC 8707)"),
            _ => ("bad-audience", "a name or URI of visible ASCII"),
        };
        problems.error(line, code, format!("an entry of `{key}` is malformed"), hint);
    }
}

pub(super) fn is_audience(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

/// RFC 8707 section 2: absolute, without a fragment. Of any scheme: `urn:` and `api:` are in use.
pub(super) fn is_resource(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && is_audience(text)
        && !text.contains('#')
        && text.len() > scheme.len() + 1
}

/// Holds each route to what its credential's grant can ask for, and to what the credential itself
/// asks for.
pub(super) fn narrow(
    routes: &mut [Located<Route>],
    credentials: &BTreeMap<CredentialName, Credential>,
    problems: &mut Problems,
) {
    for Located { value: route, line } in routes {
        let Some(name) = &route.credential else {
            if route.ask != Ask::default() {
                let message = "the route asks for a scope, audience, resource or claim, but names no credential";
                problems.error(
                    *line,
                    "no-credential",
                    message,
                    "add `credential`, or take them out",
                );
            }
            continue;
        };
        // A credential that is wrong has been reported.
        let Some(Credential { grant, .. }) = credentials.get(name) else { continue };
        let can = grant.can_ask();
        let own = grant.ask();
        for (key, asked, can, own) in [
            ("scope", &route.ask.scope, can.scope, &own.scope),
            ("audience", &route.ask.audience, can.audience, &own.audience),
            ("resource", &route.ask.resource, can.resource, &own.resource),
        ] {
            if !asked.is_empty() && !can {
                cannot(key, grant, *line, problems);
            }
            if !own.is_empty() && !asked.iter().all(|word| own.contains(word)) {
                let message =
                    format!("the route asks for a `{key}` that its credential does not name");
                let hint = format!("a route narrows: name it in [credentials.{name}] as well");
                problems.error(*line, "wider-than-credential", message, hint);
            }
        }
        let slot = matches!(&route.inject, Inject::Header { name, .. } if *name == AUTHORIZATION);
        if grant.is_bound() && !slot {
            let message = "a token that is bound to a key goes into `authorization` and nowhere else (RFC 9449)";
            let hint = "take `inject` out of the route, or `dpop_bound_access_tokens` out of its credential";
            problems.error(*line, "dpop-inject", message, hint);
        }
        if !route.ask.claims.is_empty() && !can.claims {
            cannot("claims", grant, *line, problems);
        }
        if let Some(claim) = route.ask.claims.keys().find(|claim| own.claims.contains(claim)) {
            let message = format!("route and credential both set the claim `{claim}`");
            problems.error(*line, "claim-twice", message, "take it out of one of them");
        }
        route.ask.personal |= !own.variables.is_empty();
    }
}

fn cannot(key: &str, grant: &Grant, line: usize, problems: &mut Problems) {
    let message = format!("`{key}` means nothing to the grant `{}`", grant.name());
    problems.error(line, "not-askable", message, "take it out, or use another grant");
}

pub(super) const TEMPLATE: &str =
    "for example \"{user} by {session}\"; a literal brace is written twice";
