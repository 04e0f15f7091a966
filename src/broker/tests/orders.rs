//! One mint for all who wait, in every order in which things can happen.
//!
//! Each scenario names what happens: who polls for the token, who goes away, when the issuer
//! answers, when somebody invalidates or closes. It is run anew for every order of these steps,
//! with a runtime that runs one task a step, so that each await of the mint is a place where
//! anything else may come between. What a slot does itself is done under its lock and is one step.
//! That makes this exhaustive for one thread; what threads add is that lock and one pointer
//! (`arc-swap`), which have tests of their own.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Runtime;

use super::*;

type Waiting = Pin<Box<dyn Future<Output = Result<Arc<Token>, Failure>>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The broker's runtime runs one task. More of them than there are do nothing.
    Task,
    Answer,
    /// This one asks for the token: the first time by starting or joining the mint.
    Ask(usize),
    /// And goes away without having heard of it.
    Leave(usize),
    /// An upstream says 401 to the token that is held at first.
    Invalidate,
    End,
    /// A reload changes the credential, and this one asks for what is there now.
    Reload(usize),
}

use Step::*;

/// A run: the broker, who waits, and what they heard.
struct Run {
    runtime: Runtime,
    bench: Bench,
    slot: Arc<Slot>,
    waiting: Vec<Option<Waiting>>,
    heard: Vec<Option<Result<String, Failure>>>,
    invalidated: bool,
    ended: bool,
}

impl Run {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .event_interval(1)
            .build()
            .unwrap();
        let bench = Bench::on(runtime.handle().clone());
        let slot = bench.slot();
        bench.fake.shut();
        let waiting = (0..MOST).map(|_| None).collect();
        let heard = vec![None; MOST];
        Self { runtime, bench, slot, waiting, heard, invalidated: false, ended: false }
    }

    /// Holding a token so late in its life that use renews it.
    fn late(mut self) -> Self {
        self.bench.fake.open();
        self.ask(0);
        self.settle();
        self.heard[0] = None;
        self.bench.fake.shut();
        self.bench.clock.pass(90.0);
        self
    }

    fn step(&mut self, step: Step) {
        match step {
            Task => self.task(),
            Answer => self.bench.fake.open(),
            Ask(who) => self.ask(who),
            Leave(who) => drop(self.waiting[who].take()),
            Invalidate => {
                let first = Secret::new("token-1");
                self.invalidated = self.slot.invalidate(&first.fingerprint());
            }
            End => {
                self.bench.broker.end_client(&self.slot.key().client);
                self.ended = true;
            }
            Reload(who) => {
                let next = fake(&self.bench.clock);
                next.calls.store(50, Ordering::SeqCst);
                let minter: Arc<dyn Minter> = next;
                self.bench.broker.keep_only(&minters(&minter), |_| true);
                let slot = self.bench.broker.slot(self.slot.key(), &minter).unwrap();
                self.waiting[who] = Some(Box::pin(async move { slot.token().await }));
                self.poll(who);
            }
        }
    }

    fn ask(&mut self, who: usize) {
        let slot = Arc::clone(&self.slot);
        self.waiting[who] = Some(Box::pin(async move { slot.token().await }));
        self.poll(who);
        if let Some(Ok(token)) = &self.heard[who] {
            assert!(!(self.invalidated && token == "token-1"), "a token that was given up");
            assert!(!self.ended, "a token after the end");
        }
    }

    fn poll(&mut self, who: usize) {
        let Some(future) = &mut self.waiting[who] else { return };
        // Of a waiter, not of the runtime: it is polled when the order says so.
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(landed) = polled {
            self.waiting[who] = None;
            self.heard[who] = Some(landed.map(|token| text(&token)));
        }
    }

    /// Lets the runtime run one task, if one is ready.
    fn task(&self) {
        let mut polls = 0;
        self.runtime.block_on(poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls > 1 { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    /// To the end of everything.
    fn settle(&mut self) {
        self.bench.fake.open();
        for _ in 0..24 {
            self.task();
        }
        for who in 0..self.waiting.len() {
            self.poll(who);
        }
        assert!(self.waiting.iter().all(Option::is_none), "somebody waits for ever");
        let minting = self.bench.broker.status().iter().any(|slot| slot.minting);
        assert!(!minting, "a mint under way that nobody minds");
    }
}

/// Every order of the steps in which each kind of `Task` is as good as another, and nobody leaves
/// before asking.
fn orders(steps: &[Step], each: &mut impl FnMut(&[Step])) {
    fn go(left: &mut Vec<Step>, order: &mut Vec<Step>, each: &mut impl FnMut(&[Step])) {
        if left.is_empty() {
            return each(order);
        }
        for at in 0..left.len() {
            let step = left[at];
            let early = matches!(step, Leave(who) if left.contains(&Ask(who)));
            if early || left[..at].contains(&step) {
                continue;
            }
            left.remove(at);
            order.push(step);
            go(left, order, each);
            order.pop();
            left.insert(at, step);
        }
    }
    go(&mut steps.to_vec(), &mut Vec::new(), each);
}

/// Runs all orders; how many there were, so that a scenario that shrank is seen.
fn all(steps: &[Step], begin: impl Fn() -> Run, check: impl Fn(&Run)) -> usize {
    let mut count = 0;
    orders(steps, &mut |order| {
        let mut run = begin();
        order.iter().for_each(|step| run.step(*step));
        run.settle();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&run)));
        assert!(checked.is_ok(), "in the order {order:?}");
        count += 1;
    });
    count
}

/// Of those who ask in one scenario.
const MOST: usize = 4;

#[test]
fn one_mint_and_nobody_lost() {
    let steps = [Ask(0), Leave(0), Ask(1), Task, Task, Task, Task, Answer];
    let count = all(&steps, Run::new, |run| {
        assert_eq!(run.bench.fake.calls(), 1);
        assert_eq!(run.bench.reports.load(Ordering::SeqCst), 1);
        assert_eq!(run.heard[1], Some(Ok("token-1".to_owned())));
    });
    assert_eq!(count, 840);
}

#[test]
fn a_failure_is_told_to_all_once() {
    let begin = || {
        let run = Run::new();
        run.bench.fake.will(Do::Refuse(None));
        run
    };
    let steps = [Ask(0), Leave(0), Ask(1), Ask(2), Task, Task, Task, Answer];
    all(&steps, begin, |run| {
        assert_eq!(run.bench.fake.calls(), 1, "whoever comes after it is told at once");
        for who in [1, 2] {
            let Some(Err(failure)) = run.heard[who] else { panic!("a failure") };
            assert_eq!(failure.code, "issuer-busy");
            assert!(failure.retry_after.is_some());
        }
    });
}

#[test]
fn a_panic_is_told_as_well() {
    let begin = || {
        let run = Run::new();
        run.bench.fake.will(Do::Panic);
        run
    };
    all(&[Ask(0), Leave(0), Ask(1), Task, Task, Task, Answer], begin, |run| {
        assert!(matches!(run.heard[1], Some(Err(_))));
        assert_eq!(run.bench.fake.calls(), 1);
    });
}

/// `Run::ask` asserts that a token is not given once it was given up.
#[test]
fn what_was_given_up_is_not_given() {
    let seen = Mutex::new(BTreeSet::new());
    let steps = [Ask(0), Invalidate, Ask(1), Task, Task, Task, Task, Answer];
    all(
        &steps,
        || Run::new().late(),
        |run| {
            assert_eq!(run.bench.fake.calls(), 2, "renewed once, by whoever came first");
            assert!(!run.slot.holds(&Secret::new("token-1").fingerprint()));
            let heard = [0, 1].map(|who| run.heard[who].clone().unwrap().unwrap());
            seen.lock().unwrap().insert(heard);
        },
    );
    // Both answers were seen: the orders are not all alike.
    assert!(seen.lock().unwrap().len() > 2);
}

/// Nobody is given a token after the end, and one that comes after it is revoked.
#[test]
fn an_end_is_the_end() {
    let steps = [Ask(0), End, Ask(1), Task, Task, Task, Task, Answer];
    all(&steps, Run::new, |run| {
        let calls = run.bench.fake.calls();
        assert!(calls <= 1);
        assert_eq!(run.bench.fake.revoked().len(), calls, "what was minted is revoked");
        assert!(run.slot.current(run.bench.clock.now()).is_none());
    });
}

/// The swap of the config: who was judged before it gets a token of the old minter, who was judged
/// by it one of the new, and nobody the other's.
#[test]
fn a_reload_mixes_no_tokens() {
    let steps = [Ask(0), Leave(0), Reload(3), Ask(1), Task, Task, Task, Answer];
    all(&steps, Run::new, |run| {
        // A slot that was replaced keeps nothing: who comes after the first mint has one of his
        // own.
        let old = run.heard[1].clone().unwrap().unwrap();
        assert!(old == "token-1" || old == "token-2", "{old}");
        assert_eq!(run.heard[3], Some(Ok("token-51".to_owned())));
    });
}
