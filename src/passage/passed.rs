//! A request that passed: recorded, cleared to be sent, and its answer cleaned.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderValue, IF_RANGE, RANGE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::clean::{Clean, Follows};
use super::desk::Passage;
use super::given::Given;
use super::known::Source;
use crate::audit::{Decision, Recorder, Written};
use crate::broker::{Slot, SlotKey};
use crate::inject;
use crate::masking::{self, BodyRedactor, Part};
use crate::model::client::Client;
use crate::model::reason::Reason;
use crate::model::target::Origin;
use crate::model::token::Token;
use crate::policy::Permit;

/// What all steps before found out.
pub struct Passed {
    permit: Permit,
    client: Arc<Client>,
    source: Option<Source>,
    token: Option<Arc<Token>>,
}

/// A head that was judged, and may lose or gain its length; nothing else can be cleared.
#[derive(Clone, Debug)]
pub struct JudgedRequest(Parts);

/// What may be sent, and to which origin alone: judged, within limits, recorded, emptied and
/// filled.
#[derive(Debug)]
pub struct Cleared(inject::Filled);

impl JudgedRequest {
    pub(super) fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// Its method, target and fields.
    pub fn parts(&self) -> &Parts {
        &self.0
    }

    /// The same for the whole of what it asks a part of, as it is stored; `None` where it asks for
    /// no part.
    pub fn of_whole(&self) -> Option<Self> {
        let asks = self.0.method == Method::GET && self.0.headers.contains_key(RANGE);
        let mut parts = asks.then(|| self.0.clone())?;
        for name in [RANGE, IF_RANGE] {
            parts.headers.remove(name);
        }
        parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Some(Self(parts))
    }

    /// Says one length of its body, this one, where it says any: HTTP/2 lets several, or odd
    /// spellings, through to us.
    pub fn set_length(&mut self, exact: Option<u64>) {
        let said = self.0.headers.remove(CONTENT_LENGTH).is_some();
        if let Some(length) = exact.filter(|_| said) {
            self.0.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

impl Cleared {
    /// The one origin it may be sent to.
    pub fn origin(&self) -> &Origin {
        self.0.origin()
    }

    /// Takes it apart for sending.
    pub fn into_filled(self) -> inject::Filled {
        self.0
    }
}

/// The head of an answer as it came, and what is known of its body.
pub struct Unclean<'a> {
    pub status: StatusCode,
    pub headers: &'a mut HeaderMap,
    /// The words of its status line; gone where they hold what is masked.
    pub reason: &'a mut Option<Bytes>,
    /// It has no body, whatever it says.
    pub bare: bool,
    /// No body comes.
    pub done: bool,
    /// So much of what comes is its body.
    pub part: Option<Part>,
}

impl Passed {
    pub(super) fn new(
        permit: Permit,
        client: Arc<Client>,
        source: Option<Source>,
        token: Option<Arc<Token>>,
    ) -> Self {
        Self { permit, client, source, token }
    }

    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it is sent with, if with anything.
    pub fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    pub fn slot_key(&self) -> Option<&SlotKey> {
        self.slot().map(|slot| slot.key())
    }

    /// Where its token came from.
    pub fn slot(&self) -> Option<&Arc<Slot>> {
        self.source.as_ref().map(|source| &source.slot)
    }

    /// From now on it is sent with this one, of the same slot.
    pub fn replace_token(&mut self, token: Arc<Token>) {
        self.token = Some(token);
    }

    /// Writes the decision down; each further attempt has its own (invariant I9).
    pub fn record(&self, recorder: &mut Recorder) -> Result<Written, Reason> {
        let decision = if self.permit.injects() { Decision::Inject } else { Decision::Pass };
        record(recorder, decision, self.token.as_deref())
    }

    /// Strips and fills the request. From here on its upstream may say the token in any answer.
    pub fn clear(&self, written: Written, request: JudgedRequest) -> Result<Cleared, Reason> {
        self.note();
        let filled = inject::fill(&self.permit, self.token.as_deref(), written, request.0);
        filled.map(Cleared).map_err(|_| Reason::MalformedRequest)
    }

    /// Cleans the head of an answer of all that its upstream was given; what comes after it is
    /// cleaned as it comes.
    pub fn clean(&self, passage: &Passage, unclean: Unclean<'_>) -> Result<Clean, Reason> {
        let Unclean { status, headers, reason, bare, done, part } = unclean;
        let mut follows = self.given(passage).map(Follows::new);
        let redactor = follows.as_mut().and_then(Follows::redactor);
        inject::clean_answer(self.bought(), redactor.as_deref(), headers);
        reason.take_if(|words| redactor.as_ref().is_some_and(|redactor| redactor.is_in(words)));
        if status == StatusCode::NO_CONTENT {
            // RFC 9110 section 8.6; some clients would wait for so much.
            headers.remove(CONTENT_LENGTH);
        }
        let bare = bare || status == StatusCode::NOT_MODIFIED;
        let body = match redactor {
            Some(redactor) if self.searches() && !bare && !done => {
                let body = match part {
                    Some(part) => BodyRedactor::begin_part(redactor, headers, part),
                    None => BodyRedactor::begin(redactor, status, headers),
                };
                Some(Box::new(body.map_err(|_| Reason::UpstreamEncodingRefused)?))
            }
            _ => None,
        };
        Ok(Clean::new(self.bought(), follows, self.token.clone(), body, bare, &self.permit))
    }

    /// The part that an answer is, where it cannot be searched without what stands before it.
    pub fn unsearchable_part(&self, status: StatusCode, headers: &HeaderMap) -> Option<Part> {
        if self.searches() { Part::of(status, headers) } else { None }
    }

    /// Whether it is several such parts at once.
    pub fn are_unsearchable_parts(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.searches() && masking::are_several(status, headers)
    }

    /// Cleans the head of an answer before the one that counts, or of a switch of protocols. Gives
    /// what the bytes behind it are searched for, if they are.
    pub fn clean_head(&self, passage: &Passage, headers: &mut HeaderMap) -> Option<Arc<Given>> {
        let given = self.given(passage);
        let redactor = given.as_ref().and_then(|given| given.redactor().0);
        inject::clean_answer(self.bought(), redactor.as_deref(), headers);
        given.filter(|_| self.searches())
    }

    /// A request without a token may still be answered with one: its header fields are masked, its
    /// body is not searched.
    fn given(&self, passage: &Passage) -> Option<Arc<Given>> {
        // Whatever was forgotten meanwhile: the answer is masked for what its own request was given.
        self.note();
        match &self.source {
            Some(source) => Some(Arc::clone(&source.given)),
            None => passage.given.find(&self.client.key(), &self.permit.origin().target.host),
        }
    }

    fn note(&self) {
        if let (Some(source), Some(token)) = (&self.source, &self.token) {
            source.given.note(&source.slot.key().credential, token);
        }
    }

    /// Whether cookies in the answer were bought with the token, and stay behind.
    fn bought(&self) -> bool {
        self.token.is_some() && self.permit.strips_cookies()
    }

    /// Whether the answer's body is searched.
    fn searches(&self) -> bool {
        self.token.is_some() && self.permit.redacts()
    }
}

/// The decision, in the kernel's hands before anything goes upstream, unless the config says to go
/// on without (invariant I9).
fn record(
    recorder: &mut Recorder,
    decision: Decision,
    token: Option<&Token>,
) -> Result<Written, Reason> {
    recorder.decide(decision, token).or_else(|error| recorder.waive(error)).map_err(|error| {
        tracing::error!(%error, "the audit record could not be written");
        Reason::AuditUnavailable
    })
}

/// The decision to carry a tunnel, into which no token goes.
pub fn record_tunnel(recorder: &mut Recorder) -> Result<(), Reason> {
    record(recorder, Decision::Tunnel, None).map(drop)
}
