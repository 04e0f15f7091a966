//! Real peers on both sides, started as they are: grpcio to grpcio, and httpbin asked directly and through us.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::harness::client::{dial, exchange, finish, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::pki::{Identity, Pki};
use crate::harness::soon;
use crate::harness::stage::Stage;

/// A file under `tests/`, installed by `tests/run` where it is in `.peers`.
pub fn tests_file(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    assert!(path.exists(), "{} is missing: run tests/run", path.display());
    path
}

/// The Python of the installed packages, in a clean environment.
pub fn python(arguments: &[&std::ffi::OsStr]) -> Command {
    let mut command = Command::new(tests_file(".peers/venv/bin/python"));
    command.env_clear().env("PYTHONUNBUFFERED", "1").args(arguments);
    command
}

/// A certificate chain and its key in files of a directory of their own, gone with it.
pub fn in_files(identity: &Identity) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let pem = |der: &rustls::pki_types::CertificateDer<'_>| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let chain: String = identity.chain.iter().map(pem).collect();
    std::fs::write(dir.path().join("chain.pem"), chain).unwrap();
    std::fs::write(dir.path().join("key.pem"), identity.key.serialize_pem()).unwrap();
    dir
}

/// A server in Python; it ends with this value.
pub struct Server {
    pub port: u16,
    pub stdout: Lines<BufReader<ChildStdout>>,
    pub stderr: Lines<BufReader<ChildStderr>>,
    _child: Child,
    _stdin: ChildStdin,
    _files: tempfile::TempDir,
}

impl Server {
    fn spawn(mut command: Command, files: tempfile::TempDir) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let _stdin = child.stdin.take().unwrap();
        Self { port: 0, stdout, stderr, _child: child, _stdin, _files: files }
    }

    /// A script of `tests/clients` that prints `port N` when it is ready.
    pub async fn script(name: &str, identity: &Identity) -> Self {
        let files = in_files(identity);
        let path = |name: &str| files.path().join(name).into_os_string();
        let script = tests_file("clients").join(name);
        let command = python(&[script.as_os_str(), &path("chain.pem"), &path("key.pem")]);
        let mut server = Self::spawn(command, files);
        let line = soon("a port", server.stdout.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("{name} did not start"));
        server.port = line.strip_prefix("port ").and_then(|p| p.parse().ok()).expect(&line);
        server
    }

    /// httpbin by gunicorn, as its authors run it.
    async fn httpbin(identity: &Identity) -> Self {
        let files = in_files(identity);
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        let (chain, key) = (path("chain.pem"), path("key.pem"));
        let words = [
            "-m",
            "gunicorn",
            "--bind",
            "127.0.0.1:0",
            "--worker-class",
            "gthread",
            "--threads",
            "8",
            "--no-control-socket",
            "--certfile",
            &chain,
            "--keyfile",
            &key,
            "httpbin:app",
        ];
        let words: Vec<_> = words.iter().map(std::ffi::OsStr::new).collect();
        let mut server = Self::spawn(python(&words), files);
        let mut said = String::new();
        server.port = soon("gunicorn to listen", async {
            while let Ok(Some(line)) = server.stderr.next_line().await {
                said.push_str(&line);
                if let Some(rest) = line.split("https://127.0.0.1:").nth(1) {
                    let port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                    return port.parse().unwrap();
                }
            }
            panic!("gunicorn did not start: {said}");
        })
        .await;
        server
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn grpcio_calls_grpcio_in_every_way() {
    let pki = Pki::new();
    let host = "grpc.example";
    let mut server = Server::script("grpc_serve.py", &pki.server(&[host])).await;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], server.port));
    let stage = Stage::valetkey_with(|v| {
        v.trusting(&pki)
            .reaching(&format!("{host}:443"), addr)
            .route(&format!("name = \"grpc\"\nhost = \"{host}\"\ncredential = \"orders\""))
    })
    .await;
    let script = tests_file("clients/grpc_call.py");
    let mut client = python(&[script.as_os_str(), "grpc.example:443".as_ref()]);
    client
        .env("https_proxy", format!("http://{}", stage.proxy_addr()))
        .env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", stage.ca_file());
    let done = finish(&mut client).await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    let ways = "unary\nclient streaming\nserver streaming\nbidirectional streaming\n";
    assert_eq!(done.stdout, ways, "{done:#?}");
    // Six calls, each with the one token and without the client's key.
    let token = stage.orders_issuer.token();
    for call in 0..6 {
        let line = soon("a line", server.stdout.next_line()).await.unwrap().unwrap();
        assert_eq!(line, format!("authorization 1 Bearer {token}"), "call {call}");
    }
    stage.silent("the client", &format!("{}{}", done.stdout, done.stderr)).unwrap();
}

/// What httpbin is asked: method, path, body.
const ASKED: &[(&str, &str, &str)] = &[
    ("GET", "/get?a=b&a=c", ""),
    ("GET", "/headers", ""),
    ("GET", "/ip", ""),
    ("GET", "/user-agent", ""),
    ("GET", "/anything/x%2Fy?q=%20", ""),
    ("POST", "/post", "{\"a\":1}"),
    ("PUT", "/put", "body"),
    ("PATCH", "/patch", "body"),
    ("DELETE", "/delete", ""),
    ("OPTIONS", "/get", ""),
    ("HEAD", "/get", ""),
    ("GET", "/status/200", ""),
    ("GET", "/status/204", ""),
    ("GET", "/status/304", ""),
    ("GET", "/status/400", ""),
    ("GET", "/status/401", ""),
    ("GET", "/status/402", ""),
    ("GET", "/status/404", ""),
    ("GET", "/status/407", ""),
    ("GET", "/status/418", ""),
    ("GET", "/status/500", ""),
    ("GET", "/status/503", ""),
    ("GET", "/redirect/2", ""),
    ("GET", "/relative-redirect/2", ""),
    ("GET", "/absolute-redirect/2", ""),
    ("GET", "/redirect-to?url=https%3A%2F%2Fevil.example%2F&status_code=307", ""),
    ("GET", "/cookies", ""),
    ("GET", "/cookies/set?a=b", ""),
    ("GET", "/cookies/delete?a", ""),
    ("GET", "/basic-auth/user/word", ""),
    ("GET", "/hidden-basic-auth/user/word", ""),
    ("GET", "/bearer", ""),
    ("GET", "/delay/0", ""),
    ("GET", "/drip?numbytes=5&duration=0&delay=0", ""),
    ("GET", "/stream/5", ""),
    ("GET", "/stream-bytes/5000?seed=1&chunk_size=100", ""),
    ("GET", "/bytes/5000?seed=1", ""),
    ("GET", "/range/1000", ""),
    ("GET", "/links/3/0", ""),
    ("GET", "/image/png", ""),
    ("GET", "/image/svg", ""),
    ("GET", "/html", ""),
    ("GET", "/xml", ""),
    ("GET", "/json", ""),
    ("GET", "/robots.txt", ""),
    ("GET", "/deny", ""),
    ("GET", "/forms/post", ""),
    ("GET", "/encoding/utf8", ""),
    ("GET", "/gzip", ""),
    ("GET", "/deflate", ""),
    ("GET", "/brotli", ""),
    ("GET", "/cache/60", ""),
    ("GET", "/etag/abc", ""),
    ("GET", "/response-headers?x-a=b&x-a=c", ""),
    ("GET", "/base64/dmFsZXRrZXk=", ""),
];

/// What differs between two answers, one line each.
fn differences(direct: &Message, through: &Message) -> Vec<String> {
    let mut found = Vec::new();
    if direct.status() != through.status() {
        found.push(format!("status: {} | {}", direct.status(), through.status()));
    }
    let fields = |m: &Message| {
        let mut all: Vec<(String, String)> = m
            .headers
            .iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), String::from_utf8_lossy(v).into_owned()))
            // The time, and what is hop by hop: each side has its own.
            .filter(|(n, _)| !["date", "connection", "transfer-encoding"].contains(&n.as_str()))
            .collect();
        all.sort();
        all
    };
    let (one, other) = (fields(direct), fields(through));
    found
        .extend(one.iter().filter(|f| !other.contains(f)).map(|(n, v)| format!("{n}: {v} | gone")));
    found.extend(other.iter().filter(|f| !one.contains(f)).map(|(n, v)| format!("{n}: new | {v}")));
    let (one, other) = (timeless(direct), timeless(through));
    if !same(&one, &other) {
        found.push(format!("body: {one:?} | {other:?}"));
    }
    found
}

/// The body, without the time that gzip writes into its head (RFC 1952 section 2.3.1).
fn timeless(message: &Message) -> String {
    let mut body = message.body.clone();
    if body.starts_with(&[0x1f, 0x8b])
        && let Some(time) = body.get_mut(4..8)
    {
        time.fill(0);
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The same bytes, or the same JSON line by line: the order in which httpbin saw the fields is nobody's.
fn same(one: &str, other: &str) -> bool {
    let parsed = |text: &str| -> Option<Vec<serde_json::Value>> {
        text.lines().map(|line| serde_json::from_str(line).ok()).collect()
    };
    one == other || matches!((parsed(one), parsed(other)), (Some(one), Some(other)) if one == other)
}

/// A difference that PRODUCT.md asks for, on a route that injects: cookies stay with us, a decoded body has
/// its own length and tag, and the token that httpbin shows is masked.
fn is_meant(path: &str, difference: &str) -> bool {
    let field = difference.split(':').next().unwrap_or_default();
    let shows_the_request = ["/get", "/headers", "/anything", "/post", "/put", "/patch", "/delete"]
        .iter()
        .chain(&[
            "/bearer",
            "/stream/5",
            "/gzip",
            "/deflate",
            "/brotli",
            "/cache",
            "/response-headers",
        ])
        .any(|shown| path.starts_with(shown));
    match field {
        "set-cookie" => true,
        "content-encoding" | "etag" => shows_the_request,
        "body" | "content-length" => shows_the_request,
        // It has a token there, which the direct one has not.
        "status" | "www-authenticate" | "content-type" => path == "/bearer",
        _ => false,
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn httpbin_answers_as_it_does_direct() {
    httpbin_through("").await;
}

/// Asks httpbin directly and through a route with these keys, and prints what differs.
pub async fn httpbin_through(keys: &str) {
    let pki = Pki::new();
    let host = "httpbin.example";
    let server = Server::httpbin(&pki.server(&[host])).await;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], server.port));
    let stage = Stage::valetkey_with(|v| {
        v.trusting(&pki)
            .reaching(&format!("{host}:443"), addr)
            .route(&format!("name = \"httpbin\"\nhost = \"{host}\"\n{keys}"))
    })
    .await;
    let mut unmeant = Vec::new();
    for (method, path, body) in ASKED {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: probe/1\r\n{length}\r\n{body}"
        );
        let config = tls_config(crate::harness::client::Trust::Roots(pki.pem()), &["http/1.1"]);
        let stream = tls(dial(addr).await.stream, host, config).await.unwrap();
        let direct = ask(&mut Reader::new(stream), &request).await;
        let through = ask(&mut stage.tunnel(host).await.unwrap(), &request).await;
        for difference in differences(&direct, &through) {
            let meant = !keys.is_empty() && is_meant(path, &difference);
            println!("{method} {path}: {difference}{}", if meant { "" } else { "  <- not meant" });
            if !meant {
                unmeant.push(format!("{method} {path}: {difference}"));
            }
        }
        stage.silent(path, &through.everything()).unwrap();
    }
    assert!(unmeant.is_empty(), "{unmeant:#?}");
    println!("{} requests answered as they are directly", ASKED.len());
}

/// As [`exchange`]; the answer to HEAD has no body.
async fn ask<S>(reader: &mut Reader<S>, request: &str) -> Message
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if !request.starts_with("HEAD") {
        let answer = exchange(reader, request.as_bytes()).await;
        return answer.unwrap_or_else(|| panic!("an answer to {request}"));
    }
    use tokio::io::AsyncWriteExt as _;
    reader.stream.write_all(request.as_bytes()).await.unwrap();
    reader.stream.flush().await.unwrap();
    soon("the head of an answer", reader.head()).await.unwrap()
}
