//! `client-credentials` and `static-key` against a fake issuer on loopback that answers with the bytes it is given.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{ClientAuth, Endpoints, Oauth, SecretSource, StaticKey};
use crate::model::clock::Moment;
use crate::net::dial::Dialer;
use crate::net::guard::Guard;
use crate::net::roots::Roots;

struct HandClock(Mutex<Moment>);

impl HandClock {
    fn at_rest() -> Arc<Self> {
        let now = Moment { wall: SystemTime::now(), mono: Instant::now() };
        Arc::new(Self(Mutex::new(now)))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

/// A credential, what it would mint from, and what the issuer heard.
struct Trial {
    credential: Credential,
    clock: Arc<HandClock>,
    heard: Arc<Mutex<Vec<String>>>,
    _secret: tempfile::NamedTempFile,
}

impl Trial {
    /// `answer` is sent, whole, to everyone who asks.
    async fn against(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let (answer, heard) = (answer.into(), Arc::new(Mutex::new(Vec::new())));
        let ears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !complete(&asked) {
                    if stream.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                ears.lock().unwrap().push(String::from_utf8(asked).unwrap());
                let _ = stream.write_all(&answer).await;
            }
        });
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(b"s3cret &:\n").unwrap();
        let grant = Oauth {
            endpoints: Endpoints::Named { token: url.parse().unwrap(), revocation: None },
            client_id: Some("orders cli".into()),
            auth: ClientAuth::Basic(SecretSource::File(secret.path().to_owned())),
            scope: vec![],
            audience: vec![],
            resource: vec![],
            params: BTreeMap::new(),
            dpop: false,
        };
        let credential = Credential { grant: Grant::ClientCredentials(grant), ttl: None, line: 1 };
        Self { credential, clock: HandClock::at_rest(), heard, _secret: secret }
    }

    /// Answers 200 with this JSON.
    async fn json(body: &str) -> Self {
        Self::against(http("200 OK", "Content-Type: application/json\r\n", body)).await
    }

    fn scope(mut self, scope: &[&str]) -> Self {
        self.grant().scope = scope.iter().map(ToString::to_string).collect();
        self
    }

    fn grant(&mut self) -> &mut Oauth {
        match &mut self.credential.grant {
            Grant::ClientCredentials(grant) => grant,
            _ => unreachable!(),
        }
    }

    fn ttl(mut self, seconds: u64) -> Self {
        self.credential.ttl = Some(Duration::from_secs(seconds));
        self
    }

    async fn mint(&self) -> Result<Token, MintError> {
        let roots = Roots::load(&[], |_| false).unwrap();
        let dialer = Dialer::new(BTreeMap::new(), Guard::default());
        let client = Arc::new(Client::new(Arc::new(dialer), &roots));
        let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(&self.clock);
        let credential = CredentialName::new("orders");
        let nowhere = config::Logins {
            dir: "/nonexistent/logins".into(),
            protection: config::LoginProtection::KeyFile,
        };
        let logins = Arc::new(Logins::new(&nowhere));
        let minter = build(&credential, &self.credential, &client, &logins, &clock);
        minter
            .mint(MintRequest { credential, client: ClientKey::Anyone, ask: Arc::default() })
            .await
    }

    async fn code(&self) -> &'static str {
        let error = self.mint().await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("canary") && !said.contains("s3cret"), "{said}");
        error.code()
    }

    async fn life(&self) -> u64 {
        self.mint().await.unwrap().end().remaining(self.clock.now()).as_secs()
    }
}

/// Whether the request and the body it announces are all there.
fn complete(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

const GOOD: &str = r#"{"access_token":"canary","token_type":"Bearer","expires_in":3600}"#;

#[tokio::test]
async fn asks_with_basic_or_post() {
    let mut trial = Trial::json(GOOD).await.scope(&["orders:read", "x"]);
    let token = trial.mint().await.unwrap();
    assert!(token.value().matches(b"canary"));
    assert_eq!(token.scope(), Some("orders:read x"));
    assert!(!token.is_standing());
    let ClientAuth::Basic(secret) = trial.grant().auth.clone() else { unreachable!() };
    trial.grant().auth = ClientAuth::Post(secret);
    trial.mint().await.unwrap();
    let heard = trial.heard.lock().unwrap();
    // base64 of `orders+cli:s3cret+%26%3A`
    assert!(heard[0].contains("authorization: Basic b3JkZXJzK2NsaTpzM2NyZXQrJTI2JTNB\r\n"));
    assert!(heard[0].ends_with("\r\n\r\ngrant_type=client_credentials&scope=orders%3Aread+x"));
    assert!(!heard[1].contains("authorization"));
    assert!(heard[1].ends_with(
        "grant_type=client_credentials&scope=orders%3Aread+x&client_id=orders+cli&client_secret=s3cret+%26%3A"
    ));
}

#[tokio::test]
async fn lives_are_the_shorter_of_both() {
    let with =
        |expires: &str| format!(r#"{{"access_token":"canary","token_type":"bearer"{expires}}}"#);
    assert_eq!(Trial::json(GOOD).await.life().await, 3600);
    assert_eq!(Trial::json(GOOD).await.ttl(60).life().await, 60);
    assert_eq!(Trial::json(&with(r#","expires_in":5"#)).await.ttl(60).life().await, 5);
    assert_eq!(Trial::json(&with("")).await.life().await, 300);
    assert_eq!(Trial::json(&with("")).await.ttl(60).life().await, 60);
    let absurd = with(r#","expires_in":99999999999999"#);
    assert_eq!(Trial::json(&absurd).await.ttl(60).life().await, 60);
    assert_eq!(Trial::json(&absurd).await.life().await, 10 * 365 * 24 * 3600);
    for dead in [r#","expires_in":0"#, r#","expires_in":-1"#] {
        assert_eq!(Trial::json(&with(dead)).await.code().await, "issuer-expiry-invalid");
    }
}

#[tokio::test]
async fn rubbish_is_no_token() {
    let json = "Content-Type: application/json\r\n";
    let html = "Content-Type: text/html\r\n";
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(200_000));
    let huge = "x".repeat(10 << 20);
    for (answer, code) in [
        (http("200 OK", html, "<html>canary</html>"), "issuer-content-type-invalid"),
        (http("200 OK", html, GOOD), "issuer-content-type-invalid"),
        (http("200 OK", "", GOOD), "issuer-content-type-invalid"),
        (http("200 OK", &format!("{json}{json}"), GOOD), "issuer-content-type-invalid"),
        (
            http("200 OK", "Content-Type: application/json;charset=utf-16\r\n", GOOD),
            "issuer-content-type-invalid",
        ),
        (
            http("200 OK", &format!("{json}Content-Encoding: gzip\r\n"), GOOD),
            "issuer-content-type-invalid",
        ),
        (http("200 OK", json, ""), "issuer-json-invalid"),
        (http("200 OK", json, &GOOD[..20]), "issuer-json-invalid"),
        (http("200 OK", json, "{}"), "issuer-access-token-invalid"),
        (http("200 OK", json, &long), "issuer-answer-too-long"),
        (http("200 OK", json, &huge), "issuer-answer-too-long"),
        (http("200 OK", json, &format!("\u{feff}{GOOD}")), "issuer-json-invalid"),
        (http("302 Found", "Location: https://evil.example/\r\n", ""), "issuer-redirect"),
        (http("204 No Content", json, ""), "issuer-status-invalid"),
        (http("201 Created", json, GOOD), "issuer-status-invalid"),
        ("canary\r\n\r\n".into(), "issuer-unreachable"),
        (String::new(), "issuer-unreachable"),
    ] {
        let start: String = answer.chars().take(80).collect();
        assert_eq!(Trial::against(answer).await.code().await, code, "{start}");
    }
    let charset = http("200 OK", "Content-Type: Application/JSON; charset=\"UTF-8\"\r\n", GOOD);
    assert!(Trial::against(charset).await.mint().await.is_ok());
}

#[tokio::test]
async fn a_token_must_fit_its_slot() {
    let long = "x".repeat(8 * 1024 + 1);
    for value in ["a\\r\\nb", "a b", "a\\u0000", "", "\\u00e9", &long] {
        let body = format!(r#"{{"access_token":"{value}","token_type":"Bearer"}}"#);
        assert_eq!(Trial::json(&body).await.code().await, "issuer-access-token-invalid");
    }
    let twice = r#"{"access_token":"canary1","access_token":"canary2","token_type":"Bearer"}"#;
    assert_eq!(Trial::json(twice).await.code().await, "issuer-json-invalid");
    let dpop = r#"{"access_token":"canary","token_type":"DPoP"}"#;
    assert_eq!(Trial::json(dpop).await.code().await, "issuer-token-type-invalid");
}

#[tokio::test]
async fn scope_is_never_wider_than_asked() {
    let with = |scope: &str| {
        format!(r#"{{"access_token":"canary","token_type":"Bearer","scope":"{scope}"}}"#)
    };
    let trial = Trial::json(&with("a b c")).await.scope(&["a", "b"]);
    assert_eq!(trial.code().await, "issuer-scope-widened");
    let trial = Trial::json(&with("b")).await.scope(&["a", "b"]);
    assert_eq!(trial.mint().await.unwrap().scope(), Some("b"));
    let trial = Trial::json(&with("whatever")).await;
    assert_eq!(trial.mint().await.unwrap().scope(), Some("whatever"));
}

#[tokio::test]
async fn refusals_and_waits() {
    let json = "Content-Type: application/json\r\n";
    let refused = http("401 Unauthorized", json, r#"{"error":"invalid_client"}"#);
    let error = Trial::against(refused).await.mint().await.unwrap_err();
    assert_eq!(error.code(), "issuer-refused-invalid-client");
    assert_eq!(error.reason(), Reason::IssuerRefused);
    let foreign = http("400 Bad Request", json, r#"{"error":"canary"}"#);
    assert_eq!(Trial::against(foreign).await.code().await, "issuer-refused");
    let later = |status, seconds: &str| http(status, &format!("Retry-After: {seconds}\r\n"), "");
    for (answer, wait) in [
        (later("429 Too Many Requests", "3600"), Some(3600)),
        (later("503 Service Unavailable", "86400"), Some(3600)),
        (later("503 Service Unavailable", "soon"), None),
        (http("500 Oops", "", "canary"), None),
    ] {
        let error = Trial::against(answer).await.mint().await.unwrap_err();
        assert_eq!(error.code(), "issuer-busy");
        assert_eq!(error.reason(), Reason::IssuerUnreachable);
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let mut trial = Trial::json(GOOD).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let token = format!("http://{closed}/").parse().unwrap();
    trial.grant().endpoints = Endpoints::Named { token, revocation: None };
    assert_eq!(trial.code().await, "issuer-unreachable");
}

/// A load balancer whose server is not there yet does so: it is asked again, as one that does not speak TLS is not.
#[tokio::test]
async fn an_issuer_that_closes_in_the_handshake_is_unreachable() {
    for (answer, code, reason) in [
        ("", "issuer-unreachable", Reason::IssuerUnreachable),
        ("hello", "issuer-tls-invalid", Reason::IssuerTlsInvalid(TlsFault::Plain)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut trial = Trial::json(GOOD).await;
        let token = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        trial.grant().endpoints = Endpoints::Named { token, revocation: None };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // With what it heard unread, its end would be a reset.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let error = trial.mint().await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (code, reason));
    }
}

#[tokio::test]
async fn a_missing_secret_asks_nobody() {
    let mut trial = Trial::json(GOOD).await;
    let missing = SecretSource::File("/nonexistent/key".into());
    trial.grant().auth = ClientAuth::Basic(missing);
    let error = trial.mint().await.unwrap_err();
    assert_eq!((error.code(), error.reason()), ("secret-unreadable", Reason::SecretUnavailable));
    assert!(trial.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_static_key_is_standing_and_read_anew() {
    let mut trial = Trial::json(GOOD).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let secret = SecretSource::File(file.path().to_owned());
    trial.credential.grant = Grant::StaticKey(StaticKey { secret, max_age: None, since: None });
    for key in ["one", "two"] {
        std::fs::write(file.path(), key).unwrap();
        let token = trial.mint().await.unwrap();
        assert!(token.value().matches(key.as_bytes()) && token.is_standing());
        assert_eq!(token.end().remaining(trial.clock.now()), DEFAULT_LIFE);
    }
    std::fs::write(file.path(), "two words canary").unwrap();
    assert_eq!(trial.code().await, "secret-invalid");
}

#[tokio::test]
async fn a_static_key_beyond_its_age_is_refused() {
    let mut trial = Trial::json(GOOD).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary").unwrap();
    let day = Duration::from_secs(24 * 3600);
    let made = trial.clock.now().wall - day;
    file.as_file().set_modified(made).unwrap();
    let mut key = StaticKey {
        secret: SecretSource::File(file.path().to_owned()),
        max_age: Some(day + Duration::from_secs(60)),
        since: None,
    };
    trial.credential.grant = Grant::StaticKey(key.clone());
    let life = trial.life().await;
    assert!((1..=60).contains(&life), "no longer than its age allows: {life}");
    key.max_age = Some(day);
    trial.credential.grant = Grant::StaticKey(key.clone());
    assert_eq!(trial.code().await, "static-key-outdated");
    key.since = Some(trial.clock.now().wall + day);
    trial.credential.grant = Grant::StaticKey(key);
    assert_eq!(trial.code().await, "static-key-outdated", "from the future");
}

/// Whichever way it says no; and nobody sees it by accident.
#[tokio::test]
async fn an_issuers_words_are_kept_for_the_owner() {
    let body = r#"{"error":"too_many_requests","error_description":"canary of a limit"}"#;
    for status in ["400 Bad Request", "429 Too Many Requests", "503 Service Unavailable"] {
        let trial = Trial::against(http(status, "Content-Type: application/json\r\n", body)).await;
        let error = trial.mint().await.unwrap_err();
        assert_eq!(error.said(), Some("too_many_requests: canary of a limit"), "{status}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
