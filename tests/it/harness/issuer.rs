//! The fake issuer: an OAuth token endpoint on loopback that mints canaries and answers by script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::http1::{Message, Reader};
use super::{Background, Gate, Log, accept_loop, canary, lock};

/// What the endpoint says to one call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A new canary token. `life` is `expires_in`, in seconds.
    Token { life: Option<u64> },
    /// Anything else.
    Raw { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// The connection is closed without an answer.
    Gone,
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Self {
        let kind = ("content-type".to_owned(), "application/json".to_owned());
        Self::Raw { status, headers: vec![kind], body: body.as_bytes().to_vec() }
    }

    pub fn html(status: u16, body: &str) -> Self {
        let kind = ("content-type".to_owned(), "text/html".to_owned());
        Self::Raw { status, headers: vec![kind], body: body.as_bytes().to_vec() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Raw { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

struct Shared {
    calls: Arc<Log<Message>>,
    minted: Arc<Log<String>>,
    reply: Mutex<Reply>,
    /// Before that, one each.
    first: Mutex<VecDeque<Reply>>,
    /// Answers wait for it.
    gate: Mutex<Option<Gate>>,
}

/// An address that is held and not listened at.
pub struct Down(TcpSocket);

/// A token endpoint that stops when dropped.
pub struct Issuer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: Option<Background>,
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            calls: Log::new(),
            minted: Log::new(),
            reply: Mutex::new(Reply::Token { life: Some(300) }),
            first: Mutex::default(),
            gate: Mutex::new(None),
        });
        let mut issuer = Self { addr, shared, task: None };
        issuer.listen(listener);
        issuer
    }

    fn listen(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let serve = move |stream| serve(stream, Arc::clone(&shared));
        self.task = Some(accept_loop(listener, serve));
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn token_url(&self) -> String {
        format!("http://{}/token", self.addr)
    }

    /// Keys for a credential that revokes here; those calls are answered at once.
    pub fn revoking(&self) -> String {
        format!("revocation_url = \"http://{}/revoke\"", self.addr)
    }

    /// Waits until this token was revoked.
    pub async fn revoked(&self, token: &str) {
        for index in 0.. {
            let call = self.shared.calls.at("a revocation at the issuer", index).await;
            let form = String::from_utf8_lossy(&call.body).into_owned();
            if call.first_line.starts_with("POST /revoke ") && form.contains(token) {
                return;
            }
        }
    }

    /// From now on every call gets this.
    pub fn reply(&self, reply: Reply) {
        *lock(&self.shared.reply) = reply;
    }

    /// The next call gets this, after those that were asked for before.
    pub fn reply_once(&self, reply: Reply) {
        lock(&self.shared.first).push_back(reply);
    }

    /// Answers wait until the gate opens.
    pub fn hold(&self) -> Gate {
        let gate = Gate::closed();
        *lock(&self.shared.gate) = Some(gate.clone());
        gate
    }

    /// Connections are refused from now on.
    pub fn stop(&mut self) {
        self.task = None;
    }

    /// As [`Issuer::stop`], until [`Issuer::up`]. Nobody else gets the address meanwhile.
    pub async fn down(&mut self) -> Down {
        self.task = None;
        super::found("the address", || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            // Once the old listener is gone.
            socket.bind(self.addr).is_ok().then_some(Down(socket))
        })
        .await
    }

    /// Is there again.
    pub fn up(&mut self, down: Down) {
        self.listen(down.0.listen(1024).unwrap());
    }

    pub fn calls(&self) -> Vec<Message> {
        self.shared.calls.all()
    }

    /// The call at `index`, from 0, as soon as it has come.
    pub async fn call(&self, index: usize) -> Message {
        self.shared.calls.at("a call at the issuer", index).await
    }

    /// All tokens minted so far.
    pub fn minted(&self) -> Vec<String> {
        self.shared.minted.all()
    }

    /// The latest token.
    pub fn token(&self) -> String {
        self.minted().last().cloned().expect("a token was minted")
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut reader = Reader::new(stream);
    while let Some(call) = reader.request().await {
        let revokes = call.first_line.starts_with("POST /revoke ");
        let looks = call.first_line.starts_with("HEAD ");
        shared.calls.push(call);
        if revokes {
            // RFC 7009 section 2.2: whatever the token is.
            let done = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if reader.stream.write_all(done).await.is_err() {
                return;
            }
            continue;
        }
        let gate = lock(&shared.gate).clone();
        if let Some(gate) = gate {
            gate.passed().await;
        }
        let first = lock(&shared.first).pop_front();
        let reply = match first.unwrap_or_else(|| lock(&shared.reply).clone()) {
            // `check --online` asks whether anybody is there, and for no token.
            Reply::Token { .. } if looks => Reply::html(200, ""),
            reply => reply,
        };
        let Some(bytes) = written(reply, &shared) else { return };
        if reader.stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn written(reply: Reply, shared: &Shared) -> Option<Vec<u8>> {
    let (status, headers, body) = match reply {
        Reply::Gone => return None,
        Reply::Raw { status, headers, body } => (status, headers, body),
        Reply::Token { life } => {
            let token = canary("vkt");
            shared.minted.push(token.clone());
            let mut answer = serde_json::json!({ "access_token": token, "token_type": "Bearer" });
            if let Some(life) = life {
                answer["expires_in"] = life.into();
            }
            let kind = ("content-type".to_owned(), "application/json".to_owned());
            (200, vec![kind], answer.to_string().into_bytes())
        }
    };
    let mut bytes =
        format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    Some(bytes)
}
