//! `[credentials.NAME]`, checked: the grants, what each can be asked for, and where secrets come
//! from.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{
    AuthorizationCode, ClientAuth, Device, Endpoints, Exec, Helper, Http, Jwt, JwtBearer, Oauth,
    RefreshToken, TokenExchange,
};
use crate::model::ask::{Ask, Variable, Wants};

#[derive(Clone, Debug)]
pub struct Credential {
    pub grant: Grant,
    /// Upper bound of a token's life, and its life where the issuer names none.
    pub ttl: Option<Duration>,
    /// Where it stands in the file.
    pub line: usize,
}

/// The grant of a credential with all it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A person logs in with a browser on this machine.
    AuthorizationCode(Box<AuthorizationCode>),
    /// RFC 6749 section 4.4.
    ClientCredentials(Oauth),
    /// RFC 8628.
    Device(Box<Device>),
    /// The token is what a program prints.
    Exec(Exec),
    /// An exchange that config describes.
    Http(Box<Http>),
    /// The token is a JWT that is signed here.
    Jwt(Jwt),
    /// RFC 7523 section 2.1.
    JwtBearer(JwtBearer),
    /// RFC 6749 section 6.
    RefreshToken(RefreshToken),
    /// A standing secret, handed on as it is.
    StaticKey(StaticKey),
    /// RFC 8693.
    TokenExchange(TokenExchange),
}

/// What a credential itself asks for; its routes may narrow that.
#[derive(Clone, Debug, Default)]
pub struct OwnAsk<'a> {
    /// Scopes; empty: the issuer's default.
    pub scope: &'a [String],
    pub audience: &'a [String],
    pub resource: &'a [String],
    /// Names of claims that it sets.
    pub claims: Vec<&'a String>,
    /// What its templates name of the client.
    pub variables: Vec<Variable>,
}

impl<'a> From<&'a Oauth> for OwnAsk<'a> {
    fn from(oauth: &'a Oauth) -> Self {
        Self {
            scope: &oauth.scope,
            audience: &oauth.audience,
            resource: &oauth.resource,
            ..Self::default()
        }
    }
}

/// What a route may ask of a grant.
#[derive(Clone, Copy, Debug, Default)]
pub struct CanAsk {
    pub scope: bool,
    pub audience: bool,
    pub resource: bool,
    pub claims: bool,
}

impl Grant {
    /// The names of all grants; each has its code, recipe and test.
    pub const NAMES: &'static [&'static str] = &[
        "authorization-code",
        "client-credentials",
        "device",
        "exec",
        "http",
        "jwt",
        "jwt-bearer",
        "refresh-token",
        "static-key",
        "token-exchange",
    ];

    /// What routes may narrow. Whatever a grant would ignore is refused at load.
    pub fn can_ask(&self) -> CanAsk {
        let oauth = CanAsk { scope: true, audience: true, resource: true, claims: false };
        match self {
            Self::AuthorizationCode(_)
            | Self::ClientCredentials(_)
            | Self::Device(_)
            | Self::JwtBearer(_)
            | Self::RefreshToken(_)
            | Self::TokenExchange(_) => oauth,
            Self::Jwt(_) => CanAsk { audience: true, claims: true, ..CanAsk::default() },
            Self::Exec(_) | Self::Http(_) | Self::StaticKey(_) => CanAsk::default(),
        }
    }

    /// What it asks for by itself.
    pub fn ask(&self) -> OwnAsk<'_> {
        match self {
            Self::AuthorizationCode(grant) => OwnAsk::from(&grant.oauth),
            Self::ClientCredentials(oauth) => OwnAsk::from(oauth),
            Self::Device(grant) => OwnAsk::from(&grant.oauth),
            Self::Jwt(jwt) => OwnAsk {
                audience: &jwt.signed.aud,
                claims: jwt.signed.claims.keys().collect(),
                variables: jwt.signed.variables(),
                ..OwnAsk::default()
            },
            Self::JwtBearer(grant) => {
                OwnAsk { variables: grant.assertion.variables(), ..OwnAsk::from(&grant.oauth) }
            }
            Self::RefreshToken(grant) => OwnAsk::from(&grant.oauth),
            Self::Exec(_) | Self::StaticKey(_) => OwnAsk::default(),
            Self::Http(grant) => OwnAsk { variables: grant.call.variables(), ..OwnAsk::default() },
            Self::TokenExchange(grant) => OwnAsk::from(&grant.oauth),
        }
    }

    /// What a token is asked for where a route asks this of it.
    pub fn wants(&self, ask: &Ask) -> Wants {
        let own = self.ask();
        let either = |route: &[String], own: &[String]| {
            if route.is_empty() { own.to_vec() } else { route.to_vec() }
        };
        let signed = match self {
            Self::Jwt(grant) => Some(&grant.signed),
            Self::JwtBearer(grant) => Some(&grant.assertion),
            _ => None,
        };
        let asked = ask.claims.iter().map(|(name, text)| (name.clone(), format!("{text:?}")));
        let set = signed.into_iter().flat_map(|signed| {
            let named = [("iss", &signed.iss), ("sub", &signed.sub)];
            let named = named.map(|(name, text)| (name.to_owned(), format!("{text:?}")));
            let claims = signed.claims.iter().map(|(name, value)| (name, format!("{value:?}")));
            named.into_iter().chain(claims.map(|(name, value)| (name.clone(), value)))
        });
        Wants {
            scope: either(&ask.scope, own.scope),
            audience: either(&ask.audience, own.audience),
            resource: either(&ask.resource, own.resource),
            claims: asked.chain(set).collect(),
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        let oauth = match self {
            Self::ClientCredentials(oauth) => Some(oauth),
            Self::JwtBearer(grant) => Some(&grant.oauth),
            Self::TokenExchange(grant) => Some(&grant.oauth),
            Self::Http(grant) => return vec![grant.call.url.to_string()],
            _ => self.login(),
        };
        match oauth.map(|oauth| &oauth.endpoints) {
            None => Vec::new(),
            Some(Endpoints::Discovered { issuer, .. }) => vec![issuer.clone()],
            Some(Endpoints::Named { token, .. }) => vec![token.to_string()],
        }
    }

    /// The issuer at which a person logs in, or has logged in elsewhere.
    pub fn login(&self) -> Option<&Oauth> {
        match self {
            Self::AuthorizationCode(grant) => Some(&grant.oauth),
            Self::Device(grant) => Some(&grant.oauth),
            Self::RefreshToken(grant) => Some(&grant.oauth),
            _ => None,
        }
    }

    /// Whether its tokens are bound to a key of ours (RFC 9449).
    pub fn is_bound(&self) -> bool {
        match self {
            Self::ClientCredentials(oauth) => oauth.dpop,
            Self::JwtBearer(grant) => grant.oauth.dpop,
            Self::TokenExchange(grant) => grant.oauth.dpop,
            _ => self.login().is_some_and(|oauth| oauth.dpop),
        }
    }

    /// The file of the client's certificate, where it shows one (RFC 8705).
    pub fn certificate(&self) -> Option<&PathBuf> {
        let oauth = match self {
            Self::ClientCredentials(oauth) => Some(oauth),
            Self::JwtBearer(grant) => Some(&grant.oauth),
            Self::TokenExchange(grant) => Some(&grant.oauth),
            _ => self.login(),
        };
        match &oauth?.auth {
            ClientAuth::TlsClientAuth(identity) => Some(&identity.chain),
            _ => None,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::AuthorizationCode(_) => "authorization-code",
            Self::ClientCredentials(_) => "client-credentials",
            Self::Device(_) => "device",
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::Jwt(_) => "jwt",
            Self::JwtBearer(_) => "jwt-bearer",
            Self::RefreshToken(_) => "refresh-token",
            Self::StaticKey(_) => "static-key",
            Self::TokenExchange(_) => "token-exchange",
        }
    }

    /// Every secret that it is minted from: for `check`, and for what `run` takes out of a child's
    /// environment. Here, because a grant that forgot its secret there would hand it to the tool.
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match self {
            Self::AuthorizationCode(grant) => grant.oauth.secrets(),
            Self::ClientCredentials(oauth) => oauth.secrets(),
            Self::Device(grant) => grant.oauth.secrets(),
            // The helper has its own ways to its secret.
            Self::Exec(_) => vec![],
            Self::Http(grant) => grant.secrets.values().collect(),
            Self::Jwt(grant) => vec![&grant.signed.key],
            Self::JwtBearer(grant) => {
                let mut all = grant.oauth.secrets();
                all.push(&grant.assertion.key);
                all
            }
            Self::RefreshToken(grant) => {
                let mut all = grant.oauth.secrets();
                all.push(&grant.first);
                all
            }
            Self::StaticKey(grant) => vec![&grant.secret],
            Self::TokenExchange(grant) => {
                let mut all = grant.oauth.secrets();
                all.push(&grant.subject.token);
                all.extend(grant.actor.as_ref().map(|actor| &actor.token));
                all
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    pub secret: SecretSource,
    /// The age beyond which it is refused.
    pub max_age: Option<Duration>,
    /// Since when it has been in use; `None`: since its file was changed.
    pub since: Option<SystemTime>,
}

/// Where a secret is read from: never a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the daemon.
    Env(String),
    /// What a program prints; one trailing newline is dropped.
    Exec(Box<Helper>),
    /// A file; one trailing newline is dropped.
    File(PathBuf),
    /// An item of the session's keyring, by the name it was stored under for us.
    Keyring(String),
    /// `$CREDENTIALS_DIRECTORY/NAME` (systemd.exec(5), `LoadCredential=`).
    Systemd(String),
}

impl SecretSource {
    /// The environment variable that holds it, where one does.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::Exec(_) | Self::File(_) | Self::Keyring(_) | Self::Systemd(_) => None,
        }
    }

    /// The program that prints it, where one does.
    pub fn helper(&self) -> Option<&Helper> {
        match self {
            Self::Exec(helper) => Some(helper),
            Self::Env(_) | Self::File(_) | Self::Keyring(_) | Self::Systemd(_) => None,
        }
    }

    /// The file that holds it, where config names one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Exec(_) | Self::Keyring(_) | Self::Systemd(_) => None,
        }
    }
}
