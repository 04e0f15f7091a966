//! `valetkey revoke`: refused from now on, cut within moments, its tokens revoked, and so after a
//! restart.
//!
//! In this order, whatever is revoked: new requests are refused, tokens go, what is under way is
//! cut. A request that came before the first has entered before the last, and is cut; one that
//! comes after is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::control::Daemon;
use super::sessions::unknown_session;
use super::world::SharedSessions;
use crate::admin::wire::{AdminError, Ended, Revoke, RevokeTarget, RevokedStatus};
use crate::audit::Event;
use crate::client::revoked::{MAX_ENTRIES, Subject};
use crate::client::session::{Kind, Session};
use crate::config::ClientSelector;
use crate::model::client::{Client, ClientKey};
use crate::model::clock::rfc3339_seconds;
use crate::model::id::{CredentialName, SessionName};
use crate::model::reason::Reason;
use crate::proxy::live::Selector;

impl Daemon {
    /// Revokes, or takes a revocation back.
    pub(super) fn revoke(&self, order: &Revoke) -> Result<Ended, AdminError> {
        if order.undo {
            return self.restore(order);
        }
        let mut count = Ended::default();
        match &order.what {
            RevokeTarget::All => {
                self.shut_out(&Subject::All)?;
                self.end_sessions(|session| session.kind() != Kind::Preshared, &mut count);
                count.tokens += self.proxy.passage.revoke_clients(|_| true);
                count.requests += self.proxy.live.end(&Selector::All, Reason::ClientRevoked);
            }
            RevokeTarget::Credential(name) => {
                let name = CredentialName::new(name.as_str());
                if !self.config().credentials.contains_key(&name) {
                    return Err(unknown("credential", name.as_str()));
                }
                self.shut_out(&Subject::Credential(name.clone()))?;
                count.tokens += self.proxy.passage.revoke(&name);
                let its = Selector::Credential(name);
                count.requests += self.proxy.live.end(&its, Reason::CredentialRevoked);
            }
            RevokeTarget::Session(name) => {
                self.revoke_session(&SessionName::new(name.as_str()), &mut count)?
            }
            RevokeTarget::User(name) => {
                let gate = &self.proxy.passage.gate;
                count.unknown = !gate.knows_user(name) && !self.names_user(name);
                count.nearest = gate.nearest_user(name).filter(|_| count.unknown);
                self.shut_out(&Subject::User(name.as_str().into()))?;
                self.end_sessions(|session| session.user().as_deref() == Some(name), &mut count);
                let its = |key: &ClientKey| gate.is_user(key, name);
                count.tokens += self.proxy.passage.revoke_clients(its);
                let its = Selector::User(name.clone());
                count.requests += self.proxy.live.end(&its, Reason::ClientRevoked);
            }
        }
        self.note("revoked", order);
        self.write_down()?;
        Ok(count)
    }

    /// Whether a route of the config names this person.
    fn names_user(&self, name: &str) -> bool {
        let config = self.config();
        let mut clients =
            config.routes.iter().flat_map(|route| route.value.clients.iter().flatten());
        clients.any(|who| matches!(who, ClientSelector::User(named) if named == name))
    }

    /// A session of the config stays revoked until it gets another secret; any other is gone for
    /// good.
    fn revoke_session(&self, name: &SessionName, count: &mut Ended) -> Result<(), AdminError> {
        let sessions = self.proxy.passage.gate.sessions();
        let found = sessions.list().into_iter().find(|session| session.name() == name);
        let session = found.ok_or_else(unknown_session)?;
        if session.kind() == Kind::Preshared {
            self.shut_out(&Subject::Session(name.clone(), *session.secret_sha256()))?;
        }
        self.end_sessions(|other| other.name() == name, count);
        Ok(())
    }

    fn end_sessions(&self, chosen: impl Fn(&Session) -> bool, count: &mut Ended) {
        let sessions = self.proxy.passage.gate.sessions();
        for session in sessions.list().into_iter().filter(|session| chosen(session)) {
            if let Some(session) = sessions.end(session.name()) {
                let (tokens, requests) = self.ended(&session, "revoked");
                count.sessions += 1;
                count.tokens += tokens;
                count.requests += requests;
            }
        }
    }

    fn shut_out(&self, subject: &Subject) -> Result<(), AdminError> {
        let since = rfc3339_seconds(self.proxy.passage.clock.now().wall);
        if self.proxy.passage.gate.revoked().add(subject, since) {
            return Ok(());
        }
        Err(AdminError {
            status: 507,
            code: "too-many-revoked".into(),
            detail: format!("{MAX_ENTRIES} revocations are in force"),
            hint: "take old ones back (`--undo`), or revoke everything: `valetkey revoke --all`"
                .into(),
        })
    }

    fn restore(&self, order: &Revoke) -> Result<Ended, AdminError> {
        let subject = match &order.what {
            RevokeTarget::All => Subject::All,
            RevokeTarget::Credential(name) => {
                Subject::Credential(CredentialName::new(name.as_str()))
            }
            RevokeTarget::Session(name) => {
                Subject::Session(SessionName::new(name.as_str()), [0; 32])
            }
            RevokeTarget::User(name) => Subject::User(Arc::from(name.as_str())),
        };
        if !self.proxy.passage.gate.revoked().remove(&subject) {
            return Err(AdminError {
                status: 404,
                code: "not-revoked".into(),
                detail: "this is not revoked, so there is nothing to take back".into(),
                hint:
                    "`valetkey status` lists what is; sessions of `run` and `env` are gone for good"
                        .into(),
            });
        }
        if let RevokeTarget::Session(_) = order.what {
            let preshared = SharedSessions::read(&self.config()).map_err(|error| AdminError {
                status: 500,
                code: error.code().into(),
                detail: error.to_string(),
                hint: error.hint(),
            })?;
            preshared.share(&self.proxy.passage.gate);
        }
        self.note("restored", order);
        self.write_down()?;
        Ok(Ended::default())
    }

    /// One record for the order itself; those of sessions and tokens stand beside it.
    fn note(&self, action: &str, order: &Revoke) {
        let nobody = Client::default();
        let event = Event::session(action, &nobody, None);
        let event = match &order.what {
            RevokeTarget::All => event.with("all", true),
            RevokeTarget::Credential(name) => event.with("credential", name.as_str()),
            RevokeTarget::Session(name) => event.with("session", name.as_str()),
            RevokeTarget::User(name) => event.with("user", name.as_str()),
        };
        let event = match &order.by {
            Some(by) => event.with("by", by.as_str()),
            None => event,
        };
        self.proxy.passage.audit.event(event).ok();
    }

    fn write_down(&self) -> Result<(), AdminError> {
        let saved = self.state.save_revoked(self.proxy.passage.gate.revoked());
        saved.and_then(|()| self.save_sessions()).map_err(|error| AdminError {
            status: 500,
            code: "revocation-not-saved".into(),
            detail: format!("it holds now, but could not be written down, and would end with this daemon: {error}"),
            hint: "make room in the state directory or mend its permissions, and say it again".into(),
        })
    }

    pub(super) fn revoked_facts(&self) -> RevokedStatus {
        let lists = self.proxy.passage.gate.revoked().lists();
        let sessions = lists.sessions.iter().map(|(name, entry)| (name, &entry.since));
        RevokedStatus {
            all: lists.all.clone(),
            credentials: by_name(lists.credentials.iter()),
            sessions: by_name(sessions),
            users: by_name(lists.users.iter()),
        }
    }
}

fn by_name<'a, N: ToString + 'a>(
    all: impl Iterator<Item = (&'a N, &'a String)>,
) -> BTreeMap<String, String> {
    all.map(|(name, since)| (name.to_string(), since.clone())).collect()
}

fn unknown(kind: &str, name: &str) -> AdminError {
    AdminError {
        status: 404,
        code: "unknown-credential".into(),
        detail: format!("there is no {kind} `{name}`"),
        hint: "`valetkey status` lists them".into(),
    }
}
