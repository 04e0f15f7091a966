//! Streams that an HTTP/2 upstream says it has not begun (RFC 9113 section 8.7): sent once more, on a connection
//! of their own, with another decision in the audit; whatever may have been begun is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::harness::caller::{Call, Caller, Head, Sending};
use crate::harness::pair::{HOST, PASS};
use crate::harness::pki::{Identity, Pki};
use crate::harness::stage::Stage;
use crate::harness::upstream::Protocol;
use crate::harness::{Background, accept_loop, found, soon};
use crate::torture::raw_h2::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, SETTINGS, field,
};

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

/// An upstream that writes any frame it likes.
pub(super) struct RawUpstream {
    addr: std::net::SocketAddr,
    frames: mpsc::UnboundedReceiver<Said>,
    _task: Background,
}

/// A frame of Valetkey's, and the way back.
pub(super) struct Said {
    connection: u32,
    pub(super) frame: Frame,
    back: Arc<Mutex<WriteHalf<TlsStream<TcpStream>>>>,
}

impl RawUpstream {
    async fn start(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config(&["h2"]));
        let (sender, frames) = mpsc::unbounded_channel();
        let opened = Arc::new(AtomicU32::new(0));
        let task = accept_loop(listener, move |stream| {
            let connection = opened.fetch_add(1, Ordering::Relaxed) + 1;
            serve(stream, acceptor.clone(), connection, sender.clone())
        });
        Self { addr, frames, _task: task }
    }

    /// The next request, and that no frame of its body is overlooked.
    pub(super) async fn request(&mut self) -> Said {
        self.next(HEADERS).await
    }

    pub(super) async fn next(&mut self, kind: u8) -> Said {
        soon("a frame at the upstream", async {
            loop {
                let said = self.frames.recv().await.unwrap();
                if said.frame.kind == kind {
                    return said;
                }
            }
        })
        .await
    }

    /// The body of the request that `said` began, to its end.
    pub(super) async fn body(&mut self, said: &Said) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let next = self.next(DATA).await;
            assert_eq!((next.connection, next.frame.stream), (said.connection, said.frame.stream));
            all.extend(next.frame.payload);
            if next.frame.flags & END_STREAM != 0 {
                return all;
            }
        }
    }

    /// That no further request has come.
    fn is_done(&mut self) -> bool {
        std::iter::from_fn(|| self.frames.try_recv().ok()).all(|said| said.frame.kind != HEADERS)
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    connection: u32,
    sender: mpsc::UnboundedSender<Said>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let (mut read, write) = tokio::io::split(stream);
    let back = Arc::new(Mutex::new(write));
    send(&back, &[Frame::new(SETTINGS, 0, 0, [])]).await;
    let mut preface = [0; 24];
    if read.read_exact(&mut preface).await.is_err() {
        return;
    }
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if head[3] == SETTINGS && head[4] & 1 == 0 {
            send(&back, &[Frame::new(SETTINGS, 1, 0, [])]).await;
        }
        let frame = Frame::new(head[3], head[4], stream, payload);
        let _ = sender.send(Said { connection, frame, back: Arc::clone(&back) });
    }
}

async fn send(back: &Mutex<WriteHalf<TlsStream<TcpStream>>>, frames: &[Frame]) {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    let mut back = back.lock().await;
    let _ = back.write_all(&bytes).await;
    let _ = back.flush().await;
}

impl Said {
    pub(super) async fn reply(&self, frames: &[Frame]) {
        send(&self.back, frames).await;
    }

    async fn reset(&self, code: u32) {
        self.reply(&[Frame::new(RST_STREAM, 0, self.frame.stream, code.to_be_bytes())]).await;
    }

    /// Goes away, and names `last` as the last stream that was begun.
    async fn goaway(&self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.reply(&[Frame::new(GOAWAY, 0, 0, payload)]).await;
    }

    pub(super) async fn ok(&self) {
        let head = field(":status", "200");
        self.reply(&[Frame::new(HEADERS, END_HEADERS | END_STREAM, self.frame.stream, head)]).await;
    }
}

/// How an upstream says that it has not begun.
#[derive(Clone, Copy, Debug)]
enum Unbegun {
    Refused,
    GoneAway,
    /// It names no fault of its own, and ends the connection.
    GoneInError,
}

const UNBEGUN: [Unbegun; 3] = [Unbegun::Refused, Unbegun::GoneAway, Unbegun::GoneInError];

impl Unbegun {
    async fn say(self, said: &Said) {
        let before = said.frame.stream.saturating_sub(2);
        match self {
            Self::Refused => said.reset(REFUSED_STREAM).await,
            Self::GoneAway => said.goaway(before, 0).await,
            Self::GoneInError => said.goaway(before, INTERNAL_ERROR).await,
        }
    }
}

/// Valetkey before such an upstream, and a client of HTTP/2 (with one of HTTP/1, only that is offered upstream).
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) upstream: RawUpstream,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let pki = Pki::new();
        let upstream = RawUpstream::start(&pki.server(&[HOST, PASS])).await;
        let stage = Stage::valetkey_with(|v| {
            v.trusting(&pki)
                .reaching(&format!("{HOST}:443"), upstream.addr)
                .reaching(&format!("{PASS}:443"), upstream.addr)
                .route(&format!("name = \"raw\"\nhost = \"{HOST}\"\ncredential = \"orders\""))
                .route(&format!("name = \"pass\"\nhost = \"{PASS}\""))
        })
        .await;
        Self { stage, upstream }
    }

    async fn caller(&self, host: &str) -> Caller {
        Caller::open(&self.stage, host, Protocol::Http2).await
    }

    /// A caller after a first answer: the upstream connection is kept.
    async fn kept(&mut self, host: &str) -> Caller {
        let mut call = self.caller(host).await.get("/first").await;
        self.upstream.request().await.ok().await;
        assert_eq!(call.head().await.status, 200);
        call.body().await;
        call.again()
    }

    /// The decisions for the path, and the outcome's code.
    async fn decided(&self, path: &str, code: Option<&str>) -> usize {
        found("its outcome", || {
            let audit = self.stage.running().unwrap().audit();
            let id =
                audit.iter().find(|r| r["target"]["path"] == path).map(|r| r["request"].clone());
            let of = |event: &str| {
                let ours = audit
                    .iter()
                    .filter(|r| r["event"] == event && id.as_ref() == Some(&r["request"]));
                ours.cloned().collect::<Vec<_>>()
            };
            if let Some(outcome) = of("outcome").first() {
                assert_eq!(outcome["code"].as_str(), code, "{outcome}");
                return Some(of("decision").len());
            }
            None
        })
        .await
    }
}

async fn ask(caller: Caller, method: &str, path: &str, body: &[u8]) -> Call {
    let sending = if method == "POST" { Sending::Sized(body.len()) } else { Sending::Nothing };
    let mut call = caller.call(method, path, &[], sending).await;
    if method == "POST" {
        call.send(body).await;
        call.end().await;
    }
    call
}

fn is(head: &Head, code: &str, what: &str) {
    assert_eq!((head.status, &*head.code()), (502, code), "{what}: {head:?}");
}

#[tokio::test]
async fn what_was_refused_once_is_served_by_another_connection() {
    for unbegun in UNBEGUN {
        for (kept, host) in [(false, HOST), (true, HOST), (true, PASS)] {
            for method in ["GET", "POST"] {
                let what = format!("{unbegun:?} kept {kept} {host} {method}");
                let mut scene = Scene::new().await;
                let caller = if kept { scene.kept(host).await } else { scene.caller(host).await };
                let body = vec![7; 30_000];
                let mut call = ask(caller, method, "/twice", &body).await;
                let first = scene.upstream.request().await;
                if method == "POST" {
                    assert_eq!(scene.upstream.body(&first).await, body, "{what}");
                }
                unbegun.say(&first).await;
                let second = scene.upstream.request().await;
                assert_ne!(first.connection, second.connection, "{what}");
                if method == "POST" {
                    assert_eq!(scene.upstream.body(&second).await, body, "{what}");
                }
                second.ok().await;
                assert_eq!(call.head().await.status, 200, "{what}");
                assert_eq!(scene.decided("/twice", None).await, 2, "{what}");
                assert!(scene.upstream.is_done(), "{what}");
            }
        }
    }
}

/// One connection refuses a stream: what follows goes by another, and what it has begun comes to its end.
#[tokio::test]
async fn who_refuses_is_asked_no_more() {
    let mut scene = Scene::new().await;
    let caller = scene.kept(HOST).await;
    let mut begun = caller.beside().get("/begun").await;
    let first = scene.upstream.request().await;
    let mut call = caller.get("/refused").await;
    let refused = scene.upstream.request().await;
    assert_eq!(refused.connection, first.connection);
    refused.reset(REFUSED_STREAM).await;
    let second = scene.upstream.request().await;
    second.ok().await;
    assert_eq!(call.head().await.status, 200);
    let mut call = call.again().get("/next").await;
    let next = scene.upstream.request().await;
    assert_eq!(next.connection, second.connection);
    next.ok().await;
    assert_eq!(call.head().await.status, 200);
    first.ok().await;
    assert_eq!(begun.head().await.status, 200);
}

/// Refused in the middle of its upload: what was sent is sent again, and the rest as it comes.
#[tokio::test]
async fn a_body_that_still_comes_goes_on_elsewhere() {
    let mut scene = Scene::new().await;
    let mut call = scene.caller(HOST).await.call("POST", "/half", &[], Sending::Sized(3000)).await;
    call.send(&[1; 1000]).await;
    let first = scene.upstream.request().await;
    assert_eq!(scene.upstream.next(DATA).await.frame.payload, [1; 1000]);
    first.reset(REFUSED_STREAM).await;
    let second = scene.upstream.request().await;
    call.send(&[2; 2000]).await;
    call.end().await;
    let body = scene.upstream.body(&second).await;
    assert_eq!(body, [vec![1; 1000], vec![2; 2000]].concat());
    second.ok().await;
    assert_eq!(call.head().await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_always_refuses_is_a_502_that_says_so() {
    for unbegun in UNBEGUN {
        for method in ["GET", "POST"] {
            let what = format!("{unbegun:?} {method}");
            let mut scene = Scene::new().await;
            let mut call = ask(scene.kept(HOST).await, method, "/never", b"body").await;
            for _ in 0..2 {
                let said = scene.upstream.request().await;
                unbegun.say(&said).await;
            }
            is(&call.head().await, "upstream-refused", &what);
            assert_eq!(scene.decided("/never", Some("upstream-refused")).await, 2, "{what}");
            assert!(scene.upstream.is_done(), "{what}");
            scene.stage.control().await.unwrap();
        }
    }
}

/// Of a body more than 64 KiB is not kept.
#[tokio::test]
async fn what_is_no_longer_held_is_not_repeated() {
    let mut scene = Scene::new().await;
    let body = vec![7; 65_000];
    let mut call =
        scene.caller(HOST).await.call("POST", "/large", &[], Sending::Sized(80_000)).await;
    call.send(&body).await;
    let first = scene.upstream.request().await;
    let mut seen = 0;
    while seen < body.len() {
        seen += scene.upstream.next(DATA).await.frame.payload.len();
    }
    let window = Frame::new(8, 0, first.frame.stream, 100_000u32.to_be_bytes());
    let whole = Frame::new(8, 0, 0, 100_000u32.to_be_bytes());
    first.reply(&[window, whole]).await;
    call.send(&[8; 1000]).await;
    scene.upstream.next(DATA).await;
    first.reset(REFUSED_STREAM).await;
    is(&call.head().await, "upstream-refused-upload", "65,000 + 1,000 bytes");
    assert_eq!(scene.decided("/large", Some("upstream-refused-upload")).await, 1);
    assert!(scene.upstream.is_done());
}

/// What may have been begun: another error, a GOAWAY that counts the stream in, an answer that has begun.
#[tokio::test]
async fn what_may_have_been_begun_is_never_repeated() {
    for method in ["GET", "POST"] {
        let mut scene = Scene::new().await;
        let mut call = ask(scene.kept(HOST).await, method, "/error", b"body").await;
        scene.upstream.request().await.reset(INTERNAL_ERROR).await;
        is(&call.head().await, "upstream-answer-invalid", method);
        assert_eq!(scene.decided("/error", Some("upstream-answer-invalid")).await, 1, "{method}");

        let mut call = ask(scene.kept(HOST).await, method, "/begun", b"body").await;
        let said = scene.upstream.request().await;
        let head = field(":status", "200");
        said.reply(&[Frame::new(HEADERS, END_HEADERS, said.frame.stream, head)]).await;
        assert_eq!(call.head().await.status, 200, "{method}");
        said.reset(REFUSED_STREAM).await;
        assert!(call.body().await.1.is_broken(), "{method}");
        assert_eq!(scene.decided("/begun", Some("upstream-answer-invalid")).await, 1, "{method}");
        assert!(scene.upstream.is_done(), "{method}");
    }
    // A POST that the upstream counts among those it has begun, and gives no answer to.
    let mut scene = Scene::new().await;
    let mut call = ask(scene.kept(HOST).await, "POST", "/counted", b"body").await;
    let said = scene.upstream.request().await;
    said.goaway(said.frame.stream, 0).await;
    let _ = said.back.lock().await.shutdown().await;
    drop(said);
    is(&call.head().await, "upstream-unreachable", "counted in");
    assert!(scene.upstream.is_done());
}
