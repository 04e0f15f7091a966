//! Floor 6: looking in, and the few verbs of the command line, over a unix socket.
//!
//! The socket is 0600 in a 0700 directory and the peer's uid is checked as well. What the daemon
//! can do is behind [`Control`]: nothing here knows the proxy. What anyone may ask stands in
//! [`observe`].

mod door;
mod hold;
pub mod observe;
mod socket;
pub mod wire;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::ca::Description;
use door::{Door, Seat};
use hold::SESSION;
pub use hold::{Caller, Hold, INSIDE_SESSION};
pub use socket::{SocketError, bind};
use wire::{
    AdminError, CountedSession, DaemonStatus, Ended, ListedSession, Login, OpenSession,
    OpenedSession, Revoke, Rotated, Who,
};

/// A request's body is at most this long, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// For the head of a request.
const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for a caller that is held.
const HELD_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole connection of a caller that is held.
const HELD_LIFE: Duration = Duration::from_secs(10);

/// What the daemon lets the command line do.
pub trait Control: Send + Sync + 'static {
    /// Facts for `status`; never a secret. Blocks on files and the keyring.
    fn status(&self) -> DaemonStatus;
    /// Which daemon this is; answers while a reload goes on.
    fn who(&self) -> Who;
    /// What keeps a caller from changing anything: it is a process of a session, and held to that.
    fn hold(&self, caller: Caller) -> Option<Hold>;
    /// All open sessions, by name.
    fn sessions(&self) -> Vec<ListedSession>;
    /// One, with how often something came in its name.
    fn session(&self, name: &str) -> Result<CountedSession, AdminError>;
    /// Opens a session for whoever asks.
    fn open_session(&self, open: OpenSession, caller: Caller) -> Result<OpenedSession, AdminError>;
    /// Ends the session of this name, and what it has under way.
    fn end_session(&self, name: &str) -> Result<(), AdminError>;
    /// Revokes, or takes a revocation back; says what there was to end.
    fn revoke(&self, revoke: Revoke) -> Result<Ended, AdminError>;
    /// Ends the daemon, in good order.
    fn stop(&self);
    /// Records that somebody has logged in or out, and drops and revokes the tokens of whoever was
    /// logged in before.
    fn login(&self, login: Login);
    /// Records that a standing key is another now, and drops the old one.
    fn rotated(&self, rotated: Rotated);
    /// The local CA as `ca show` describes it.
    fn ca(&self) -> Description;
    /// Rotates the CA, in good order or because someone may have its key, and describes it.
    fn rotate_ca(&self, compromised: bool) -> Result<Description, AdminError>;
}

/// The code of what a daemon that is about to end does not begin any more.
pub const STOPPING: &str = "daemon-stopping";

/// The code of what a daemon of an older version does not know.
pub const UNKNOWN_CALL: &str = "unknown-admin-call";

/// Serves the socket until the task is dropped.
pub async fn serve(listener: UnixListener, control: Arc<dyn Control>) {
    let door = Arc::new(Door::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin socket for now");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(caller) = socket::caller(&stream) else {
            tracing::warn!("another user tried the admin socket");
            continue;
        };
        // Closed at once rather than kept waiting: whoever waits here would hold up all others.
        let Some(mut seat) = door.seat(caller).await else { continue };
        let (door, control) = (Arc::clone(&door), Arc::clone(&control));
        tokio::spawn(async move {
            // Looked at before it is heard: a process that ends or is passed on later was who it
            // was.
            if let Some(hold) = door.judge(&mut seat, &control).await {
                connection(stream, caller, control, hold, seat).await;
            }
        });
    }
}

async fn connection(
    stream: UnixStream,
    caller: Caller,
    control: Arc<dyn Control>,
    hold: Option<Hold>,
    _seat: Seat,
) {
    let (patience, life) = match hold {
        Some(_) => (HELD_HEAD_TIMEOUT, HELD_LIFE),
        None => (ADMIN_HEAD_TIMEOUT, Duration::MAX),
    };
    let service = service_fn(|request| {
        let (control, hold) = (Arc::clone(&control), hold.clone());
        async move { Ok::<_, Infallible>(answer(&control, caller, hold, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(life, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended"),
        Err(_) => tracing::debug!("an admin connection of a session's took too long"),
    }
}

async fn answer(
    control: &Arc<dyn Control>,
    caller: Caller,
    hold: Option<Hold>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let call = (&parts.method, parts.uri.path());
    let result = match hold.filter(|hold| !hold.allows(call.0, call.1)) {
        Some(hold) => Err(hold.into()),
        None => carry_out(control, caller, call, body).await,
    };
    match result {
        Ok(serde_json::Value::Null) => json(StatusCode::NO_CONTENT, "application/json", Vec::new()),
        Ok(value) => {
            json(StatusCode::OK, "application/json", serde_json::to_vec(&value).unwrap_or_default())
        }
        Err(error) => {
            let status =
                StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json(status, "application/problem+json", serde_json::to_vec(&error).unwrap_or_default())
        }
    }
}

async fn carry_out(
    control: &Arc<dyn Control>,
    caller: Caller,
    call: (&Method, &str),
    body: Incoming,
) -> Result<serde_json::Value, AdminError> {
    match call {
        (&Method::GET, "/v1/status") => status(control).await,
        (&Method::GET, "/v1/who") => value(control.who()),
        (&Method::GET, "/v1/ca") => value(control.ca()),
        (&Method::POST, "/v1/ca/rotate") => control.rotate_ca(false).and_then(value),
        (&Method::POST, "/v1/ca/rotate-compromised") => control.rotate_ca(true).and_then(value),
        (&Method::GET, "/v1/sessions") => value(control.sessions()),
        (&Method::GET, path) if path.starts_with(SESSION) => {
            control.session(&path[SESSION.len()..]).and_then(value)
        }
        (&Method::POST, "/v1/sessions") => open(control.as_ref(), caller, body).await,
        (&Method::POST, "/v1/revoke") => match read(body).await {
            Ok(revoke) => control.revoke(revoke).and_then(value),
            Err(error) => Err(error),
        },
        (&Method::DELETE, path) if path.starts_with(SESSION) => {
            control.end_session(&path[SESSION.len()..]).map(|()| serde_json::Value::Null)
        }
        (&Method::POST, "/v1/stop") => {
            control.stop();
            Ok(serde_json::Value::Null)
        }
        (&Method::POST, "/v1/rotations") => read(body).await.map(|rotated| {
            control.rotated(rotated);
            serde_json::Value::Null
        }),
        (&Method::POST, "/v1/logins") => read(body).await.map(|login| {
            control.login(login);
            serde_json::Value::Null
        }),
        _ => Err(AdminError {
            status: 404,
            code: UNKNOWN_CALL.into(),
            detail: "the daemon does not know this call".into(),
            hint: "daemon and command line differ in version: restart the daemon".into(),
        }),
    }
}

/// Where others are not held up.
async fn status(control: &Arc<dyn Control>) -> Result<serde_json::Value, AdminError> {
    let control = Arc::clone(control);
    let status = tokio::task::spawn_blocking(move || control.status()).await;
    value(status.map_err(|_| AdminError {
        status: 500,
        code: "internal-error".into(),
        detail: "the daemon's status cannot be had".into(),
        hint: "its log says why: daemon.log in the state directory".into(),
    })?)
}

/// An answer as JSON, its keys in the order of the alphabet.
fn value(answer: impl Serialize) -> Result<serde_json::Value, AdminError> {
    serde_json::to_value(answer).map_err(invalid)
}

async fn open(
    control: &dyn Control,
    caller: Caller,
    body: Incoming,
) -> Result<serde_json::Value, AdminError> {
    value(control.open_session(read(body).await?, caller)?)
}

async fn read<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, AdminError> {
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(invalid)?;
    serde_json::from_slice(&body.to_bytes()).map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> AdminError {
    AdminError {
        status: 400,
        code: "invalid-admin-call".into(),
        detail: error.to_string(),
        hint: "daemon and command line differ in version: restart the daemon".into(),
    }
}

fn json(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
