//! The second half of a request, the same for intercepted and plain ones: record, clear, send,
//! clean, stream.

use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use super::body::Body;
use super::retry::{self, Resend};
use super::step_up::StepUp;
use super::whole;
use crate::audit::{Event, Outcome, Recorder};
use crate::http1::challenge::challenges;
use crate::http1::{Inbound, Spelling};
use crate::masking::Part;
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::net::guard::Reach;
use crate::passage::{self, Clean, Cleared, JudgedRequest, Known, Passed, Refused, closes};
use crate::proxy::back::pool::{Key, Pinned, Spoken};
use crate::proxy::back::reply::Reply;
use crate::proxy::back::upgrade::{Asked, Upgraded};
use crate::proxy::back::upload::{RequestBody, Sent, Upload};
use crate::proxy::back::upstream::{Answered, Ask};
use crate::proxy::live::LiveRequest;
use crate::proxy::shared::{Proxy, World};
use crate::proxy::worker::Worker;

/// What the exchanges of one client connection share.
#[derive(Default)]
pub struct Kept {
    /// Where its tokens come from.
    pub known: Known,
    /// An upstream connection that authenticated itself and belongs to this client connection.
    pinned: Pinned,
}

/// From where a request is sent, and under which world.
pub struct Exchange<'a> {
    pub worker: &'a Arc<Worker>,
    pub world: &'a World,
    pub reach: Reach,
    pub kept: &'a Kept,
    /// The way back for 1xx; HTTP/2 has none.
    pub inbound: Option<Arc<dyn Inbound>>,
    /// How the client spelt its fields; over HTTP/2 it does not.
    pub spelling: Spelling,
}

/// A request that is sent once more, its record going on.
struct Again<'a> {
    exchange: &'a Exchange<'a>,
    recorder: &'a mut Recorder,
    sent: &'a Arc<Sent>,
}

impl Resend for Again<'_> {
    async fn resend(&mut self, passed: &Passed, request: JudgedRequest) -> Option<Answered> {
        let written = passed.record(self.recorder).ok()?;
        let cleared = passed.clear(written, request).ok()?;
        let upload = Upload::empty(Arc::clone(self.sent));
        self.exchange.send(passed, None, self.recorder, cleared, upload).await.ok()
    }
}

impl Exchange<'_> {
    /// No `async fn`: that would hold what it is given twice, for as long as the request takes.
    #[expect(clippy::manual_async_fn, reason = "see above")]
    pub fn forward(
        self,
        mut passed: Passed,
        mut request: JudgedRequest,
        mut recorder: Recorder,
        mut live: LiveRequest,
        body: RequestBody,
    ) -> impl Future<Output = Response<Body>> {
        async move {
            let most = self.world.terms.rates.body();
            let upgrade = match self.upgrade(&passed, &request, &body) {
                // As far as it says beforehand how long it is.
                Ok(_) if body.size_hint().lower() > most => {
                    return refuse(recorder, Reason::BodyTooLarge.into());
                }
                Ok(upgrade) => upgrade,
                Err(reason) => return refuse(recorder, reason.into()),
            };
            let written = match passed.record(&mut recorder) {
                Ok(written) => written,
                Err(reason) => return refuse(recorder, reason.into()),
            };
            let injects = passed.token().is_some();
            let pins = !injects
                && request
                    .parts()
                    .headers
                    .get(header::AUTHORIZATION)
                    .is_some_and(is_of_connections);
            request.set_length(body.size_hint().exact());
            let bare = request.parts().method == Method::HEAD;
            let uploads = !body.is_end_stream();
            let spare = if injects { retry::spare(&request, &body) } else { None };
            let of_whole =
                spare.as_ref().filter(|_| !bare).and_then(JudgedRequest::of_whole).map(Box::new);
            let cleared = match passed.clear(written, request) {
                Ok(cleared) => cleared,
                Err(reason) => return fail(recorder, reason),
            };
            let upload = Upload::new(body, live.watch(), most);
            let sent = Arc::clone(upload.sent());
            recorder.sent();
            // Pinned where it is made: it is large to move.
            let answered = {
                let sending =
                    pin!(self.send(&passed, upgrade.clone(), &mut recorder, cleared, upload));
                live.watch().unless_cut(sending).await
            };
            let mut answered = match answered {
                Ok(Ok(answered)) => answered,
                Ok(Err(reason)) => return fail(recorder, blame(&sent, reason)),
                Err(reason) => return fail(recorder, reason),
            };
            let mut part = None;
            if retry::concerns_us(&passed, &answered) || of_whole.is_some() {
                let mut again = Again { exchange: &self, recorder: &mut recorder, sent: &sent };
                let settling = Box::pin(settle(&mut passed, &mut again, spare, of_whole, answered));
                match live.watch().unless_cut(settling).await {
                    Ok(settled) => (answered, part) = settled,
                    Err(reason) => return fail(recorder, reason),
                }
            }
            recorder.answered();
            live.carries(passed.token().cloned());
            if answered.status == StatusCode::SWITCHING_PROTOCOLS {
                return self.switch(&passed, upgrade, answered, recorder, live);
            }
            if pins || asks_of_connections(&answered.headers) {
                answered.home.pin(&self.kept.pinned);
            }
            let passage = &self.worker.proxy.passage;
            let mut clean = match passed.clean(passage, answered.unclean(bare, part)) {
                Ok(clean) => clean,
                Err(reason) => return fail(recorder, reason),
            };
            if clean.wants_to_look()
                && let Err(reason) = Box::pin(look(&mut clean, &mut answered, &live)).await
            {
                return fail(recorder, reason);
            }
            let uploads = uploads && self.inbound.is_none() && answered.status.as_u16() >= 300;
            let mut response = self.answer(&passed, answered, recorder, live, clean, sent);
            if uploads {
                Box::pin(response.body_mut().lead()).await;
            }
            response
        }
    }

    /// What the client gets: its body ends the request's record.
    fn answer(
        &self,
        passed: &Passed,
        answered: Answered,
        recorder: Recorder,
        live: LiveRequest,
        clean: Clean,
        sent: Arc<Sent>,
    ) -> Response<Body> {
        let Answered { status, mut headers, spelling, reply, home } = answered;
        self.step_up(passed, status, &mut headers);
        let head = (status, spelling);
        let mut response =
            Response::new(Body::streamed(reply, head, recorder, live, clean, home, sent));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Sends a cleared request; each further attempt is recorded as another decision (I9).
    fn send<'a>(
        &'a self,
        passed: &'a Passed,
        upgrade: Option<Asked>,
        recorder: &'a mut Recorder,
        cleared: Cleared,
        upload: Upload,
    ) -> impl Future<Output = Result<Answered, Reason>> {
        let sent = Arc::clone(upload.sent());
        let ask = Ask {
            world: self.world,
            key: self.key(passed),
            pinned: &self.kept.pinned,
            upgrade,
            spelling: &self.spelling,
            timeouts: passed.permit().timeouts(),
            again: move || passed.record(recorder),
            inform: move |status, headers| {
                sent.informed();
                self.inform(passed, status, headers);
            },
        };
        self.worker.pool.send(ask, cleared, upload)
    }

    fn key(&self, passed: &Passed) -> Key {
        let slot = passed.slot_key();
        Key {
            client: passed.client().key(),
            credential: slot.map(|slot| slot.credential.clone()),
            ask: slot.map(|slot| Arc::clone(&slot.ask)),
            origin: passed.permit().origin().clone(),
            generation: self.world.terms.generation,
            reach: self.reach,
            spoken: if self.inbound.is_some() { Spoken::Http1 } else { Spoken::Http2 },
        }
    }

    /// The upgrade that the request asks for and the route allows.
    fn upgrade(
        &self,
        passed: &Passed,
        request: &JudgedRequest,
        body: &RequestBody,
    ) -> Result<Option<Asked>, Reason> {
        // Without a way back for the 101 there is no upgrade.
        let allowed =
            |protocol: &str| self.inbound.is_some() && passed.permit().allows_upgrade(protocol);
        Asked::of(request.parts(), !body.is_end_stream(), allowed)
    }

    fn inform(&self, passed: &Passed, status: StatusCode, mut headers: HeaderMap) {
        let Some(inbound) = &self.inbound else { return };
        passed.clean_head(&self.worker.proxy.passage, &mut headers);
        inbound.inform(status, &headers);
    }

    /// Tells a person that the upstream wants more of them.
    fn step_up(&self, passed: &Passed, status: StatusCode, headers: &mut HeaderMap) {
        let Some(slot) = passed.slot_key() else { return };
        let Some(wanted) = StepUp::of(status, headers) else { return };
        let minter = self.world.terms.minters.get(&slot.credential);
        if minter.is_some_and(|minter| minter.is_of_a_person()) {
            let Proxy { passage, step_ups, .. } = &*self.worker.proxy;
            let login = format!("valetkey login {}{}", slot.credential, passage.config_flag);
            step_ups.tell(&slot.credential, wanted.hint(&login), passage.clock.now().mono, headers);
        }
    }

    fn switch(
        &self,
        passed: &Passed,
        upgrade: Option<Asked>,
        answered: Answered,
        recorder: Recorder,
        live: LiveRequest,
    ) -> Response<Body> {
        let Answered { status, mut headers, reply, .. } = answered;
        // Nobody asked for this protocol: after this the bytes would mean something else.
        let (Some(asked), Reply::Http1(Some(exchange))) = (upgrade, reply) else {
            return fail(recorder, Reason::UpstreamAnswerInvalid);
        };
        if !asked.agreed(&headers) {
            return fail(recorder, Reason::UpstreamAnswerInvalid);
        }
        let searched = passed.clean_head(&self.worker.proxy.passage, &mut headers);
        // We asked for none, and what one packs cannot be searched.
        if searched.is_some() && headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return fail(recorder, Reason::UpstreamEncodingRefused);
        }
        asked.confirm(&mut headers);
        let upgraded = Upgraded::new(*exchange, asked, searched, recorder, live);
        let mut response = Response::new(Body::Upgraded(Box::new(upgraded)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// The answer that counts: another than the first where that is for us (`retry`), or is a part that
/// cannot be searched (`whole`).
async fn settle(
    passed: &mut Passed,
    again: &mut Again<'_>,
    spare: Option<JudgedRequest>,
    of_whole: Option<Box<JudgedRequest>>,
    mut answered: Answered,
) -> (Answered, Option<Part>) {
    if retry::concerns_us(passed, &answered) {
        let broker = &again.exchange.worker.proxy.passage.broker;
        answered = retry::heed(broker, passed, spare, answered, again).await;
    }
    match of_whole {
        Some(of_whole) => whole::instead_of_part(passed, *of_whole, answered, again).await,
        None => (answered, None),
    }
}

/// Looks at the beginning of a coded body before its head goes.
async fn look(
    clean: &mut Clean,
    answered: &mut Answered,
    live: &LiveRequest,
) -> Result<(), Reason> {
    let Answered { headers, reply, .. } = answered;
    let unvouched = clean.takes_unvouched_end();
    let looking = clean.look(headers, |cx| reply.poll_frame(cx, unvouched));
    let looked = live.watch().unless_cut(pin!(looking)).await?;
    looked.map_err(|error| error.reason())
}

/// Why a request came to nothing: the upstream saw a body break off because the client's did, or
/// was too long.
fn blame(sent: &Sent, reason: Reason) -> Reason {
    match sent {
        sent if sent.exceeded() => Reason::BodyTooLarge,
        sent if sent.broke() => Reason::MalformedRequest,
        _ => reason,
    }
}

/// NTLM and Negotiate (RFC 4559) authenticate the connection, not the request.
const OF_CONNECTIONS: [&str; 2] = ["ntlm", "negotiate"];

/// Whether an answer asks for such a scheme.
fn asks_of_connections(headers: &HeaderMap) -> bool {
    challenges(headers).any(|challenge| OF_CONNECTIONS.iter().any(|s| challenge.is(s)))
}

/// Whether these credentials are of such a scheme.
fn is_of_connections(credentials: &HeaderValue) -> bool {
    let scheme = credentials.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
    OF_CONNECTIONS.iter().any(|own| scheme.eq_ignore_ascii_case(own.as_bytes()))
}

/// Refused by us, before anything went upstream.
pub fn refuse(recorder: Recorder, refused: Refused) -> Response<Body> {
    let close = closes(refused.reason);
    let request = recorder.request();
    recorder.refuse(refused.reason, Some(refused.status().as_u16()));
    Body::refusal(&refused, request, close)
}

fn fail(recorder: Recorder, reason: Reason) -> Response<Body> {
    let request = recorder.request();
    let status = Some(passage::status(reason).as_u16());
    recorder.finish(Outcome { status, code: Some(reason), ..Outcome::default() });
    Body::refusal(&reason.into(), request, closes(reason))
}

/// Refused before it could be parsed: nothing of it is written down but that, and the tunnel that
/// it came in.
pub fn malformed(
    proxy: &Proxy,
    client: &Client,
    id: RequestId,
    reason: Reason,
    tunnel: Option<&Target>,
) -> Response<Body> {
    let world = proxy.world.load();
    let event = Event::malformed(id, client, reason);
    let event = match tunnel {
        Some(tunnel) => event.within(tunnel, world.terms.policy.hash()),
        None => event,
    };
    proxy.passage.audit.event(event).ok();
    Body::refusal(&reason.into(), id, true)
}
