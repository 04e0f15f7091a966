//! What a daemon hands out, taken only in the shape that it must have.
//!
//! It becomes the environment of a tool, where a variable such as `LD_PRELOAD` runs code. The
//! daemon is one of our own user, but perhaps an older one or one that has gone astray: so the
//! names are those of the config that we have read ourselves, and the values can be nothing but
//! addresses, random words and placeholders.

use std::net::SocketAddr;

use super::failure::Failure;
use crate::admin::wire::OpenedSession;
use crate::config::Config;
use crate::model::placeholder::Placeholder;

/// The longest word of a session, in bytes: 256 random bits are 43.
const MAX_WORD: usize = 128;
/// The longest placeholder, in bytes: that of a JWT has 200 or so.
const MAX_PLACEHOLDER: usize = 1024;

impl OpenedSession {
    /// The same, if all that a tool gets of it is as it must be.
    pub(super) fn believed(self, config: &Config) -> Result<Self, Failure> {
        match self.oddity(config) {
            None => Ok(self),
            Some(what) => Err(Failure::failed(
                "daemon-answer-refused",
                format!("the daemon's answer is not believed: {what}"),
                "is the daemon of another version? stop it and try again",
            )),
        }
    }

    fn oddity(&self, config: &Config) -> Option<&'static str> {
        if !is_word(&self.name) || !is_word(&self.secret) {
            return Some("the session's name or secret holds other characters than it may");
        }
        let address = self.proxy.strip_prefix("http://").and_then(|rest| rest.parse().ok());
        if address.is_none_or(|address: SocketAddr| address.port() == 0) {
            return Some("the proxy is no address");
        }
        let of_config =
            |name: &String| config.routes.iter().any(|route| route.value.env.contains_key(name));
        if !self.placeholders.keys().all(of_config) {
            return Some("it sets a variable that the config does not name");
        }
        if !self.placeholders.values().all(|value| is_placeholder(value)) {
            return Some("it sets a variable to something other than a placeholder");
        }
        None
    }
}

fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(plain)
}

fn is_placeholder(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    value.len() <= MAX_PLACEHOLDER
        && value.bytes().all(plain)
        && Placeholder::found_in(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::placeholder::Kind;
    use serde_json::json;

    fn config() -> Config {
        let text = "config_version = 1\n[credentials.c]\ngrant = \"static-key\"\nsecret = { env = \"S\" }\n\
            [[routes]]\nname = \"a\"\nhost = \"a.example\"\ncredential = \"c\"\nenv = { KEY = \"placeholder:opaque\" }\n";
        crate::config::parse("/c/valetkey.toml".as_ref(), text.as_bytes(), "/s".into()).unwrap().0
    }

    fn oddity(change: &[(&str, serde_json::Value)]) -> Option<&'static str> {
        let mut answer = json!({
            "name": "run-1_a", "secret": "c2VjcmV0", "proxy": "http://127.0.0.1:8383",
            "placeholders": { "KEY": Placeholder::opaque().to_string() },
            "routed_hosts": [], "ca_pem": "",
        });
        for (key, value) in change {
            answer[*key] = value.clone();
        }
        serde_json::from_value::<OpenedSession>(answer).unwrap().oddity(&config())
    }

    #[test]
    fn every_kind_of_placeholder_is_believed() {
        assert_eq!(oddity(&[]), None);
        for kind in Kind::ALL {
            let value = Placeholder::bound(kind).0.to_string();
            assert_eq!(oddity(&[("placeholders", json!({ "KEY": value }))]), None, "{kind}");
        }
        assert_eq!(oddity(&[("proxy", json!("http://[::1]:8383"))]), None);
    }

    #[test]
    fn nothing_else_gets_into_an_environment() {
        let placeholder = Placeholder::opaque().to_string();
        for (key, value) in [
            ("name", json!("run-1@evil")),
            ("name", json!("")),
            ("secret", json!("a:b")),
            ("secret", json!("x".repeat(4096))),
            ("proxy", json!("http://evil.example:1")),
            ("proxy", json!("http://127.0.0.1:0")),
            ("proxy", json!("http://u:p@127.0.0.1:1")),
            ("proxy", json!("127.0.0.1:8383")),
            ("placeholders", json!({ "LD_PRELOAD": placeholder })),
            ("placeholders", json!({ "BASH_ENV": "/tmp/x" })),
            ("placeholders", json!({ "KEY": "/tmp/evil.so" })),
            ("placeholders", json!({ "KEY": format!("{placeholder}\n") })),
            ("placeholders", json!({ "KEY": format!("/tmp/{placeholder}") })),
        ] {
            assert!(oddity(&[(key, value.clone())]).is_some(), "{key}: {value}");
        }
    }
}
