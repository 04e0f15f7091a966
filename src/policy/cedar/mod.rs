//! Cedar (cedarpolicy.com): policies that must permit what a route permits.
//!
//! At load, each route gets the policies that can apply to it and to each of its methods, by their
//! scopes. Where those alone decide, requests cost nothing: nobody permits (denied), or somebody
//! permits whatever comes and nobody forbids. Else Cedar is asked, of each request anew.

#[cfg(feature = "cedar")]
mod ask;
#[cfg(feature = "cedar")]
mod load;
#[cfg(feature = "cedar")]
mod merge;
#[cfg(feature = "cedar")]
mod outline;
#[cfg(feature = "cedar")]
mod place;
#[cfg(feature = "cedar")]
mod schema;
#[cfg(feature = "cedar")]
mod select;
#[cfg(test)]
#[cfg(feature = "cedar")]
mod tests;
#[cfg(not(feature = "cedar"))]
mod without;

use std::sync::Arc;

#[cfg(feature = "cedar")]
pub(super) use load::asked;
#[cfg(feature = "cedar")]
pub(super) use schema::schema;
#[cfg(feature = "cedar")]
pub(super) use select::Asked;
#[cfg(not(feature = "cedar"))]
pub(super) use without::{Unasked as Asked, asked, schema};

/// What policies say of one request, and which of them decided, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "cedar"), expect(dead_code, reason = "nobody is asked"))]
pub(super) enum Verdict {
    /// `policies`: those that permit it.
    Permit { policies: Arc<[Arc<str>]> },
    /// `policies`: those that forbid it, or could not be evaluated; none where nobody permits it.
    /// `hint`: what the first of them tells the client to do.
    Forbid { policies: Arc<[Arc<str>]>, hint: Option<Arc<str>> },
}
