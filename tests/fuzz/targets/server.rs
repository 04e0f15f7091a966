//! The daemon as it ships, over a unix socket: any bytes as a first request, as a ClientHello behind a CONNECT, as
//! HTTP/1.1 and as frames of HTTP/2 behind a real handshake. A panic anywhere in it is a crash (and not only a lost
//! request), and so is a connection that stays open once its client is done.
//!
//! The input: a byte that says which, and the bytes.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// From the client's end to the daemon's: much more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const CONFIG: &str = r#"config_version = 1
[proxy]
listen = "unix:proxy.sock"
client_auth = []
unmatched = "deny"
[upstream.resolve]
"api.example:443" = "127.0.0.1:1"
[credentials.key]
grant = "static-key"
secret = { file = "key" }
[[routes]]
name = "orders"
host = "api.example"
path = ["/v1/**"]
credential = "key"
"#;

struct Daemon {
    folder: PathBuf,
    runtime: Runtime,
    http1: TlsConnector,
    http2: TlsConnector,
}

static DAEMON: LazyLock<Daemon> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a directory").keep();
    std::fs::write(folder.join("valetkey.toml"), CONFIG).expect("a config");
    std::fs::write(folder.join("key"), "canary-0123456789abcdef").expect("a key");
    let path = folder.join("valetkey.toml");
    let parsed = valetkey::config::parse(&path, CONFIG.as_bytes(), folder.join("state"));
    let (config, _) = parsed.expect("a config that loads");
    let ca = folder.join("state/ca");
    std::thread::spawn(|| {
        let ended = valetkey::daemon::serve(valetkey::daemon::Options { config, idle_exit: None });
        panic!("the daemon ended: {ended:?}");
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // A main function of Rust would ignore it, and this program has none: a write to whoever is gone is an error.
        let _ = signal(SignalKind::pipe()).expect("a handler");
        // The last thing that a daemon opens.
        while UnixStream::connect(folder.join("state/admin.sock")).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let mut roots = RootCertStore::empty();
    for entry in std::fs::read_dir(&ca).expect("a CA").flatten() {
        let Ok(pem) = std::fs::read(entry.path().join("root.pem")) else { continue };
        for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
            roots.add(certificate).expect("a root");
        }
    }
    let connector = |protocol: &[u8]| {
        let config = ClientConfig::builder().with_root_certificates(roots.clone());
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    };
    let (http1, http2) = (connector(b"http/1.1"), connector(b"h2"));
    Daemon { folder, runtime, http1, http2 }
});

fuzz_target!(|input: &[u8]| {
    let [way, bytes @ ..] = input else { return };
    let daemon = &*DAEMON;
    daemon.runtime.block_on(async {
        let mut stream =
            UnixStream::connect(daemon.folder.join("proxy.sock")).await.expect("a socket");
        match way % 4 {
            0 => send(stream, bytes).await,
            1 => {
                tunnel(&mut stream).await;
                send(stream, bytes).await;
            }
            2 => send(handshake(&daemon.http1, stream).await, bytes).await,
            _ => {
                let bytes = [PREFACE, SETTINGS, bytes].concat();
                send(handshake(&daemon.http2, stream).await, &bytes).await;
            }
        }
    });
});

async fn tunnel(stream: &mut UnixStream) {
    let head = b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n";
    stream.write_all(head).await.expect("a CONNECT");
    let mut answer = [0; 256];
    let mut length = 0;
    while !answer[..length].ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut answer[length..]).await.expect("an answer");
        assert!(read > 0, "an answer that breaks off");
        length += read;
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

async fn handshake(
    connector: &TlsConnector,
    mut stream: UnixStream,
) -> impl AsyncRead + AsyncWrite + Unpin {
    tunnel(&mut stream).await;
    let name = ServerName::try_from("api.example").expect("a name");
    connector.connect(name, stream).await.expect("a handshake")
}

/// Says it, says that this was all, and waits for the other side to end.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let all = async {
        // What is refused early is not read to its end.
        if stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = (&mut stream).take(1 << 20).read_to_end(&mut answer).await;
        assert!(!answer.windows(23).any(|part| part == b"canary-0123456789abcdef"));
    };
    timeout(PATIENCE, all).await.expect("the connection ends with its client");
}
