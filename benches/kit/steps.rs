//! The hot steps of a request, each alone: what is done for every request, and what a first one adds.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Frame;
use valetkey::audit::{Audit, Decision, Outcome, Recorder, RequestFacts};
use valetkey::broker::{Broker, SlotKey};
use valetkey::ca::{Authority, LeafRequest, Signer as _};
use valetkey::config::problem::Located;
use valetkey::config::{self, Config, PolicyFile};
use valetkey::inject;
use valetkey::masking::{BodyRedactor, DecodeError};
use valetkey::mint::{MintRequest, Minter, Minting};
use valetkey::model::client::Client;
use valetkey::model::clock::{Clock, Deadline, SystemClock};
use valetkey::model::id::{CredentialName, RequestId, RouteName};
use valetkey::model::secret::Secret;
use valetkey::model::target::Target;
use valetkey::model::token::Token;
use valetkey::policy::{self, Permit, Policy};

use super::{HOST, KEY, orders};

/// One call of it is one step.
pub type Call = Box<dyn FnMut()>;

/// A step: its name, and what makes it ready to be called so many times.
pub struct Step {
    pub name: &'static str,
    prepare: fn(usize) -> Call,
    /// Calls in one batch.
    pub times: usize,
}

/// All of them.
pub const STEPS: &[Step] = &[
    Step { name: "decide, 10 routes", prepare: |_| decide(10, false), times: 2_000 },
    Step { name: "decide, 1,000 routes", prepare: |_| decide(1_000, false), times: 2_000 },
    Step { name: "decide, 100,000 routes", prepare: |_| decide(100_000, false), times: 2_000 },
    Step { name: "decide, 1,000 routes of one host", prepare: |_| decide(1_000, true), times: 200 },
    Step { name: "decide, 100 policies", prepare: |_| policies(), times: 200 },
    Step { name: "leaf", prepare: |_| leaf(), times: 50 },
    Step { name: "token hit", prepare: |_| token_hit(), times: 2_000 },
    Step { name: "strip and inject", prepare: strip_and_inject, times: 2_000 },
    Step { name: "audit, both records", prepare: |_| audit(), times: 2_000 },
    Step { name: "redact, 1 MiB", prepare: |_| redact("orders and more orders", None), times: 20 },
    Step {
        name: "redact, 1 MiB of JSON in JSON",
        prepare: |_| redact("\\\"orders\\\"", None),
        times: 20,
    },
    Step {
        name: "redact, 1 MiB in gzip",
        prepare: |_| redact("orders and more orders", Some("gzip")),
        times: 20,
    },
];

impl Step {
    /// One batch; only the calls are in `measured_step`.
    pub fn batch(&self) {
        let mut call = (self.prepare)(self.times);
        measured_step(self.times, &mut *call);
    }

    /// The quickest of some batches, for one call: what the step costs when nothing disturbs it.
    pub fn time(&self) -> Duration {
        let batches = (0..7).map(|_| {
            let mut call = (self.prepare)(self.times);
            let begun = Instant::now();
            measured_step(self.times, &mut *call);
            begun.elapsed() / self.times as u32
        });
        batches.min().unwrap_or_default()
    }
}

/// What valgrind is told to count, by its name.
#[inline(never)]
pub fn measured_step(times: usize, call: &mut dyn FnMut()) {
    for _ in 0..times {
        call();
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A config with one route, and the directory it is in, which stays as long as the process.
fn config() -> Config {
    let folder = tempfile::tempdir().unwrap().keep();
    let text = format!(
        "config_version = 1\n[credentials.key]\ngrant = \"static-key\"\nsecret = {{ file = \"key\" }}\n\
         [[routes]]\nname = \"bench\"\nhost = \"{HOST}\"\nmethods = [\"GET\"]\npath = [\"/v1/**\"]\n\
         credential = \"key\"\nstrip = [\"header:x-api-key\", \"query:api_key\"]\n"
    );
    std::fs::write(folder.join("key"), KEY).unwrap();
    let path = folder.join("valetkey.toml");
    config::parse(&path, text.as_bytes(), folder.join("state")).unwrap().0
}

fn policy(config: &Config) -> Policy {
    Policy::compile(config).unwrap().0
}

fn judged(policy: &Policy, client: &Client, target: &Target, path: &str) -> Permit {
    let method = &Method::GET;
    let context = policy::Context::unknown(std::time::SystemTime::UNIX_EPOCH);
    let facts =
        policy::PolicyFacts { client, allowed: None, method, target, path, bound: None, context };
    policy.decide(facts).unwrap()
}

/// One decision among so many routes, each of a host of its own or all of one.
fn decide(routes: usize, one_host: bool) -> Call {
    let mut config = config();
    let first = config.routes[0].clone();
    config.routes = (0..routes)
        .map(|n| {
            let mut route = first.clone();
            route.value.name = RouteName::new(format!("r{n}"));
            if one_host {
                route.value.path = vec![format!("/v1/r{n}/**")];
            } else {
                route.value.host = format!("r{n}.bench.example");
            }
            route
        })
        .collect();
    let policy = policy(&config);
    let wanted = routes / 2;
    let host = if one_host { HOST.to_owned() } else { format!("r{wanted}.bench.example") };
    let target = Target::parse(&host, Some(443)).unwrap();
    let path = format!("/v1/r{wanted}/orders/7");
    let client = Client::default();
    Box::new(move || {
        std::hint::black_box(judged(&policy, &client, &target, &path));
    })
}

/// One decision that 100 Cedar policies are asked about, each by a condition of its own.
fn policies() -> Call {
    let mut config = config();
    let mut text = "permit (principal, action, resource);\n".to_owned();
    for n in 0..99 {
        text += &format!(
            "forbid (principal, action, resource == Valetkey::Route::\"bench\") when {{ context.path like \"/secret-{n}/*\" }};\n"
        );
    }
    let (path, text) = (config.path.with_extension("cedar"), text.into());
    config.policies.named.push(Located { value: path.clone(), line: 1 });
    config.policies.files.push(PolicyFile { path, text });
    let (policy, client) = (policy(&config), Client::default());
    let target = Target::parse(HOST, Some(443)).unwrap();
    Box::new(move || {
        std::hint::black_box(judged(&policy, &client, &target, "/v1/orders/7"));
    })
}

/// Signing a leaf, as for a host never seen before.
fn leaf() -> Call {
    let config = config();
    let names = [Arc::from(HOST)];
    let ca = config.state_dir.join("ca");
    make(&config.state_dir);
    let authority = Authority::open(&ca, &config.ca, &names, clock()).unwrap().0;
    let key = rcgen::KeyPair::generate().unwrap();
    let public_key = rcgen::PublicKeyData::subject_public_key_info(&key).into();
    let request = LeafRequest { host: HOST.into(), public_key };
    Box::new(move || {
        std::hint::black_box(authority.sign(&request).unwrap());
    })
}

fn make(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
}

struct Fixed;

impl Minter for Fixed {
    fn mint(&self, _: MintRequest) -> Minting<'_> {
        Box::pin(async { Ok(token()) })
    }
}

fn token() -> Token {
    let now = SystemClock.now();
    Token::new(Secret::new(KEY), now, Deadline::after(now, Duration::from_secs(3600)), None)
        .unwrap()
}

/// A token that is there already.
fn token_hit() -> Call {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let credential = CredentialName::new("key");
    let minter: Arc<dyn Minter> = Arc::new(Fixed);
    let broker = Broker::new(clock(), runtime.handle().clone(), Arc::new(|_| {}));
    let ask = Arc::default();
    let key = SlotKey { client: Client::default().key(), credential, ask };
    let slot = broker.slot(&key, &minter).unwrap();
    runtime.block_on(slot.token()).unwrap();
    Box::new(move || {
        std::hint::black_box(slot.current(SystemClock.now()).unwrap());
    })
}

fn recorder(audit: &Arc<Audit>, client: &Arc<Client>, policy: &Policy) -> Recorder {
    let target = Target::parse(HOST, Some(443)).unwrap();
    let (id, path) = (RequestId::new(), Some("/v1/orders/7"));
    let facts =
        RequestFacts::new(id, Arc::clone(client), Method::GET, target.host, target.port, path);
    let mut recorder = Recorder::start(audit, facts, policy.hash().clone());
    recorder.route(RouteName::new("bench"));
    recorder.credential(CredentialName::new("key"));
    recorder
}

fn open_audit(config: &Config) -> Arc<Audit> {
    Arc::new(Audit::open(&config.audit, &config.state_dir, clock()).unwrap().0)
}

/// The request that curl would send.
fn strip_and_inject(times: usize) -> Call {
    let config = config();
    let policy = policy(&config);
    let (audit, client) = (open_audit(&config), Arc::new(Client::default()));
    let target = Target::parse(HOST, Some(443)).unwrap();
    let permit = judged(&policy, &client, &target, "/v1/orders/7");
    let token = token();
    let mut ready: Vec<_> = (0..times)
        .map(|_| {
            let mut recorder = recorder(&audit, &client, &policy);
            let written = recorder.decide(Decision::Inject, Some(&token)).unwrap();
            let request = Request::get("/v1/orders/7?page=2&api_key=placeholder")
                .header("host", HOST)
                .header("user-agent", "curl/8.5.0")
                .header("accept", "*/*")
                .header("authorization", "Bearer vk-placeholder-0000000000000000")
                .header("x-api-key", "vk-placeholder-0000000000000000");
            (written, request.body(()).unwrap().into_parts().0)
        })
        .collect();
    Box::new(move || {
        let (written, parts) = ready.pop().unwrap();
        std::hint::black_box(inject::fill(&permit, Some(&token), written, parts).unwrap());
    })
}

/// A body of 1 MiB, perhaps encoded, in pieces as they come off TLS, of a text that holds nothing of the token.
fn redact(text: &str, coding: Option<&'static str>) -> Call {
    const PIECE: usize = 16 * 1024;
    let redactor = Arc::new(inject::redactor_of(std::iter::once(token().value())));
    let mut body = orders(text, 1 << 20);
    let mut headers = HeaderMap::new();
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&body).unwrap();
        body = encoder.finish().unwrap();
    }
    let pieces: Vec<Bytes> = body.chunks(PIECE).map(Bytes::copy_from_slice).collect();
    Box::new(move || {
        let begun =
            BodyRedactor::begin(Arc::clone(&redactor), StatusCode::OK, &mut headers.clone());
        let (mut body, mut pieces) = (begun.unwrap(), pieces.iter());
        let mut context = Context::from_waker(Waker::noop());
        let mut next =
            |_: &mut Context<'_>| Some(Ok::<_, DecodeError>(Frame::data(pieces.next()?.clone())));
        let mut length = 0;
        while let Poll::Ready(Some(frame)) = body.poll(&mut context, |cx| Poll::Ready(next(cx))) {
            length += std::hint::black_box(frame.unwrap().into_data().unwrap()).len();
        }
        assert_eq!(length, 1 << 20);
    })
}

/// The decision and the outcome of one request, written.
fn audit() -> Call {
    let config = config();
    let policy = policy(&config);
    let (audit, client) = (open_audit(&config), Arc::new(Client::default()));
    let token = token();
    Box::new(move || {
        let mut recorder = recorder(&audit, &client, &policy);
        drop(recorder.decide(Decision::Inject, Some(&token)).unwrap());
        recorder.finish(Outcome { status: Some(200), bytes_out: 200, ..Outcome::default() });
    })
}
