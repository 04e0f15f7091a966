//! `login` by a browser on this machine: it comes back to a port on loopback that is open for this login alone.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY};
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
use crate::mint::authorization_code::{Back, Begun};
use crate::mint::door::{Door, FlowError, LoggedIn};
use crate::model::id::CredentialName;
use crate::model::secret::Secret;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// For a request's head, and for the last page to leave.
const MOMENT: Duration = Duration::from_secs(5);
/// Connections at once: browsers open a few that they never use.
const MOST: usize = 32;

pub(super) async fn log_in(
    door: &Door,
    name: &CredentialName,
    redirect: &Redirect,
    no_browser: bool,
) -> Result<LoggedIn, Failure> {
    let cannot = |error: std::io::Error| cannot_listen(redirect, &error);
    let listener = listen(redirect).await.map_err(cannot)?;
    let port = listener.local_addr().map_err(cannot)?.port();
    let authority = format!("{}:{port}", redirect.host);
    let begun = door.begin(&format!("http://{authority}{}", redirect.path)).await?;
    printer::note(&format!(
        "to log in for `{name}`, open this in a browser on this machine:\n\n    {}\n",
        begun.page
    ));
    if !no_browser {
        open(&begun.page);
    }
    let (sender, receiver) = mpsc::channel(1);
    let answer = Mutex::new(Some(sender));
    let desk = Arc::new(Desk { begun, authority, path: redirect.path.clone(), answer });
    match timeout(PATIENCE, desk.attend(door, listener, receiver)).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(FlowError::Expired.into()),
    }
}

async fn listen(redirect: &Redirect) -> std::io::Result<TcpListener> {
    let ip = match redirect.host.as_str() {
        "[::1]" => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    TcpListener::bind(SocketAddr::new(ip, redirect.port.unwrap_or(0))).await
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
    // What stands in the page's URL is worth nothing without what this process keeps.
    let _ = Command::new("xdg-open")
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

/// The code that came, or why none did, and where the outcome of trading it in is wanted.
type Brought = (Result<Secret, FlowError>, oneshot::Sender<Result<(), &'static str>>);

/// What the redirect address answers with.
struct Desk {
    begun: Begun,
    /// What `Host` must say: a page of another name that resolves to us is not heard.
    authority: String,
    path: String,
    /// Taken by the first answer to this login.
    answer: Mutex<Option<mpsc::Sender<Brought>>>,
}

impl Desk {
    async fn attend(
        self: Arc<Self>,
        door: &Door,
        listener: TcpListener,
        mut brought: mpsc::Receiver<Brought>,
    ) -> Result<LoggedIn, FlowError> {
        let mut connections = JoinSet::new();
        let (result, page) = loop {
            tokio::select! {
                Some(brought) = brought.recv() => break brought,
                accepted = listener.accept(), if connections.len() < MOST => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(Arc::clone(&self).connection(stream));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        };
        let outcome = match result {
            Ok(code) => door.finish(&self.begun, &code).await,
            Err(error) => Err(error),
        };
        let _ = page.send(outcome.as_ref().map(|_| ()).map_err(FlowError::code));
        // The page leaves before we do; connections that a browser never used are not waited for long.
        drop(listener);
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
        if host != Some(self.authority.as_bytes()) || request.uri().path() != self.path {
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
        let first = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
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
            Ok(Ok(())) => response(
                StatusCode::OK,
                "Logged in",
                "You can close this page and go back to the terminal.",
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
