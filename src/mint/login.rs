//! Access tokens of a person who has logged in: a refresh token is spent for each, and never lost.
//!
//! What the issuer gives in its place is on the disk before the old one is forgotten. The exchange
//! is a task of its own, which nobody's giving up cuts off, under a lock that holds across
//! processes. Before it is sent the store notes that it may be spent: if the answer is lost, by the
//! network or by our death, the same token is tried again, and only a refusal of that is the
//! login's end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep};

use super::answer::Expect;
use super::beside::Beside;
use super::endpoint::{Form, Scopes};
use super::issuer::Issuer;
use super::{MintError, MintRequest, Minter, Minting, OauthError};
use crate::config::SecretSource;
use crate::model::ask::Ask;
use crate::model::dpop::ProofKey;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::model::token::Token;
use crate::net::client::ClientError;
use crate::store;
use crate::store::logins::{Entry, KEY_GONE, Locked, Login, Logins, LoginsError};

/// Why a login gives no token.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It has ended, for the reason that this word gives.
    #[error("the login has ended: {0}")]
    Ended(LoginEnd),
    /// Nobody has logged in with this credential.
    #[error("nobody has logged in")]
    Required,
    /// Nothing of the scope that a route asks for was granted to it.
    #[error("the login was granted nothing of the scope that the route asks for")]
    ScopeMissing,
    /// It cannot be read or written.
    #[error(transparent)]
    Store(#[from] LoginsError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginEnd {
    /// The key that its refresh token is bound to is gone, as after the machine went down.
    KeyGone,
    /// The issuer no longer takes its refresh token: expired, revoked, or spent by somebody else.
    Refused,
    /// The issuer refused a refresh token that it may have seen before: its answer was lost, and
    /// issuers that detect reuse then end the login.
    Reused,
}

impl LoginEnd {
    pub fn code(self) -> &'static str {
        match self {
            Self::KeyGone => KEY_GONE,
            Self::Refused => "login-ended",
            Self::Reused => "login-reuse-detected",
        }
    }

    fn of(word: &str) -> Self {
        if word == Self::Reused.code() { Self::Reused } else { Self::Refused }
    }
}

impl std::fmt::Display for LoginEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KeyGone => {
                "the key that its refresh token is bound to is gone, as when the machine went down"
            }
            Self::Refused => "the issuer no longer takes its refresh token",
            Self::Reused => "the issuer saw a refresh token twice, for its first answer was lost",
        })
    }
}

impl LoginError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ended(end) => end.code(),
            Self::Required => "login-required",
            Self::ScopeMissing => "login-scope-missing",
            Self::Store(error) => error.code(),
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ended(_) | Self::Required => {
                "`valetkey login CREDENTIAL`; of the grant `refresh-token`: put a new one where `refresh_token` points"
            }
            Self::ScopeMissing => Reason::LoginScopeMissing.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Mints from a stored login. It revokes no access token: an issuer may end the whole login over
/// that (RFC 7009 section 2.1), and some do.
pub(super) struct Refresher(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    logins: Arc<Logins>,
    entry: Entry,
    /// Where the first refresh token is, for the grant that gets it from elsewhere.
    first: Option<SecretSource>,
    /// One of our own at a time; the file's lock is for other processes. In it: what could not be
    /// written.
    turn: Mutex<Option<Login>>,
}

impl Refresher {
    /// Of whoever has logged in by `valetkey login`.
    pub(super) fn of_person(issuer: Issuer, name: &CredentialName, logins: &Arc<Logins>) -> Self {
        let entry = logins.entry(issuer.whose(name));
        Self::new(issuer, logins, entry, None)
    }

    pub(super) fn new(
        issuer: Issuer,
        logins: &Arc<Logins>,
        entry: Entry,
        first: Option<SecretSource>,
    ) -> Self {
        let (logins, turn) = (Arc::clone(logins), Mutex::default());
        Self(Arc::new(Inner { issuer, logins, entry, first, turn }))
    }
}

impl Minter for Refresher {
    fn is_of_a_person(&self) -> bool {
        self.0.first.is_none()
    }

    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move {
                let under_way = inner.logins.begin();
                let result = inner.refresh(&request.ask, &sender).await;
                drop(under_way);
                // Nobody may be waiting any more; what was to be stored is stored.
                let _ = sender.send(result);
            });
            // Closed without a word where the task panicked, or the runtime is going down.
            receiver.await.unwrap_or(Err(MintError::Panicked))
        })
    }
}

impl Inner {
    async fn refresh(
        &self,
        ask: &Ask,
        waiting: &oneshot::Sender<Result<Token, MintError>>,
    ) -> Result<Token, MintError> {
        let mut unsaved = self.turn.lock().await;
        let locked = lock(&self.entry).await?;
        if waiting.is_closed() {
            // Nothing is spent for nobody.
            return Err(MintError::Deadline);
        }
        let (locked, mut login) = self.current(locked, &mut unsaved).await?;
        let Some(refresh) = &login.refresh else { return Err(ended(&login).into()) };
        self.bind(login.bound_to.as_deref()).await?;
        let asked = self.granted(&login, ask)?;
        let form = Form::new("refresh_token").secret("refresh_token", refresh);
        let before = login.unanswered;
        login.unanswered += 1;
        let (locked, mut login, noted) = save(locked, login, Then::Reserve).await?;
        if let Err(error) = noted {
            login.unanswered = before;
            *unsaved = Some(login);
            return Err(error.into());
        }
        let now = self.issuer.clock().now().wall;
        let scopes = Scopes { asked: &asked, most: self.issuer.scope_of(ask) };
        let result = match self.issuer.ask_within(form, ask, scopes, Expect::Bearer).await {
            Ok(given) => {
                renew(&mut login, given.beside, now);
                given.token
            }
            Err(error) => match outcome(&error) {
                TokenFate::MaybeSpent => return Err(error),
                TokenFate::Unspent => {
                    login.unanswered = before;
                    Err(error)
                }
                TokenFate::Dead => {
                    let end = if before > 0 { LoginEnd::Reused } else { LoginEnd::Refused };
                    login.refresh = None;
                    login.ended = Some(end.code().to_owned());
                    Err(LoginError::Ended(end).into())
                }
            },
        };
        let (_locked, login, stored) = save(locked, login, Then::Nothing).await?;
        if let Err(error) = stored {
            // There was room a moment ago. While we live, it is at least here.
            tracing::error!(%error, hint = error.hint(), "a renewed login could not be stored");
            *unsaved = Some(login);
        }
        result
    }

    /// What may be asked for of the scope that a token is to have: only what the login was granted
    /// (RFC 6749 section 6). Nothing at all would mean all of that, which is not what a route asks
    /// that names some.
    fn granted(&self, login: &Login, ask: &Ask) -> Result<Vec<String>, LoginError> {
        let wanted = self.issuer.scope_of(ask);
        let Some(granted) = &login.scope else { return Ok(wanted.to_vec()) };
        let has = |word: &&String| granted.split(' ').any(|granted| granted == word.as_str());
        let asked: Vec<_> = wanted.iter().filter(has).cloned().collect();
        let nothing = asked.is_empty() && !ask.scope.is_empty();
        if nothing { Err(LoginError::ScopeMissing) } else { Ok(asked) }
    }

    /// Takes the key that the refresh token is bound to, where it is bound to one: that of the
    /// login, not one of ours.
    async fn bind(&self, thumbprint: Option<&str>) -> Result<(), MintError> {
        let Some(ours) = self.issuer.login_key() else { return Ok(()) };
        // Logged in before config asked for this: bound to none, and whatever comes next would be
        // bound to ours.
        let thumbprint = thumbprint.ok_or(LoginError::Ended(LoginEnd::KeyGone))?;
        if ours.thumbprint() == thumbprint {
            return Ok(());
        }
        let (entry, name) = (self.entry.clone(), thumbprint.to_owned());
        let kept = blocking(move || entry.bound_key(&name)).await??;
        let key = kept.and_then(|kept| ProofKey::restored(&kept));
        self.issuer.bind(Arc::new(key.ok_or(LoginError::Ended(LoginEnd::KeyGone))?));
        Ok(())
    }

    /// The login as it stands, or begun with the refresh token that config names. `unsaved`: what
    /// could not be written last time, unless somebody has logged in or out since.
    async fn current(
        &self,
        mut locked: Locked,
        unsaved: &mut Option<Login>,
    ) -> Result<(Locked, Login), MintError> {
        let (locked, mut stored) = blocking(move || {
            let stored = locked.read();
            (locked, stored)
        })
        .await?;
        if let Some(login) = unsaved.take() {
            match &stored {
                Ok(None) => {}
                Ok(Some(other)) if other.since != login.since => {}
                _ => stored = Ok(Some(login)),
            }
        }
        let Some(first) = &self.first else {
            return Ok((locked, stored?.ok_or(LoginError::Required)?));
        };
        let (first, stored) = match (store::read_soon(first).await, stored) {
            (Ok(first), stored) => (first, stored),
            // It was taken over: where it came from may go.
            (Err(_), Ok(Some(login))) if login.origin.is_some() => return Ok((locked, login)),
            (Err(error), _) => return Err(error.into()),
        };
        let origin = first.fingerprint().to_string();
        match stored {
            Ok(Some(login)) if login.origin.as_deref() == Some(&origin) => Ok((locked, login)),
            // Another one stands there, or what we had cannot be read any more.
            Ok(_) | Err(LoginsError::Damaged(_) | LoginsError::Key(_)) => {
                let mut login = Login::new(first, self.issuer.clock().now().wall);
                login.origin = Some(origin);
                Ok((locked, login))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes what came beside a token. Without a new refresh token the old one stays good (RFC 6749
/// section 6).
fn renew(login: &mut Login, beside: Beside, now: SystemTime) {
    login.unanswered = 0;
    if let Some(refresh) = beside.refresh {
        (login.refresh, login.renewed) = (Some(refresh), now);
    }
    if let Some(life) = beside.refresh_life {
        login.until = now.checked_add(life);
        login.life = login.life.or(Some(life));
    }
}

/// What a write is followed by.
enum Then {
    Nothing,
    /// Room for the next one.
    Reserve,
}

/// Writes a login, and gives it back with what came of it.
async fn save(
    mut locked: Locked,
    login: Login,
    then: Then,
) -> Result<(Locked, Login, Result<(), LoginsError>), MintError> {
    blocking(move || {
        let written = locked.write(&login).and_then(|_| match then {
            Then::Nothing => Ok(()),
            Then::Reserve => locked.reserve(),
        });
        (locked, login, written)
    })
    .await
}

fn ended(login: &Login) -> LoginError {
    LoginError::Ended(login.ended.as_deref().map_or(LoginEnd::Refused, LoginEnd::of))
}

/// What a failed exchange means for the refresh token that was sent.
#[derive(Debug, PartialEq, Eq)]
enum TokenFate {
    /// The issuer will not take it again, ever.
    Dead,
    /// It may have been taken: the answer did not say.
    MaybeSpent,
    /// It was not taken: it can be sent again.
    Unspent,
}

fn outcome(error: &MintError) -> TokenFate {
    match error {
        MintError::Refused { error: Some(OauthError::InvalidGrant), .. } => TokenFate::Dead,
        MintError::Answer(_)
        | MintError::Busy { .. }
        | MintError::Unreachable(ClientError::Deadline | ClientError::Http(_)) => {
            TokenFate::MaybeSpent
        }
        _ => TokenFate::Unspent,
    }
}

/// Waits for the lock of an entry, for a while.
pub(super) async fn lock(entry: &Entry) -> Result<Locked, MintError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let tried = entry.clone();
        if let Some(locked) = blocking(move || tried.try_lock()).await?? {
            return Ok(locked);
        }
        if Instant::now() >= deadline {
            return Err(LoginError::from(entry.busy()).into());
        }
        sleep(LOCK_EVERY).await;
    }
}

/// Files are synced: not on the thread that mints.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, MintError> {
    // Refused where the runtime is going down.
    tokio::task::spawn_blocking(work).await.map_err(|_| MintError::Panicked)
}

impl From<LoginsError> for MintError {
    fn from(error: LoginsError) -> Self {
        Self::Login(error.into())
    }
}

/// One exchange of another process takes [`crate::net::client::DEADLINE`] at most.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at the lock: little beside an exchange.
const LOCK_EVERY: Duration = Duration::from_millis(10);
