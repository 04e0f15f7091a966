//! Floor 3: minting, one file per grant.
//!
//! A [`Minter`] makes one token of one credential for one client. It holds no tokens, retries
//! nothing and knows no request: keeping, sharing and backing off is the broker's. What goes in
//! and comes out is plain data, so that another process may do the minting.

pub mod endpoint;

mod answer;
pub mod authorization_code;
mod beside;
mod client_credentials;
pub mod device;
mod discovery;
pub mod door;
mod exec;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod id_token;
mod issuer;
mod json;
pub mod jws;
mod jwt;
mod jwt_bearer;
pub mod login;
mod members;
mod refresh_token;
mod retry_after;
mod static_key;
mod template;
mod token_exchange;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Credential, Grant};
use crate::model::ask::{Ask, Variable};
use crate::model::client::ClientKey;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::model::tls_fault::TlsFault;
use crate::model::token::{Token, TokenError};
use crate::net::client::{Client, ClientError};
use crate::store::StoreError;
use crate::store::helper::HelperError;
use crate::store::logins::Logins;

use issuer::Issuer;
use login::{LoginError, Refresher};

pub use answer::{AnswerError, OauthError, Said};
pub use discovery::DiscoveryError;

/// A token's life where neither the issuer nor `ttl` names one.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(5 * 60);

/// Who asks for a token of what: a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintRequest {
    /// The credential to mint from.
    pub credential: CredentialName,
    /// The identity it is minted for, and for nobody else (I7).
    pub client: ClientKey,
    /// What the route asks of the credential; where it is silent, the credential's own.
    pub ask: Arc<Ask>,
}

/// What a mint comes to.
pub type Minting<'a> = Pin<Box<dyn Future<Output = Result<Token, MintError>> + Send + 'a>>;

/// What a revocation comes to.
pub type Revoking<'a> = Pin<Box<dyn Future<Output = Result<Revocation, MintError>> + Send + 'a>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The issuer says that the token is no more.
    Done,
    /// There is nobody to tell: the token ends by itself.
    Unsupported,
}

/// Makes tokens of one credential.
pub trait Minter: Send + Sync {
    /// One attempt at one token. Dropping the future ends the attempt.
    fn mint(&self, request: MintRequest) -> Minting<'_>;

    /// Whether its tokens are of somebody who has logged in by `valetkey login`.
    fn is_of_a_person(&self) -> bool {
        false
    }

    /// One attempt at ending a token at its issuer (RFC 7009 or the grant's own call).
    fn revoke<'a>(&'a self, _token: &'a Token) -> Revoking<'a> {
        Box::pin(std::future::ready(Ok(Revocation::Unsupported)))
    }
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The issuer's answer is not what RFC 6749 section 5.1 asks for.
    #[error("the issuer's answer is not a usable token: {0}")]
    Answer(#[from] AnswerError),
    /// The issuer is overloaded or down: 429 or 5xx.
    #[error("the issuer is not available now: status {status}")]
    Busy {
        /// The status it answered with.
        status: u16,
        /// What else it said, for the owner's eyes.
        said: Option<Said>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A template names what this client does not have.
    #[error("a template names {{{}}}, and this client has none", .0.as_str())]
    Client(Variable),
    /// The attempt took longer than the broker waits.
    #[error("no token in time")]
    Deadline,
    /// The program that should print the token did not.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// A static key beyond its `max_age`.
    #[error("the static key is older than its max_age, or its age cannot be told")]
    Outdated,
    /// The issuer's document cannot be used.
    #[error(transparent)]
    Discovery(DiscoveryError),
    /// The key cannot sign, or not what it is meant to.
    #[error("the signing key is not usable: {0}")]
    Key(#[from] jws::KeyError),
    /// Nobody has logged in, or the login gives nothing any more.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A bug in a minter.
    #[error("the minter panicked")]
    Panicked,
    /// The issuer said no: 4xx. Of what it said only registered error words go to clients.
    #[error("the issuer refused: {}", .error.map_or("no registered error word", OauthError::as_str))]
    Refused {
        /// The `error` member, where it is a registered word.
        error: Option<OauthError>,
        /// What else it said, for the owner's eyes.
        said: Option<Said>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The secret cannot be had.
    #[error(transparent)]
    Secret(#[from] StoreError),
    /// The value is no token: a static key with a space in it, for instance.
    #[error("the value is not usable as a token: {0}")]
    Token(#[from] TokenError),
    /// The issuer gave no answer at all.
    #[error("the issuer could not be reached")]
    Unreachable(#[source] ClientError),
}

impl MintError {
    /// What a client is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Answer(_) | Self::Discovery(_) | Self::Helper(HelperError::TooLong) => {
                Reason::IssuerAnswerInvalid
            }
            Self::Busy { .. } | Self::Deadline | Self::Helper(HelperError::TimedOut(_)) => {
                Reason::IssuerUnreachable
            }
            Self::Unreachable(ClientError::Roots(_)) => Reason::RootsUnread,
            Self::Unreachable(error) => {
                lasting(error).map_or(Reason::IssuerUnreachable, Reason::IssuerTlsInvalid)
            }
            Self::Client(_) => Reason::TemplateUnfilled,
            Self::Login(LoginError::Ended(_) | LoginError::Required) => Reason::LoginRequired,
            Self::Login(LoginError::ScopeMissing) => Reason::LoginScopeMissing,
            Self::Login(LoginError::Store(_)) => Reason::SecretUnavailable,
            Self::Panicked => Reason::InternalError,
            Self::Refused {
                error: Some(OauthError::ServerError | OauthError::TemporarilyUnavailable),
                ..
            } => Reason::IssuerUnreachable,
            Self::Refused { .. } => Reason::IssuerRefused,
            Self::Outdated => Reason::StaticKeyOutdated,
            Self::Helper(_) | Self::Key(_) | Self::Secret(_) | Self::Token(_) => {
                Reason::SecretUnavailable
            }
        }
    }

    /// Whether nobody was asked: then there is nobody to be spared, and a login ends it at once.
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Login(LoginError::Ended(_) | LoginError::Required | LoginError::ScopeMissing)
                | Self::Unreachable(ClientError::Roots(_))
        )
    }

    /// How long the issuer asked us to stay away; at most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What the issuer said, for log and `status`: foreign text, in which whoever shows it masks
    /// what could be a key.
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Busy { said, .. } | Self::Refused { said, .. } => said.as_ref().map(Said::text),
            _ => None,
        }
    }

    /// The stable word for `status` and audit: finer than the reason's.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answer(error) => error.code(),
            Self::Busy { .. } => "issuer-busy",
            Self::Client(_) => "template-unfilled",
            Self::Deadline => "issuer-timeout",
            Self::Helper(error) => error.code(),
            Self::Outdated => "static-key-outdated",
            Self::Discovery(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Login(error) => error.code(),
            Self::Panicked => "internal-error",
            Self::Refused { error: Some(error), .. } => error.code(),
            Self::Refused { error: None, .. } => "issuer-refused",
            Self::Secret(error) => error.code(),
            Self::Token(_) => "secret-invalid",
            Self::Unreachable(ClientError::Roots(_)) => Reason::RootsUnread.code(),
            Self::Unreachable(error) if lasting(error).is_some() => "issuer-tls-invalid",
            Self::Unreachable(_) => "issuer-unreachable",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Helper(error) => error.hint(),
            Self::Discovery(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Login(error) => error.hint(),
            Self::Secret(error) => error.hint(),
            Self::Token(_) => "the key must be one word of visible ASCII, at most 8 KiB",
            Self::Answer(AnswerError::ScopeWidened) => {
                "the issuer granted more than `scope` asks for; name what it grants, or narrow the client there"
            }
            _ => self.reason().hint(),
        }
    }
}

/// Why TLS failed, where it would again: one that closes in the handshake may be a load balancer
/// whose server is about to be there.
fn lasting(error: &ClientError) -> Option<TlsFault> {
    error.of_tls().filter(|fault| *fault != TlsFault::Closed)
}

/// What a route asks for, else what its credential does.
fn either<'a>(route: &'a [String], own: &'a [String]) -> &'a [String] {
    if route.is_empty() { own } else { route }
}

/// A body that is too long, or no HTTP at all, is a bad answer; the rest is no answer.
impl From<ClientError> for MintError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::TooLong => Self::Answer(AnswerError::TooLong),
            ClientError::Certificate => Self::Key(jws::KeyError::WrongKind),
            error => Self::Unreachable(error),
        }
    }
}

/// The minter of a credential.
pub fn build(
    name: &CredentialName,
    credential: &Credential,
    client: &Arc<Client>,
    logins: &Arc<Logins>,
    clock: &Arc<dyn Clock>,
) -> Arc<dyn Minter> {
    let issuer = |oauth: &config::Oauth| {
        let (client, clock) = (Arc::clone(client), Arc::clone(clock));
        Issuer::new(oauth.clone(), credential.ttl, client, clock)
    };
    match &credential.grant {
        Grant::Exec(grant) => {
            Arc::new(exec::Exec::new(grant.clone(), credential.ttl, Arc::clone(clock)))
        }
        Grant::Http(grant) => Arc::new(http::Http::new(
            grant.clone(),
            credential.ttl,
            Arc::clone(client),
            Arc::clone(clock),
        )),
        Grant::AuthorizationCode(grant) => {
            Arc::new(Refresher::of_person(issuer(&grant.oauth), name, logins))
        }
        Grant::Device(grant) => Arc::new(Refresher::of_person(issuer(&grant.oauth), name, logins)),
        Grant::ClientCredentials(oauth) => {
            Arc::new(client_credentials::ClientCredentials(issuer(oauth)))
        }
        Grant::Jwt(grant) => {
            Arc::new(jwt::Jwt::new(grant.clone(), credential.ttl, Arc::clone(clock)))
        }
        Grant::JwtBearer(grant) => Arc::new(jwt_bearer::JwtBearer {
            issuer: issuer(&grant.oauth),
            assertion: grant.assertion.clone(),
        }),
        Grant::RefreshToken(grant) => {
            Arc::new(refresh_token::minter(issuer(&grant.oauth), &grant.first, name, logins))
        }
        Grant::StaticKey(grant) => {
            Arc::new(static_key::StaticKey::new(grant.clone(), credential.ttl, Arc::clone(clock)))
        }
        Grant::TokenExchange(grant) => Arc::new(token_exchange::TokenExchange {
            issuer: issuer(&grant.oauth),
            subject: grant.subject.clone(),
            actor: grant.actor.clone(),
            requested: grant.requested.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
