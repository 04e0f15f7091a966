//! [`Recorder`]: one decision and one outcome per request, even on panic or disconnect.
//!
//! `decide` hands out [`Written`], the proof without which no token is put into a request (I9).
//! What was not written by the time the recorder is dropped is written then. Because it sees every
//! request exactly once, metrics are taken here as well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, Method};
use serde_json::{Map, Value};
use ulid::ULID_LEN;

use super::event::{
    Decision, EventKind, OutcomeFacts, Record, StaticKeyFacts, TargetFacts, TokenFacts,
    client_facts, process_facts,
};
use super::request::{AskedPolicies, Outcome, RequestFacts};
use super::{Audit, AuditError};
use crate::model::client::Client;
use crate::model::id::{CredentialName, PolicyHash, RequestId, RouteName};
use crate::model::reason::Reason;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;
use crate::telemetry::metrics::{Held, Parts};

/// The proof that a decision is in the kernel's hands, or that config waives it. Only made here.
#[derive(Debug)]
#[must_use = "a token may leave only with this"]
pub struct Written {
    /// The token of an `inject` decision.
    token: Option<Fingerprint>,
}

impl Written {
    /// Whether the decision was to inject just this token.
    pub fn covers(&self, token: &Token) -> bool {
        self.token.as_ref() == Some(token.fingerprint())
    }
}

/// Follows one request. Whatever becomes of it, one decision (one per replay) and one outcome are
/// written.
#[derive(Debug)]
pub struct Recorder {
    audit: Arc<Audit>,
    facts: RequestFacts,
    policy: PolicyHash,
    started: Instant,
    /// The time that it waited for tokens, all in all.
    minted: Option<Duration>,
    sent: Option<Instant>,
    answered: Option<Instant>,
    route: Option<RouteName>,
    credential: Option<CredentialName>,
    code: Option<Reason>,
    /// The code that the last decision carries: its outcome does not say it again.
    said: Option<Reason>,
    static_key: Option<(Fingerprint, &'static str)>,
    dropped: Vec<HeaderName>,
    client_credential: bool,
    method_override: Option<Method>,
    /// What policies said, in a box: most requests ask none.
    asked: Option<Box<AskedPolicies>>,
    /// The proof that a failed decision did not earn; `waive` may give it.
    unwritten: Option<Written>,
    /// The last decision, written or not.
    decision: Decision,
    tunnel: Option<Held>,
    /// Whether a record names the client's process.
    named: bool,
    state: State,
}

/// Fields that a record names at most, and in so many bytes of each name.
const MAX_DROPPED: usize = 16;
const MAX_DROPPED_NAME: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Undecided,
    Decided,
    Finished,
}

impl Recorder {
    /// Begins now, by the audit's clock.
    pub fn start(audit: &Arc<Audit>, facts: RequestFacts, policy: PolicyHash) -> Self {
        Self {
            audit: Arc::clone(audit),
            facts,
            policy,
            started: audit.clock.mono(),
            minted: None,
            sent: None,
            answered: None,
            route: None,
            credential: None,
            code: None,
            said: None,
            static_key: None,
            dropped: Vec::new(),
            client_credential: false,
            method_override: None,
            asked: None,
            unwritten: None,
            decision: Decision::Deny,
            tunnel: None,
            named: false,
            state: State::Undecided,
        }
    }

    pub fn request(&self) -> RequestId {
        self.facts.request
    }

    /// Forgets what was learnt of a request that nothing was decided about: another policy judges
    /// it.
    pub fn begin_anew(&mut self, facts: RequestFacts, policy: PolicyHash) {
        if self.state == State::Undecided {
            (self.facts, self.policy) = (facts, policy);
            (self.route, self.credential, self.code, self.static_key) = (None, None, None, None);
            (self.dropped, self.client_credential) = (Vec::new(), false);
            (self.method_override, self.asked) = (None, None);
        }
    }

    pub fn route(&mut self, route: RouteName) {
        self.route = Some(route);
    }

    /// The credential that the route names.
    pub fn credential(&mut self, credential: CredentialName) {
        self.credential = Some(credential);
    }

    /// Why the request is refused, or why it failed. Stays until replaced.
    pub fn code(&mut self, reason: Reason) {
        self.code = Some(reason);
    }

    /// So long a mint was waited for; a token that was at hand needs no word.
    pub fn minted(&mut self, waited: Duration) {
        self.minted = Some(self.minted.unwrap_or_default() + waited);
    }

    /// The request is on its way upstream from now on: dialling counts as the upstream's time.
    /// Where it is sent again, the first time counts.
    pub fn sent(&mut self) {
        self.sent.get_or_insert_with(|| self.audit.clock.mono());
    }

    /// The head of the upstream's answer is here; what follows is the body's own time.
    pub fn answered(&mut self) {
        self.answered = Some(self.audit.clock.mono());
    }

    /// A standing key was found in the request; fingerprint by [`Audit::keyed_fingerprint`].
    pub fn static_key(&mut self, fingerprint: Fingerprint, kind: &'static str) {
        self.static_key = Some((fingerprint, kind));
    }

    /// The method that a field names beside the request's own, and that the upstream may take.
    pub fn method_override(&mut self, method: Method) {
        self.method_override = Some(method);
    }

    /// The policies that decided, by id, and what they saw of the request.
    pub fn asked(&mut self, ids: Arc<[Arc<str>]>, context: Map<String, Value>) {
        self.asked = Some(Box::new(AskedPolicies { ids, context }));
    }

    /// What the client sends where a token would go is its own, and passes.
    pub fn client_credential(&mut self) {
        self.client_credential = true;
    }

    /// These fields of the request stay behind; the first few are named.
    pub fn dropped(&mut self, mut names: Vec<HeaderName>) {
        names.truncate(MAX_DROPPED);
        self.dropped = names;
    }

    /// Writes a refusal and, with it, the end. Where even that cannot be recorded, it is still a
    /// refusal.
    pub fn refuse(mut self, reason: Reason, status: Option<u16>) {
        self.code(reason);
        if self.state != State::Undecided {
            self.decide(Decision::Deny, None).map(drop).ok();
        }
        self.finish(Outcome { status, code: Some(reason), ..Outcome::default() });
    }

    /// Writes a decision; each replay has its own. `token`: what is about to be put in. After an
    /// error nothing was written, and no token may leave: see [`Recorder::waive`].
    pub fn decide(
        &mut self,
        decision: Decision,
        token: Option<&Token>,
    ) -> Result<Written, AuditError> {
        self.decision = decision;
        // Left over from an attempt that failed before this one.
        if decision != Decision::Deny && self.code == Some(Reason::AuditUnavailable) {
            self.code = None;
        }
        let mut text = Default::default();
        let mut record = self.record(EventKind::Decision, &mut text);
        let client = Arc::clone(&self.facts.client);
        self.name(&client, &mut record);
        record.target = Some(TargetFacts {
            method: self.facts.method.as_str().into(),
            host: self.facts.host.text(),
            port: self.facts.port,
            path: self.facts.path.as_deref().map(Into::into),
        });
        if let Some(asked) = &self.asked {
            record.policies = asked.ids.iter().map(|id| (&**id).into()).collect();
            record.context.extend(asked.context.clone());
        }
        record.route = self.route.as_ref().map(|r| r.as_str().into());
        record.credential = self.credential.as_ref().map(|c| c.as_str().into());
        record.decision = Some(decision);
        record.policy = Some(self.policy.as_str().into());
        record.token = token.map(TokenFacts::from);
        record.static_key = self.static_key.as_ref().map(|(f, kind)| StaticKeyFacts::new(f, kind));
        record.client_credential = self.client_credential;
        record.method_override = self.method_override.as_ref().map(|m| m.as_str().into());
        let names = self.dropped.iter().map(HeaderName::as_str);
        record.dropped =
            names.map(|name| name.get(..MAX_DROPPED_NAME).unwrap_or(name).into()).collect();
        let result = self.audit.write(&record);
        let injected = token.filter(|_| decision == Decision::Inject);
        let written = Written { token: injected.map(|token| token.fingerprint().clone()) };
        match result {
            Ok(()) => {
                self.said = self.code;
                self.decided();
                self.unwritten = None;
                Ok(written)
            }
            Err(e) => {
                self.unwritten = Some(written);
                self.code.get_or_insert(Reason::AuditUnavailable);
                Err(e)
            }
        }
    }

    /// Goes on unrecorded where `on_failure = "continue"`; else gives the error back. The record is
    /// counted as lost in [`Audit::health`] and in the record that notes the recovery.
    pub fn waive(&mut self, error: AuditError) -> Result<Written, AuditError> {
        if !self.audit.continue_on_failure {
            return Err(error);
        }
        let Some(written) = self.unwritten.take() else { return Err(error) };
        if self.code == Some(Reason::AuditUnavailable) {
            self.code = None;
        }
        self.decided();
        Ok(written)
    }

    fn decided(&mut self) {
        self.state = State::Decided;
        let tunnels = &self.audit.metrics.tunnels;
        self.tunnel = (self.decision == Decision::Tunnel).then(|| tunnels.hold());
    }

    /// Chains the outcome; it is in the file by the next decision or flush.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(code) = outcome.code {
            self.code = Some(code);
        }
        if self.state == State::Undecided {
            let code = *self.code.get_or_insert(Reason::InternalError);
            if self.is_one_too_many(code) {
                return;
            }
            // An error is counted in `health`; there is nobody left to tell.
            self.decide(Decision::Deny, None).map(drop).ok();
        }
        self.state = State::Finished;
        let now = self.audit.clock.mono();
        self.measure(now);
        let ms = now.saturating_duration_since(self.started).as_millis();
        let mut text = Default::default();
        let mut record = self.record(EventKind::Outcome, &mut text);
        if self.code == self.said {
            record.code = None;
        }
        let client = Arc::clone(&self.facts.client);
        // Found after the decision: the outcome says it for both.
        if !self.named && client.process.get().is_some() {
            self.name(&client, &mut record);
        }
        record.outcome = Some(OutcomeFacts {
            status: outcome.status,
            bytes_in: outcome.bytes_in,
            bytes_out: outcome.bytes_out,
            ms: u64::try_from(ms).unwrap_or(u64::MAX),
        });
        self.audit.buffer(&record).ok();
    }

    /// Whether a refusal is only counted: nothing went upstream for it, and its client has had many
    /// like it.
    fn is_one_too_many(&mut self, reason: Reason) -> bool {
        let now = self.audit.clock.mono();
        if self.audit.refusals.is_recorded(&self.facts.client, reason, now) {
            return false;
        }
        self.decision = Decision::Deny;
        self.state = State::Finished;
        self.measure(now);
        true
    }

    /// Writes who asked into a record.
    fn name<'a>(&mut self, client: &'a Client, record: &mut Record<'a>) {
        record.client = client_facts(client);
        let Some(process) = client.process.get() else { return };
        self.named = true;
        if client.process.tell() {
            record.context.extend(process_facts(process));
        }
    }

    /// Counts the request, and takes its time apart where it is one that is answered.
    fn measure(&mut self, now: Instant) {
        self.tunnel = None;
        let metrics = &self.audit.metrics;
        metrics.request(self.route.as_ref(), self.decision, self.code);
        if self.facts.path.is_none() {
            return;
        }
        let answered = self.answered.unwrap_or(now);
        let upstream = self.sent.map(|sent| answered.saturating_duration_since(sent));
        let elsewhere = upstream.unwrap_or_default() + self.minted.unwrap_or_default();
        let total = answered.saturating_duration_since(self.started);
        let proxy = total.saturating_sub(elsewhere);
        metrics.took(Parts { proxy, mint: self.minted, upstream });
    }

    /// What decisions and outcomes share. An outcome names its request and no more: the rest
    /// stands in the decision. `text`: room for the request's name.
    fn record<'a>(&self, event: EventKind, text: &'a mut [u8; ULID_LEN]) -> Record<'a> {
        let mut record = Record::empty(event);
        record.request = Some(self.facts.request.write(text).into());
        record.code = self.code.map(|c| c.code().into());
        record
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let code = match self.state {
            State::Finished => return,
            _ if std::thread::panicking() => Some(Reason::InternalError),
            State::Undecided => None,
            State::Decided => Some(self.code.unwrap_or(Reason::ClientGone)),
        };
        self.end(Outcome { code, ..Outcome::default() });
    }
}
