//! What a record says of one request: who asks for what, what policies said, how it ended.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value};

use crate::model::client::Client;
use crate::model::host::Host;
use crate::model::id::RequestId;
use crate::model::reason::Reason;

/// What is known of a request before it is judged.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    pub(super) request: RequestId,
    pub(super) client: Arc<Client>,
    pub(super) method: Method,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) path: Option<Box<str>>,
}

impl RequestFacts {
    /// `path`: `None` for CONNECT. A query or fragment in it is cut off: neither is ever recorded.
    pub fn new(
        request: RequestId,
        client: Arc<Client>,
        method: Method,
        host: Host,
        port: u16,
        path: Option<&str>,
    ) -> Self {
        let path = path.map(|p| p.split(['?', '#']).next().unwrap_or_default().into());
        Self { request, client, method, host, port, path }
    }

    pub fn request(&self) -> RequestId {
        self.request
    }
}

/// How a request ended, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status that the client got; `None` for tunnels and where it got none.
    pub status: Option<u16>,
    /// Body (or tunnel) bytes from the client.
    pub bytes_in: u64,
    /// Body (or tunnel) bytes to the client.
    pub bytes_out: u64,
    /// What went wrong after the decision, if anything.
    pub code: Option<Reason>,
}

/// What policies said of a request, and what they saw.
#[derive(Debug)]
pub(super) struct AskedPolicies {
    pub(super) ids: Arc<[Arc<str>]>,
    pub(super) context: Map<String, Value>,
}
