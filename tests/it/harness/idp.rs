//! A fake identity provider in which people log in: device codes, authorization codes with PKCE, ID tokens,
//! and refresh tokens that rotate, with or without grace for one that was rotated before.
//!
//! It keeps score of what no client may do: spend a refresh token whose successor it has already used.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::http1::Reader;
use super::{Background, Gate, Log, accept_loop, canary, lock};

/// Who logs in.
pub const PERSON: &str = "ada@people.example";
/// The client that is registered.
pub const CLIENT: &str = "valetkey-cli";

/// One call at an endpoint.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    /// Of the body, or of the query of a GET.
    pub form: Vec<(String, String)>,
}

impl Call {
    /// The one value of a parameter, empty where there is none.
    pub fn one(&self, name: &str) -> &str {
        let mut all = self.form.iter().filter(|(found, _)| found == name);
        let value = all.next().map_or("", |(_, value)| value.as_str());
        assert!(all.next().is_none(), "`{name}` twice in {self:?}");
        value
    }
}

/// The refresh tokens of one login, the latest last.
#[derive(Default)]
struct Family {
    tokens: Vec<String>,
    /// The latest that a client has shown.
    shown: usize,
    revoked: bool,
}

struct DeviceLogin {
    approved: bool,
    scope: String,
}

struct CodeLogin {
    challenge: String,
    redirect: String,
    nonce: String,
    scope: String,
}

/// What the test sets and what it reads.
pub struct State {
    /// A rotated refresh token is taken again.
    pub grace: bool,
    /// Each refresh gives a new refresh token.
    pub rotates: bool,
    /// So many token answers are lost after they took effect.
    pub lose: usize,
    /// So many token calls get a 503 and have no effect.
    pub break_off: usize,
    /// Members laid over the answer to a device authorization request.
    pub device_answer: Value,
    /// What polls are told before anything else.
    pub polls: Vec<&'static str>,
    /// Claims laid over those of an ID token.
    pub id_claims: Value,
    /// Members laid over a token answer; null takes one out.
    pub token_answer: Value,
    /// Parameters laid over those of the redirect back; null takes one out.
    pub redirect: Value,
    /// Refresh tokens spent although their successor had been shown.
    pub violations: usize,
    pub invalid_grants: usize,
    pub refreshes: usize,
    families: Vec<Family>,
    devices: HashMap<String, DeviceLogin>,
    codes: HashMap<String, CodeLogin>,
}

struct Shared {
    addr: SocketAddr,
    key: KeyPair,
    calls: Arc<Log<Call>>,
    tokens: Arc<Log<String>>,
    state: Mutex<State>,
    gate: Mutex<Option<Gate>>,
}

/// The provider; it stops when dropped.
pub struct Idp {
    shared: Arc<Shared>,
    _task: Background,
}

impl Idp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            addr: listener.local_addr().unwrap(),
            key: KeyPair::generate().unwrap(),
            calls: Log::new(),
            tokens: Log::new(),
            state: Mutex::new(State {
                grace: false,
                rotates: true,
                lose: 0,
                break_off: 0,
                device_answer: json!({}),
                polls: Vec::new(),
                id_claims: json!({}),
                token_answer: json!({}),
                redirect: json!({}),
                violations: 0,
                invalid_grants: 0,
                refreshes: 0,
                families: Vec::new(),
                devices: HashMap::new(),
                codes: HashMap::new(),
            }),
            gate: Mutex::new(None),
        });
        let inner = Arc::clone(&shared);
        let task = accept_loop(listener, move |stream| serve(stream, Arc::clone(&inner)));
        Self { shared, _task: task }
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Changes what it does, or reads what it saw.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.shared.state))
    }

    /// A login that happened elsewhere: its refresh token.
    pub fn logged_in(&self) -> String {
        lock(&self.shared.state).begin()
    }

    /// The person types the code and says yes.
    pub fn approve(&self) {
        lock(&self.shared.state).devices.values_mut().for_each(|device| device.approved = true);
    }

    /// Every refresh token that was ever given out.
    pub fn refresh_tokens(&self) -> Vec<String> {
        lock(&self.shared.state).families.iter().flat_map(|f| f.tokens.clone()).collect()
    }

    /// All logins so far are over.
    pub fn end_logins(&self) {
        lock(&self.shared.state).families.iter_mut().for_each(|family| family.revoked = true);
    }

    /// Whether a login of it is still good.
    pub fn alive(&self) -> bool {
        lock(&self.shared.state).families.iter().any(|family| !family.revoked)
    }

    /// Answers of the token endpoint wait until the gate opens; what they say has taken effect by then.
    pub fn hold(&self) -> Gate {
        let gate = Gate::closed();
        *lock(&self.shared.gate) = Some(gate.clone());
        gate
    }

    /// No longer.
    pub fn release(&self) {
        if let Some(gate) = lock(&self.shared.gate).take() {
            gate.open();
        }
    }

    pub fn calls_of(&self, path: &str) -> Vec<Call> {
        self.shared.calls.all().into_iter().filter(|call| call.path == path).collect()
    }

    /// The call at `index`, from 0, as soon as it has come.
    pub async fn call(&self, index: usize) -> Call {
        self.shared.calls.at("a call at the provider", index).await
    }

    /// Calls so far.
    pub fn count(&self) -> usize {
        self.shared.calls.len()
    }

    /// All access tokens minted so far.
    pub fn minted(&self) -> Vec<String> {
        self.shared.tokens.all()
    }
}

impl State {
    fn begin(&mut self) -> String {
        let token = canary("refresh");
        self.families.push(Family { tokens: vec![token.clone()], ..Family::default() });
        token
    }

    /// A refresh token for another: the rules of rotation.
    fn rotate(&mut self, token: &str) -> Result<Option<String>, &'static str> {
        let (grace, rotates) = (self.grace, self.rotates);
        let found = self.families.iter_mut().find_map(|family| {
            let at = family.tokens.iter().position(|known| known == token)?;
            Some((family, at))
        });
        let Some((family, at)) = found else { return Err("invalid_grant") };
        let reused = at + 1 < family.tokens.len();
        if reused && family.shown > at {
            self.violations += 1;
        }
        family.shown = family.shown.max(at);
        if family.revoked || (reused && !grace) {
            // RFC 9700 section 4.14.2: the whole login ends.
            family.revoked = true;
            return Err("invalid_grant");
        }
        self.refreshes += 1;
        if !rotates {
            return Ok(None);
        }
        let next = canary("refresh");
        family.tokens.push(next.clone());
        Ok(Some(next))
    }
}

/// What is said.
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

fn says(status: u16, value: &Value) -> Answer {
    let headers = "content-type: application/json\r\n".to_owned();
    Answer { status, headers, body: value.to_string() }
}

fn refused(error: &str) -> Answer {
    says(400, &json!({ "error": error, "error_description": "foreign-detail-7d1b" }))
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut reader = Reader::new(stream);
    while let Some(request) = reader.request().await {
        let line = request.everything();
        let target = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let form = pairs(if query.is_empty() { &body } else { query });
        let call = Call { path: path.to_owned(), form };
        shared.calls.push(call.clone());
        let answer = answer(&shared, &call);
        if path == "/token" {
            let gate = lock(&shared.gate).clone();
            if let Some(gate) = gate {
                gate.passed().await;
            }
            let lost = {
                let mut state = lock(&shared.state);
                let lost = state.lose > 0;
                state.lose = state.lose.saturating_sub(1);
                lost
            };
            if lost {
                return;
            }
        }
        let head = format!(
            "HTTP/1.1 {} Said\r\n{}content-length: {}\r\n\r\n",
            answer.status,
            answer.headers,
            answer.body.len()
        );
        if reader.stream.write_all((head + &answer.body).as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(shared: &Shared, call: &Call) -> Answer {
    let issuer = format!("http://{}", shared.addr);
    match call.path.as_str() {
        "/.well-known/openid-configuration" => says(
            200,
            &json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "device_authorization_endpoint": format!("{issuer}/device"),
                "token_endpoint": format!("{issuer}/token"),
                "revocation_endpoint": format!("{issuer}/revoke"),
                "jwks_uri": format!("{issuer}/jwks"),
                "authorization_response_iss_parameter_supported": true,
            }),
        ),
        "/jwks" => says(200, &json!({ "keys": [jwk(&shared.key)] })),
        "/device" => device(shared, call),
        "/authorize" => authorize(shared, call),
        "/token" => token(shared, call),
        "/revoke" => {
            let mut state = lock(&shared.state);
            let token = call.one("token");
            // RFC 7009 section 2.1: with an access token the login may end as well. Here it does.
            let access = call.one("token_type_hint") == "access_token";
            for family in &mut state.families {
                family.revoked |= access || family.tokens.iter().any(|known| known == token);
            }
            says(200, &json!({}))
        }
        _ => says(404, &json!({})),
    }
}

fn device(shared: &Shared, call: &Call) -> Answer {
    let mut state = lock(&shared.state);
    let code = canary("device-code");
    let scope = call.one("scope").to_owned();
    state.devices.insert(code.clone(), DeviceLogin { approved: false, scope });
    let here = format!("http://{}/activate", shared.addr);
    let mut answer = json!({
        "device_code": code,
        "user_code": "WDJB-MJHT",
        "verification_uri": here,
        "verification_uri_complete": format!("{here}?user_code=WDJB-MJHT"),
        "expires_in": 300,
        "interval": 1,
    });
    lay(&mut answer, &state.device_answer);
    says(200, &answer)
}

fn authorize(shared: &Shared, call: &Call) -> Answer {
    let mut state = lock(&shared.state);
    if call.one("client_id") != CLIENT || call.one("code_challenge_method") != "S256" {
        return refused("invalid_request");
    }
    let code = canary("code");
    let redirect = call.one("redirect_uri").to_owned();
    state.codes.insert(
        code.clone(),
        CodeLogin {
            challenge: call.one("code_challenge").to_owned(),
            redirect: redirect.clone(),
            nonce: call.one("nonce").to_owned(),
            scope: call.one("scope").to_owned(),
        },
    );
    let mut back = json!({
        "code": code, "state": call.one("state"), "iss": format!("http://{}", shared.addr),
    });
    lay(&mut back, &state.redirect);
    let back: BTreeMap<String, String> = serde_json::from_value(back).unwrap();
    let query: Vec<_> = back
        .iter()
        .map(|(name, value)| {
            let set = percent_encoding::NON_ALPHANUMERIC;
            format!("{name}={}", percent_encoding::utf8_percent_encode(value, set))
        })
        .collect();
    let headers = format!("location: {redirect}?{}\r\n", query.join("&"));
    Answer { status: 302, headers, body: String::new() }
}

fn token(shared: &Shared, call: &Call) -> Answer {
    let mut state = lock(&shared.state);
    if state.break_off > 0 {
        state.break_off -= 1;
        return says(503, &json!({}));
    }
    if call.one("client_id") != CLIENT {
        return refused("invalid_client");
    }
    let given = match call.one("grant_type") {
        "refresh_token" => {
            let rotated = state.rotate(call.one("refresh_token"));
            rotated.map(|refresh| (refresh, String::new(), String::new()))
        }
        "authorization_code" => match state.codes.remove(call.one("code")) {
            Some(code)
                if is_answer(&code.challenge, call)
                    && code.redirect == call.one("redirect_uri") =>
            {
                Ok((Some(state.begin()), code.nonce, code.scope))
            }
            _ => Err("invalid_grant"),
        },
        _ => poll(&mut state, call.one("device_code")),
    };
    let (refresh, nonce, scope) = match given {
        Ok(given) => given,
        Err(error) => {
            state.invalid_grants += usize::from(error == "invalid_grant");
            return refused(error);
        }
    };
    let access = canary("vkt");
    shared.tokens.push(access.clone());
    let mut answer = json!({ "access_token": access, "token_type": "Bearer", "expires_in": 300 });
    if let Some(refresh) = refresh {
        answer["refresh_token"] = refresh.into();
    }
    if scope.split(' ').any(|word| word == "openid") {
        answer["id_token"] = id_token(shared, &state, &nonce).into();
    }
    lay(&mut answer, &state.token_answer);
    says(200, &answer)
}

fn poll(state: &mut State, code: &str) -> Result<(Option<String>, String, String), &'static str> {
    if !state.polls.is_empty() {
        return Err(state.polls.remove(0));
    }
    let approved = state.devices.get(code).ok_or("invalid_grant")?.approved;
    if !approved {
        return Err("authorization_pending");
    }
    let scope = state.devices.remove(code).map(|device| device.scope).unwrap_or_default();
    Ok((Some(state.begin()), String::new(), scope))
}

/// RFC 7636 section 4.6.
fn is_answer(challenge: &str, call: &Call) -> bool {
    let verifier = call.one("code_verifier").as_bytes();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier);
    verifier.len() >= 43 && URL_SAFE_NO_PAD.encode(hash) == challenge
}

fn id_token(shared: &Shared, state: &State, nonce: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut claims = json!({
        "iss": format!("http://{}", shared.addr), "sub": "person-1", "aud": CLIENT,
        "iat": now, "exp": now + 300, "email": PERSON,
    });
    if !nonce.is_empty() {
        claims["nonce"] = nonce.into();
    }
    lay(&mut claims, &state.id_claims);
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("run".into());
    let key = EncodingKey::from_ec_der(&shared.key.serialize_der());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

fn jwk(key: &KeyPair) -> Value {
    let point = key.der_bytes();
    assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
    let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "run",
        "x": text(&point[1..33]), "y": text(&point[33..]),
    })
}

/// Members of one object over those of another; null takes one out.
fn lay(under: &mut Value, over: &Value) {
    for (name, value) in over.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(under.as_object_mut().map(|object| object.remove(name))),
            value => under[name] = value.clone(),
        }
    }
}

fn pairs(form: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    };
    form.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}
