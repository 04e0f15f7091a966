//! Who asks in one request: the connection's client, or the session whose placeholder came with it.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;

use super::desk::{Passage, Terms};
use super::refused::{Refused, Word};
use crate::client::Admitted;
use crate::inject;
use crate::model::id::RouteName;
use crate::model::reason::Reason;

pub(super) struct Asking<'a> {
    pub(super) admitted: Cow<'a, Admitted>,
    /// The routes whose placeholder came with it, where a bound one did.
    pub(super) bound: Option<Arc<[RouteName]>>,
}

impl<'a> Asking<'a> {
    pub(super) fn unbound(admitted: &'a Admitted) -> Self {
        Self { admitted: Cow::Borrowed(admitted), bound: None }
    }

    pub(super) fn of(
        passage: &Passage,
        terms: &Terms,
        own: &'a Admitted,
        parts: &Parts,
    ) -> Result<Self, Reason> {
        let marks = inject::placeholder_marks(parts).map_err(|_| Reason::PlaceholderRefused)?;
        let Some(mark) = marks.first() else { return Ok(Self::unbound(own)) };
        let now = passage.clock.now();
        let found = |mark| passage.gate.by_placeholder(&terms.rules, own, mark, now);
        let (admitted, mut routes) = found(mark)?;
        // Several are as good as one where one route takes them all: a tool may read two of its
        // variables.
        for mark in marks.others() {
            let (other, theirs) = found(mark)?;
            routes = routes.iter().filter(|name| theirs.contains(name)).cloned().collect();
            if routes.is_empty() || other.client.session != admitted.client.session {
                return Err(Reason::PlaceholderRefused);
            }
        }
        Ok(Self { admitted: Cow::Owned(admitted), bound: Some(routes) })
    }

    /// The refusal of it, with what only its session can mend.
    pub(super) fn named(&self, refused: Refused) -> Refused {
        let of_session = refused.reason == Reason::RouteNotInSession;
        let session = self.admitted.session.as_ref().filter(|_| of_session);
        let named = session.map(|session| (Word::Session, format!("`{}`", session.name())));
        Refused { named, ..refused }
    }
}
