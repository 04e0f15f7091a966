//! Upstream connections of one worker, kept by client identity, credential, what is asked of it,
//! and origin (invariant I7) together with the TLS sessions that may resume them, and used again
//! only in the world that made them.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use hyper::client::conn::http2::SendRequest;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::http2;
use super::lent::Lent;
use super::upload::Upload;
use crate::http1;
use crate::model::ask::Ask;
use crate::model::client::ClientKey;
use crate::model::id::CredentialName;
use crate::model::lock::lock;
use crate::model::reason::Reason;
use crate::model::target::{Origin, Scheme};
use crate::model::tls_fault::TlsFault;
use crate::net::anchors::RootsUnread;
use crate::net::guard::Reach;
use crate::net::stream::Stream;
use crate::net::tls::Tls;
use crate::net::{tls_fault, tls_name};
use crate::proxy::shared::{HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, World};
use crate::telemetry::metrics::{Held, Metrics};

/// Idle connections of one key: as many as clients use side by side. With fewer, a fleet of kept
/// connections has upstream handshakes for good. When descriptors run short, all idle ones are let
/// go.
const MAX_IDLE: usize = 256;
/// Keys remembered; the one unused for longest goes first.
const MAX_KEYS: usize = 1024;
/// Kept a little shorter than most servers do, so that fewer die under a request.
const KEEP: Duration = Duration::from_secs(55);
/// Streams of ours on one HTTP/2 connection before another is opened: what most servers allow.
const UPSTREAM_STREAMS: usize = 100;

/// What a connection may be shared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub client: ClientKey,
    pub credential: Option<CredentialName>,
    /// Audience, scope and what else the route asks of the credential.
    pub ask: Option<Arc<Ask>>,
    pub origin: Origin,
    pub generation: u64,
    /// How far it was dialled: a connection into a private network is not everybody's.
    pub reach: Reach,
    /// What the client speaks with us.
    pub spoken: Spoken,
}

/// Hashed a few times for each request: by who asks and for which host, which is as good as by all
/// of it. Equal are only keys that are equal in everything.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.client.hash(state);
        self.origin.target.hash(state);
    }
}

/// The upstream is offered what its client speaks: as it would be without us, and nothing needs to
/// be translated. HTTP/2 is a client's own wish to share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    Http1,
    Http2,
}

impl Spoken {
    fn offered(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2", b"http/1.1"],
        }
    }
}

/// A connection over HTTP/1, counted as open until its end.
pub type UpstreamConnection = http1::Connection<Held>;

/// A request on its way to an upstream over HTTP/1, and its answer.
pub type UpstreamExchange = http1::Exchange<Upload, Held>;

/// An upstream connection that belongs to one client connection, if it has one.
pub type Pinned = Arc<Mutex<Option<(Key, UpstreamConnection)>>>;

/// Upstream connections of one worker. The lock is never contended: all users are on one thread.
pub struct Pool {
    shelves: Mutex<HashMap<Key, Shelf>>,
    metrics: Arc<Metrics>,
}

struct Shelf {
    tls: Tls,
    http1: Vec<(UpstreamConnection, Instant, Held)>,
    http2: Vec<Shared2>,
    /// Held while a connection is made that others may share: the first of all, and those of
    /// HTTP/2.
    making: Arc<tokio::sync::Mutex<()>>,
    /// The upstream chose HTTP/1 before, or is offered nothing else: connections are made side by
    /// side.
    speaks_http1: bool,
    used: Instant,
}

/// An HTTP/2 connection; `streams` has one more owner for each stream of ours on it.
#[derive(Clone)]
pub struct Shared2 {
    pub sender: SendRequest<Lent>,
    pub streams: Arc<()>,
}

/// A connection that can take a request now.
pub enum Sender {
    Http1(UpstreamConnection),
    Http2(Shared2),
}

/// Where a connection goes after the answer.
pub struct Home {
    pool: Weak<Pool>,
    key: Key,
    pinned: Option<Pinned>,
    _stream: Option<Arc<()>>,
}

impl Home {
    /// That of a connection which `sender` sends on; `pinned`: where it is kept for its client
    /// connection alone.
    pub fn of(pool: &Arc<Pool>, key: &Key, pinned: Option<&Pinned>, sender: &Sender) -> Self {
        let stream = match sender {
            Sender::Http1(_) => None,
            Sender::Http2(shared) => Some(Arc::clone(&shared.streams)),
        };
        let (pool, pinned) = (Arc::downgrade(pool), pinned.map(Arc::clone));
        Self { pool, key: key.clone(), pinned, _stream: stream }
    }

    /// From now on the connection belongs to one client connection, and ends with it.
    pub fn pin(&mut self, pinned: &Pinned) {
        self.pinned = Some(Arc::clone(pinned));
    }

    /// Keeps it for the next request of the same key.
    pub fn take_back(&self, connection: UpstreamConnection) {
        if let Some(pinned) = &self.pinned {
            *lock(pinned) = Some((self.key.clone(), connection));
        } else if let Some(pool) = self.pool.upgrade() {
            pool.put(&self.key, connection);
        }
    }
}

impl Pool {
    /// Empty; its connections are counted in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { shelves: Mutex::default(), metrics }
    }

    /// A kept connection of this key, if one is free and alive.
    pub fn shelved(&self, key: &Key) -> Option<Sender> {
        let mut shelves = self.shelves();
        let shelf = shelves.get_mut(key)?;
        shelf.used = Instant::now();
        shelf.http2.retain(|shared| !shared.sender.is_closed());
        let free = |shared: &&Shared2| Arc::strong_count(&shared.streams) <= UPSTREAM_STREAMS;
        if let Some(shared) = shelf.http2.iter().find(free) {
            return Some(Sender::Http2(shared.clone()));
        }
        // The one used last: the others may go idle and be closed.
        while let Some((mut connection, since, _)) = shelf.http1.pop() {
            if since.elapsed() < KEEP && connection.is_quiet() {
                return Some(Sender::Http1(connection));
            }
        }
        None
    }

    /// Gives no further request to a connection that refuses them; those on it go on.
    pub fn forget(&self, key: &Key, refusing: &Shared2) {
        if let Some(shelf) = self.shelves().get_mut(key) {
            shelf.http2.retain(|shared| !Arc::ptr_eq(&shared.streams, &refusing.streams));
        }
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<Key, Shelf>> {
        lock(&self.shelves)
    }

    /// Keeps one for the next request of this key.
    pub fn put(&self, key: &Key, connection: UpstreamConnection) {
        if let Some(shelf) = self.shelves().get_mut(key)
            && shelf.http1.len() < MAX_IDLE
        {
            shelf.http1.push((connection, Instant::now(), self.metrics.upstream_idle.hold()));
        }
    }

    /// What is needed to connect, for a key; makes room for it first.
    fn shelf(&self, world: &World, key: &Key) -> (Tls, Arc<tokio::sync::Mutex<()>>, bool) {
        let mut shelves = self.shelves();
        if shelves.len() >= MAX_KEYS && !shelves.contains_key(key) {
            let oldest =
                shelves.iter().min_by_key(|(_, shelf)| shelf.used).map(|(key, _)| key.clone());
            oldest.map(|oldest| shelves.remove(&oldest));
        }
        let shelf = shelves.entry(key.clone()).or_insert_with(|| Shelf {
            tls: world.roots.tls(key.spoken.offered()),
            http1: Vec::new(),
            http2: Vec::new(),
            making: Arc::default(),
            speaks_http1: key.origin.scheme == Scheme::Http || key.spoken == Spoken::Http1,
            used: Instant::now(),
        });
        (shelf.tls.clone(), Arc::clone(&shelf.making), shelf.speaks_http1)
    }

    /// Whether the upstream chose HTTP/1 where it could have HTTP/2.
    pub fn speaks_http1(&self, key: &Key) -> bool {
        self.shelves().get(key).is_some_and(|shelf| shelf.speaks_http1)
    }

    /// A new connection, or one that another request made meanwhile, unless `own` says that it must
    /// be the first to send on it. `http1`: for a request that HTTP/2 cannot carry.
    pub async fn connect(
        &self,
        world: &World,
        key: &Key,
        http1: bool,
        own: bool,
    ) -> Result<Sender, Reason> {
        let (mut tls, making, speaks_http1) = self.shelf(world, key);
        if http1 && key.origin.scheme == Scheme::Https {
            if !speaks_http1 {
                tls = tls.offering(b"http/1.1");
            }
            return self.open(world, key, tls).await;
        }
        if speaks_http1 {
            match self.open(world, key, tls).await {
                // It speaks HTTP/2 alone, and is offered that from now on.
                Err(Reason::UpstreamTlsInvalid(_)) if !self.speaks_http1(key) => {
                    tls = self.shelf(world, key).0;
                }
                opened => return opened,
            }
        }
        if own {
            return self.open(world, key, tls).await;
        }
        // Others may be waiting for just this connection.
        let making = making.lock().await;
        if let Some(sender) = self.shelved(key) {
            return Ok(sender);
        }
        // The one waited for came out as HTTP/1: nobody else needs to wait.
        let making = (!self.speaks_http1(key)).then_some(making);
        let opened = self.open(world, key, tls).await;
        drop(making);
        opened
    }

    async fn open(&self, world: &World, key: &Key, tls: Tls) -> Result<Sender, Reason> {
        let target = &key.origin.target;
        let stream =
            world.dialer.dial_origin(&key.origin, key.reach, Some(&key.client)).await.map_err(
                |error| {
                    tracing::debug!(%target, %error, "dialling failed");
                    error.reason()
                },
            )?;
        let open = self.metrics.upstream_open.hold();
        if key.origin.scheme == Scheme::Http {
            return Ok(Sender::Http1(UpstreamConnection::new(stream, open)));
        }
        let offers_http2 = tls.offers(b"h2");
        let begun = Instant::now();
        let stream = match handshake(tls, &key.origin, stream).await {
            Err(reason @ Reason::UpstreamTlsInvalid(TlsFault::NoProtocol)) if !offers_http2 => {
                if let Some(shelf) = self.shelves().get_mut(key) {
                    shelf.tls = world.roots.tls(Spoken::Http2.offered());
                    shelf.speaks_http1 = false;
                }
                return Err(reason);
            }
            opened => opened?,
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            if offers_http2 && let Some(shelf) = self.shelves().get_mut(key) {
                shelf.speaks_http1 = true;
            }
            return Ok(Sender::Http1(UpstreamConnection::new(stream, open)));
        }
        let sender = http2::begin(stream, open, begun.elapsed()).await?;
        let shared = Shared2 { sender, streams: Arc::new(()) };
        if let Some(shelf) = self.shelves().get_mut(key) {
            shelf.http2.push(shared.clone());
        }
        Ok(Sender::Http2(shared))
    }

    /// Drops what no request is using: others need the descriptors more.
    pub fn let_go(&self) {
        for shelf in self.shelves().values_mut() {
            shelf.http1.clear();
            shelf.http2.retain(|shared| Arc::strong_count(&shared.streams) > 1);
        }
    }

    /// Drops connections that are closed or were idle for too long, and shelves of older worlds.
    pub fn prune(&self, generation: u64) {
        self.shelves().retain(|key, shelf| {
            shelf.http1.retain_mut(|(connection, since, _)| {
                since.elapsed() < KEEP && connection.is_quiet()
            });
            shelf.http2.retain(|shared| !shared.sender.is_closed());
            key.generation == generation && shelf.used.elapsed() < IDLE_TIMEOUT
        });
    }
}

async fn handshake(tls: Tls, origin: &Origin, stream: Stream) -> Result<TlsStream<Stream>, Reason> {
    let name = tls_name(&origin.target.host);
    let name = name.map_err(|_| Reason::UpstreamTlsInvalid(TlsFault::Name))?;
    let connector = tls.ready().await.map_err(|RootsUnread| Reason::RootsUnread)?;
    let shaking = connector.connect(name, stream);
    let shaken = timeout(HANDSHAKE_TIMEOUT, shaking).await.map_err(|_| Reason::UpstreamTimeout)?;
    shaken.map_err(|error| {
        tracing::debug!(%origin, %error, "TLS with the upstream failed");
        tls_fault(&error).map_or(Reason::UpstreamUnreachable, Reason::UpstreamTlsInvalid)
    })
}
