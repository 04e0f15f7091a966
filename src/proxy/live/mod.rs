//! What is alive now, so that it can be found and ended (invariant I8): every request and tunnel,
//! by connection, with the facts that it was judged by.
//!
//! The map is touched once for each connection; a request pays the uncontended lock of its own
//! connection to come and to go, and an atomic load whenever it asks [`Watch::poll_cut`]. Who ends
//! something only marks and wakes it: the task that carries it does the rest, in its own way.

mod cut;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dashmap::DashMap;
use http::Method;
use http::uri::PathAndQuery;

use crate::client::{Admitted, Gate};
use crate::model::ask::Wants;
use crate::model::clock::Moment;
use crate::model::id::{CredentialName, RouteName, SessionName};
use crate::model::lock::lock;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::model::token::Token;
use crate::passage::{self, Terms};
use crate::policy::{self, AtConnect, Policy};
use cut::Cut;

/// What a client that takes nothing may hold a cut request back for; then its connection goes.
const STALLED: Duration = Duration::from_secs(2);

/// All that is under way on all workers.
#[derive(Default)]
pub struct Live {
    connections: DashMap<u64, Arc<Connected>>,
    next: AtomicU64,
    /// The newest generation that requests were judged again by.
    swept: AtomicU64,
    /// A request of an older generation came after that.
    late: AtomicBool,
}

/// What a request was judged by.
#[derive(Clone, Debug)]
pub struct Facts {
    pub admitted: Admitted,
    /// Of the tunnel, or of the absolute-form URI.
    pub target: Target,
    pub kind: LiveKind,
    pub route: Option<RouteName>,
    pub credential: Option<CredentialName>,
    /// What that token was asked for.
    pub wants: Option<Arc<Wants>>,
    /// The routes whose placeholder came with it.
    pub bound: Option<Arc<[RouteName]>>,
    /// The world that judged it.
    pub generation: u64,
}

#[derive(Clone, Debug)]
pub enum LiveKind {
    /// In an intercepted connection; with the protocol that it asks for instead, if any, in lower
    /// case.
    Intercepted(Method, PathAndQuery, Option<Box<str>>),
    /// Absolute-form, in the clear.
    Plain,
    /// An opaque tunnel.
    Tunnel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    All,
    /// Those that carry a token of this credential.
    Credential(CredentialName),
    Session(SessionName),
    /// Those of this person, as in [`crate::model::client::Client::is_user`].
    User(String),
}

impl Selector {
    fn selects(&self, facts: &Facts) -> bool {
        let client = &facts.admitted.client;
        match self {
            Self::All => true,
            Self::Credential(name) => facts.credential.as_ref() == Some(name),
            Self::Session(name) => client.session.as_ref() == Some(name),
            Self::User(name) => client.is_user(name),
        }
    }
}

impl Live {
    /// A connection of a client, for as long as it is held.
    pub fn connection(self: &Arc<Self>) -> LiveConnection {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connected = Arc::<Connected>::default();
        self.connections.insert(id, Arc::clone(&connected));
        LiveConnection { live: Arc::clone(self), id, connected }
    }

    /// How many requests and tunnels are alive.
    pub fn len(&self) -> usize {
        self.connections.iter().map(|connected| connected.requests().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends what `selector` selects. Call it after new requests of that kind are refused. How many.
    pub fn end(&self, selector: &Selector, why: Reason) -> usize {
        self.cut(|request| selector.selects(&request.facts).then_some(why))
    }

    /// Judges everything again by a new world, and ends what that no longer permits. How many.
    pub fn judge_again(&self, judge: &Judge<'_>) -> usize {
        // Before the look: a request that is too late to be seen sees this.
        self.swept.fetch_max(judge.terms.generation, Ordering::SeqCst);
        self.cut(|request| {
            if request.judged.load(Ordering::Relaxed) >= judge.terms.generation {
                return None;
            }
            let verdict = judge.verdict(&request.facts);
            request.judged.store(judge.terms.generation, Ordering::Relaxed);
            verdict
        })
    }

    /// Sees to requests that a reload or the end of a session overtook while they were being
    /// judged, and to connections whose client does not let a cut request go. Call it now and then.
    pub fn sweep(&self, judge: &Judge<'_>) {
        if self.late.swap(false, Ordering::SeqCst) {
            self.judge_again(judge);
        }
        self.cut(|request| judge.admission(&request.facts));
        for connected in &self.connections {
            let stalled = |request: &Arc<Request>| {
                request.cut.get().is_some_and(|(_, since)| since.elapsed() > STALLED)
            };
            if connected.requests().iter().any(stalled) {
                connected.whole.cut(Reason::ClientTimeout);
            }
        }
    }

    fn cut(&self, mut why: impl FnMut(&Request) -> Option<Reason>) -> usize {
        let mut count = 0;
        for connected in &self.connections {
            for request in connected.requests().iter() {
                if let Some(reason) = why(request) {
                    count += usize::from(request.cut(reason));
                }
            }
        }
        count
    }
}

/// What a request is judged by when it is judged again.
pub struct Judge<'a> {
    pub gate: &'a Gate,
    pub now: Moment,
    /// Who is admitted, and what is allowed.
    pub terms: &'a Terms,
}

impl Judge<'_> {
    /// Why a request that was permitted no longer is, if so.
    fn verdict(&self, facts: &Facts) -> Option<Reason> {
        let permitted = || permits(&self.terms.policy, facts, self.now);
        self.admission(facts).or_else(|| (!permitted()).then_some(Reason::NoLongerPermitted))
    }

    /// Why its client is no longer admitted, or its credential no longer used, if so.
    fn admission(&self, facts: &Facts) -> Option<Reason> {
        let revoked = || {
            let name = facts.credential.as_ref()?;
            self.gate.revoked().has_credential(name).then_some(Reason::CredentialRevoked)
        };
        self.gate.objection(&self.terms.rules, &facts.admitted, self.now).or_else(revoked)
    }
}

/// A token's leave is bound to its credential: under another one, or none, the request that carries
/// it would not be sent, nor with more than is asked for now. One that went without may go on if it
/// would now get one.
fn permits(policy: &Policy, facts: &Facts, now: Moment) -> bool {
    match &facts.kind {
        LiveKind::Tunnel => policy.at_connect(&facts.target) == AtConnect::Tunnel,
        LiveKind::Plain => policy.decide_plain(&facts.target).is_ok(),
        LiveKind::Intercepted(method, path, upgrade) => {
            let admitted = &facts.admitted;
            let judged = policy.decide(policy::PolicyFacts {
                client: &admitted.client,
                allowed: admitted.session.as_deref().and_then(|session| session.routes()),
                method,
                target: &facts.target,
                path: path.path(),
                bound: facts.bound.as_deref(),
                context: passage::context(admitted, now),
            });
            judged.is_ok_and(|permit| {
                let exceeds = match (&facts.wants, permit.wants()) {
                    (Some(then), Some(now)) => then.exceeds(now),
                    _ => false,
                };
                let same = permit.credential() == facts.credential.as_ref() && !exceeds;
                let upgrade = upgrade.as_deref();
                (same || facts.credential.is_none())
                    && upgrade.is_none_or(|protocol| permit.allows_upgrade(protocol))
            })
        }
    }
}

/// The requests of one connection.
#[derive(Default)]
struct Connected {
    requests: Mutex<Vec<Arc<Request>>>,
    whole: Cut,
}

impl Connected {
    fn requests(&self) -> MutexGuard<'_, Vec<Arc<Request>>> {
        lock(&self.requests)
    }
}

struct Request {
    facts: Facts,
    /// The newest generation that permits it.
    judged: AtomicU64,
    cut: Cut,
}

impl Request {
    fn cut(&self, why: Reason) -> bool {
        self.cut.cut(why)
    }
}

/// A connection that can be found. Dropped, it is gone.
pub struct LiveConnection {
    live: Arc<Live>,
    id: u64,
    connected: Arc<Connected>,
}

impl LiveConnection {
    /// Enters a request. Call it right after the decision, before anything is waited for: what a
    /// reload overtakes in between is judged again a little later.
    pub fn enter(&self, facts: Facts) -> LiveRequest {
        let generation = facts.generation;
        let judged = AtomicU64::new(generation);
        let request = Arc::new(Request { facts, judged, cut: Cut::default() });
        self.connected.requests().push(Arc::clone(&request));
        if generation < self.live.swept.load(Ordering::SeqCst) {
            self.live.late.store(true, Ordering::SeqCst);
        }
        LiveRequest { connected: Arc::clone(&self.connected), request, token: None }
    }

    /// Ends all that is under way on it.
    pub fn give_up(&self, why: Reason) {
        self.connected.requests().iter().for_each(|request| {
            request.cut(why);
        });
    }

    /// Resolves when the whole connection has to go.
    pub async fn ended(&self) {
        let mut watch = Watch::of(Watched::Connection(Arc::clone(&self.connected)));
        watch.cut().await;
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.live.connections.remove(&self.id);
    }
}

/// A request or tunnel that can be found and ended. Dropped, it is over.
pub struct LiveRequest {
    connected: Arc<Connected>,
    request: Arc<Request>,
    token: Option<Arc<Token>>,
}

impl LiveRequest {
    /// Learns of its end: one watch for each task that carries a part of it.
    pub fn watch(&self) -> Watch {
        Watch::of(Watched::Request(Arc::clone(&self.request)))
    }

    /// Keeps its token from being revoked as unused while it lives.
    pub fn carries(&mut self, token: Option<Arc<Token>>) {
        self.token = token;
    }

    /// Why it was ended, if it was.
    pub fn is_cut(&self) -> Option<Reason> {
        Some(self.request.cut.get()?.0)
    }
}

impl Drop for LiveRequest {
    fn drop(&mut self) {
        let mut requests = self.connected.requests();
        if let Some(at) = requests.iter().position(|one| Arc::ptr_eq(one, &self.request)) {
            requests.swap_remove(at);
        }
    }
}

enum Watched {
    Connection(Arc<Connected>),
    Request(Arc<Request>),
}

/// Waits for an end from within one task at a time.
pub struct Watch {
    watched: Watched,
    known: Option<Waker>,
}

impl Watch {
    fn of(watched: Watched) -> Self {
        Self { watched, known: None }
    }

    /// Ready with the reason once it has to end. An atomic load where the task is the one that
    /// asked before.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let cut = match &self.watched {
            Watched::Connection(connected) => &connected.whole,
            Watched::Request(request) => &request.cut,
        };
        if let Some((why, _)) = cut.get() {
            return Poll::Ready(why);
        }
        if self.known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        cut.wakes(cx.waker(), self.known.as_ref());
        self.known = Some(cx.waker().clone());
        // It may have been cut before the waker was there to be woken.
        cut.get().map_or(Poll::Pending, |(why, _)| Poll::Ready(why))
    }

    pub async fn cut(&mut self) -> Reason {
        poll_fn(|cx| self.poll_cut(cx)).await
    }

    /// The output of `future`, or why it was not waited for.
    pub async fn unless_cut<F: Future>(&mut self, future: F) -> Result<F::Output, Reason> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match self.poll_cut(cx) {
            Poll::Ready(why) => Poll::Ready(Err(why)),
            Poll::Pending => future.as_mut().poll(cx).map(Ok),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::broker::Minters;
    use crate::client::Rules;
    use crate::client::session::{NewSession, Sessions};
    use crate::config;
    use crate::limits::Rates;
    use crate::model::client::Client;
    use crate::model::clock::{Clock as _, SystemClock};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A policy with these routes, and rules that admit our own uid.
    fn terms(routes: &str, generation: u64) -> Terms {
        let text = format!(
            "config_version = 1\n[credentials.a]\ngrant = \"static-key\"\nsecret = {{ env = \"A\" }}\n\
             [credentials.b]\ngrant = \"static-key\"\nsecret = {{ env = \"B\" }}\n{routes}"
        );
        let state = std::path::PathBuf::from("/nowhere");
        let path = std::path::Path::new("/nowhere/valetkey.toml");
        let (config, _) = config::parse(path, text.as_bytes(), state).unwrap();
        let policy = Policy::compile(&config).unwrap().0;
        let (rules, rates) = (Rules::from(&config.proxy), Rates::default());
        Terms { policy, rules, minters: Minters::default(), rates, generation }
    }

    const SESSION: &str = "[[sessions]]\nname = \"x\"\nsecret = { env = \"X\" }\n";

    fn route(more: &str) -> String {
        format!("[[routes]]\nname = \"r\"\nhost = \"api.example\"\n{more}\n")
    }

    struct Bench {
        gate: Gate,
        live: Arc<Live>,
    }

    impl Bench {
        fn new() -> Self {
            let gate = Gate::new(Arc::new(Sessions::new(Arc::new(SystemClock))));
            Self { gate, live: Arc::default() }
        }

        fn own(&self) -> Admitted {
            let uid = Some(rustix::process::getuid().as_raw());
            let client = Arc::new(Client { uid, ..Client::default() });
            Admitted { client, session: None, foreign: false, here: true }
        }

        fn with_session(&self) -> (Admitted, SessionName) {
            let (session, _) = self.gate.sessions().open(NewSession::default());
            let name = session.name().clone();
            let user = Some("ann".into());
            let client =
                Arc::new(Client { session: Some(name.clone()), user, ..Client::default() });
            (Admitted { client, session: Some(session), foreign: false, here: true }, name)
        }

        fn again(&self, routes: &str, generation: u64) -> usize {
            self.live.judge_again(&self.judge(&terms(routes, generation)))
        }

        fn sweep(&self, routes: &str, generation: u64) {
            self.live.sweep(&self.judge(&terms(routes, generation)));
        }

        fn judge<'a>(&'a self, terms: &'a Terms) -> Judge<'a> {
            Judge { gate: &self.gate, now: SystemClock.now(), terms }
        }
    }

    /// A GET of `/v1/x` that credential `a` was used for, judged by generation 1.
    fn get(admitted: Admitted) -> Facts {
        Facts {
            admitted,
            target: Target::parse("api.example:443", None).unwrap(),
            kind: LiveKind::Intercepted(Method::GET, PathAndQuery::from_static("/v1/x?q"), None),
            route: Some(RouteName::new("r")),
            credential: Some(CredentialName::new("a")),
            wants: None,
            bound: None,
            generation: 1,
        }
    }

    #[test]
    fn a_new_world_ends_what_it_no_longer_permits_and_nothing_else() {
        let same = route("credential = \"a\"\npath = [\"/v1/**\"]\nmethods = [\"GET\"]");
        let deny = format!("{}[[routes]]\nname = \"d\"\nhost = \"api.example\"\ndeny = true", same);
        for (routes, ended) in [
            (same, 0),
            (route("credential = \"a\""), 0),
            (String::new(), 1),
            (deny, 1),
            (route("credential = \"b\""), 1),
            (route(""), 1),
            (route("credential = \"a\"\npath = [\"/v2/**\"]"), 1),
            (route("credential = \"a\"\nmethods = [\"POST\"]"), 1),
            (route("credential = \"a\"\nclients = [\"session:x\"]") + SESSION, 1),
            (route("credential = \"a\"\nport = 8443"), 1),
        ] {
            let bench = Bench::new();
            let connection = bench.live.connection();
            let request = connection.enter(get(bench.own()));
            assert_eq!(bench.again(&routes, 2), ended, "{routes}");
            let reason = (ended == 1).then_some(Reason::NoLongerPermitted);
            assert_eq!(request.is_cut(), reason, "{routes}");
            assert_eq!(bench.again(&routes, 2), 0, "once: {routes}");
        }
    }

    #[test]
    fn a_token_that_says_more_than_is_asked_for_now_is_no_longer_permitted() {
        let oauth = |scope: &str, route: &str| {
            format!(
                "[credentials.c]\ngrant = \"client-credentials\"\ntoken_url = \"https://idp.example/t\"\n\
                 client_id = \"x\"\nclient_secret = {{ env = \"C\" }}\n{scope}\n[[routes]]\nname = \"r\"\n\
                 host = \"api.example\"\ncredential = \"c\"\n{route}\n"
            )
        };
        let both = "scope = [\"read\", \"write\"]";
        let before = terms(&oauth(both, ""), 1).policy;
        for (routes, ended) in [
            (oauth(both, ""), 0),
            (oauth(both, both), 0),
            (oauth("scope = [\"read\", \"write\", \"more\"]", ""), 0),
            (oauth(both, "scope = [\"read\"]"), 1),
            (oauth("scope = [\"read\"]", ""), 1),
            (oauth(both, "audience = [\"b\"]"), 1),
        ] {
            let bench = Bench::new();
            let connection = bench.live.connection();
            let wants = before.routes().next().map(|route| Arc::clone(&route.wants));
            let credential = Some(CredentialName::new("c"));
            let request = connection.enter(Facts { wants, credential, ..get(bench.own()) });
            assert_eq!(bench.again(&routes, 2), ended, "{routes}");
            assert_eq!(request.is_cut().is_some(), ended == 1, "{routes}");
        }
    }

    #[test]
    fn without_a_token_only_a_refusal_ends_a_request() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        let bare = Facts { route: None, credential: None, ..get(bench.own()) };
        let request = connection.enter(bare);
        assert_eq!(bench.again(&route("credential = \"a\""), 2), 0);
        assert_eq!(bench.again("[proxy]\nunmatched = \"deny\"", 3), 1);
        assert!(request.is_cut().is_some());
    }

    #[test]
    fn a_tunnel_ends_when_its_host_is_routed_or_denied() {
        for routes in [route("credential = \"a\""), route("deny = true"), route("port = 1")] {
            let bench = Bench::new();
            let connection = bench.live.connection();
            let tunnel = |kind| Facts { kind, route: None, credential: None, ..get(bench.own()) };
            let opaque = connection.enter(tunnel(LiveKind::Tunnel));
            let plain = connection.enter(tunnel(LiveKind::Plain));
            assert_eq!(bench.again("", 2), 0);
            assert_eq!(bench.again(&routes, 3), 2, "{routes}");
            assert!(opaque.is_cut().is_some() && plain.is_cut().is_some());
        }
    }

    #[test]
    fn rules_that_no_longer_admit_end_requests_too() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        let request = connection.enter(get(bench.own()));
        let routes =
            format!("[proxy]\nclient_auth = [\"session\"]\n{}", route("credential = \"a\""));
        assert_eq!(bench.again(&routes, 2), 1);
        assert_eq!(request.is_cut(), Some(Reason::SessionEnded));
    }

    #[test]
    fn a_request_that_a_reload_overtakes_is_judged_at_the_next_sweep() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        assert_eq!(bench.again("", 2), 0);
        let request = connection.enter(get(bench.own()));
        assert_eq!(request.is_cut(), None);
        bench.sweep("", 2);
        assert_eq!(request.is_cut(), Some(Reason::NoLongerPermitted));
        // And so is one on a connection that was not there.
        let other = bench.live.connection();
        let request = other.enter(get(bench.own()));
        bench.sweep("", 2);
        assert!(request.is_cut().is_some());
    }

    #[test]
    fn the_end_of_a_session_ends_its_requests() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        let ((one, name), (other, _)) = (bench.with_session(), bench.with_session());
        let (one, other) = (connection.enter(get(one)), connection.enter(get(other)));
        bench.gate.sessions().end(&name);
        bench.sweep("", 1);
        assert_eq!((one.is_cut(), other.is_cut()), (Some(Reason::SessionEnded), None));
    }

    #[test]
    fn a_selector_ends_its_own_and_nobody_elses() {
        for (selector, ended) in [
            (Selector::All, [true, true, true]),
            (Selector::Credential(CredentialName::new("a")), [true, true, false]),
            (Selector::Session(SessionName::new("none")), [false, false, false]),
            (Selector::User("ann".into()), [true, false, false]),
        ] {
            let bench = Bench::new();
            let (a, b) = (bench.live.connection(), bench.live.connection());
            let (session, name) = bench.with_session();
            let bare = Facts { credential: None, ..get(bench.own()) };
            let all = [a.enter(get(session)), b.enter(get(bench.own())), b.enter(bare)];
            let count = bench.live.end(&selector, Reason::SessionEnded);
            assert_eq!(all.each_ref().map(|one| one.is_cut().is_some()), ended, "{selector:?}");
            assert_eq!(count, ended.iter().filter(|one| **one).count());
            bench.live.end(&Selector::Session(name), Reason::SessionEnded);
            assert!(all[0].is_cut().is_some());
        }
    }

    #[test]
    fn every_task_that_watches_is_woken_once() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        let request = connection.enter(get(bench.own()));
        let woken: [Arc<Woken>; 3] = Default::default();
        let [first, second, third] = woken.clone().map(Waker::from);
        let (mut body, mut upload) = (request.watch(), request.watch());
        for _ in 0..3 {
            assert!(body.poll_cut(&mut Context::from_waker(&first)).is_pending());
            assert!(upload.poll_cut(&mut Context::from_waker(&second)).is_pending());
        }
        // The task moved: the old one has nothing to do with it any more.
        assert!(body.poll_cut(&mut Context::from_waker(&third)).is_pending());
        assert_eq!(bench.live.end(&Selector::All, Reason::SessionEnded), 1);
        let counts = woken.each_ref().map(|one| one.0.load(Ordering::SeqCst));
        assert_eq!(counts, [0, 1, 1]);
        let ready = body.poll_cut(&mut Context::from_waker(&third));
        assert_eq!(ready, Poll::Ready(Reason::SessionEnded));
    }

    #[test]
    fn what_is_over_cannot_be_found() {
        let bench = Bench::new();
        let connection = bench.live.connection();
        let (one, two) = (connection.enter(get(bench.own())), connection.enter(get(bench.own())));
        assert_eq!(bench.live.len(), 2);
        drop(one);
        assert_eq!(bench.live.end(&Selector::All, Reason::SessionEnded), 1);
        drop((two, connection));
        assert!(bench.live.is_empty() && bench.live.connections.is_empty());
    }

    /// Entering and ending race from many threads: nothing is left that the newest world refuses.
    #[test]
    fn nothing_slips_between_a_swap_and_its_sweep() {
        let bench = Bench::new();
        let generation = AtomicU64::new(1);
        for round in 2..200 {
            let kept = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let connection = bench.live.connection();
                        for _ in 0..20 {
                            let generation = generation.load(Ordering::SeqCst);
                            let facts = Facts { generation, ..get(bench.own()) };
                            kept.lock().unwrap().push(connection.enter(facts));
                        }
                        // Requests outlive it here, as its map entry must not.
                        std::mem::forget(connection);
                    });
                }
                generation.store(round, Ordering::SeqCst);
                bench.again("", round);
            });
            bench.sweep("", round);
            for request in kept.into_inner().unwrap() {
                let old = request.request.facts.generation < round;
                assert_eq!(request.is_cut().is_some(), old, "round {round}");
            }
        }
    }
}
