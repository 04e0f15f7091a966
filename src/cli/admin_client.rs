//! Talking to the daemon: HTTP/1.1 and JSON over its admin socket.
//!
//! Both ends are ours, but an older or newer one may sit at the other: answers are bounded,
//! unknown fields are let pass, missing ones are an error with a hint.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::failure::{Exit, Failure, chain};
use crate::admin::wire::{self, CountedSession, Login, OpenSession, OpenedSession, Rotated, Who};
use crate::local::peer::{self, PeerError};
use crate::model::reason::Reason;

/// The largest answer that is read, in bytes: a status with 10,000 sessions fits.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// How long the daemon may take; making a CA is the slowest it does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// The code of [`AdminError::Broken`].
pub(super) const BROKE_OFF: &str = "daemon-broke-off";

/// The code of [`AdminError::Absent`].
pub(super) const ABSENT: &str = "daemon-absent";

/// What a daemon says to a user who was revoked.
const REVOKED: &str = Reason::ClientRevoked.code();

/// A connection to the daemon.
pub(super) struct AdminClient {
    sender: SendRequest<Full<Bytes>>,
}

/// Why the daemon gave no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("no daemon is running for this config: {socket}", socket = socket.display())]
    Absent { socket: PathBuf, source: io::Error },
    /// Somebody else's socket lies there, or somebody else listens on it.
    #[error("whoever is at the daemon's socket is not believed")]
    Foreign(#[source] PeerError),
    /// It broke off in the middle.
    #[error("the daemon broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its answer is not what this program knows.
    #[error("the daemon's answer is not understood")]
    Invalid(#[from] serde_json::Error),
    /// It said no, and why.
    #[error("{detail}")]
    Refused { code: String, detail: String, hint: String },
    /// The socket is there and may not be used.
    #[error("cannot reach the daemon: {socket}", socket = socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the daemon did not answer within {ANSWER_PATIENCE:?}")]
    Timeout,
}

impl AdminClient {
    /// Connects to the daemon's socket, and to nobody but a process of our own user. Must be called
    /// inside a runtime.
    pub(super) async fn connect(socket: &Path) -> Result<Self, AdminError> {
        let unreachable = |source| AdminError::Unreachable { socket: socket.to_owned(), source };
        let stream = peer::connect(socket)?;
        let stream = UnixStream::from_std(stream).map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends when the sender is dropped; its error comes out at the request that met it.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// `GET`, with a JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, AdminError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// `POST` without a body, with a JSON answer.
    pub(super) async fn post<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, AdminError> {
        self.call(Method::POST, path, Bytes::new()).await
    }

    /// `POST` of a JSON document, with a JSON answer.
    pub(super) async fn send<T: DeserializeOwned>(
        &mut self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, AdminError> {
        self.call(Method::POST, path, serde_json::to_vec(document)?.into()).await
    }

    pub(super) async fn open(&mut self, wanted: &OpenSession) -> Result<OpenedSession, AdminError> {
        self.send("/v1/sessions", wanted).await
    }

    /// What came since a session was opened.
    pub(super) async fn came(&mut self, session: &str) -> Result<CountedSession, AdminError> {
        self.get(&format!("/v1/sessions/{session}")).await
    }

    /// Ends a session and what was minted for it.
    pub(super) async fn close(&mut self, session: &str) -> Result<(), AdminError> {
        self.exchange(Method::DELETE, &format!("/v1/sessions/{session}"), Bytes::new()).await?;
        Ok(())
    }

    pub(super) async fn who(&mut self) -> Result<Who, AdminError> {
        self.get("/v1/who").await
    }

    pub(super) async fn stop(&mut self) -> Result<(), AdminError> {
        self.exchange(Method::POST, "/v1/stop", Bytes::new()).await?;
        Ok(())
    }

    /// Tells that somebody has logged in or out.
    pub(super) async fn login(&mut self, login: &Login) -> Result<(), AdminError> {
        let body = serde_json::to_vec(login)?;
        self.exchange(Method::POST, "/v1/logins", body.into()).await?;
        Ok(())
    }

    /// A standing key is another now.
    pub(super) async fn rotated(&mut self, rotated: &Rotated) -> Result<(), AdminError> {
        let body = serde_json::to_vec(rotated)?;
        self.exchange(Method::POST, "/v1/rotations", body.into()).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, AdminError> {
        Ok(serde_json::from_slice(&self.exchange(method, path, body).await?)?)
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, AdminError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "valetkey")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(broken)?;
        let exchange = async {
            self.sender.ready().await.map_err(broken)?;
            let answer = self.sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
            let body = body.await.map_err(AdminError::Broken)?.to_bytes();
            Ok::<_, AdminError>((status, body))
        };
        let (status, body) =
            timeout(ANSWER_PATIENCE, exchange).await.map_err(|_| AdminError::Timeout)??;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }
}

impl From<PeerError> for AdminError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Absent { path: socket, source } => Self::Absent { socket, source },
            PeerError::Unreachable { path: socket, source } => Self::Unreachable { socket, source },
            PeerError::Foreign { .. } | PeerError::Place(_) => Self::Foreign(error),
        }
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> AdminError {
    AdminError::Broken(Box::new(error))
}

fn refused(status: StatusCode, body: &[u8]) -> AdminError {
    let problem: wire::AdminError = serde_json::from_slice(body).unwrap_or_default();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    AdminError::Refused {
        code: or(problem.code.into_owned(), "daemon-refused"),
        detail: or(problem.detail, &format!("the daemon answered {status}")),
        hint: or(problem.hint, "is the daemon of another version? stop it and try again"),
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let text = chain(&error);
        match error {
            AdminError::Absent { .. } => Self::failed(
                ABSENT,
                error,
                "`valetkey serve` runs one in the foreground; `valetkey run` starts one by itself",
            ),
            AdminError::Foreign(_) => Self::failed(
                "daemon-foreign",
                text,
                "look who put it there, and remove it; a state directory belongs to its user alone",
            ),
            AdminError::Broken(_) => Self::failed(
                BROKE_OFF,
                text,
                "its log may say why: daemon.log in the state directory",
            ),
            AdminError::Invalid(_) => Self::failed(
                "daemon-answer-invalid",
                text,
                "is the daemon of another version? stop it and try again",
            ),
            AdminError::Refused { code, detail, hint } => {
                let exit = if code == REVOKED { Exit::Refused } else { Exit::Failed };
                Self::failed(code, detail, hint).exiting(exit)
            }
            AdminError::Timeout => Self::failed(
                "daemon-timeout",
                text,
                "its log may say why: daemon.log in the state directory",
            ),
            AdminError::Unreachable { .. } => Self::failed(
                "daemon-unreachable",
                text,
                "it must belong to you: check the permissions of the state directory",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_daemons_words() {
        let body =
            br#"{"code":"session-unknown","detail":"no such session","hint":"list them","x":1}"#;
        let failure = Failure::from(refused(StatusCode::NOT_FOUND, body));
        assert_eq!((&*failure.code, &*failure.message), ("session-unknown", "no such session"));
        let failure = Failure::from(refused(StatusCode::BAD_GATEWAY, b"<html>"));
        assert_eq!(failure.message, "the daemon answered 502 Bad Gateway");
    }

    #[test]
    fn nobody_at_the_socket_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = crate::cli::context::runtime().unwrap();
        let socket = dir.path().join("admin.sock");
        let found = runtime.block_on(AdminClient::connect(&socket));
        assert!(matches!(found, Err(AdminError::Absent { .. })));
        // A socket that a killed daemon left behind.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let found = runtime.block_on(AdminClient::connect(&socket));
        assert!(matches!(found, Err(AdminError::Absent { .. })));
    }
}
