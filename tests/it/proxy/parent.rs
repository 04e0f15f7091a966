//! The proxy above: who goes through it, what it gets to see, and what becomes of its refusals.

use base64::Engine as _;

use crate::harness::api::Api;
use crate::harness::client::{connect, dial, exchange};
use crate::harness::http1::Message;
use crate::harness::parent::{Manner, Parent};
use crate::harness::stage::{Stage, own_answer};
use crate::harness::valetkey::Valetkey;
use crate::harness::{canary, until};

/// A routed host that only the parent knows.
const FAR: &str = "far.example";

struct Scene {
    stage: Stage,
    parent: Parent,
    far: Api,
    password: String,
}

fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Valetkey below a parent that knows `far.example`; `more` gets the parent's URL.
async fn scene(manner: Option<Manner>, more: impl FnOnce(Valetkey, &str) -> Valetkey) -> Scene {
    let pki = crate::harness::pki::Pki::new();
    let far = Api::tls(&pki.server(&[FAR])).await;
    let password = canary("password");
    let manner = manner.unwrap_or_else(|| Manner::Honest(Some(basic("corp", &password))));
    let names = [("far.example:443", far.addr()), ("plain.example:80", far.addr())];
    let parent = Parent::start(manner, &names).await;
    let url = format!("http://{}", parent.addr());
    let (pem, word) = (pki.pem().to_owned(), password.clone());
    let stage = Stage::valetkey_with(|v| {
        let v = v.file("far.pem", &pem).also_trusting("far.pem").file("pw.secret", &word);
        let route = format!("name = \"far\"\nhost = \"{FAR}\"\ncredential = \"orders\"");
        more(v.route(&route), &url)
    })
    .await;
    Scene { stage, parent, far, password }
}

fn configured(v: Valetkey, url: &str) -> Valetkey {
    v.upstream(&format!(
        "parent = {{ url = \"{url}\", user = \"corp\", password = {{ file = \"pw.secret\" }} }}"
    ))
}

impl Scene {
    /// No byte of the password in any answer, log or record, nor anything that the parent said.
    fn silent(&self, answers: &[Message]) {
        let running = self.stage.running().unwrap();
        let mut texts: Vec<_> = answers.iter().map(Message::everything).collect();
        texts.push(running.output());
        texts.extend(running.audit().iter().map(ToString::to_string));
        let pid = running.pid().unwrap();
        texts.push(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
        let encoded = basic("corp", &self.password).replace("Basic ", "");
        for text in texts {
            for never in [&*self.password, &*encoded, "leaked-"] {
                assert!(!text.contains(never), "{never} in {text}");
            }
        }
        for api in [&self.far, &self.stage.orders, &self.stage.evil] {
            for seen in api.requests() {
                assert_eq!(seen.count(&self.password) + seen.count(&encoded), 0, "{seen:#?}");
                assert!(seen.all("proxy-authorization").is_empty(), "{seen:#?}");
            }
        }
    }
}

#[tokio::test]
async fn upstreams_are_reached_through_it_by_name() {
    let scene = scene(None, configured).await;
    let answer = scene.stage.get(FAR, "/v1/x", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let seen = scene.far.request(0).await;
    scene.stage.injected(&seen, &scene.stage.orders_issuer.token()).unwrap();
    // The issuer is on loopback and the pinned hosts are pinned: neither goes this way.
    scene.stage.control().await.unwrap();
    let asked = scene.parent.asked();
    assert_eq!(asked.len(), 1, "{asked:#?}");
    assert_eq!(asked[0].first_line, "CONNECT far.example:443 HTTP/1.1");
    assert_eq!(asked[0].all("host"), ["far.example:443"]);
    assert_eq!(asked[0].all("proxy-authorization"), [basic("corp", &scene.password)]);
    scene.silent(&[answer]);
}

/// A tunnel to an unrouted host, with what the host says first, and plain http.
#[tokio::test]
async fn tunnels_and_plain_http_go_through_it() {
    let scene = scene(None, configured).await;
    let (answer, _) = connect(scene.stage.proxy_addr(), "nowhere.example:443").await;
    own_answer(&answer, &[502], &["parent-refused"]).unwrap();
    let mut reader = dial(scene.stage.proxy_addr()).await;
    let request = b"GET http://plain.example/x HTTP/1.1\r\nHost: plain.example\r\n\r\n";
    // That fake speaks TLS, so the answer is a failure; what counts is the way.
    let plain = exchange(&mut reader, request).await.unwrap();
    let asked: Vec<_> = scene.parent.asked().iter().map(|m| m.first_line.clone()).collect();
    let wanted = ["CONNECT nowhere.example:443 HTTP/1.1", "CONNECT plain.example:80 HTTP/1.1"];
    assert_eq!(asked, wanted);
    scene.silent(&[answer, plain]);
}

#[tokio::test]
async fn what_it_says_becomes_a_class_and_nothing_more() {
    for (manner, status, code) in [
        (Manner::Honest(Some("Basic other".into())), 502, "parent-auth-failed"),
        (Manner::Says(b"HTTP/1.1 403 leaked-reason\r\n\r\n".into()), 502, "parent-refused"),
        (
            Manner::Says(b"HTTP/1.1 302 x\r\nLocation: http://leaked-\r\n\r\n".into()),
            502,
            "parent-refused",
        ),
        (Manner::Says(b"HTTP/1.1 101 leaked-\r\n\r\n".into()), 502, "parent-answer-invalid"),
        (Manner::Says(b"SSH-2.0-leaked-server\r\n".into()), 502, "parent-answer-invalid"),
        (
            Manner::Says([b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 20_000]].concat()),
            502,
            "parent-answer-invalid",
        ),
        (Manner::Says(b"HTTP/1.1 200 leaked-\r\nX-".into()), 502, "parent-unreachable"),
        (Manner::Says(Vec::new()), 502, "parent-unreachable"),
        (Manner::Stalls(b"HTTP/1.1 200 leaked-\r\n".into()), 504, "parent-timeout"),
    ] {
        let scene = scene(Some(manner), configured).await;
        let (answer, _) = connect(scene.stage.proxy_addr(), "other.example:443").await;
        own_answer(&answer, &[status], &[code]).unwrap();
        let inside = scene.stage.get(FAR, "/v1/x", "").await.unwrap();
        own_answer(&inside, &[status], &[code]).unwrap();
        assert!(scene.far.requests().is_empty());
        scene.silent(&[answer, inside]);
    }
}

/// Nothing that the guard refuses is asked of the parent.
#[tokio::test]
async fn the_guard_judges_before_it() {
    let scene = scene(None, configured).await;
    for host in ["127.0.0.1", "localhost", "169.254.169.254", "metadata.google.internal", "[::1]"] {
        let (answer, _) = connect(scene.stage.proxy_addr(), &format!("{host}:443")).await;
        own_answer(&answer, &[403], &["address-refused"]).unwrap();
    }
    assert!(scene.parent.asked().is_empty());
    scene.stage.control().await.unwrap();
}

#[tokio::test]
async fn no_proxy_goes_around_it() {
    let scene = scene(None, |v, url| {
        configured(v, url).upstream("no_proxy = [\"*.invalid\", \"192.0.2.0/24\"]")
    })
    .await;
    for (target, code) in
        [("a.invalid:443", "upstream-name-unresolved"), ("192.0.2.1:443", "address-refused")]
    {
        let (answer, _) = connect(scene.stage.proxy_addr(), target).await;
        own_answer(&answer, &[502, 403], &[code]).unwrap();
    }
    assert!(scene.parent.asked().is_empty());
}

/// Without `upstream.parent`, the environment of the daemon's start decides, and credentials in it are
/// decoded.
#[tokio::test]
async fn the_environment_names_it() {
    let login = basic("co rp", "p:w/x");
    let scene = scene(Some(Manner::Honest(Some(login.clone()))), |v, url| {
        let host = url.trim_start_matches("http://");
        v.env("HTTPS_PROXY", &format!("http://co%20rp:p%3Aw%2Fx@{host}"))
            .env("NO_PROXY", "x.invalid,.y.invalid")
    })
    .await;
    let answer = scene.stage.get(FAR, "/v1/x", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(scene.parent.asked()[0].all("proxy-authorization"), [login]);
    let (answer, _) = connect(scene.stage.proxy_addr(), "a.y.invalid:443").await;
    own_answer(&answer, &[502], &["upstream-name-unresolved"]).unwrap();
    assert_eq!(scene.parent.asked().len(), 1);
    assert!(!scene.stage.running().unwrap().output().contains("p%3Aw"));
    scene.silent(&[answer]);
}

/// Plain http does not go through what is named for https only.
#[tokio::test]
async fn each_scheme_has_its_own() {
    let scene = scene(None, |v, url| v.env("http_proxy", url)).await;
    let (answer, _) = connect(scene.stage.proxy_addr(), "a.invalid:443").await;
    own_answer(&answer, &[502], &["upstream-name-unresolved"]).unwrap();
    assert!(scene.parent.asked().is_empty());
    let mut reader = dial(scene.stage.proxy_addr()).await;
    let request = b"GET http://a.invalid/x HTTP/1.1\r\nHost: a.invalid\r\n\r\n";
    let answer = exchange(&mut reader, request).await.unwrap();
    own_answer(&answer, &[502], &["parent-auth-failed"]).unwrap();
}

#[tokio::test]
async fn our_own_address_is_no_parent() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    for url in [format!("http://127.0.0.1:{port}"), format!("http://LOCALHOST:{port}/")] {
        let stage = Stage::valetkey_with(|v| {
            v.proxy(&format!("listen = [\"127.0.0.1:{port}\"]")).env("HTTPS_PROXY", &url)
        })
        .await;
        assert!(stage.running().unwrap().says("points to Valetkey").await.is_some());
        stage.control().await.unwrap();
        let config = Valetkey::new()
            .proxy(&format!("listen = [\"127.0.0.1:{port}\"]"))
            .upstream(&format!("parent = {{ url = \"{url}\" }}"))
            .written();
        drop(stage);
        let done = config.run(&["serve"]).await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("parent-is-valetkey"), "{done:?}");
    }
    let session = "http://env-01jx:secret@127.0.0.1:9";
    let stage = Stage::valetkey_with(|v| v.env("https_proxy", session)).await;
    assert!(stage.running().unwrap().says("it points to Valetkey").await.is_some());
    assert!(!stage.running().unwrap().output().contains("env-01jx"));
}

#[tokio::test]
async fn tls_to_it_is_verified() {
    let pki = crate::harness::pki::Pki::new();
    let far = Api::tls(&pki.server(&[FAR])).await;
    let names = [("far.example:443", far.addr())];
    let identity = pki.server(&["proxy.example"]);
    let parent = Parent::tls(Manner::Honest(None), &names, &identity).await;
    for (name, code) in [("proxy.example", 200), ("wrong.example", 502)] {
        let (pem, addr) = (pki.pem().to_owned(), parent.addr());
        let stage = Stage::valetkey_with(|v| {
            let route = format!("name = \"far\"\nhost = \"{FAR}\"\ncredential = \"orders\"");
            v.file("far.pem", &pem)
                .also_trusting("far.pem")
                .reaching(&format!("{name}:3128"), addr)
                .upstream(&format!("parent = {{ url = \"https://{name}:3128\" }}"))
                .route(&route)
        })
        .await;
        let answer = stage.get(FAR, "/v1/x", "").await.unwrap();
        assert_eq!(answer.status(), code, "{}", answer.everything());
        if code == 502 {
            own_answer(&answer, &[502], &["parent-unreachable"]).unwrap();
        }
    }
    assert_eq!(parent.asked().len(), 1);
}

/// An issuer beyond the parent: its name goes there, its TLS is end to end.
#[tokio::test]
async fn issuers_are_reached_through_it() {
    let parent = Parent::start(Manner::Honest(None), &[]).await;
    let url = format!("http://{}", parent.addr());
    let stage = Stage::valetkey_with(|v| {
        v.upstream(&format!("parent = {{ url = \"{url}\" }}"))
            .credential_at("far", "https://idp.example/token", "")
            .reaching(&format!("{FAR}:443"), std::net::SocketAddr::from(([127, 0, 0, 1], 9)))
            .route(&format!("name = \"far\"\nhost = \"{FAR}\"\ncredential = \"far\""))
    })
    .await;
    let answer = stage.get(FAR, "/v1/x", "").await.unwrap();
    own_answer(&answer, &[502, 503], &["issuer-unreachable"]).unwrap();
    until("the CONNECT", || !parent.asked().is_empty()).await;
    assert_eq!(parent.asked()[0].first_line, "CONNECT idp.example:443 HTTP/1.1");
}
