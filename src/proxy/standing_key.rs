//! A real key where a placeholder should be, or anywhere else in the head: audited by kind and keyed fingerprint, and
//! refused where the route says so. From the route's own slots it is taken out in any case; its value goes into no record.

use http::request::Parts;

use super::Proxy;
use crate::audit::Recorder;
use crate::inject;
use crate::model::reason::Reason;
use crate::policy::Permit;

/// Notes the key that stands in a request which goes nowhere: it was sent all the same.
pub(super) fn note_refused(proxy: &Proxy, parts: &Parts, recorder: &mut Recorder) {
    if let Some(found) = inject::refused_key(parts) {
        recorder.static_key(proxy.audit.keyed_fingerprint(&found.key), found.kind);
    }
}

/// Notes the key that the client sent, if it did.
pub(super) fn note(
    proxy: &Proxy,
    permit: &Permit,
    parts: &Parts,
    recorder: &mut Recorder,
) -> Result<(), Reason> {
    let Some(found) = inject::standing_key(permit, parts) else { return Ok(()) };
    recorder.static_key(proxy.audit.keyed_fingerprint(&found.key), found.kind);
    if !permit.refuses_keys() {
        return Ok(());
    }
    if let Some(route) = permit.route() {
        recorder.route(route.name.clone());
    }
    Err(Reason::StaticKeyRefused)
}
