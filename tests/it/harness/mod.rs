//! The harness: small real fakes, each on a loopback port of its own, each gone when dropped.
//!
//! ```ignore
//! let stage = Stage::usual().await;                      // pki, issuer, api, and Valetkey between them
//! let answer = stage.get("/v1/orders").await?;           // what a tool would do
//! let seen = stage.api.next().await;                     // what the API got
//! assert_eq!(seen.one("authorization"), stage.issuer.last_bearer());
//! ```
//! Tests wait for an event, or look for it ([`until`], [`found`]); [`soon`] turns a wait that lasts too long into a
//! failure. No test takes a time for an event.

pub mod api;
pub mod caller;
pub mod client;
pub mod hello;
pub mod http1;
pub mod idp;
pub mod issuer;
pub mod keyring;
pub mod laptop;
pub mod leak;
pub mod naive;
pub mod namespace;
pub mod neighbour;
pub mod pair;
pub mod parent;
pub mod pki;
pub mod stage;
pub mod tap;
pub mod upstream;
pub mod valetkey;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

/// How long anything may take before the test counts as failed. Far above what is needed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `event`, or fails the test and says what it waited for.
pub async fn soon<F: Future>(what: &str, event: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Looks until it is so, or fails the test and says what it waited for.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    found(what, || is_so().then_some(())).await;
}

/// Looks until it is there, or fails the test and says what it waited for.
pub async fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            match look() {
                Some(seen) => return seen,
                None => look_again().await,
            }
        }
    };
    soon(what, seen).await
}

/// Between two looks at what tells nobody that it changed: those who are waited for need the processor.
pub async fn look_again() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Says what a test measured of a fault of the fault table (`tests/it/faults/faults.txt`), by its name there.
pub fn figure(fault: &str, measured: impl std::fmt::Display) {
    println!("figure {fault}: {measured}");
}

/// Says that this machine cannot run the test, which then returns: a table of ours reads it, and `tests/run` counts it.
/// The test's own harness knows no such end, and calls it ok.
pub fn not_run(why: impl std::fmt::Display) {
    use std::io::Write as _;
    let why = why.to_string().trim().replace('\n', "; ");
    println!("skipped: {why}");
    let Some(list) = std::env::var_os("VALETKEY_TEST_NOT_RUN") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
    let thread = std::thread::current();
    // One write, whole: many tests do it at once.
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}

/// A lock that outlives a panic in another task.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A random value of 256 bits that is found nowhere by chance.
pub fn canary(kind: &str) -> String {
    format!("{kind}-{}", ::valetkey::model::id::random_text())
}

/// A door that is opened once, by the test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn passed(&self) {
        let mut state = self.0.subscribe();
        let _ = state.wait_for(|open| *open).await;
    }
}

/// What a fake saw, in order; tests read it or wait for it to grow.
#[derive(Debug)]
pub struct Log<T> {
    items: Mutex<Vec<T>>,
    length: watch::Sender<usize>,
}

impl<T: Clone> Log<T> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { items: Mutex::new(Vec::new()), length: watch::Sender::new(0) })
    }

    pub fn push(&self, item: T) {
        let mut items = lock(&self.items);
        items.push(item);
        self.length.send_replace(items.len());
    }

    pub fn all(&self) -> Vec<T> {
        lock(&self.items).clone()
    }

    /// All items, which are forgotten.
    pub fn take(&self) -> Vec<T> {
        let mut items = lock(&self.items);
        self.length.send_replace(0);
        std::mem::take(&mut *items)
    }

    pub fn len(&self) -> usize {
        lock(&self.items).len()
    }

    /// The item at `index`, as soon as there is one.
    pub async fn at(&self, what: &str, index: usize) -> T {
        let mut length = self.length.subscribe();
        let _ = soon(what, length.wait_for(|n| *n > index)).await;
        lock(&self.items)[index].clone()
    }
}

/// A background task that ends with its owner, and with it every task it holds in a `JoinSet`.
#[derive(Debug)]
pub struct Background(tokio::task::JoinHandle<()>);

impl Background {
    pub fn run(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts for ever, one task per connection.
pub fn accept_loop<F, T>(listener: tokio::net::TcpListener, handle: F) -> Background
where
    F: Fn(tokio::net::TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    Background::run(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let _ = stream.set_nodelay(true);
            connections.spawn(handle(stream));
        }
    })
}
