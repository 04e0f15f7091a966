//! `[proxy]`: where it listens, who is admitted, and what happens to hosts that no route names.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::OneOrMany;

/// `[proxy]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyTable {
    /// Where the HTTP proxy listens (CONNECT and absolute-form), one or a list: IP:PORT, or "unix:PATH" for a unix socket (a relative path
    /// counts from the config's directory). Absent: 127.0.0.1 and the port of last time, else 8383, else any that is free. A socket's
    /// file has mode 0600; 0666 where `allow_uids` or `[[sessions]]` admit other users.
    #[schemars(with = "Option<OneOrMany>")]
    pub listen: Option<Spanned<OneOrMany>>,
    /// Where connections arrive that the kernel redirects (netfilter's REDIRECT), one or a list of IP:PORT: their tools need no proxy variable.
    /// The owner of the client's socket decides who is admitted (`client_auth` has "uid"); exempt the daemon's own user from the rule.
    #[schemars(with = "Option<OneOrMany>")]
    pub transparent: Option<Spanned<OneOrMany>>,
    /// Hosts that no route names: "tunnel" (opaque, not decrypted; the default) or "deny".
    #[schemars(with = "Option<Unmatched>")]
    pub unmatched: Option<Unmatched>,
    /// Ports of hosts that a route names on another port, which are tunnelled as they come, never decrypted and never with a token, as [22] for SSH. Absent: none.
    pub tunnel_ports: Vec<u16>,
    /// Who is admitted: "session" (proxy credentials), "uid" (a loopback peer of our own uid). Default: both. [] = nobody is asked: loopback only.
    #[schemars(with = "Option<Vec<AdmittedBy>>")]
    pub client_auth: Option<Spanned<Vec<AdmittedBy>>>,
    /// Further uids that are admitted as our own is.
    pub allow_uids: Vec<u32>,
}

/// `proxy.unmatched`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    /// Refused.
    Deny,
    /// An opaque tunnel, not decrypted; on routed hosts: forwarded without a token.
    Tunnel,
}

/// `proxy.client_auth`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AdmittedBy {
    /// Proxy credentials of a session.
    Session,
    /// The owner of a loopback peer's socket.
    Uid,
}
