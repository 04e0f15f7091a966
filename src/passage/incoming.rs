//! A request on its way in: who asks, what policy says, whether it is within its limits, and with
//! which token.
//!
//! Each step gives the value that the next one takes. [`Passed`] has what all of them found out,
//! and the request goes on as the one that was judged.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Method};

use super::agree;
use super::asking::Asking;
use super::desk::{Passage, Terms};
use super::known::{Known, Source};
use super::passed::{JudgedRequest, Passed};
use super::refused::{Policies, Refused, Word};
use crate::audit::{Recorder, RequestFacts};
use crate::broker::{Failure, SlotKey};
use crate::client::Admitted;
use crate::inject;
use crate::model::clock::Moment;
use crate::model::id::{RequestId, RouteName};
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::model::token::Token;
use crate::policy::{self, Permit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Absolute-form, in the clear (RFC 9112 section 3.2.2): carried to hosts that no route names,
    /// never with a token.
    Clear,
    /// Inside TLS that ended here, for the host that its tunnel names.
    Intercepted,
}

/// What is known of a request before anything is asked about it.
pub struct Arrival<'a> {
    pub id: RequestId,
    pub way: Way,
    /// Whose connection it came on.
    pub admitted: &'a Admitted,
    /// Of the tunnel, or of the absolute-form URI.
    pub target: &'a Target,
    pub parts: Parts,
}

/// A request whose record has begun. Dropped, it is recorded as refused.
pub struct Incoming<'a> {
    passage: &'a Passage,
    way: Way,
    target: &'a Target,
    parts: Parts,
    asking: Asking<'a>,
    /// Its placeholders are nobody's, or of several.
    refused: Option<Reason>,
    /// It counts into its rates once, however often it is judged.
    counted: bool,
    /// Fields that could have overridden what was judged, and are gone.
    dropped: Vec<HeaderName>,
    recorder: Recorder,
}

/// The proof that what policies look at was waited for.
pub struct Attended(());

/// How long a client's process is waited for.
const MAX_SEARCH: Duration = Duration::from_millis(200);

/// The proof that a request may go, as far as policy, standing keys and rates are concerned.
pub struct Judged(Permit);

impl Judged {
    pub fn permit(&self) -> &Permit {
        &self.0
    }
}

/// A judged request with the token that belongs to it, if one does.
pub struct Supplied {
    permit: Permit,
    source: Option<Source>,
    token: Option<Arc<Token>>,
}

impl Passage {
    /// Begins the record of a request.
    pub fn arrive<'a>(&'a self, terms: &Terms, arrival: Arrival<'a>) -> Incoming<'a> {
        let Arrival { id, way, admitted, target, mut parts } = arrival;
        agree::encode_target(&mut parts.uri);
        let asking = match way {
            Way::Intercepted => Asking::of(self, terms, admitted, &parts),
            // None may stand in it, whosever it is.
            Way::Clear => Ok(Asking::unbound(admitted)),
        };
        let refused = asking.as_ref().err().copied();
        let asking = asking.unwrap_or_else(|_| Asking::unbound(admitted));
        let facts = facts(terms, &asking, id, target, &parts);
        let recorder = Recorder::start(&self.audit, facts, terms.policy.hash().clone());
        let (counted, dropped) = (false, Vec::new());
        Incoming { passage: self, way, target, parts, asking, refused, counted, dropped, recorder }
    }
}

impl Incoming<'_> {
    pub fn admitted(&self) -> &Admitted {
        &self.asking.admitted
    }

    /// The routes whose placeholder came with it, where a bound one did.
    pub fn bound(&self) -> Option<&Arc<[RouteName]>> {
        self.asking.bound.as_ref()
    }

    /// Its head, as it came.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub fn into_recorder(self) -> Recorder {
        self.recorder
    }

    /// Begins its record anew, for other terms may permit it in their own way. Only before anything
    /// was written down or sent.
    pub fn begin_anew(&mut self, terms: &Terms) {
        let id = self.recorder.request();
        let facts = facts(terms, &self.asking, id, self.target, &self.parts);
        self.recorder.begin_anew(facts, terms.policy.hash().clone());
    }

    /// Waits for the client's process, where a policy looks at it and the search for it goes on
    /// still. One that is not found in time is not guessed at: policies see none.
    pub async fn attend(&self, terms: &Terms) -> Attended {
        let process = &self.asking.admitted.client.process;
        let waits = self.way == Way::Intercepted
            && terms.policy.needs_process(self.target)
            && process.get().is_none();
        if waits {
            // In a box: most requests have no room for it.
            Box::pin(tokio::time::timeout(MAX_SEARCH, process.wait())).await.ok();
        }
        Attended(())
    }

    pub fn judge(&mut self, terms: &Terms, Attended(()): Attended) -> Result<Judged, Refused> {
        if let Some(reason) = self.refused {
            return Err(reason.into());
        }
        let permit = self.decide(terms).map_err(|refused| {
            // It was sent all the same.
            if let Some(found) = inject::refused_key(&self.parts) {
                self.note_key(&found);
            }
            self.asking.named(refused)
        })?;
        if let Some(found) = inject::standing_key(&permit, &self.parts) {
            self.note_key(&found);
            if permit.refuses_keys() {
                if let Some(route) = permit.route() {
                    self.recorder.route(route.name.clone());
                }
                return Err(Reason::StaticKeyRefused.into());
            }
        }
        self.dropped.extend(inject::remove_overriding(&permit, &mut self.parts));
        if !self.dropped.is_empty() {
            self.recorder.dropped(self.dropped.clone());
        }
        self.count(terms, &permit)?;
        Ok(Judged(permit))
    }

    fn count(&mut self, terms: &Terms, permit: &Permit) -> Result<(), Refused> {
        if std::mem::replace(&mut self.counted, true) {
            return Ok(());
        }
        let route = permit.route().map(|route| (&route.name, route.rate));
        let (client, now) = (&self.asking.admitted.client, self.passage.clock.mono());
        let taken =
            self.passage.buckets.take(&terms.rates, client, route, permit.credential(), now);
        taken.map_err(|wait| Refused::until(Reason::RateLimited, wait))
    }

    fn decide(&mut self, terms: &Terms) -> Result<Permit, Refused> {
        let (passage, admitted) = (self.passage, &self.asking.admitted);
        let now = passage.clock.now();
        if let Some(reason) = passage.gate.objection(&terms.rules, admitted, now) {
            return Err(reason.into());
        }
        agree::fits(&self.parts)?;
        match self.way {
            Way::Clear => Ok(self.decide_clear(terms)?),
            Way::Intercepted => self.decide_intercepted(terms, now),
        }
    }

    fn decide_clear(&self, terms: &Terms) -> Result<Permit, Reason> {
        if agree::absolute(&self.parts)? != *self.target {
            return Err(Reason::AuthorityMismatch);
        }
        let permit = terms.policy.decide_plain(self.target).map_err(|refusal| refusal.reason)?;
        // Nothing of ours goes to a host without a route.
        if inject::holds_placeholder(&self.parts) {
            return Err(Reason::ForeignPlaceholder);
        }
        Ok(permit)
    }

    fn decide_intercepted(&mut self, terms: &Terms, now: Moment) -> Result<Permit, Refused> {
        agree::agree(self.target, &self.parts)?;
        if self.parts.method == Method::CONNECT {
            return Err(Reason::ConnectInTunnel.into());
        }
        let admitted = &self.asking.admitted;
        let facts = policy::PolicyFacts {
            client: &admitted.client,
            allowed: admitted.session.as_deref().and_then(|session| session.routes()),
            method: &self.parts.method,
            target: self.target,
            path: self.parts.uri.path(),
            bound: self.asking.bound.as_deref(),
            context: context(admitted, now),
        };
        let permit = terms.policy.decide(facts).map_err(|refusal| {
            let policy::Refusal { reason, route, policies, hint } = refusal;
            if let Some(route) = route {
                self.recorder.route(route);
            }
            let policies = policies.map(|ids| {
                self.recorder.asked(Arc::clone(&ids), facts.context.recorded());
                Policies { ids, hint }
            });
            Refused { policies, ..reason.into() }
        })?;
        if let Some(ids) = permit.policies() {
            self.recorder.asked(Arc::clone(ids), facts.context.recorded());
        }
        let permit = match inject::named_methods(&self.parts) {
            Some(methods) if !methods.is_empty() => {
                let permit = terms.policy.also_for(permit, facts, &methods);
                if let Some(method) = methods.into_iter().next().filter(|_| permit.keeps_method()) {
                    self.recorder.method_override(method);
                }
                permit
            }
            _ => permit,
        };
        if permit.only_placeholders() && !inject::slot_holds_placeholder(&permit, &self.parts) {
            if inject::slot_is_filled(&permit, &self.parts) {
                self.recorder.client_credential();
            }
            return Ok(permit.leaving_own());
        }
        Ok(permit)
    }

    /// A real key where a placeholder should be, or anywhere else in the head: recorded by kind and
    /// keyed fingerprint, never by its value.
    fn note_key(&mut self, found: &inject::Standing) {
        let fingerprint = self.passage.audit.keyed_fingerprint(&found.key);
        self.recorder.static_key(fingerprint, found.kind);
    }

    /// The token that the permit asks for: from its slot, or minted now.
    pub async fn supply(
        &mut self,
        terms: &Terms,
        judged: Judged,
        known: &Known,
    ) -> Result<Supplied, Refused> {
        let Judged(permit) = judged;
        let Some(route) = permit.route() else { return self.without(terms, permit) };
        self.recorder.route(route.name.clone());
        let Some(credential) = permit.credential() else { return self.without(terms, permit) };
        self.recorder.credential(credential.clone());
        let client = &self.asking.admitted.client;
        let (key, ask) = (client.key(), route.ask.of(client));
        let key = SlotKey { client: key, credential: credential.clone(), ask };
        match self.token(terms, key, known).await {
            Ok((source, token)) => {
                Ok(Supplied { permit, source: Some(source), token: Some(token) })
            }
            Err(failure) => Err(Refused {
                reason: failure.reason,
                retry_after: failure.retry_after,
                backing_off: failure.backing_off,
                named: Some((
                    Word::Credential,
                    format!("{credential}{}", self.passage.config_flag),
                )),
                policies: None,
            }),
        }
    }

    /// Who was revoked since it was judged may not have been found by it: here a request can be.
    /// One with a token is told by its slot.
    fn without(&self, terms: &Terms, permit: Permit) -> Result<Supplied, Refused> {
        let now = self.passage.clock.now();
        match self.passage.gate.objection(&terms.rules, &self.asking.admitted, now) {
            Some(reason) => Err(reason.into()),
            None => Ok(Supplied { permit, source: None, token: None }),
        }
    }

    async fn token(
        &mut self,
        terms: &Terms,
        key: SlotKey,
        known: &Known,
    ) -> Result<(Source, Arc<Token>), Failure> {
        let passage = self.passage;
        // Every credential that a policy names has one in its terms.
        let minter =
            terms.minters.get(&key.credential).ok_or(Failure::of(Reason::InternalError))?;
        let mut source = match known.find(&key, minter) {
            Some(source) => source,
            None => {
                let slot = passage.broker.slot(&key, minter)?;
                let given = passage.given.of(&key.client, &self.target.host);
                let given = given.ok_or(Failure::of(Reason::TooManyConnections))?;
                let source = Source { slot, given };
                known.keep(&source);
                source
            }
        };
        if let Some(token) = source.slot.current(passage.clock.now()) {
            return Ok((source, token));
        }
        let asked = Arc::clone(&source.slot);
        let asked_at = passage.clock.mono();
        // In a box: a request that finds its token does not carry room for a mint around.
        let token = Box::pin(passage.broker.token(&mut source.slot)).await;
        self.recorder.minted(passage.clock.mono().saturating_duration_since(asked_at));
        if !Arc::ptr_eq(&asked, &source.slot) {
            known.keep(&source);
        }
        token.map(|token| (source, token))
    }
}

impl<'a> Incoming<'a> {
    /// The request as it goes on, and its record.
    pub fn pass(self, supplied: Supplied) -> (Passed, JudgedRequest, Recorder) {
        let Supplied { permit, source, token } = supplied;
        let client = Arc::clone(&self.asking.admitted.client);
        let passed = Passed::new(permit, client, source, token);
        (passed, JudgedRequest::new(self.parts), self.recorder)
    }
}

/// What policies see of whoever asks.
pub fn context(admitted: &Admitted, now: Moment) -> policy::Context<'_> {
    let session = admitted.session.as_deref();
    policy::Context {
        process: admitted.client.process.get(),
        process_unfound: admitted.here && admitted.client.process.get().is_none(),
        project: session.and_then(|session| session.project()),
        reason: session.and_then(|session| session.reason()),
        session_age: session.map(|session| session.age(now)),
        now: now.wall,
    }
}

fn facts(
    terms: &Terms,
    asking: &Asking<'_>,
    id: RequestId,
    target: &Target,
    parts: &Parts,
) -> RequestFacts {
    RequestFacts::new(
        id,
        Arc::clone(&asking.admitted.client),
        parts.method.clone(),
        target.host.clone(),
        target.port,
        Some(&terms.policy.recorded_path(target, parts.uri.path())),
    )
}
