//! What else passes on a route: protocols that an upgrade may switch to, and fields that could
//! speak for the request.

use http::HeaderName;
use toml::Spanned;

use super::Check;
use crate::config::problem::Problems;
use crate::config::wording::named;
use crate::model::overriding::may_be_kept;

impl Check<'_> {
    pub(super) fn upgrades(
        &self,
        list: &[Spanned<String>],
        problems: &mut Problems,
    ) -> Vec<Box<str>> {
        let mut protocols = Vec::with_capacity(list.len());
        for text in list {
            match upgrade(text.get_ref()) {
                Some(protocol) => protocols.push(protocol),
                None => problems.error(
                    self.line(text),
                    "bad-upgrade",
                    format!("this protocol cannot be upgraded to{}", named(text.get_ref())),
                    "one protocol name, as \"websocket\"; HTTP itself and TLS stay what they are",
                ),
            }
        }
        protocols
    }

    pub(super) fn kept(
        &self,
        list: &[Spanned<String>],
        problems: &mut Problems,
    ) -> Vec<HeaderName> {
        let mut names = Vec::with_capacity(list.len());
        for text in list {
            let name = HeaderName::from_bytes(text.get_ref().as_bytes()).ok();
            match name.filter(|name| may_be_kept(name.as_str())) {
                Some(name) => names.push(name),
                None => problems.error(
                    self.line(text),
                    "bad-keep",
                    format!("this field is not one that can be kept{}", named(text.get_ref())),
                    "one of x-real-ip, x-envoy-*, x-forwarded-*, x-original-* and x-vault-*; what names a method, a host, a port or a path is never kept, and all other fields pass as they are",
                ),
            }
        }
        names
    }
}

/// HTTP and TLS under an upgrade would be read by nobody here.
fn upgrade(text: &str) -> Option<Box<str>> {
    let protocol = text.to_ascii_lowercase();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let inner = ["h2", "http", "tls"].iter().any(|name| protocol.starts_with(name));
    (!protocol.is_empty() && protocol.bytes().all(legal) && !inner).then(|| protocol.into())
}
