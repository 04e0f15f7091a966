//! `login` by a browser on this machine: it comes back to a port on loopback that is open for this
//! login alone.
//!
//! Other users of the machine can reach that port and read the command line of a browser. So only
//! processes of our own user are heard there, and what a browser is started with is a local address
//! that sends it on, once.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, REFERRER_POLICY,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::page::page;
use crate::cli::failure::Failure;
use crate::cli::printer;
use crate::config::{Redirect, env};
use crate::local::peer;
use crate::mint::authorization_code::{Back, Begun};
use crate::mint::door::{Door, FlowError, LoggedIn};
use crate::model::id::{CredentialName, random_text};
use crate::model::lock::lock;
use crate::model::secret::Secret;

/// How long a person may take.
const PERSON_PATIENCE: Duration = Duration::from_secs(600);
/// For a request's head, and for the last page to leave.
const MOMENT: Duration = Duration::from_secs(5);
/// Connections at once: browsers open a few that they never use.
const MOST: usize = 32;
/// So often a free port of both families is looked for.
const MAX_TRIES: usize = 16;

pub(super) async fn log_in(
    door: &Door,
    name: &CredentialName,
    redirect: &Redirect,
    no_browser: bool,
) -> Result<LoggedIn, Failure> {
    let cannot = |error: std::io::Error| cannot_listen(redirect, &error);
    let door_bell = DoorBell::hang(redirect).await.map_err(cannot)?;
    let port = door_bell.port().map_err(cannot)?;
    let authority = format!("{}:{port}", redirect.host);
    let begun = door.begin(&format!("http://{authority}{}", redirect.path)).await?;
    printer::note(&format!(
        "to log in for `{name}`, open this in a browser on this machine:\n\n    {}\n",
        begun.page
    ));
    let start = format!("/start-{}", random_text());
    if !no_browser {
        open(&format!("http://{authority}{start}"));
    }
    let (sender, receiver) = mpsc::channel(1);
    let answer = Mutex::new(Some(sender));
    let start = Mutex::new(Some(start));
    let desk = Arc::new(Desk { begun, authority, path: redirect.path.clone(), start, answer });
    match timeout(PERSON_PATIENCE, desk.attend(door, door_bell, receiver)).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(FlowError::Expired.into()),
    }
}

/// Where a browser comes back to, on all addresses that the name of it has.
struct DoorBell(Vec<TcpListener>);

impl DoorBell {
    /// `localhost` is an address of each family, and whoever has the other one would be asked as
    /// well.
    async fn hang(redirect: &Redirect) -> std::io::Result<Self> {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let bind = |ip, port| TcpListener::bind(SocketAddr::new(ip, port));
        let wanted = redirect.port.unwrap_or(0);
        match redirect.host.as_str() {
            "[::1]" => return Ok(Self(vec![bind(v6, wanted).await?])),
            "localhost" => {}
            _ => return Ok(Self(vec![bind(v4, wanted).await?])),
        }
        let mut tries = 0;
        loop {
            let first = bind(v4, wanted).await?;
            tries += 1;
            match bind(v6, first.local_addr()?.port()).await {
                Ok(second) => return Ok(Self(vec![first, second])),
                // A free port of one family may be taken in the other.
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    if redirect.port.is_some() || tries >= MAX_TRIES {
                        return Err(error);
                    }
                }
                // There is no IPv6 here.
                Err(_) => return Ok(Self(vec![first])),
            }
        }
    }

    fn port(&self) -> std::io::Result<u16> {
        self.0[0].local_addr().map(|address| address.port())
    }

    /// The next connection of our own user's; `None`: it was somebody else's, or broke.
    async fn ring(&self) -> Option<TcpStream> {
        let accepted = match self.0.as_slice() {
            [first, second] => tokio::select! {
                accepted = first.accept() => accepted,
                accepted = second.accept() => accepted,
            },
            all => all[0].accept().await,
        };
        let (stream, peer) = accepted.ok()?;
        let local = stream.local_addr().ok()?;
        peer::is_own(peer, local).then_some(stream)
    }
}

fn cannot_listen(redirect: &Redirect, error: &std::io::Error) -> Failure {
    let port = redirect.port.map_or("a free port".to_owned(), |port| format!("port {port}"));
    Failure::failed(
        "redirect-unavailable",
        format!("cannot listen on {port} of {} for the browser: {error}", redirect.host),
        "another login may be under way; or choose another port in `redirect_uri`",
    )
}

/// A browser of our own desktop; without one the person opens the page.
fn open(page: &str) {
    if env::text("DISPLAY").or_else(|| env::text("WAYLAND_DISPLAY")).is_none() {
        return;
    }
    // Not one that happens to lie in the directory that we are in.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("xdg-open"))
        .find(|program| program.is_file());
    let Some(program) = found else { return };
    let _ = Command::new(program)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

/// The code that came, or why none did, and where the outcome of trading it in is wanted.
type Brought = (Result<Secret, FlowError>, oneshot::Sender<Outcome>);
/// Who is logged in, by the issuer's word, or the code of why nobody is.
type Outcome = Result<Option<String>, &'static str>;

/// What the redirect address answers with.
struct Desk {
    begun: Begun,
    /// What `Host` must say: a page of another name that resolves to us is not heard.
    authority: String,
    path: String,
    /// What the browser is started with, until it has come.
    start: Mutex<Option<String>>,
    /// Taken by the first answer to this login.
    answer: Mutex<Option<mpsc::Sender<Brought>>>,
}

impl Desk {
    async fn attend(
        self: Arc<Self>,
        door: &Door,
        door_bell: DoorBell,
        mut brought: mpsc::Receiver<Brought>,
    ) -> Result<LoggedIn, FlowError> {
        let mut connections = JoinSet::new();
        let mut foreign = false;
        let (result, page) = loop {
            tokio::select! {
                Some(brought) = brought.recv() => break brought,
                stream = door_bell.ring(), if connections.len() < MOST => match stream {
                    Some(stream) => drop(connections.spawn(Arc::clone(&self).connection(stream))),
                    None if foreign => {}
                    None => {
                        foreign = true;
                        printer::warn(
                            "callback-foreign",
                            "somebody else than your own user called the login's address, and was not heard",
                            "a browser that runs as another user cannot log in here: open the page in one of your own",
                        );
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        };
        let outcome = match result {
            Ok(code) => door.finish(&self.begun, &code).await,
            Err(error) => Err(error),
        };
        let said = outcome.as_ref().map(|logged_in| logged_in.user.clone());
        let _ = page.send(said.map_err(FlowError::code));
        // The page leaves before we do; connections that a browser never used are not waited for
        // long.
        drop(door_bell);
        let _ = timeout(MOMENT, connections.join_next()).await;
        outcome
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let desk = Arc::clone(&self);
            async move { Ok::<_, Infallible>(desk.answer(&request).await) }
        });
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(MOMENT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        let called = host == Some(self.authority.as_bytes());
        if called && request.method() == Method::GET && self.starts(request.uri().path()) {
            return self.send_on();
        }
        if !called || request.uri().path() != self.path {
            return response(
                StatusCode::NOT_FOUND,
                "Nothing here",
                "This address belongs to a login.",
            );
        }
        if request.method() != Method::GET {
            return response(
                StatusCode::METHOD_NOT_ALLOWED,
                "Not like this",
                "A browser comes by GET.",
            );
        }
        let result = match self.begun.judge(request.uri().query().unwrap_or_default()) {
            Back::Foreign => {
                return response(
                    StatusCode::BAD_REQUEST,
                    "Another login",
                    "This is no answer to the login that is under way in the terminal.",
                );
            }
            Back::Ours(result) => result,
        };
        let first = lock(&self.answer).take();
        let Some(first) = first else {
            return response(
                StatusCode::GONE,
                "Already used",
                "The terminal says what came of this login.",
            );
        };
        let (sender, receiver) = oneshot::channel();
        // Neither fails while the other side attends.
        let _ = first.send((result, sender)).await;
        match receiver.await {
            Ok(Ok(user)) => response(
                StatusCode::OK,
                &user.map_or("Logged in".to_owned(), |user| format!("Logged in as {user}")),
                "You can close this page and go back to the terminal. If that is not you, log out there at once.",
            ),
            Ok(Err(code)) => response(
                StatusCode::BAD_REQUEST,
                "Not logged in",
                &format!("The terminal says more: {code}."),
            ),
            Err(_) => response(StatusCode::BAD_REQUEST, "Not logged in", "The terminal says more."),
        }
    }
}

impl Desk {
    /// Whether this is what the browser was started with; once.
    fn starts(&self, path: &str) -> bool {
        let mut start = lock(&self.start);
        start.take_if(|start| start == path).is_some()
    }

    /// To the issuer, by an address that stood in no command line.
    fn send_on(&self) -> Response<Full<Bytes>> {
        let mut response =
            response(StatusCode::SEE_OTHER, "Log in", "Your browser goes on by itself.");
        if let Ok(page) = HeaderValue::from_str(&self.begun.page) {
            response.headers_mut().insert(LOCATION, page);
        }
        response
    }
}

fn response(status: StatusCode, heading: &str, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(page(heading, text).into()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // The address has the code in it.
        (REFERRER_POLICY, "no-referrer"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
