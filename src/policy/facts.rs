//! What is asked of a policy about one request, and what it says of a connection.

use http::Method;

use crate::model::client::Client;
use crate::model::id::RouteName;
use crate::model::reason::Reason;
use crate::model::target::Target;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtConnect {
    /// Its TLS ends here, and each request is judged.
    Intercept,
    /// The client is told the reason, and nothing is dialled.
    Refuse(Reason),
    /// Copied blindly; nothing of ours goes in.
    Tunnel,
}

/// What policy must know of one request.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFacts<'a> {
    pub client: &'a Client,
    /// The routes that the client's session is limited to.
    pub allowed: Option<&'a [RouteName]>,
    pub method: &'a Method,
    /// The target of the tunnel, which the request was checked to agree with.
    pub target: &'a Target,
    /// The path as sent, without query.
    pub path: &'a str,
    /// The routes whose placeholder came with it, where a bound one did.
    pub bound: Option<&'a [RouteName]>,
}
