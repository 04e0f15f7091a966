//! [`Door`]: logging in and out. What `valetkey login` and `logout` do at an issuer, and what they
//! keep.

use std::sync::Arc;
use std::time::SystemTime;

use super::endpoint::Given;
use super::id_token::{self, IdTokenError};
use super::issuer::Issuer;
use super::login::{blocking, lock};
use super::{MintError, OauthError, Revocation, jws};
use crate::config::oauth::origin_of;
use crate::config::{self, Credential, Grant};
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::secret::Secret;
use crate::model::target::Scheme;
use crate::net::client::Client;
use crate::store::logins::{BoundKey, Entry, Login, Logins, LoginsError, Protection};

/// Why nobody has logged in.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// What came back belongs to a login at another issuer (RFC 9207).
    #[error("the answer is that of another issuer")]
    AnotherIssuer,
    /// The person, or the issuer's policy, said no.
    #[error("the login was denied")]
    Denied,
    /// The answer to the request for codes is not usable.
    #[error("the issuer's answer holds no usable code")]
    DeviceAnswer,
    /// The code was not used in time.
    #[error("the code was not used in time")]
    Expired,
    /// The ID token is not what it should be.
    #[error("the issuer's ID token is not good: {0}")]
    IdToken(#[from] IdTokenError),
    /// A call to the issuer failed.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// It lasts no longer than one access token.
    #[error("the issuer gave no refresh token")]
    NoRefreshToken,
    /// The issuer's document names no endpoint for this.
    #[error("the issuer does not offer this kind of login")]
    NotOffered,
    /// The issuer sent the browser back with an error.
    #[error("the issuer refused the login: {}", .0.map_or("no registered error word", OauthError::as_str))]
    Refused(Option<OauthError>),
    /// A person would be sent to somebody else, or in the clear.
    #[error(
        "the issuer sends people to a page that is not https, or on an origin that config does not name"
    )]
    Verification,
}

impl FlowError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::AnotherIssuer => "login-another-issuer",
            Self::Denied => "login-denied",
            Self::DeviceAnswer => "device-answer-invalid",
            Self::Expired => "login-code-expired",
            Self::IdToken(error) => error.code(),
            Self::Mint(error) => error.code(),
            Self::NoRefreshToken => "login-without-refresh-token",
            Self::NotOffered => "login-not-offered",
            Self::Refused(_) => "login-refused",
            Self::Verification => "verification-foreign",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::AnotherIssuer => "somebody may have tried to mix two logins up: begin anew",
            Self::Denied => "log in as somebody who may, and allow what is asked for",
            Self::DeviceAnswer => "check that `issuer` or `device_url` is the right one",
            Self::Expired => "begin anew: a code lives a few minutes",
            Self::IdToken(error) => error.hint(),
            Self::Mint(error) => error.hint(),
            Self::NoRefreshToken => {
                "most issuers want `offline_access` in `scope`, some a parameter in `login_params`"
            }
            Self::NotOffered => "use the other grant, `device` or `authorization-code`",
            Self::Refused(_) => {
                "check client_id, scope and the redirect address that is registered there"
            }
            Self::Verification => {
                "if that page is meant, name its origin in `verification_origins`"
            }
        }
    }
}

/// How people log in with a credential.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Code(config::AuthorizationCode),
    Device(config::Device),
    Elsewhere,
}

/// Where a person logs in for a credential.
pub struct Door {
    pub(super) issuer: Issuer,
    pub(super) way: Way,
    entry: Entry,
}

/// What came of it. Nothing here is secret.
#[derive(Debug)]
pub struct LoggedIn {
    /// Who it is, by the issuer's word.
    pub user: Option<String>,
    /// The scope that was granted, where the issuer said so.
    pub scope: Option<String>,
    /// What was asked for and is not among that.
    pub not_granted: Vec<String>,
    /// When it ends, where the issuer says so.
    pub until: Option<SystemTime>,
    /// How the login is protected where it rests.
    pub protection: Protection,
}

/// What became of a login that was ended.
#[derive(Debug)]
pub struct LoggedOut {
    /// Who it was, as far as that can be read.
    pub user: Option<String>,
    /// What the issuer said to that; `None`: there was nothing left to revoke.
    pub revoked: Option<Result<Revocation, MintError>>,
}

impl Door {
    /// `None`: nobody logs in with this credential.
    pub fn of(
        name: &CredentialName,
        credential: &Credential,
        client: &Arc<Client>,
        logins: &Arc<Logins>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let (oauth, way) = match &credential.grant {
            Grant::AuthorizationCode(grant) => (&grant.oauth, Way::Code((**grant).clone())),
            Grant::Device(grant) => (&grant.oauth, Way::Device((**grant).clone())),
            Grant::RefreshToken(grant) => (&grant.oauth, Way::Elsewhere),
            _ => return None,
        };
        let (client, clock) = (Arc::clone(client), Arc::clone(clock));
        let issuer = Issuer::new(oauth.clone(), credential.ttl, client, clock);
        let entry = logins.entry(issuer.whose(name));
        Some(Self { issuer, way, entry })
    }

    /// Where a login was made that config asks for no more. Its issuer is asked without a secret:
    /// that of `now`, the credential of this name, is for another origin; where it is the same, and
    /// the same client, it is asked as always.
    pub fn left_behind(
        entry: Entry,
        now: Option<&Credential>,
        client: &Arc<Client>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (client, clock) = (Arc::clone(client), Arc::clone(clock));
        let whose = entry.whose();
        let url: http::Uri = whose.issuer.parse().unwrap_or_default();
        let same = now.and_then(|now| now.grant.login()).filter(|oauth| {
            oauth.client_id.as_deref() == Some(&whose.client)
                && origin_of(&url).is_some()
                && oauth.issuer().parse().ok().and_then(|now| origin_of(&now)) == origin_of(&url)
        });
        let oauth = same.cloned().unwrap_or_else(|| config::Oauth {
            endpoints: config::Endpoints::Discovered {
                issuer: whose.issuer.clone(),
                url,
                origins: Vec::new(),
            },
            client_id: Some(whose.client.clone()),
            auth: config::ClientAuth::None,
            scope: Vec::new(),
            audience: Vec::new(),
            resource: Vec::new(),
            params: Default::default(),
            dpop: false,
        });
        Self { issuer: Issuer::new(oauth, None, client, clock), way: Way::Elsewhere, entry }
    }

    /// With further parameters in the first request of a login, in the place of config's.
    pub fn wanting(mut self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        match &mut self.way {
            Way::Code(grant) => grant.params.extend(more),
            Way::Device(grant) => grant.params.extend(more),
            Way::Elsewhere => {}
        }
        self
    }

    /// Whether a login could be kept now: before a person is sent off. Blocks on files and the
    /// keyring.
    pub fn ready(&self) -> Result<(), LoginsError> {
        if self.issuer.login_key().is_some() {
            self.entry.keeps_keys()?;
        }
        self.entry.ready()
    }

    /// Keeps what a login brought. `nonce`: what its ID token must repeat.
    pub(super) async fn keep(
        &self,
        given: Given,
        nonce: Option<&str>,
    ) -> Result<LoggedIn, FlowError> {
        let token = given.token?;
        let user = match &given.beside.id_token {
            Some(id_token) => self.issuer.judge(id_token, nonce).await?,
            None => None,
        };
        let refresh = given.beside.refresh.ok_or(FlowError::NoRefreshToken)?;
        let now = self.issuer.clock().now().wall;
        let mut login = Login::new(refresh, now);
        login.user = user;
        login.scope = token.scope().map(str::to_owned);
        login.life = given.beside.refresh_life;
        login.until = given.beside.refresh_life.and_then(|life| now.checked_add(life));
        let bound = match self.issuer.login_key() {
            Some(key) => {
                let thumbprint = key.thumbprint().to_owned();
                let key = key.to_keep().ok_or(MintError::Key(jws::KeyError::Unusable))?;
                Some(BoundKey { thumbprint, key })
            }
            None => None,
        };
        login.bound_to = bound.as_ref().map(|bound| bound.thumbprint.clone());
        let mut locked = lock(&self.entry).await?;
        let (login, protection) = blocking(move || {
            let written = locked.begin(&login, bound.as_ref());
            (login, written)
        })
        .await?;
        let protection = protection.map_err(MintError::from)?;
        let Login { user, scope, until, .. } = login;
        let has = |word: &&String| scope.iter().flat_map(|s| s.split(' ')).any(|one| one == *word);
        let not_granted = self.issuer.scope().iter().filter(|word| !has(word)).cloned().collect();
        let not_granted = if scope.is_some() { not_granted } else { Vec::new() };
        Ok(LoggedIn { user, scope, not_granted, until, protection })
    }

    /// Whether a person may be sent to a page that an issuer names: https, and on the issuer's own
    /// origin, on that of the endpoint which named it, or on one that config names. In the clear
    /// only where the issuer is.
    pub(super) fn may_send_to(
        &self,
        page: &str,
        named_by: &http::Uri,
        origins: &[String],
    ) -> Result<(), FlowError> {
        let plain = page.len() <= MAX_PAGE && page.bytes().all(|b| b.is_ascii_graphic());
        let page: http::Uri = page.parse().ok().filter(|_| plain).ok_or(FlowError::Verification)?;
        let home = self.issuer.home();
        let user = page.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let origin = origin_of(&page).filter(|_| !user).ok_or(FlowError::Verification)?;
        let own = [Some(home), Some(named_by)].into_iter().flatten();
        let known = own.filter_map(origin_of).any(|own| own == origin)
            || origins.iter().any(|named| *named == origin.to_string());
        let clear = origin.scheme == Scheme::Http && home.scheme_str() != Some("http");
        if known && !clear { Ok(()) } else { Err(FlowError::Verification) }
    }

    /// Revokes the login at its issuer (RFC 7009) and forgets it, whatever the issuer says. `None`:
    /// there is none.
    pub async fn log_out(&self) -> Result<Option<LoggedOut>, MintError> {
        let mut locked = lock(&self.entry).await?;
        let (locked, login) = blocking(move || {
            let login = locked.read();
            (locked, login)
        })
        .await?;
        // One that cannot be read is forgotten all the same.
        let (refresh, user, bound_to) = match login {
            Ok(None) => {
                blocking(move || locked.delete()).await??;
                return Ok(None);
            }
            Ok(Some(login)) => (login.refresh, login.user, login.bound_to),
            Err(error) => {
                tracing::warn!(%error, "the login cannot be read, so it is not revoked");
                (None, None, None)
            }
        };
        let revoked = match &refresh {
            Some(refresh) => Some(self.issuer.revoke_secret(refresh, "refresh_token").await),
            None => None,
        };
        let forget = move || {
            locked.delete()?;
            locked.forget_key(bound_to.as_deref());
            Ok::<_, LoginsError>(())
        };
        blocking(forget).await??;
        Ok(Some(LoggedOut { user, revoked }))
    }
}

impl Issuer {
    /// The person that an ID token names. Where no document says what the issuer's keys are, it
    /// names nobody.
    async fn judge(
        &self,
        token: &Secret,
        nonce: Option<&str>,
    ) -> Result<Option<String>, FlowError> {
        let Some((issuer, keys)) = self.keys().await? else { return Ok(None) };
        let client = self.client_id();
        Ok(id_token::judge(token, &keys, &issuer, client, nonce)?)
    }
}

/// A page's URL with a code in it.
const MAX_PAGE: usize = 2048;
