//! The name that a server's certificate must have: the host that was asked for, and nothing else
//! (invariant I1).

use rustls::pki_types::{InvalidDnsNameError, ServerName};

use crate::model::host::Host;

/// What TLS asks for and verifies. An error: names of hosts may be looser than those of
/// certificates (`_` at an end).
pub fn tls_name(host: &Host) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.to_string()),
    }
}
