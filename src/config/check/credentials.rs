//! `[credentials]`: each by its grant.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::tables::parse_duration;
use super::{Check, Names, Table};
use crate::config::problem::Problems;
use crate::config::wording::{meant, named};
use crate::config::{ClientAuth, Credential, Grant, file};
use crate::model::host::Host;
use crate::model::id::CredentialName;

impl<'a> Check<'a> {
    /// The credentials, and every name with its line: one that is wrong still exists for the
    /// routes.
    pub(super) fn credentials(
        &mut self,
        problems: &mut Problems,
    ) -> (BTreeMap<CredentialName, Credential>, Names) {
        let (mut credentials, mut names) = (BTreeMap::new(), Names::new());
        let Some(value) = self.root.remove("credentials") else { return (credentials, names) };
        let line = self.lines.at(value.span().start);
        let DeValue::Table(table) = value.into_inner() else {
            problems.error(
                line,
                "wrong-type",
                "`credentials` must be a table",
                "head each with [credentials.NAME]",
            );
            return (credentials, names);
        };
        for (key, value) in table {
            let line = self.line(&key);
            self.name(key.get_ref(), line, "credential", problems);
            let name = CredentialName::new(key.get_ref().as_ref());
            names.insert(name.clone(), line);
            if let Some(credential) = self.credential(value, line, problems) {
                credentials.insert(name, credential);
            }
        }
        (credentials, names)
    }

    /// `grant` is taken out by hand: serde's tagged enums forget where a value stood.
    fn credential(
        &self,
        mut value: Table<'a>,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Credential> {
        let grant = match value.get_mut() {
            DeValue::Table(table) => table.remove("grant"),
            _ => None,
        };
        let hint = Grant::NAMES.join(", ");
        let Some(grant) = grant else {
            problems.error(line, "missing-key", "the credential has no `grant`", hint);
            return None;
        };
        let read = match grant.get_ref().as_str().unwrap_or_default() {
            "authorization-code" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::AuthorizationCode(t))
            }
            "client-credentials" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::ClientCredentials(t))
            }
            "device" => self.read(value, problems).map(|(t, _)| file::CredentialTable::Device(t)),
            "exec" => self.read(value, problems).map(|(t, _)| file::CredentialTable::Exec(t)),
            "http" => self.read(value, problems).map(|(t, _)| file::CredentialTable::Http(t)),
            "jwt" => self.read(value, problems).map(|(t, _)| file::CredentialTable::Jwt(t)),
            "jwt-bearer" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::JwtBearer(t))
            }
            "refresh-token" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::RefreshToken(t))
            }
            "static-key" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::StaticKey(t))
            }
            "token-exchange" => {
                self.read(value, problems).map(|(t, _)| file::CredentialTable::TokenExchange(t))
            }
            _ => {
                let word = grant.get_ref().as_str().unwrap_or_default();
                let message = format!("there is no such `grant`{}", named(word));
                let hint =
                    format!("{}it is one of {hint}", meant(word, Grant::NAMES.iter().copied()));
                problems.error(self.line(&grant), "unknown-value", message, hint);
                None
            }
        };
        self.check_credential(read?, line, problems)
    }

    fn check_credential(
        &self,
        credential: file::CredentialTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Credential> {
        let (grant, ttl) = match credential {
            file::CredentialTable::ClientCredentials(mut table) => {
                let (ttl, oauth) = (table.ttl.take(), table.oauth());
                let oauth = self.oauth(oauth, line, problems)?;
                if oauth.auth == ClientAuth::None {
                    let message = "client credentials without a way to authenticate";
                    let hint = "give `client_secret`, or `auth` with a key";
                    problems.error(line, "missing-key", message, hint);
                }
                (Grant::ClientCredentials(oauth), ttl)
            }
            file::CredentialTable::AuthorizationCode(mut table) => {
                let ttl = table.ttl.take();
                let grant = self.authorization_code(table, line, problems)?;
                (Grant::AuthorizationCode(Box::new(grant)), ttl)
            }
            file::CredentialTable::Device(mut table) => {
                let ttl = table.ttl.take();
                (Grant::Device(Box::new(self.device(table, line, problems)?)), ttl)
            }
            file::CredentialTable::Jwt(mut table) => {
                let ttl = table.ttl.take();
                (Grant::Jwt(self.jwt(table, line, problems)?), ttl)
            }
            file::CredentialTable::JwtBearer(mut table) => {
                let ttl = table.ttl.take();
                (Grant::JwtBearer(self.jwt_bearer(table, line, problems)?), ttl)
            }
            file::CredentialTable::RefreshToken(mut table) => {
                let ttl = table.ttl.take();
                (Grant::RefreshToken(self.refresh_token(table, line, problems)?), ttl)
            }
            file::CredentialTable::TokenExchange(mut table) => {
                let ttl = table.ttl.take();
                (Grant::TokenExchange(self.token_exchange(table, line, problems)?), ttl)
            }
            file::CredentialTable::Exec(mut table) => {
                let ttl = table.ttl.take();
                (Grant::Exec(self.exec(table, line, problems)?), ttl)
            }
            file::CredentialTable::Http(mut table) => {
                let ttl = table.ttl.take();
                (Grant::Http(Box::new(self.http(table, line, problems)?)), ttl)
            }
            file::CredentialTable::StaticKey(mut table) => {
                let ttl = table.ttl.take();
                (Grant::StaticKey(self.static_key(table, line, problems)?), ttl)
            }
        };
        let ttl = ttl.and_then(|text| {
            parse_duration(&text, 1)
                .map_err(|message| {
                    let message = format!("`ttl`: {message}{}", named(&text));
                    problems.error(line, "bad-duration", message, "for example ttl = \"5m\"")
                })
                .ok()
        });
        Some(Credential { grant, ttl, line })
    }
}

/// An endpoint that config names: https, or http to a loopback literal (the guard does not judge
/// it).
pub(super) fn parse_endpoint(text: &str) -> Result<::http::Uri, &'static str> {
    let uri: ::http::Uri = text.parse().map_err(|_| "is not a URL")?;
    let authority = uri.authority().ok_or("is not absolute")?;
    if authority.as_str().contains('@') || text.contains('#') {
        return Err("holds a user or a fragment");
    }
    let host = Host::parse(authority.host()).map_err(|_| "names no valid host")?;
    let loopback = matches!(host, Host::Ip(ip) if ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if loopback => Ok(uri),
        _ => Err("must be https"),
    }
}

/// RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
pub(super) fn is_scope(text: &str) -> bool {
    let legal = |b: u8| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\';
    !text.is_empty() && text.bytes().all(legal)
}
