//! The broker with a hand-moved clock and minters that do as they are told. No sleeps: a gate
//! holds a mint back until the test opens it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;
use crate::mint::{MintRequest, Minting, Revocation, Revoking};
use crate::model::clock::{Deadline, Moment};
use crate::model::id::SessionName;
use crate::model::secret::Secret;

mod orders;

struct HandClock(Mutex<Moment>);

impl HandClock {
    fn at_rest() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { wall: SystemTime::now(), mono: Instant::now() })))
    }

    fn pass(&self, seconds: f64) {
        let by = Duration::from_secs_f64(seconds);
        let mut now = self.0.lock().unwrap();
        *now = Moment { wall: now.wall + by, mono: now.mono + by };
    }

    fn pass_on_the_wall(&self, seconds: u64) {
        self.0.lock().unwrap().wall += Duration::from_secs(seconds);
    }

    fn set_wall_back(&self, seconds: u64) {
        self.0.lock().unwrap().wall -= Duration::from_secs(seconds);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

/// What the next mints do.
#[derive(Clone, Copy)]
enum Do {
    Grant,
    Ended,
    Panic,
    Refuse(Option<u64>),
}

/// Mints `token-1`, `token-2`, … of 100 s, or fails.
struct Fake {
    clock: Arc<HandClock>,
    calls: AtomicUsize,
    gate: Semaphore,
    next: Mutex<Do>,
    revoked: Mutex<Vec<String>>,
}

impl Fake {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().clone()
    }

    fn will(&self, next: Do) {
        *self.next.lock().unwrap() = next;
    }

    fn shut(&self) {
        self.gate.forget_permits(usize::MAX >> 4);
    }

    fn open(&self) {
        self.gate.add_permits(1_000_000);
    }

    async fn answer(&self) -> Result<Token, MintError> {
        let count = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.gate.acquire().await.unwrap().forget();
        let now = self.clock.now();
        let next = *self.next.lock().unwrap();
        let life = match next {
            Do::Grant => 100,
            Do::Ended => 0,
            Do::Panic => panic!("told to"),
            Do::Refuse(seconds) => {
                let retry_after = seconds.map(Duration::from_secs);
                return Err(MintError::Busy { status: 503, said: None, retry_after });
            }
        };
        let end = Deadline::after(now, Duration::from_secs(life));
        Ok(Token::new(Secret::new(format!("token-{count}")), now, end, None).unwrap())
    }
}

impl Minter for Fake {
    fn mint(&self, _: MintRequest) -> Minting<'_> {
        Box::pin(self.answer())
    }

    fn revoke<'a>(&'a self, token: &'a Token) -> Revoking<'a> {
        self.revoked.lock().unwrap().push(text(token));
        Box::pin(std::future::ready(Ok(Revocation::Done)))
    }
}

struct Bench {
    clock: Arc<HandClock>,
    fake: Arc<Fake>,
    minter: Arc<dyn Minter>,
    broker: Arc<Broker>,
    reports: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Handle::current())
    }

    fn on(runtime: Handle) -> Self {
        let clock = HandClock::at_rest();
        let fake = fake(&clock);
        let reports = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reports);
        let on_mint: OnMint = Arc::new(move |report| {
            assert_eq!(report.key.credential.as_str(), "orders");
            count.fetch_add(1, Ordering::SeqCst);
        });
        let minter: Arc<dyn Minter> = Arc::<Fake>::clone(&fake);
        let dyn_clock: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
        let broker = Arc::new(Broker::new(dyn_clock, runtime, on_mint));
        Self { clock, fake, minter, broker, reports }
    }

    fn slot(&self) -> Arc<Slot> {
        self.slot_of("ci").unwrap()
    }

    fn slot_of(&self, session: &str) -> Result<Arc<Slot>, Failure> {
        self.broker.slot(&key(session), &self.minter)
    }

    fn current(&self, slot: &Arc<Slot>) -> Option<String> {
        slot.current(self.clock.now()).map(|token| text(&token))
    }
}

fn fake(clock: &Arc<HandClock>) -> Arc<Fake> {
    Arc::new(Fake {
        clock: Arc::clone(clock),
        calls: AtomicUsize::new(0),
        gate: Semaphore::new(1_000_000),
        next: Mutex::new(Do::Grant),
        revoked: Mutex::default(),
    })
}

fn minters(minter: &Arc<dyn Minter>) -> Minters {
    [(CredentialName::new("orders"), Arc::clone(minter))].into_iter().collect()
}

fn key(session: &str) -> SlotKey {
    let client = ClientKey::Session(SessionName::new(session));
    SlotKey { client, credential: CredentialName::new("orders"), ask: Arc::default() }
}

fn text(token: &Token) -> String {
    let names = (1..100).map(|count| format!("token-{count}"));
    { names }.find(|name| token.value().matches(name.as_bytes())).unwrap()
}

/// Lets every task run as far as it can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_wait_for_one_mint() {
    let bench = Bench::new();
    bench.fake.shut();
    let slot = bench.slot();
    let mut waiting = JoinSet::new();
    for _ in 0..1000 {
        let slot = Arc::clone(&slot);
        waiting.spawn(async move { slot.token().await.map(|token| text(&token)) });
    }
    settle().await;
    bench.fake.open();
    for token in waiting.join_all().await {
        assert_eq!(token.unwrap(), "token-1");
    }
    assert_eq!((bench.fake.calls(), bench.reports.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(bench.current(&slot).as_deref(), Some("token-1"));
}

/// As in the daemon: one runtime to a thread, slots shared by all, mints on one of them.
#[test]
fn many_runtimes_share_one_mint() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = runtime();
    let bench = Bench::on(home.handle().clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let home = std::thread::spawn(move || home.block_on(stopped));
    let slot = bench.slot();
    for round in 1..=20 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let tokens = runtime().block_on(async {
                        let asking = (0..16).map(|_| Arc::clone(&slot));
                        let asking = asking.map(|slot| async move { slot.token().await.unwrap() });
                        asking.collect::<JoinSet<_>>().join_all().await
                    });
                    assert!(tokens.iter().all(|token| text(token) == format!("token-{round}")));
                });
            }
        });
        assert_eq!(bench.fake.calls(), round);
        bench.clock.pass(101.0);
    }
    stop.send(()).unwrap();
    home.join().unwrap().unwrap();
}

#[tokio::test]
async fn who_goes_away_takes_no_mint_along() {
    let bench = Bench::new();
    bench.fake.shut();
    let slot = bench.slot();
    let first = Arc::clone(&slot);
    let first = tokio::spawn(async move { first.token().await });
    settle().await;
    first.abort();
    let second = Arc::clone(&slot);
    let second = tokio::spawn(async move { second.token().await });
    settle().await;
    bench.fake.open();
    assert_eq!(text(&second.await.unwrap().unwrap()), "token-1");
    assert_eq!(bench.fake.calls(), 1);
}

#[tokio::test]
async fn slots_are_of_one_client_each() {
    let bench = Bench::new();
    let (a, b) = (bench.slot(), bench.slot_of("other").unwrap());
    let (a, b) = (a.token().await.unwrap(), b.token().await.unwrap());
    assert_ne!(a.fingerprint(), b.fingerprint());
    assert!(Arc::ptr_eq(&bench.slot(), &bench.slot()));
}

#[tokio::test]
async fn an_ended_token_is_never_given() {
    let bench = Bench::new();
    let slot = bench.slot();
    assert_eq!(text(&slot.token().await.unwrap()), "token-1");
    bench.clock.pass_on_the_wall(101);
    assert_eq!(bench.current(&slot), None);
    assert_eq!(text(&slot.token().await.unwrap()), "token-2");
    bench.clock.set_wall_back(86_400);
    assert!(bench.current(&slot).is_some());
    bench.clock.pass(101.0);
    assert_eq!(bench.current(&slot), None);
    bench.fake.will(Do::Refuse(None));
    assert_eq!(slot.token().await.unwrap_err().reason, Reason::IssuerUnreachable);
    bench.fake.will(Do::Ended);
    bench.clock.pass(30.0);
    assert_eq!(slot.token().await.unwrap_err().reason, Reason::IssuerAnswerInvalid);
}

#[tokio::test]
async fn use_late_in_life_renews_in_the_background() {
    let bench = Bench::new();
    let slot = bench.slot();
    slot.token().await.unwrap();
    bench.clock.pass(79.0);
    assert_eq!(bench.current(&slot).as_deref(), Some("token-1"));
    settle().await;
    assert_eq!(bench.fake.calls(), 1);
    bench.clock.pass(7.0);
    for _ in 0..10 {
        assert_eq!(bench.current(&slot).as_deref(), Some("token-1"));
    }
    settle().await;
    assert_eq!(bench.current(&slot).as_deref(), Some("token-2"));
    assert_eq!(bench.fake.calls(), 2);
}

#[tokio::test]
async fn a_living_token_serves_while_renewal_fails() {
    let bench = Bench::new();
    let slot = bench.slot();
    slot.token().await.unwrap();
    bench.fake.will(Do::Refuse(None));
    bench.clock.pass(86.0);
    for _ in 0..20 {
        assert_eq!(bench.current(&slot).as_deref(), Some("token-1"));
        settle().await;
    }
    assert_eq!(bench.fake.calls(), 2);
    bench.clock.pass(2.0);
    assert_eq!(bench.current(&slot).as_deref(), Some("token-1"));
    settle().await;
    assert_eq!(bench.fake.calls(), 3);
    let status = &bench.broker.status()[0];
    assert_eq!(status.last_error.unwrap().0, "issuer-busy");
    assert!(status.token.is_some() && status.next_attempt.is_some());
    assert!(!format!("{status:?} {slot:?}").contains("token-1"));
    bench.clock.pass(13.0);
    assert_eq!(bench.current(&slot), None);
    bench.fake.will(Do::Grant);
    assert_eq!(text(&slot.token().await.unwrap()), "token-4");
    assert!(bench.broker.status()[0].last_error.is_none());
}

#[tokio::test]
async fn a_failure_is_shared_then_backed_off() {
    let bench = Bench::new();
    let slot = bench.slot();
    bench.fake.will(Do::Refuse(None));
    bench.fake.shut();
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let slot = Arc::clone(&slot);
        waiting.spawn(async move { slot.token().await });
    }
    settle().await;
    bench.fake.open();
    for failed in waiting.join_all().await {
        assert!(!failed.unwrap_err().backing_off);
    }
    let failure = slot.token().await.unwrap_err();
    assert!(failure.backing_off && failure.retry_after.unwrap() <= Duration::from_millis(1250));
    assert_eq!((failure.code, bench.fake.calls()), ("issuer-busy", 1));
    for expected in 2..12 {
        bench.clock.pass(30.0);
        slot.token().await.unwrap_err();
        slot.token().await.unwrap_err();
        assert_eq!(bench.fake.calls(), expected);
    }
    bench.fake.will(Do::Grant);
    bench.clock.pass(30.0);
    slot.token().await.unwrap();
}

#[tokio::test]
async fn the_issuers_retry_after_is_honoured() {
    let bench = Bench::new();
    let slot = bench.slot();
    bench.fake.will(Do::Refuse(Some(3600)));
    slot.token().await.unwrap_err();
    bench.clock.pass(3599.0);
    let failure = slot.token().await.unwrap_err();
    assert_eq!((failure.retry_after, bench.fake.calls()), (Some(Duration::from_secs(1)), 1));
    bench.clock.pass(1.0);
    slot.token().await.unwrap_err();
    assert_eq!(bench.fake.calls(), 2);
}

#[tokio::test]
async fn a_panic_fails_one_flight_only() {
    let bench = Bench::new();
    let slot = bench.slot();
    bench.fake.will(Do::Panic);
    let failure = slot.token().await.unwrap_err();
    assert_eq!(failure.reason, Reason::InternalError);
    assert_eq!(bench.reports.load(Ordering::SeqCst), 1);
    bench.fake.will(Do::Grant);
    assert!(bench.slot_of("other").unwrap().token().await.is_ok());
    bench.clock.pass(2.0);
    assert!(slot.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_mint_has_a_deadline() {
    let bench = Bench::new();
    bench.fake.shut();
    let failure = bench.slot().token().await.unwrap_err();
    assert_eq!((failure.reason, failure.code), (Reason::IssuerUnreachable, "issuer-timeout"));
}

#[tokio::test]
async fn a_rejected_token_is_dropped_once_it_is_old_enough() {
    let bench = Bench::new();
    let slot = bench.slot();
    let first = slot.token().await.unwrap();
    assert!(!slot.invalidate(first.fingerprint()));
    assert!(bench.current(&slot).is_some());
    bench.clock.pass(10.0);
    assert!(slot.invalidate(first.fingerprint()));
    assert_eq!(bench.current(&slot), None);
    let second = slot.token().await.unwrap();
    assert_eq!(text(&second), "token-2");
    assert!(slot.invalidate(first.fingerprint()));
    assert_eq!(bench.current(&slot).as_deref(), Some("token-2"));
}

#[tokio::test]
async fn an_ended_client_gets_nothing_from_old_slots() {
    let bench = Bench::new();
    let (slot, other) = (bench.slot(), bench.slot_of("other").unwrap());
    slot.token().await.unwrap();
    other.token().await.unwrap();
    bench.broker.end_client(&key("ci").client);
    assert_eq!(bench.current(&slot), None);
    assert_eq!(slot.token().await.unwrap_err().reason, Reason::SessionEnded);
    assert!(bench.current(&other).is_some());
}

#[tokio::test]
async fn who_waits_is_told_when_the_client_ends() {
    let bench = Bench::new();
    bench.fake.shut();
    let slot = bench.slot();
    let waiting = Arc::clone(&slot);
    let waiting = tokio::spawn(async move { waiting.token().await });
    settle().await;
    bench.broker.end_client(&key("ci").client);
    assert_eq!(waiting.await.unwrap().unwrap_err().reason, Reason::SessionEnded);
    bench.fake.open();
    settle().await;
    assert_eq!(bench.current(&slot), None);
}

/// What is barred gets no slot, an old slot of it gives nothing, and all goes on when that is taken
/// back.
#[tokio::test]
async fn what_is_barred_is_not_minted() {
    let mut bench = Bench::new();
    let barred = Arc::new(Mutex::new(None));
    let bars = Arc::clone(&barred);
    let broker = Arc::into_inner(bench.broker).unwrap();
    bench.broker = Arc::new(broker.heeding(Arc::new(move |_| *bars.lock().unwrap())));
    let mut slot = bench.slot();
    slot.token().await.unwrap();
    for (reason, revoke) in [
        (Reason::CredentialRevoked, Broker::revoke as fn(&Broker, &CredentialName) -> usize),
        (Reason::ClientRevoked, |broker, _| broker.revoke_clients(|_| true)),
    ] {
        *barred.lock().unwrap() = Some(reason);
        assert_eq!(revoke(&bench.broker, &CredentialName::new("orders")), 1);
        assert_eq!(bench.current(&slot), None);
        assert_eq!(slot.token().await.unwrap_err().reason, reason);
        assert_eq!(bench.broker.token(&mut slot).await.unwrap_err().reason, reason);
        assert_eq!(bench.slot_of("ci").unwrap_err().reason, reason);
        assert!(bench.broker.status().is_empty(), "nothing is kept of it");
        *barred.lock().unwrap() = None;
        assert!(bench.broker.token(&mut slot).await.is_ok());
    }
}

/// Whoever asks for a slot while a revocation runs through gets it before, and is closed, or is
/// refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_slips_past_a_revocation() {
    for _ in 0..200 {
        let mut bench = Bench::new();
        let barred = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let bars = Arc::clone(&barred);
        let broker = Arc::into_inner(bench.broker).unwrap().heeding(Arc::new(move |_| {
            bars.load(Ordering::SeqCst).then_some(Reason::CredentialRevoked)
        }));
        bench.broker = Arc::new(broker);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| bench.slot_of("ci"));
            barred.store(true, Ordering::SeqCst);
            bench.broker.revoke(&CredentialName::new("orders"));
            match asking.join().unwrap() {
                Ok(slot) => assert_eq!(slot.closed(), Some(Closed::Revoked)),
                Err(failure) => assert_eq!(failure.reason, Reason::CredentialRevoked),
            }
            assert!(bench.broker.status().is_empty());
        });
    }
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let bench = Bench::new();
    let slot = bench.slot();
    slot.token().await.unwrap();
    bench.broker.keep_only(&minters(&bench.minter), |_| true);
    assert!(bench.current(&slot).is_some() && Arc::ptr_eq(&slot, &bench.slot()));
}

/// Two definitions of one credential have a slot each, whoever asks first and in whatever order.
#[tokio::test]
async fn a_changed_credential_has_a_slot_of_its_own() {
    let bench = Bench::new();
    let old = bench.slot();
    old.token().await.unwrap();
    let fake = fake(&bench.clock);
    let minter: Arc<dyn Minter> = Arc::<Fake>::clone(&fake);
    let new = bench.broker.slot(&key("ci"), &minter).unwrap();
    assert!(!Arc::ptr_eq(&old, &new) && new.is_of(&minter) && !old.is_of(&minter));
    assert_eq!(text(&new.token().await.unwrap()), "token-1");
    assert_eq!((bench.fake.calls(), fake.calls()), (1, 1));
    bench.broker.keep_only(&minters(&minter), |_| true);
    assert_eq!((bench.current(&old), old.closed()), (None, Some(Closed::Replaced)));
    assert_eq!(bench.current(&new).as_deref(), Some("token-1"));
}

/// Who was judged before a reload still gets the token of that time, and it is kept nowhere.
#[tokio::test]
async fn a_replaced_slot_mints_for_those_who_came_before_and_keeps_nothing() {
    let bench = Bench::new();
    bench.fake.shut();
    let slot = bench.slot();
    let waiting = Arc::clone(&slot);
    let waiting = tokio::spawn(async move { waiting.token().await });
    settle().await;
    bench.broker.keep_only(&Minters::default(), |_| true);
    bench.fake.open();
    assert_eq!(text(&waiting.await.unwrap().unwrap()), "token-1");
    assert_eq!(bench.current(&slot), None);
    assert_eq!(text(&slot.token().await.unwrap()), "token-2");
    assert_eq!(bench.current(&slot), None);
    // A latecomer's slot goes at the next look.
    let late = bench.slot();
    late.token().await.unwrap();
    bench.broker.keep_only(&Minters::default(), |_| true);
    assert_eq!(bench.current(&late), None);
    assert!(bench.broker.status().is_empty());
}

/// What a reload takes away is revoked once nobody uses it, and not before.
#[tokio::test]
async fn a_replaced_token_is_revoked_once_it_is_unused() {
    let bench = Bench::new();
    let (used, unused) = (bench.slot(), bench.slot_of("other").unwrap());
    let in_use = used.token().await.unwrap();
    unused.token().await.unwrap();
    let kept = bench.slot_of("kept").unwrap();
    kept.token().await.unwrap();
    // No route asks this any more; of the credential itself nothing changed.
    let stays = key("kept");
    let asked = |key: &SlotKey| *key == stays;
    bench.broker.keep_only(&minters(&bench.minter), asked);
    assert_eq!(used.closed(), Some(Closed::Replaced));
    let revoked = async || {
        settle().await;
        bench.broker.sweep();
        settle().await;
        bench.fake.revoked()
    };
    assert_eq!(revoked().await, ["token-2"]);
    assert_eq!(revoked().await, ["token-2"], "once, and not what is in use");
    drop(in_use);
    assert_eq!(revoked().await, ["token-2", "token-1"]);
    // Who was judged before mints once more, and that is revoked too.
    let late = used.token().await.unwrap();
    assert_eq!(revoked().await.len(), 2);
    drop(late);
    assert_eq!(revoked().await, ["token-2", "token-1", "token-4"]);
    // The end waits for nobody.
    let late = used.token().await.unwrap();
    assert_eq!(bench.broker.revoke_all(), 2, "{late:?} and what is kept");
}

/// Neither a token nor a mint of before a reload escapes a revocation that comes after it.
#[tokio::test]
async fn a_revocation_finds_what_a_reload_replaced() {
    let orders = CredentialName::new("orders");
    for revoke in [
        (|broker| broker.revoke(&CredentialName::new("orders"))) as fn(&Broker) -> usize,
        |broker| broker.end_client(&key("ci").client),
        |broker| broker.revoke_clients(|_| true),
    ] {
        let bench = Bench::new();
        let slot = bench.slot();
        let in_use = slot.token().await.unwrap();
        bench.broker.keep_only(&Minters::default(), |key| key.credential != orders);
        bench.fake.shut();
        let waiting = Arc::clone(&slot);
        let waiting = tokio::spawn(async move { waiting.token().await });
        settle().await;
        bench.broker.sweep();
        assert_eq!(revoke(&bench.broker), 1, "{in_use:?}");
        settle().await;
        assert_eq!(bench.fake.revoked(), ["token-1"], "in use or not");
        assert!(waiting.await.unwrap().is_err(), "nobody gets what comes late");
        bench.fake.open();
        settle().await;
        assert_eq!(bench.fake.revoked(), ["token-1", "token-2"]);
        assert!(slot.token().await.is_err(), "nor is anything more minted");
    }
}

#[tokio::test]
async fn the_number_of_slots_is_bounded() {
    let mut bench = Bench::new();
    Arc::get_mut(&mut bench.broker).unwrap().most = 2;
    let (a, b) = (bench.slot(), bench.slot_of("b").unwrap());
    let refused = bench.slot_of("c").unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyConnections);
    drop(b);
    assert!(bench.slot_of("c").is_ok());
    a.token().await.unwrap();
    bench.clock.pass(101.0);
    bench.broker.sweep();
    assert_eq!(bench.broker.status().len(), 1);
}

#[test]
fn a_runtime_that_is_gone_leaves_nobody_waiting() {
    let gone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::on(gone.handle().clone());
    bench.fake.shut();
    let slot = bench.slot();
    // Under way when the runtime goes…
    let waiting = Arc::clone(&slot);
    let waiting = here.spawn(async move { waiting.token().await });
    here.block_on(settle());
    gone.block_on(settle());
    assert_eq!(bench.fake.calls(), 1);
    drop(gone);
    let failure = here.block_on(waiting).unwrap().unwrap_err();
    assert_eq!(failure.reason, Reason::ShuttingDown);
    // …and asked for afterwards.
    let failure = here.block_on(slot.token()).unwrap_err();
    assert_eq!(failure.reason, Reason::ShuttingDown);
}
