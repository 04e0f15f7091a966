//! Who accepts our leaf, and who refuses one that a thief of the CA key made: for each TLS library.
//!
//! The thief holds what lies on disk: the intermediate's key and certificate. He signs a leaf for a bank
//! and serves it with the real chain to clients in the very environment that `run` gives them, all
//! but the proxy, which is his own. The name constraints must stop every client. The same forgery for
//! a name inside the constraints must succeed, or the refusals would prove nothing.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::scene::{ORDERS, Scene};
use super::tool::Tool;
use super::{Output, finish};
use crate::harness::api::Api;
use crate::harness::client::{Trust, connect, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::pki::Identity;
use crate::harness::{Background, accept_loop};

/// What the thief puts into the leaf.
#[derive(Clone, Copy, Debug)]
enum Forged {
    Dns(&'static str),
    Ip(&'static str),
    /// A common name and no subject alternative name: some clients still believe it.
    CommonName(&'static str),
}

impl Forged {
    fn host(self) -> &'static str {
        match self {
            Self::CommonName(host) | Self::Dns(host) | Self::Ip(host) => host,
        }
    }

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        params.distinguished_name.push(DnType::CommonName, self.host());
        match self {
            Self::CommonName(_) => {}
            Self::Dns(host) => {
                params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())]
            }
            Self::Ip(ip) => {
                params.subject_alt_names = vec![SanType::IpAddress(ip.parse().unwrap())]
            }
        }
        params
    }
}

/// The thief: what he found in the state directory, and what he makes of it.
struct Thief {
    intermediate: CertificateDer<'static>,
    key_pem: String,
}

impl Thief {
    /// Takes the key on disk and the certificate that it belongs to.
    fn of(state: &Path) -> Self {
        let mut texts = Vec::new();
        while !read_all(state, &mut texts) {
            texts.clear();
        }
        let keys: Vec<&String> = texts.iter().filter(|t| t.contains("PRIVATE KEY")).collect();
        let [key_pem] = keys[..] else { panic!("one private key on disk, not {}", keys.len()) };
        let public = KeyPair::from_pem(key_pem).unwrap();
        let certificates = texts.iter().flat_map(|text| {
            CertificateDer::pem_slice_iter(text.as_bytes())
                .filter_map(Result::ok)
                .collect::<Vec<_>>()
        });
        let intermediate = certificates
            .into_iter()
            .find(|der| {
                let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
                parsed.public_key().subject_public_key.data.as_ref() == public.public_key_raw()
            })
            .expect("the certificate of the key on disk");
        let (_, parsed) = x509_parser::parse_x509_certificate(&intermediate).unwrap();
        assert_ne!(parsed.issuer(), parsed.subject(), "the key on disk is not the root's");
        Self { intermediate: intermediate.clone().into_owned(), key_pem: key_pem.clone() }
    }

    /// A leaf for anything, with the real chain above it.
    fn sign(&self, forged: Forged) -> Identity {
        let key = KeyPair::from_pem(&self.key_pem).unwrap();
        let issuer = Issuer::from_ca_cert_der(&self.intermediate, key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = forged.params().signed_by(&key, &issuer).unwrap();
        Identity { chain: vec![leaf.der().clone(), self.intermediate.clone()], key }
    }
}

/// Every file below `dir`, as text; false when one vanished meanwhile.
fn read_all(dir: &Path, texts: &mut Vec<String>) -> bool {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && !read_all(&entry.path(), texts) => return false,
            kind if kind.is_file() => {
                let bytes = match std::fs::read(entry.path()) {
                    // The daemon renamed what it had written: the whole folder is read again.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return false,
                    bytes => bytes.unwrap(),
                };
                texts.push(String::from_utf8_lossy(&bytes).into());
            }
            _ => {}
        }
    }
    true
}

/// The thief's server, and a proxy of his own that leads every name to it.
struct Trap {
    server: Api,
    proxy: SocketAddr,
    _proxy: Background,
}

impl Trap {
    async fn with(identity: &Identity) -> Self {
        let server = Api::tls(identity).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let target = server.addr();
        let task = accept_loop(listener, move |stream| async move {
            let mut client = Reader::new(stream);
            let Some(_connect) = client.head().await else { return };
            let Ok(mut upstream) = TcpStream::connect(target).await else { return };
            let ok = b"HTTP/1.1 200 OK\r\n\r\n";
            if tokio::io::AsyncWriteExt::write_all(&mut client.stream, ok).await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut client.stream, &mut upstream).await;
            }
        });
        Self { server, proxy, _proxy: task }
    }

    /// A shell prefix that replaces the proxy in `run`'s environment and nothing else.
    fn lure(&self) -> String {
        let (ip, port) = (self.proxy.ip(), self.proxy.port());
        let url = format!("http://{}", self.proxy);
        format!(
            "export HTTPS_PROXY={url} https_proxy={url} ALL_PROXY={url} all_proxy={url} \
             JAVA_MORE='-Dhttps.proxyHost={ip} -Dhttps.proxyPort={port}'; \
             unset NO_PROXY no_proxy; "
        )
    }
}

/// What the clients say when a chain fails; any other failure would be no refusal.
const REFUSALS: [&str; 7] = [
    "certificate verify failed",       // Python
    "excluded by constraint",          // Go, an address
    "legacy Common Name",              // Go
    "not permitted by any constraint", // Go, a name
    "not trusted",                     // GnuTLS
    "PKIX path validation failed",     // Java
    "subtree violation",               // OpenSSL: curl, Node
];

/// Every HTTP client against one forgery: the end of each.
async fn visit(scene: &Scene, thief: &Thief, forged: Forged, tool: Tool) -> (Output, usize) {
    let trap = Trap::with(&thief.sign(forged)).await;
    let url = match forged {
        // No client asks a proxy for loopback: straight to the server.
        Forged::Ip(ip) => format!("https://{ip}:{}/", trap.server.addr().port()),
        _ => format!("https://{}/", forged.host()),
    };
    let line = trap.lure() + &tool.line(&url, &scene.home());
    let (output, _) = scene.run(&line).await;
    let requests = trap.server.requests().len();
    (output, requests)
}

async fn refuses_a_forged_leaf(tool: Tool) {
    let scene = Scene::set().await;
    tool.prepare(&scene.home()).await;
    let thief = Thief::of(scene.state());

    let inside = Forged::Dns("deep.api.orders.example");
    let (output, requests) = visit(&scene, &thief, inside, tool).await;
    assert_eq!(output.code(), Some(0), "{tool:?}, control: {}", output.all());
    assert_eq!(requests, 1, "{tool:?}, control");

    for forged in [
        Forged::Dns("bank.example"),
        Forged::Dns("orders.example"),
        Forged::CommonName("bank.example"),
        Forged::Ip("127.0.0.1"),
    ] {
        let (output, requests) = visit(&scene, &thief, forged, tool).await;
        assert_eq!(requests, 0, "{tool:?} believed {forged:?}: {}", output.all());
        assert_ne!(output.code(), Some(0), "{tool:?}, {forged:?}: {}", output.all());
        let why = output.all();
        assert!(REFUSALS.iter().any(|r| why.contains(r)), "{tool:?}, {forged:?}: {why}");
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn curl_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Curl).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn gnutls_wget_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Wget).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_requests_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Requests).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_httpx_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Httpx).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_urllib_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Urllib).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn node_24_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Fetch).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn go_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Go).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn java_refuses_a_forged_leaf() {
    refuses_a_forged_leaf(Tool::Java).await;
}

/// Runs `openssl s_client` with our CA alone, and whatever `more` says of the way.
async fn openssl(ca: &Path, host: &str, more: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-verify_return_error", "-verify", "8", "-brief"])
        .args([
            "-verify_hostname",
            host,
            "-servername",
            host,
            "-no-CApath",
            "-no-CAstore",
            "-CAfile",
        ])
        .arg(ca)
        .args(more)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    finish(&mut command, b"").await
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn openssl_accepts_our_leaf_and_refuses_a_forged_one() {
    let scene = Scene::set().await;
    let ca = root_file(&scene).await;
    let thief = Thief::of(scene.state());
    let proxy = scene.valetkey.proxy_addr().to_string();
    let host = format!("{ORDERS}:443");
    let ours = openssl(&ca, ORDERS, &["-proxy", &proxy, "-connect", &host]).await;
    assert_eq!(ours.code(), Some(0), "{}", ours.all());
    assert!(ours.all().contains("Verification: OK"), "{}", ours.all());
    assert!(ours.all().contains(&format!("Verified peername: {ORDERS}")), "{}", ours.all());

    for (forged, good) in matrix() {
        let trap = Trap::with(&thief.sign(forged)).await;
        let addr = trap.server.addr().to_string();
        let output = openssl(&ca, forged.host(), &["-connect", &addr]).await;
        let all = output.all();
        assert_eq!(output.code() == Some(0), good, "{forged:?}: {all}");
        assert_eq!(all.contains("permitted subtree violation"), !good, "{forged:?}: {all}");
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn gnutls_cli_refuses_a_forged_leaf() {
    let scene = Scene::set().await;
    let ca = root_file(&scene).await;
    let thief = Thief::of(scene.state());
    for (forged, good) in matrix() {
        let trap = Trap::with(&thief.sign(forged)).await;
        let mut command = Command::new("gnutls-cli");
        command
            .args([
                "--sni-hostname",
                forged.host(),
                "--verify-hostname",
                forged.host(),
                "--x509cafile",
            ])
            .arg(&ca)
            .args(["--port", &trap.server.addr().port().to_string(), "127.0.0.1"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        let output = finish(&mut command, b"").await;
        let all = output.all();
        assert_eq!(all.contains("The certificate is trusted"), good, "{forged:?}: {all}");
        assert_eq!(all.contains("NOT trusted"), !good, "{forged:?}: {all}");
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn rustls_accepts_our_leaf_and_refuses_a_forged_one() {
    let scene = Scene::set().await;
    let pem = scene.valetkey.ca_pem().await;
    let thief = Thief::of(scene.state());
    let (answer, reader) = connect(scene.valetkey.proxy_addr(), &format!("{ORDERS}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    tls(reader.stream, ORDERS, tls_config(Trust::Roots(&root_of(&pem)), &["h2"])).await.unwrap();

    for (forged, good) in matrix() {
        let trap = Trap::with(&thief.sign(forged)).await;
        let stream = TcpStream::connect(trap.server.addr()).await.unwrap();
        let config = tls_config(Trust::Roots(&root_of(&pem)), &["h2"]);
        match tls(stream, forged.host(), config).await {
            Ok(_) => assert!(good, "rustls believed {forged:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!good, "{forged:?}: {error}");
                assert!(
                    error.contains("NameConstraint") || error.contains("NotValidForName"),
                    "{error}"
                );
            }
        }
    }
}

/// Forgeries, and whether a client may believe them.
fn matrix() -> [(Forged, bool); 3] {
    [
        (Forged::Dns(ORDERS), true),
        (Forged::Dns("bank.example"), false),
        (Forged::Dns("orders.example"), false),
    ]
}

/// The root alone, in a file: what a person would import.
async fn root_file(scene: &Scene) -> std::path::PathBuf {
    let path = scene.valetkey.home.path("root.pem");
    std::fs::write(&path, root_of(&scene.valetkey.ca_pem().await)).unwrap();
    path
}

/// The first self-signed certificate of a PEM text.
fn root_of(pem: &str) -> String {
    let end = "-----END CERTIFICATE-----\n";
    let root = pem.split_inclusive(end).find(|text| {
        let Ok(der) = CertificateDer::from_pem_slice(text.as_bytes()) else { return false };
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        parsed.issuer() == parsed.subject()
    });
    root.expect("a root in the output of `ca show --pem`").to_owned()
}
