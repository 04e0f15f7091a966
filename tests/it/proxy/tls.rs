//! TLS on both legs: 1.2 and 1.3 and nothing weak, post-quantum key exchange first, no certificate and no early
//! data of ours, and no token to an upstream whose handshake or certificate is not beyond doubt.

use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use rcgen::{CertificateParams, CustomExtension, DnType, SanType};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncWriteExt;

use crate::harness::api::Api;
use crate::harness::client::{
    Trust, alert, connect, connect_with, exchange, tls, tls_config, tls_config_by,
};
use crate::harness::hello::{
    EARLY_DATA, Hello, PRE_SHARED_KEY, Reply, SECP256R1, TLS12, TLS13, X25519, X25519MLKEM768,
    server_hello,
};
use crate::harness::http1::Reader;
use crate::harness::pki::{Identity, Pki, provider};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage, own_answer};
use crate::harness::tap::{Tap, Way};

/// ECDHE with an AEAD, which is all of TLS 1.2 that is left (RFC 9325); the certificate is ECDSA's.
const STRONG12: [u16; 3] = [0xc02b, 0xc02c, 0xcca9];
/// The same with RSA, which an upstream may have.
const STRONG12_RSA: [u16; 3] = [0xc02f, 0xc030, 0xcca8];
const STRONG13: [u16; 3] = [0x1301, 0x1302, 0x1303];
/// Says that renegotiation is safe (RFC 5746); no suite.
const SIGNAL: u16 = 0x00ff;

/// Every other suite that has a number, and those that have none.
fn weak() -> Vec<u16> {
    let ranges =
        [0x0000..0x0200u16, 0x1304..0x1320, 0xc000..0xc200, 0xcc00..0xcd00, 0xd000..0xd010];
    let fine =
        |suite: &u16| STRONG12.contains(suite) || STRONG12_RSA.contains(suite) || *suite == SIGNAL;
    ranges.into_iter().flatten().filter(|suite| !fine(suite)).collect()
}

/// What our leg says to a ClientHello in a tunnel.
async fn says(stage: &Stage, hello: &Hello) -> Reply {
    let (answer, mut reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    reader.stream.write_all(&hello.bytes()).await.unwrap();
    let reply = async {
        let mut bytes = reader.exactly(5).await.unwrap_or_default();
        if let [_, _, _, high, low] = bytes[..] {
            let length = u16::from_be_bytes([high, low]);
            bytes.extend(reader.exactly(length.into()).await.unwrap_or_default());
        }
        Reply::parse(&bytes)
    };
    soon("an answer to a ClientHello", reply).await
}

#[tokio::test]
async fn clients_get_1_2_and_1_3_and_nothing_weak() {
    let stage = Stage::valetkey().await;
    for suite in STRONG12 {
        let reply = says(&stage, &Hello::tls12(ORDERS, &[suite])).await;
        assert_eq!(reply, Reply::Hello(TLS12, suite), "{suite:04x}");
    }
    for suite in STRONG13 {
        let reply = says(&stage, &Hello::tls13(ORDERS, &[suite])).await;
        assert_eq!(reply, Reply::Hello(TLS13, suite), "{suite:04x}");
    }
    let all = [&STRONG13[..], &STRONG12, &STRONG12_RSA, &weak()].concat();
    let mut refused = Vec::new();
    for version in [0x0002, 0x0300, 0x0301, 0x0302] {
        let hello = Hello::tls12(ORDERS, &all);
        refused.push((format!("version {version:04x}"), Hello { version, ..hello.clone() }));
        refused.push((format!("version {version:04x} alone"), hello.speaking(&[version])));
    }
    refused.push(("weak suites".into(), Hello::tls12(ORDERS, &weak())));
    refused.push(("suites of RSA".into(), Hello::tls12(ORDERS, &STRONG12_RSA)));
    refused.push(("weak suites of 1.3".into(), Hello::tls13(ORDERS, &weak())));
    // secp160k1 to secp224r1, the binary curves, brainpool, finite fields.
    let groups: Vec<u16> = (1..=22).chain(26..=28).chain(256..=260).collect();
    refused.push(("weak groups".into(), Hello::tls12(ORDERS, &STRONG12).in_groups(&groups)));
    refused.push(("weak groups of 1.3".into(), Hello::tls13(ORDERS, &STRONG13).in_groups(&groups)));
    // MD5, SHA-1, SHA-224, DSA.
    let schemes = [0x0101, 0x0201, 0x0202, 0x0203, 0x0301, 0x0303, 0x0402];
    refused.push(("weak signatures".into(), Hello::tls12(ORDERS, &STRONG12).signed_by(&schemes)));
    let packed = Hello { compressions: vec![1], ..Hello::tls12(ORDERS, &STRONG12) };
    refused.push(("compression".into(), packed));
    for (name, hello) in &refused {
        let reply = says(&stage, hello).await;
        assert!(matches!(reply, Reply::Alert(_)), "{name}: {reply:04x?}");
    }
    // Beside something strong the weak is passed over.
    let Reply::Hello(TLS13, suite) = says(&stage, &Hello::tls13(ORDERS, &all)).await else {
        panic!("1.3 from all suites");
    };
    assert!(STRONG13.contains(&suite));
    assert_eq!(stage.orders.connections(), 0);
    stage.control().await.unwrap();
    println!("sent: {} weak ClientHellos, {} weak suites among them", refused.len(), weak().len());
}

/// A provider of these groups alone.
fn in_group(group: &'static dyn rustls::crypto::SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![group], ..(*provider()).clone() })
}

#[tokio::test]
async fn post_quantum_key_exchange_on_both_legs() {
    let pki = Pki::new();
    let identity = pki.server(&["pq.example"]);
    let both = identity.server_config(&["http/1.1"]);
    let pq = with(in_group(kx_group::X25519MLKEM768), &identity);
    let classic = with(in_group(kx_group::X25519), &identity);
    for (config, group) in [(both, X25519MLKEM768), (pq, X25519MLKEM768), (classic, X25519)] {
        let tap = Tap::start(Way::Tls(config)).await;
        let stage = Stage::valetkey_with(|v| {
            v.trusting(&pki)
                .reaching("pq.example:443", tap.addr())
                .route("name = \"pq\"\nhost = \"pq.example\"\ncredential = \"orders\"")
        })
        .await;
        let answer = stage.get("pq.example", "/", "").await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let seen = tap.finished().remove(0);
        assert_eq!(seen.group, Some(group), "to the upstream");
        // It comes first and at once, without another round trip.
        assert_eq!(seen.hello.groups()[0], X25519MLKEM768);
        assert!(seen.hello.shares().contains(&X25519MLKEM768), "{:04x?}", seen.hello.shares());
        assert_eq!(tap.hellos().len(), 1);
    }
    let stage = Stage::valetkey().await;
    for (provider, group) in [
        (provider(), X25519MLKEM768),
        (in_group(kx_group::X25519MLKEM768), X25519MLKEM768),
        (in_group(kx_group::X25519), X25519),
        (in_group(kx_group::SECP256R1), SECP256R1),
    ] {
        let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
        let config = tls_config_by(provider, stage.trust(), &["http/1.1"]);
        let stream = tls(reader.stream, ORDERS, config).await.unwrap();
        let negotiated = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(u16::from(negotiated), group, "from the client");
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        let answer = exchange(&mut Reader::new(stream), request.as_bytes()).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    stage.control().await.unwrap();
}

fn with(provider: Arc<CryptoProvider>, identity: &Identity) -> Arc<rustls::ServerConfig> {
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&identity.server_config(&[]).cert_resolver));
    Arc::new(config)
}

/// A stage whose `host` is this upstream.
async fn towards(host: &str, addr: std::net::SocketAddr, root: &str) -> Stage {
    Stage::valetkey_with(|v| {
        v.file("tap.pem", root)
            .also_trusting("tap.pem")
            .file("one.key", "first-session-secret-0123456789abcdef\n")
            .toml("[[sessions]]\nname = \"one\"\nsecret = { file = \"one.key\" }")
            .reaching(&format!("{host}:443"), addr)
            .route(&format!("name = \"tap\"\nhost = \"{host}\"\ncredential = \"orders\""))
    })
    .await
}

/// Whoever answers by an old version or a weak suite gets an alert for it, and we have not offered it.
#[tokio::test]
async fn upstreams_are_offered_nothing_weak() {
    let host = "weak.example";
    let mut answers = vec![];
    for version in [0x0300, 0x0301, 0x0302] {
        answers.push((version, 0xc02f));
    }
    // NULL, RC4, 3DES, static RSA, export DH (Logjam), CBC, anonymous, and one of another version.
    for suite in [0x0002, 0x0005, 0x000a, 0x002f, 0x0014, 0xc013, 0xc018, 0x0034, 0x1301, 0x5600] {
        answers.push((TLS12, suite));
    }
    for (version, suite) in &answers {
        let tap = Tap::start(Way::Raw(server_hello(*version, *suite))).await;
        let stage = towards(host, tap.addr(), Pki::new().pem()).await;
        let answer = stage.get(host, "/", "").await.unwrap();
        let what = format!("{version:04x} {suite:04x}");
        own_answer(&answer, &[502], &["upstream-tls-invalid"])
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        for hello in tap.hellos() {
            assert_eq!(hello.versions(), [TLS13, TLS12], "{what}");
            let offered = [&STRONG13[..], &STRONG12, &STRONG12_RSA, &[SIGNAL]].concat();
            assert!(hello.suites.iter().all(|suite| offered.contains(suite)), "{hello:04x?}");
            assert!(hello.schemes().iter().all(|scheme| scheme & 0xff00 != 0x0200), "no SHA-1");
            assert_eq!(hello.compressions, [0]);
            assert!(!hello.has(EARLY_DATA));
        }
        stage.control().await.unwrap();
    }
    println!("sent: {} ServerHellos of old versions and weak suites", answers.len());
}

/// What a certificate that is asked for is answered with, over many handshakes of two clients.
#[tokio::test]
async fn no_client_certificate_no_early_data_no_foreign_session() {
    let (host, pki) = ("tap.example", Pki::new());
    let identity = pki.server(&[host]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.chain[1].clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
    let asks = verifier.clone().allow_unauthenticated().build().unwrap();
    let insists = verifier.build().unwrap();
    for (asks, welcome) in [(asks, true), (insists, false)] {
        let plain = (*identity.server_config(&["http/1.1"])).clone();
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(asks)
            .with_cert_resolver(Arc::clone(&plain.cert_resolver));
        config.max_early_data_size = 16 * 1024;
        let tap = Tap::start(Way::Tls(Arc::new(config))).await;
        let stage = towards(host, tap.addr(), pki.pem()).await;
        if !welcome {
            let answer = stage.get(host, "/", "").await.unwrap();
            assert_eq!(answer.status(), 502, "{}", answer.everything());
            stage.silent("the refusal", &answer.everything()).unwrap();
            assert!(tap.finished().is_empty());
            stage.control().await.unwrap();
            continue;
        }
        // More than there are workers, each with sessions of its own: some resume.
        let workers = std::thread::available_parallelism().unwrap().get();
        for n in 0..4 * workers {
            let answer = stage.get(host, &format!("/{n}"), "").await.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.everything());
        }
        let login = "one:first-session-secret-0123456789abcdef";
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        let lines = format!("Proxy-Authorization: Basic {login}\r\n");
        let (_, reader) = connect_with(stage.proxy_addr(), &format!("{host}:443"), &lines).await;
        let config = tls_config(stage.trust(), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, host, config).await.unwrap());
        let request = format!("GET /one HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = exchange(&mut tunnel, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());

        let mut seen = tap.finished();
        assert!(seen.iter().all(|one| !one.certified && !one.hello.has(EARLY_DATA)));
        let other = seen.pop().unwrap();
        assert!(other.request.first_line.starts_with("GET /one "), "{other:?}");
        assert!(seen.iter().any(|one| one.resumed), "the first client resumes its own");
        assert!(
            !other.resumed && !other.hello.has(PRE_SHARED_KEY),
            "the second has none to resume"
        );
    }
}

type Change = fn(&mut CertificateParams, &str);

fn names(params: &mut CertificateParams, names: &[&str]) {
    let name = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
    params.subject_alt_names = names.iter().map(name).collect();
}

/// Names that are almost right, and what else a certificate must not have.
const FLAWS: &[(&str, Change)] = &[
    ("NUL behind the host", |p, h| names(p, &[&format!("{h}\0.evil.example")])),
    ("NUL before the host", |p, h| names(p, &[&format!("evil.example\0{h}")])),
    ("space behind the host", |p, h| names(p, &[&format!("{h} ")])),
    ("a name below", |p, h| names(p, &[&format!("www.{h}")])),
    ("the name above", |p, h| names(p, &[h.split_once('.').unwrap().1])),
    ("a dot before", |p, h| names(p, &[&format!(".{h}")])),
    ("a longer label", |p, h| names(p, &[&format!("x{h}")])),
    ("the host as a prefix", |p, h| names(p, &[&format!("{h}.evil.example")])),
    ("a star in a label", |p, h| names(p, &[&format!("{}*.flawed.example", &h[..1])])),
    ("a star behind", |p, _| names(p, &["san.flawed.*"])),
    ("two stars", |p, _| names(p, &["*.*.example"])),
    ("a star for two labels", |p, _| names(p, &["*.example"])),
    ("a star alone", |p, _| names(p, &["*"])),
    ("an address of mail", |p, h| {
        p.subject_alt_names = vec![SanType::Rfc822Name(h.try_into().unwrap())];
    }),
    ("mail at the host", |p, h| {
        p.subject_alt_names = vec![SanType::Rfc822Name(format!("x@{h}").try_into().unwrap())];
    }),
    ("a URI", |p, h| {
        p.subject_alt_names = vec![SanType::URI(format!("https://{h}/").try_into().unwrap())];
    }),
    ("another name, and the host as common name", |p, h| {
        names(p, &["other.example"]);
        p.distinguished_name.push(DnType::CommonName, h);
    }),
    ("an unknown critical extension", |p, _| {
        let mut unknown =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
        unknown.set_criticality(true);
        p.custom_extensions.push(unknown);
    }),
    ("a CA as a server", |p, _| {
        p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }),
];

#[tokio::test]
async fn certificates_that_are_almost_right_get_nothing() {
    let host = "san.flawed.example";
    let pki = Pki::new();
    let mut upstreams = Vec::new();
    for (name, change) in FLAWS {
        upstreams.push((*name, pki.server_with(host, |params| change(params, host))));
    }
    let below = pki.server(&["leaf.example"]).signs(host);
    upstreams.push(("signed by a leaf", below));
    let mut alone = pki.server(&[host]);
    alone.chain.truncate(1);
    upstreams.push(("without its intermediate", alone));
    let good: [(&str, Change); 2] = [
        ("in capitals", |p, h| names(p, &[&h.to_uppercase()])),
        ("a star for its label", |p, _| names(p, &["*.flawed.example"])),
    ];
    for (name, change) in good {
        upstreams.push((name, pki.server_with(host, |params| change(params, host))));
    }
    for (at, (name, identity)) in upstreams.iter().enumerate() {
        let api = Api::tls(identity).await;
        let stage = towards(host, api.addr(), pki.pem()).await;
        let answer = stage.get(host, "/", "").await.unwrap();
        if at >= upstreams.len() - good.len() {
            assert_eq!(answer.status(), 200, "{name}: {}", answer.everything());
            continue;
        }
        own_answer(&answer, &[502], &["upstream-tls-invalid"])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(api.requests().is_empty(), "{name} got a request");
        stage.control().await.unwrap();
    }
    println!("sent: {} certificates that are almost right", upstreams.len() - good.len());
}

/// Signed by SHA-1, or with a key that is too short: made by openssl, for our libraries cannot.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn sha_1_and_short_keys_get_nothing() {
    let host = "sha1.example";
    let cases = [("-sha1", "2048", false), ("-sha256", "1024", false), ("-sha256", "2048", true)];
    for (digest, bits, good) in cases {
        let dir = tempfile::tempdir().unwrap();
        let make = format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -sha256 -days 2 \
               -subj '/CN=A root' -addext 'keyUsage=critical,keyCertSign'
             openssl req -new -newkey rsa:{bits} -nodes -keyout key.pem -out leaf.csr -subj '/CN={host}'
             printf 'subjectAltName=DNS:{host}\\nextendedKeyUsage=serverAuth\\n' >ext
             openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem \
               {digest} -days 1 -extfile ext"
        );
        let mut shell = tokio::process::Command::new("sh");
        let done = shell.args(["-ec", &make]).current_dir(dir.path()).output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // By openssl too: rustls would not even serve such a key.
        let mut server = tokio::process::Command::new("openssl");
        server.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "leaf.pem", "-key", "key.pem"]);
        server.args(["-cipher", "DEFAULT:@SECLEVEL=0", "-www", "-naccept", "4"]);
        server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.current_dir(dir.path()).kill_on_drop(true).spawn().unwrap();
        let mut said = Reader::new(server.stdout.take().unwrap());
        soon("openssl's address", said.until(b"ACCEPT ")).await.unwrap();
        let addr = soon("openssl's address", said.until(b"\n")).await.unwrap();
        let addr = String::from_utf8_lossy(&addr).trim().parse().unwrap();
        let root = std::fs::read_to_string(dir.path().join("ca.pem")).unwrap();
        let stage = towards(host, addr, &root).await;
        let answer = stage.get(host, "/", "").await.unwrap();
        if good {
            assert_eq!(answer.status(), 200, "{}", answer.everything());
        } else {
            own_answer(&answer, &[502], &["upstream-tls-invalid"])
                .unwrap_or_else(|error| panic!("{digest} {bits}: {error}"));
        }
        stage.control().await.unwrap();
        let _ = server.kill().await;
    }
}

/// The tunnel's own certificate is for nobody but this machine's clients: unknown names get an alert.
#[tokio::test]
async fn another_name_in_the_handshake_is_an_alert() {
    let stage = Stage::valetkey().await;
    let variants = [
        "evil.example",
        "api.billing.example",
        "orders.example",
        "www.api.orders.example",
        "xapi.orders.example",
        "api.orders.example.evil.example",
        "api-orders.example",
    ];
    for name in variants {
        for alpn in ["h2", "http/1.1"] {
            let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
            let config = tls_config(Trust::Anyone(Arc::default()), &[alpn]);
            let error = tls(reader.stream, name, config).await.expect_err(name);
            let alert = alert(&error);
            assert_eq!(alert, Some(rustls::AlertDescription::UnrecognisedName), "{name}: {error}");
        }
    }
    assert_eq!(stage.orders.connections() + stage.evil.connections(), 0);
    stage.audited("sni-mismatch", 2 * variants.len()).await;
    stage.control().await.unwrap();
    println!("sent: {} handshakes with another name", 2 * variants.len());
}
