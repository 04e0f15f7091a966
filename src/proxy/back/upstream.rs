//! Sending a cleared request to its origin, and nowhere else: `send` takes only [`Cleared`].

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use tokio::time::timeout;

use super::lent::{Lent, lend};
use super::pool::{Home, Key, Pinned, Pool, Sender, Shared2, UpstreamConnection, UpstreamExchange};
use super::reply::Reply;
use super::upgrade::Asked;
use super::upload::{Sent, Upload};
use crate::audit::Written;
use crate::config::Timeouts;
use crate::http1::{self, Failure, Spelling};
use crate::masking::Part;
use crate::model::lock::lock;
use crate::model::reason::Reason;
use crate::passage::{Cleared, Unclean};
use crate::proxy::shared::World;

/// What is to be sent, beside the request itself.
pub struct Ask<'a, A, I> {
    pub world: &'a World,
    pub key: Key,
    pub pinned: &'a Pinned,
    pub upgrade: Option<Asked>,
    /// How the client spelt its fields.
    pub spelling: &'a Spelling,
    pub timeouts: Timeouts,
    /// Writes another decision before the request is sent again.
    pub again: A,
    pub inform: I,
}

/// The head of an answer, and where the rest comes from.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// How they were spelt, and the reason phrase; over HTTP/2 there is neither.
    pub spelling: Spelling,
    pub reply: Reply,
    pub home: Home,
}

impl Answered {
    /// Its head, to be cleaned. `bare`: no body belongs to it whatever it says.
    pub fn unclean(&mut self, bare: bool, part: Option<Part>) -> Unclean<'_> {
        let (status, headers, done) = (self.status, &mut self.headers, self.reply.done());
        Unclean { status, headers, reason: &mut self.spelling.reason, bare, done, part }
    }
}

/// Why an attempt came to nothing.
enum Lost {
    /// No byte of an answer came: the connection may have died before.
    Silent(Reason),
    /// Whatever came, it was no answer.
    Failed(Reason),
    /// Nothing of the request was sent.
    Unsent(Box<Upload>),
    /// It was sent, and the upstream says that it has begun nothing of it: the upload, where all
    /// that was sent of it is kept.
    Refused(Option<Box<Upload>>),
}

/// On which connections a request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Kept,
    /// One that others may have been quicker to use.
    New,
    /// One on which it is the first. Some servers serve few requests on a connection, or one: among
    /// others it might be refused as often as there are others.
    Own,
}

impl Pool {
    /// Sends one request, and once more where that changes nothing: what was not sent at all, or
    /// what the upstream says it has not begun (RFC 9113 section 8.7); and a safe method without a
    /// body on a kept connection that said nothing at all.
    ///
    /// No `async fn`, as all of these that carry a request: that would hold what it is given twice.
    pub fn send<'a, A, I>(
        self: &'a Arc<Self>,
        mut ask: Ask<'a, A, I>,
        cleared: Cleared,
        mut upload: Upload,
    ) -> impl Future<Output = Result<Answered, Reason>>
    where
        A: FnMut() -> Result<Written, Reason>,
        I: FnMut(StatusCode, HeaderMap),
    {
        let request = addressed(cleared, &mut ask);
        let sent = Arc::clone(upload.sent());
        async move {
            let request = request.as_ref().map_err(|reason| *reason)?;
            let repeatable = request.method().is_safe() && http_body::Body::is_end_stream(&upload);
            let mut on = On::Kept;
            loop {
                let kept = match on {
                    On::Kept => self.take(&ask, request, repeatable).await,
                    On::New | On::Own => None,
                };
                let is_kept = kept.is_some();
                let (sender, pinned) = match kept {
                    Some(kept) => kept,
                    // In a box: a request on a kept connection does not carry room for a handshake.
                    None => (Box::pin(self.reach(&ask, request, on)).await?, false),
                };
                let home = Home::of(self, &ask.key, pinned.then_some(ask.pinned), &sender);
                let answered = match sender {
                    Sender::Http1(connection) => {
                        over_http1(&mut ask, connection, home, request, upload).await
                    }
                    Sender::Http2(shared) => {
                        self.over_http2(&ask, shared, home, request, upload).await
                    }
                };
                match answered {
                    Ok(answered) => return Ok(answered),
                    Err(Lost::Unsent(_)) if on == On::Own => {
                        return Err(Reason::UpstreamUnreachable);
                    }
                    Err(Lost::Unsent(unsent)) => {
                        upload = *unsent;
                        on = if is_kept { On::Kept } else { On::Own };
                    }
                    Err(Lost::Silent(_)) if repeatable && is_kept => {
                        let _another: Written = (ask.again)()?;
                        upload = Upload::empty(Arc::clone(&sent));
                        on = On::New;
                    }
                    Err(Lost::Refused(_)) if on == On::Own => return Err(Reason::UpstreamRefused),
                    Err(Lost::Refused(None)) => return Err(Reason::UpstreamRefusedUpload),
                    Err(Lost::Refused(Some(whole))) => {
                        let _another: Written = (ask.again)()?;
                        upload = *whole;
                        on = On::Own;
                    }
                    Err(Lost::Silent(reason) | Lost::Failed(reason)) => return Err(reason),
                }
            }
        }
    }

    /// A connection that is new, if only to us.
    async fn reach<A, I>(
        &self,
        ask: &Ask<'_, A, I>,
        request: &Request<()>,
        on: On,
    ) -> Result<Sender, Reason> {
        let own = on == On::Own;
        match self.connect(ask.world, &ask.key, needs_http1(request), own).await {
            // An upstream without HTTP/1: the body is sent without its word.
            Err(Reason::UpstreamTlsInvalid(_)) if !is_upgrade(request) && needs_http1(request) => {
                self.connect(ask.world, &ask.key, false, own).await
            }
            connected => connected,
        }
    }

    /// A kept connection, and whether it is the client connection's own.
    async fn take<A, I>(
        &self,
        ask: &Ask<'_, A, I>,
        request: &Request<()>,
        repeatable: bool,
    ) -> Option<(Sender, bool)> {
        if is_upgrade(request) || (needs_http1(request) && !self.speaks_http1(&ask.key)) {
            return None;
        }
        if !repeatable {
            // Lets the runtime look at the sockets first: a connection that the upstream has closed
            // by now must not take a request that cannot be repeated.
            tokio::task::yield_now().await;
        }
        let own = lock(ask.pinned).take_if(|(key, _)| *key == ask.key);
        if let Some((_, mut connection)) = own
            && connection.is_quiet()
        {
            return Some((Sender::Http1(connection), true));
        }
        self.shelved(&ask.key).map(|sender| (sender, false))
    }

    fn over_http2<A, I>(
        &self,
        ask: &Ask<'_, A, I>,
        shared: Shared2,
        home: Home,
        request: &Request<()>,
        upload: Upload,
    ) -> impl Future<Output = Result<Answered, Lost>> {
        let sent = Arc::clone(upload.sent());
        let (lent, loan) = lend(upload);
        let mut sender = shared.sender.clone();
        let answer = sender.try_send_request(as_http2(request, lent));
        async move {
            match patiently(&sent, ask.timeouts, pin!(answer)).await {
                Ok(Ok(answer)) => {
                    loan.settle();
                    let (head, body) = answer.into_parts();
                    let reply = Reply::Http2(body, loan);
                    let (status, headers) = (head.status, head.headers);
                    Ok(Answered { status, headers, spelling: Spelling::default(), reply, home })
                }
                Ok(Err(mut error)) => {
                    let whole = || loan.take_back().map(Box::new);
                    if error.take_message().is_some() {
                        let whole = whole().ok_or(Lost::Failed(Reason::InternalError))?;
                        return Err(Lost::Unsent(whole));
                    }
                    if is_unbegun(error.error()) {
                        self.forget(&ask.key, &shared);
                        return Err(Lost::Refused(whole()));
                    }
                    let reason = reason(error.error());
                    match reason {
                        Reason::UpstreamUnreachable => Err(Lost::Silent(reason)),
                        _ => Err(Lost::Failed(reason)),
                    }
                }
                Err(reason) => Err(Lost::Failed(reason)),
            }
        }
    }
}

fn over_http1<A, I>(
    ask: &mut Ask<'_, A, I>,
    connection: UpstreamConnection,
    home: Home,
    request: &Request<()>,
    upload: Upload,
) -> impl Future<Output = Result<Answered, Lost>>
where
    I: FnMut(StatusCode, HeaderMap),
{
    let sent = Arc::clone(upload.sent());
    let upgrade = request.extensions().get::<Asked>().map(|asked| &*asked.0);
    let exchange = UpstreamExchange::new(connection, request, upgrade, ask.spelling, upload);
    let mut exchange = Box::new(exchange);
    async move {
        let answer = {
            let answer = pin!(exchange.head(&mut ask.inform));
            patiently(&sent, ask.timeouts, answer).await
        };
        match answer {
            Ok(Ok(answer)) => {
                let http1::Answer { status, headers, spelling } = answer;
                let reply = Reply::Http1(Some(exchange));
                Ok(Answered { status, headers, spelling, reply, home })
            }
            Ok(Err(Failure::Silent)) => Err(Lost::Silent(Reason::UpstreamUnreachable)),
            Ok(Err(Failure::Upload)) => Err(Lost::Failed(Reason::ClientGone)),
            Ok(Err(Failure::Head(error))) => {
                tracing::warn!(origin = %ask.key.origin, %error, "the head of an answer is not taken");
                Err(Lost::Failed(Reason::UpstreamAnswerInvalid))
            }
            Ok(Err(Failure::Invalid)) => Err(Lost::Failed(Reason::UpstreamAnswerInvalid)),
            Ok(Err(Failure::Io(error))) => {
                tracing::debug!(%error, "an exchange with the upstream failed");
                Err(Lost::Failed(Reason::UpstreamUnreachable))
            }
            Err(reason) => Err(Lost::Failed(reason)),
        }
    }
}

/// HTTP/2 has no upgrades, and the library keeps a 100 to itself.
fn needs_http1(request: &Request<()>) -> bool {
    is_upgrade(request) || http1::expects_continue(request.headers())
}

fn is_upgrade(request: &Request<()>) -> bool {
    request.extensions().get::<Asked>().is_some()
}

/// Looks at what moves happen so often while an answer is waited for.
const LOOKS: u32 = 16;

/// Waits for an answer. The time for it begins with the last byte of the upload, and anew with each
/// 1xx; before, as long as the upload moves it is not counted.
async fn patiently<F: Future>(
    upload: &Sent,
    timeouts: Timeouts,
    mut answer: Pin<&mut F>,
) -> Result<F::Output, Reason> {
    let (mut before, mut still) = ((upload.moves(), upload.whole()), 0);
    loop {
        let limit = if upload.whole() { timeouts.head } else { timeouts.stall };
        if let Ok(answer) = timeout(limit / LOOKS, answer.as_mut()).await {
            return Ok(answer);
        }
        let now = (upload.moves(), upload.whole());
        still = if now == before { still + 1 } else { 0 };
        before = now;
        if still == LOOKS {
            let client = upload.waits_for_client();
            return Err(if client { Reason::ClientTimeout } else { Reason::UpstreamTimeout });
        }
    }
}

/// The request as it leaves, with an absolute URI: HTTP/2 makes `:scheme` and `:authority` of it,
/// HTTP/1 `Host` (RFC 9112 section 3.2).
fn addressed<A, I>(cleared: Cleared, ask: &mut Ask<'_, A, I>) -> Result<Request<()>, Reason> {
    // The origin of the request and that of the connection are one value: nothing can differ.
    if *cleared.origin() != ask.key.origin {
        return Err(Reason::InternalError);
    }
    let (origin, method, path_and_query, headers) = cleared.into_filled().into_parts();
    let uri = Uri::builder()
        .scheme(origin.scheme.as_str())
        .authority(&*origin.authority())
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| Reason::MalformedRequest)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    join_cookies(request.headers_mut());
    if let Some(upgrade) = ask.upgrade.take() {
        request.extensions_mut().insert(upgrade);
    }
    Ok(request)
}

fn as_http2(request: &Request<()>, lent: Lent) -> Request<Lent> {
    let mut http2 = Request::new(lent);
    *http2.method_mut() = request.method().clone();
    *http2.uri_mut() = request.uri().clone();
    *http2.headers_mut() = request.headers().clone();
    http2
}

/// HTTP/2 splits `Cookie` into crumbs; HTTP/1 has one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Field values joined by field characters are a field value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether the upstream says that it has begun nothing of the request (RFC 9113 section 8.7): it
/// refused the stream, or went away and named an earlier one as its last. The library ends no other
/// streams with a GOAWAY that it received.
fn is_unbegun(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || refused)
    })
}

fn reason(error: &hyper::Error) -> Reason {
    tracing::debug!(%error, "an exchange with the upstream failed");
    let io = std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
    if error.is_parse() || error.is_parse_too_large() {
        Reason::UpstreamAnswerInvalid
    } else if error.is_timeout() {
        Reason::UpstreamTimeout
    } else if io
        || error.is_user()
        || error.is_closed()
        || error.is_canceled()
        || error.is_incomplete_message()
    {
        Reason::UpstreamUnreachable
    } else {
        Reason::UpstreamAnswerInvalid
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::proxy::back::upload::RequestBody;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(160),
        idle: Duration::from_secs(1),
        stall: Duration::from_secs(16),
    };

    /// Whole, and of which nothing more is heard.
    fn sent() -> Arc<Sent> {
        Arc::clone(Upload::for_test(RequestBody::Empty, 0).sent())
    }

    async fn seconds(waiting: impl Future<Output = Result<(), Reason>>) -> (u64, Option<Reason>) {
        let begun = Instant::now();
        let reason = waiting.await.err();
        (begun.elapsed().as_secs(), reason)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_as_long_as_the_config_says() {
        let (sent, never) = (sent(), std::future::pending());
        let late = Some(Reason::UpstreamTimeout);
        assert_eq!(seconds(patiently(&sent, TIMEOUTS, pin!(never))).await, (160, late));
        let answer = sleep(Duration::from_secs(159));
        assert_eq!(seconds(patiently(&sent, TIMEOUTS, pin!(answer))).await, (159, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_1xx_begins_the_time_anew() {
        let sent = sent();
        let informs = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(150)).await;
                sent.informed();
            }
            std::future::pending().await
        };
        let (waited, reason) = seconds(patiently(&sent, TIMEOUTS, pin!(informs))).await;
        assert_eq!(reason, Some(Reason::UpstreamTimeout));
        // To within a sixteenth.
        assert!((910..=920).contains(&waited), "{waited}");
    }
}
