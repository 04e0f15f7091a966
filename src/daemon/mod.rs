//! Floor 7: wiring. Config becomes running parts here, and this is the only place that knows
//! everyone.
//!
//! The main thread runs the control side (admin socket, mints, signals, the ticker); each core has
//! a worker thread with a runtime of its own, and connections never leave theirs
//! (`benches/README.md` has the measurement that decided this).

mod announce;
mod at_rest;
mod changes;
mod control;
mod doors;
mod error;
mod last_mints;
mod listeners;
mod logins;
mod observe;
mod parents;
mod platform;
mod port;
mod publish;
mod reload;
mod revocation;
mod seen;
mod sessions;
mod sight;
mod sockets;
mod state;
mod status;
mod ticker;
mod workers;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use at_rest::{end_at_rest, revoke_at_rest};
pub use error::Error;
pub use listeners::can_listen;
pub use logins::{known as known_logins, stored as stored_logins};
pub use world::{issuers, spare};

use crate::admin;
use crate::audit::{Audit, Event};
use crate::broker::{Broker, MintReport, OnRevoke};
use crate::client::Gate;
use crate::client::attribution::Attribution;
use crate::client::session::Sessions;
use crate::config::{self, Config, Held, env, search};
use crate::inject;
use crate::mint::MintError;
use crate::model::clock::{Clock, SystemClock};
use crate::model::hint;
use crate::net::shares::Shares;
use crate::passage::{Passage, name_config};
use crate::proxy::{Proxy, Stop};
use crate::telemetry::metrics::Metrics;
use control::{Daemon, Handle};
use doors::Doors;
use last_mints::LastMints;
use observe::Observer;
use publish::Shared;
use state::StateDir;
use world::SharedSessions;

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The config, loaded; its file is read again on SIGHUP.
    pub config: Config,
    /// Stop after this long without a session and a connection.
    pub idle_exit: Option<Duration>,
}

/// How long the end waits for issuers to take tokens back.
const REVOKE: Duration = Duration::from_secs(3);

/// How long the end waits for logins that are being renewed: one exchange, and storing what came.
const RENEW: Duration = Duration::from_secs(12);

/// How long workers may take to cut what is open, and to write down that they did.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// Runs until SIGTERM, SIGINT or the idle exit, then drains; a second signal cuts that short.
/// Blocks.
pub fn serve(options: Options) -> Result<(), Error> {
    platform::keep_memory_private();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    // Drawn early: the first use of the generator costs milliseconds.
    let _ = crate::model::id::random_bytes();
    let ended = runtime.block_on(run(options));
    // Workers that were told to stop at once are not waited for.
    runtime.shutdown_background();
    ended
}

async fn run(options: Options) -> Result<(), Error> {
    let started = Instant::now();
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let config = options.config;
    let mut state = StateDir::open(&config)?;
    prune(&config.state_dir, config.held.iter());
    workers::raise_descriptor_limit();
    let doors = Doors::open(&config, &state)?;
    let (scraped, _beside) = listeners::bind(config.admin.metrics.as_slice())?.only()?;
    let metrics_address = scraped.as_ref().map(|(_, address)| *address);
    let metrics = Arc::new(Metrics::default());
    let observer = Observer::start(scraped, &metrics)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let audit = open_audit(&config, &clock, &metrics)?;
    let own: Vec<_> = doors.addresses()?.into_iter().chain(metrics_address).collect();
    let world = world::build(&config, &own, None, &clock, &audit)?;
    let shared = Shared::open(&config.ca, &world)?;
    let sessions = Arc::new(Sessions::new(Arc::clone(&clock)));
    let gate = Arc::new(Gate::heeding(Arc::clone(&sessions), Arc::new(state.revoked()?)));
    SharedSessions::read(&config)?.share(&gate);
    state.resume(&sessions, doors.told()?);
    let last_mints = Arc::new(LastMints::default());
    let broker = broker(&clock, &audit, &last_mints, &gate);
    let (stop, stopping) = watch::channel(Stop::No);
    world::count(&config, &metrics);
    let hash = world.terms.policy.hash().clone();
    let max_connections = workers::Descriptors::split().clients;
    let config_flag = config_flag(&config);
    name_config(&config_flag);
    let proxy = Arc::new(Proxy {
        world: ArcSwap::from_pointee(world),
        passage: Passage::new(gate, Arc::new(broker), Arc::clone(&audit), clock, config_flag),
        attribution: Attribution::start(inject::mask_word).map_err(Error::Runtime)?,
        stop: stopping,
        connections: AtomicUsize::new(0),
        max_connections,
        shares: Shares::new(max_connections),
        freed: Notify::new(),
        live: Arc::default(),
        handshakes: Default::default(),
        step_ups: Default::default(),
        requests: AtomicU64::new(0),
    });
    audit.event(Event::config("loaded", Some(&hash))).map_err(Error::Audit)?;
    let (threads, pulse) = workers::start(&proxy, &doors)?;
    // Last: whoever finds the socket finds a daemon that is ready.
    let admin = admin::bind(&config.admin.socket)?;
    let daemon = Arc::new(Daemon::new(
        Arc::clone(&proxy),
        config,
        own,
        metrics_address,
        state,
        last_mints,
        started,
    ));
    observer.running(&proxy, pulse);
    // Before it answers: whoever waited for that finds it in the index.
    daemon.enter(options.idle_exit.is_some());
    let serving = tokio::spawn(admin::serve(admin, Arc::new(Handle(Arc::clone(&daemon)))));
    doors.announce(started.elapsed())?;
    let watching = watch(&daemon);
    let publishing = shared.map(|shared| tokio::spawn(shared.keep_up(Arc::clone(&proxy))));
    until_stopped(&daemon, &mut signals, options.idle_exit).await;
    watching.iter().for_each(JoinHandle::abort);
    publishing.iter().for_each(JoinHandle::abort);
    tracing::info!("stopping: no new connections, open ones are drained");
    stop.send_replace(Stop::Drain);
    drop(doors);
    signals.unless_stopped(threads.join(), &stop).await;
    daemon.leave();
    serving.abort();
    daemon.save_sessions().ok();
    settle(&proxy).await;
    // The last outcomes and the head; blocking is fine now.
    audit.flush().ok();
    Ok(())
}

/// Copies that nothing uses any more go.
fn prune<'a>(state_dir: &Path, live: impl Iterator<Item = &'a Held>) {
    if let Err(error) = config::prune(state_dir, live) {
        tracing::warn!(%error, "old copies of a project's files cannot be removed: `held` in the state directory");
    }
}

/// The trail; what is wrong with it is said.
fn open_audit(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Audit>, Error> {
    let (audit, findings) = Audit::open(&config.audit, &config.state_dir, Arc::clone(clock))?;
    for finding in findings {
        tracing::warn!(code = finding.code, hint = finding.hint, "{}", finding.message);
    }
    Ok(Arc::new(audit.counting_in(Arc::clone(metrics))))
}

/// What a person types beside `valetkey login CREDENTIAL`: nothing where the config is found by
/// itself.
pub fn config_flag(config: &Config) -> String {
    let own = env::config_home().map(|dir| dir.join(search::PROJECT_FILE));
    if own.is_some_and(|path| path == config.named) {
        return String::new();
    }
    hint::config_flag(&config.named)
}

/// What looks on while requests are served: at config and at logins.
fn watch(daemon: &Arc<Daemon>) -> [JoinHandle<()>; 2] {
    let (changes, announce) = (Arc::clone(daemon), Arc::clone(daemon));
    [tokio::spawn(changes::run(changes)), tokio::spawn(announce::run(announce))]
}

/// What issuers are still to be told, and what they have told us that must be stored.
async fn settle(proxy: &Proxy) {
    // Nobody after us knows these tokens. An issuer that is down holds nobody up.
    if proxy.passage.broker.revoke_all() > 0 {
        tokio::time::timeout(REVOKE, proxy.passage.broker.settled()).await.ok();
    }
    // A refresh token that is being renewed: its issuer may already have forgotten the old one.
    tokio::time::timeout(RENEW, proxy.world.load_full().logins.settled()).await.ok();
}

/// What is listened for from the very start: a signal that nobody listens for ends a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits; when somebody says stop once more, only for what is cut to be written down.
    async fn unless_stopped(
        &mut self,
        drained: impl Future<Output = ()>,
        stop: &watch::Sender<Stop>,
    ) {
        let mut drained = std::pin::pin!(drained);
        tokio::select! {
            () = drained.as_mut() => return,
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::warn!("stopping at once: what is open is cut");
        stop.send_replace(Stop::Now);
        tokio::time::timeout(LAST_RECORDS, drained).await.ok();
    }
}

/// Signals, the ticker and the idle exit, until one of them says stop.
async fn until_stopped(daemon: &Arc<Daemon>, signals: &mut Signals, idle_exit: Option<Duration>) {
    let mut ticks = std::pin::pin!(ticker::run(Arc::clone(daemon), idle_exit));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            () = daemon.stop_asked.notified() => return,
            _ = signals.hangup.recv() => drop(daemon.reload(None)),
            () = ticks.as_mut() => {
                tracing::info!("idle for long enough");
                return;
            }
        }
    }
}

/// Mints on this thread's runtime.
fn broker(
    clock: &Arc<dyn Clock>,
    audit: &Arc<Audit>,
    last_mints: &Arc<LastMints>,
    gate: &Arc<Gate>,
) -> Broker {
    let runtime = tokio::runtime::Handle::current();
    let gate = Arc::clone(gate);
    Broker::new(Arc::clone(clock), runtime, on_mint(audit, last_mints))
        .telling(on_revoke(audit))
        .heeding(Arc::new(move |key| gate.bars(&key.client, &key.credential)))
}

/// Every mint is in the audit before its token serves.
fn on_mint(
    audit: &Arc<Audit>,
    last_mints: &Arc<LastMints>,
) -> Arc<dyn Fn(&MintReport<'_>) + Send + Sync> {
    let (audit, last_mints) = (Arc::clone(audit), Arc::clone(last_mints));
    Arc::new(move |report| {
        let said = report.result.err().and_then(MintError::said).map(inject::mask_text);
        last_mints.note(report, said.as_deref());
        audit.metrics().minted(&report.key.credential, report.result.err().map(MintError::code));
        let credential = &report.key.credential;
        let event = match report.result {
            Ok(token) => Event::minted(credential, token),
            Err(error) => {
                let code = error.code();
                let hint = error.hint().replace("CREDENTIAL", credential.as_str());
                tracing::warn!(%credential, code, hint, issuer = said, "minting failed: {error}");
                Event::mint_failed(credential, error.reason()).with("detail", error.code())
            }
        };
        let event = event.of(&report.key.client).with("ms", report.took.as_millis() as u64);
        // A full disk stops injection at the decision; the mint itself harms nobody.
        audit.event(event).ok();
    })
}

/// What became of a revocation is in the audit as well.
fn on_revoke(audit: &Arc<Audit>) -> OnRevoke {
    let audit = Arc::clone(audit);
    Arc::new(move |report| {
        let (credential, token) = (&report.key.credential, report.token);
        let event = match report.result {
            Ok(()) => Event::revoked(credential, token, None),
            Err(error) => {
                tracing::warn!(%credential, code = error.code(), hint = "the token ends by itself", "revoking failed: {error}");
                Event::revoked(credential, token, Some(error.reason())).with("detail", error.code())
            }
        };
        audit.event(event.of(&report.key.client).with("attempts", report.attempts)).ok();
    })
}
