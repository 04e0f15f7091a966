//! Floor 4: touching the request and the answer.
//!
//! `strip` takes out, `place` puts in, `redact` sees that nothing comes back. The way through is
//! [`fill`]: a [`Permit`], the proof that the audit record is written, and the request go in; a
//! [`Filled`] comes out. `passage` alone calls it.

mod elsewhere;
mod mask;
mod place;
mod redact;
mod shape;
mod standing;
mod strip;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method};

pub use mask::{mask_text, mask_word};
pub use shape::Standing;
pub use standing::{refused_key, standing_key};

pub use redact::{clean_answer, redactor_of};

use crate::audit::Written;
use crate::config::Inject;
use crate::masking;
use crate::model::overriding::names_method;
use crate::model::placeholder::{Mark, Placeholder};
use crate::model::target::Origin;
use crate::model::token::Token;
use crate::policy::Permit;

/// A request that was emptied and filled. Only [`fill`] makes one.
#[derive(Debug)]
pub struct Filled {
    origin: Origin,
    method: Method,
    path_and_query: PathAndQuery,
    headers: HeaderMap,
}

/// Why a permitted request cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The permit asks for a token and none came, or the other way round.
    #[error("the permit and the token don't belong together")]
    Mismatch,
    /// The path cannot be written again as it was judged.
    #[error("the request target cannot be re-serialised")]
    Target,
}

impl Filled {
    /// The one origin it may be sent to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes it apart for sending.
    pub fn into_parts(self) -> (Origin, Method, PathAndQuery, HeaderMap) {
        (self.origin, self.method, self.path_and_query, self.headers)
    }
}

/// Whether one of our placeholders stands in a header field or in the query.
pub fn holds_placeholder(parts: &Parts) -> bool {
    strip::any_placeholder(&parts.headers, parts.uri.query())
}

/// Removes the fields that an upstream could take for something of the request that was not judged,
/// and gives back their names.
pub fn remove_overriding(permit: &Permit, parts: &mut Parts) -> Vec<HeaderName> {
    strip::remove_overriding(permit, &mut parts.headers)
}

/// The methods that an upstream could take instead of the request's own. `None`: one of the fields
/// names none, or one that may be read as another: policy's methods are all in capitals.
pub fn named_methods(parts: &Parts) -> Option<Vec<Method>> {
    let fields = parts.headers.iter().filter(|(name, _)| names_method(name.as_str()));
    fields.map(|(_, value)| capital_method(value.as_bytes())).collect()
}

fn capital_method(value: &[u8]) -> Option<Method> {
    let capital = value.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    capital.then(|| Method::from_bytes(value).ok()).flatten()
}

/// Whether one of our placeholders stands where the permit's token would go.
pub fn slot_holds_placeholder(permit: &Permit, parts: &Parts) -> bool {
    in_slot(permit, parts, strip::holds_placeholder)
}

/// Whether anything does.
pub fn slot_is_filled(permit: &Permit, parts: &Parts) -> bool {
    in_slot(permit, parts, |value| !value.is_empty())
}

fn in_slot(permit: &Permit, parts: &Parts, is: impl Fn(&[u8]) -> bool) -> bool {
    let Some((_, inject)) = permit.inject() else { return false };
    match inject {
        Inject::Basic { .. } | Inject::Header { .. } => inject.header().is_some_and(|name| {
            parts.headers.get_all(name).iter().any(|value| is(value.as_bytes()))
        }),
        Inject::Path(slot) => slot.value(parts.uri.path()).is_some_and(|v| is(v.as_bytes())),
        Inject::Query(name) => {
            let pairs = parts.uri.query().unwrap_or_default().split('&');
            let mut own = pairs.filter_map(|pair| pair.split_once('='));
            own.any(|(n, value)| strip::spells(n.as_bytes(), name) && is(value.as_bytes()))
        }
    }
}

/// What the bound placeholders in a request are told by, each once.
#[derive(Debug, Default)]
pub struct Marks {
    first: Option<Mark>,
    /// Rarely any: then nothing is allocated.
    others: Vec<Mark>,
}

impl Marks {
    /// The first, where there is one.
    pub fn first(&self) -> Option<&Mark> {
        self.first.as_ref()
    }

    /// Those that differ from it.
    pub fn others(&self) -> &[Mark] {
        &self.others
    }

    /// `Err`: more than any tool has variables for.
    fn add(&mut self, mark: Mark) -> Result<(), InjectError> {
        let first = *self.first.get_or_insert(mark);
        if first == mark || self.others.contains(&mark) {
            return Ok(());
        }
        if self.others.len() + 1 >= MAX_MARKS {
            return Err(InjectError::Mismatch);
        }
        self.others.push(mark);
        Ok(())
    }
}

/// Different placeholders in one request.
const MAX_MARKS: usize = 16;

/// What the bound placeholders in the header fields, the query and the path are told by.
pub fn placeholder_marks(parts: &Parts) -> Result<Marks, InjectError> {
    let (path, query) = (parts.uri.path().as_bytes(), parts.uri.query().map(str::as_bytes));
    let fields = parts.headers.values().map(http::HeaderValue::as_bytes);
    let mut found = Marks::default();
    for value in fields.chain([path]).chain(query) {
        strip::each_form(value, |form| {
            Placeholder::marks_in(form).try_for_each(|mark| found.add(mark))
        })?;
    }
    Ok(found)
}

/// An empty path is `/`, which is what was judged, and is sent as that (RFC 9112 section 3.2.1).
fn rooted(target: &PathAndQuery) -> Result<PathAndQuery, InjectError> {
    if !target.as_str().starts_with('?') {
        return Ok(target.clone());
    }
    PathAndQuery::try_from(format!("/{}", target.as_str())).map_err(|_| InjectError::Target)
}

/// Strips and fills one request that was judged, and has lost by then what could override it.
/// `written` proves that its decision is in the audit.
pub fn fill(
    permit: &Permit,
    token: Option<&Token>,
    written: Written,
    mut parts: Parts,
) -> Result<Filled, InjectError> {
    let target = &rooted(parts.uri.path_and_query().ok_or(InjectError::Target)?)?;
    strip::hop_by_hop(&mut parts.headers);
    let mut path_and_query = strip::placements(permit.strip(), &mut parts.headers, target)?;
    strip::placeholders(&mut parts.headers, &mut path_and_query)?;
    match (permit.inject(), token) {
        // The record must name just this token, or config waives the record.
        (Some((_, inject)), Some(token)) if written.covers(token) => {
            place::place(inject, token, &mut parts.headers, &mut path_and_query)?;
            if let Some(key) = token.proof_key() {
                let what = (&parts.method, permit.origin(), path_and_query.path());
                place::prove(key, token, what, &mut parts.headers)?;
            }
            if permit.redacts() {
                masking::ask(&mut parts.headers);
            }
        }
        (Some(_), _) | (_, Some(_)) => return Err(InjectError::Mismatch),
        (_, None) => {}
    }
    // Wherever else in the path one stands, nothing of ours was meant to go there.
    if strip::holds_placeholder(path_and_query.path().as_bytes()) {
        return Err(InjectError::Target);
    }
    Ok(Filled {
        origin: permit.origin().clone(),
        method: parts.method,
        path_and_query,
        headers: parts.headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_is_sent_as_the_root_that_was_judged() {
        for (text, sent) in [
            ("?a=/../admin", "/?a=/../admin"),
            ("?/../admin", "/?/../admin"),
            ("/x?y", "/x?y"),
            ("*", "*"),
        ] {
            assert_eq!(rooted(&PathAndQuery::from_static(text)).unwrap(), sent);
        }
    }
}
