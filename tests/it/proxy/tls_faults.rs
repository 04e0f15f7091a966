//! Why a handshake with an upstream failed is told apart, and a certificate that the config names itself is taken
//! for its own names and nothing else.

use std::process::Command;

use tokio::net::TcpListener;

use crate::harness::accept_loop;
use crate::harness::api::Api;
use crate::harness::hello::server_hello;
use crate::harness::pki::{Identity, Pki};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage, own_answer};
use crate::harness::tap::{Tap, Way};

/// A stage whose `host` is this upstream, with these roots.
async fn towards(host: &str, addr: std::net::SocketAddr, roots: &str) -> Stage {
    Stage::valetkey_with(|v| {
        v.file("roots.pem", roots)
            .also_trusting("roots.pem")
            .reaching(&format!("{host}:443"), addr)
            .route(&format!("name = \"fault\"\nhost = \"{host}\"\ncredential = \"orders\""))
    })
    .await
}

/// The detail and the hint of the refusal.
async fn refused(host: &str, addr: std::net::SocketAddr, roots: &str) -> (String, String) {
    let stage = towards(host, addr, roots).await;
    let answer = stage.get(host, "/", "").await.unwrap();
    own_answer(&answer, &[502], &["upstream-tls-invalid"]).unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (text("detail"), text("hint"))
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let host = "flawed.example";
    for (flaw, detail, hint) in [
        ("expired", "has expired", "clock"),
        ("not-yet-valid", "not valid yet", "clock"),
        ("wrong-host", "for other names", "name"),
        ("cn-only", "for other names", "name"),
        ("client-auth-only", "not one for servers", "serverAuth"),
        ("untrusted-root", "issuer that is not trusted", "extra_roots"),
    ] {
        let (identity, root) = Pki::flawed(host, flaw);
        let api = Api::tls(&identity).await;
        let (said, next) = refused(host, api.addr(), &root).await;
        assert!(said.contains(detail) && next.contains(hint), "{flaw}: {said}; {next}");
    }
}

/// A pipe that nobody writes, as a file system that hangs: no request waits for long, every off-switch works, and as soon
/// as the file ends all is well.
#[tokio::test]
async fn roots_that_never_end_hold_up_no_off_switch() {
    for off in ["stop", "signal"] {
        let mut stage = Stage::valetkey_with(|v| {
            let pipe = v.home().join("roots.pipe");
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            v.env("SSL_CERT_FILE", pipe.to_str().unwrap())
        })
        .await;
        // More than there are workers.
        let ask = || stage.get(ORDERS, "/v1/x", "");
        let (first, second, third, fourth) = tokio::join!(ask(), ask(), ask(), ask());
        for answer in [first, second, third, fourth] {
            own_answer(&answer.unwrap(), &[503], &["roots-unread"]).unwrap();
        }
        let running = stage.running().unwrap();
        let said = running.says("cannot be read to their end").await.unwrap();
        assert!(said.contains("SSL_CERT_FILE=") && said.contains("roots.pipe"), "{said}");
        let home = running.home();
        assert_eq!(home.run(&["status"]).await.code, Some(0));
        assert_eq!(home.run(&["revoke", "--all"]).await.code, Some(0));
        assert_eq!(home.run(&["revoke", "--all", "--undo"]).await.code, Some(0));
        if off == "stop" {
            assert_eq!(home.run(&["stop"]).await.code, Some(0));
        } else {
            tokio::fs::write(home.path("roots.pipe"), "").await.unwrap();
            soon("a request to pass", async { while stage.control().await.is_err() {} }).await;
            stage.running().unwrap().sigterm();
        }
        assert_eq!(stage.running_mut().ended().await, Some(0), "{off}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said() {
    const TLS11: u16 = 0x0302;
    const TLS12: u16 = 0x0303;
    let alert = |description: u8| vec![21, 3, 3, 0, 2, 2, description];
    for (answer, detail) in [
        (server_hello(TLS11, 0xc02f), "no TLS 1.2 or 1.3"),
        (alert(70), "no TLS 1.2 or 1.3"),
        (server_hello(TLS12, 0x000a), "no cipher suite in common"),
        (alert(40), "no cipher suite in common"),
        (alert(112), "does not know itself by the name"),
        (alert(116), "asks for a certificate of the client"),
        (alert(80), "by an alert"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not speak TLS"),
    ] {
        let tap = Tap::start(Way::Raw(answer)).await;
        let (said, _) = refused("fault.example", tap.addr(), Pki::new().pem()).await;
        assert!(said.contains(detail), "{detail}: {said}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _closing = accept_loop(listener, |mut stream| async move {
        // After the ClientHello: otherwise it would be a reset, which the network may do.
        let mut hello = [0; 4096];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut hello).await;
    });
    let (said, _) = refused("fault.example", addr, Pki::new().pem()).await;
    assert!(said.contains("closed it in the TLS handshake"), "{said}");
}

/// As `openssl req -x509` makes it: a CA that vouches for itself, given out as a root.
fn made_by_openssl(
    names: &[&str],
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> (Identity, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (Identity { chain: vec![certificate.der().clone()], key }, certificate.pem())
}

#[tokio::test]
async fn a_certificate_that_is_named_itself_is_taken_for_its_own_names() {
    let host = "appliance.example";
    let (identity, pem) = made_by_openssl(&[host], |_| {});
    let api = Api::tls(&identity).await;
    let stage = towards(host, api.addr(), &pem).await;
    let answer = stage.get(host, "/", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    // For another name, after its end, for another purpose, or where another one is named: not.
    let (said, _) = refused("other.example", api.addr(), &pem).await;
    assert!(said.contains("for other names"), "{said}");
    let (said, hint) = refused(host, api.addr(), Pki::new().pem()).await;
    assert!(said.contains("vouches") && hint.contains("very certificate"), "{said}; {hint}");
    let (_, other) = made_by_openssl(&[host], |_| {});
    let (said, _) = refused(host, api.addr(), &other).await;
    assert!(said.contains("vouches"), "{said}");
    let (old, pem) = made_by_openssl(&[host], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let (said, _) = refused(host, Api::tls(&old).await.addr(), &pem).await;
    assert!(said.contains("has expired"), "{said}");
    let (client, pem) = made_by_openssl(&[host], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (said, _) = refused(host, Api::tls(&client).await.addr(), &pem).await;
    assert!(said.contains("not one for servers"), "{said}");
}
