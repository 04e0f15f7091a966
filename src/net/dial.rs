//! [`Dialer`]: from a target to a TCP stream.
//!
//! A name is resolved once, the guard judges every answer, and only judged addresses are dialled,
//! so that a resolver that answers differently the next time changes nothing. One refused answer
//! refuses the name: whoever mixes a private address into a public name is mistaken or hostile,
//! and picking the "good" ones would let the client retry until the other is taken.
//!
//! Where there is a parent proxy, names go to it unresolved, and the guard judges names and
//! literals before. Pins, exceptions of `no_proxy` and this machine itself are dialled directly.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::budget::{Budget, Spent};
use super::chain::Pseudonym;
use super::dial_error::{CONNECT_TIMEOUT, DialError, RESOLVE_TIMEOUT, ViaError};
use super::guard::{Guard, Reach};
use super::platform;
use super::stream::Stream;
use super::via::{Parent, Parents};
use crate::config::parent::is_loopback;
use crate::model::client::ClientKey;
use crate::model::host::Host;
use crate::model::target::{Origin, Scheme, Target};

/// Dials targets under one set of pins and one guard.
#[derive(Debug)]
pub struct Dialer {
    pins: BTreeMap<Target, SocketAddr>,
    guard: Guard,
    parents: Parents,
    pseudonym: Pseudonym,
    budget: Arc<Budget>,
    /// Lookups run on blocking threads that a timeout cannot stop; this bounds them.
    lookups: Arc<Semaphore>,
}

impl Dialer {
    /// `pins`: addresses that config gives targets (`upstream.resolve`); nobody is asked for those.
    pub fn new(pins: BTreeMap<Target, SocketAddr>, guard: Guard) -> Self {
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self {
            pins,
            guard,
            parents: Parents::default(),
            pseudonym: Pseudonym::default(),
            budget: Arc::default(),
            lookups,
        }
    }

    /// Goes through these parent proxies where they are for a target.
    pub fn through(mut self, parents: Parents) -> Self {
        self.parents = parents;
        self
    }

    /// Takes its descriptors from this budget.
    pub fn within(mut self, budget: Arc<Budget>) -> Self {
        self.budget = budget;
        self
    }

    /// Is known to parents by this name.
    pub fn known_as(mut self, pseudonym: Pseudonym) -> Self {
        self.pseudonym = pseudonym;
        self
    }

    /// By what name parents know us; the next config's dialler has it too.
    pub fn pseudonym(&self) -> &Pseudonym {
        &self.pseudonym
    }

    /// Where descriptors come from; the next config's dialler takes them there too.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The proxy that https targets are reached through, as `host:port`.
    pub fn parent(&self) -> Option<&Target> {
        self.parents.https().map(Parent::target)
    }

    /// Resolves, judges and connects, with `TCP_NODELAY`. Takes at most [`RESOLVE_TIMEOUT`] and
    /// [`CONNECT_TIMEOUT`] together, and as long again through a parent. A pinned target goes to
    /// its pin, unjudged unless that is one of our own listeners. `client`: for whom; `None`: for
    /// ourselves.
    pub async fn dial(
        &self,
        target: &Target,
        reach: Reach,
        client: Option<&ClientKey>,
    ) -> Result<Stream, DialError> {
        self.dial_by(self.parents.https(), target, reach, client, None).await
    }

    /// The same for one who came with this `Via`, which a parent gets to see.
    pub async fn dial_onward(
        &self,
        via: Option<&str>,
        target: &Target,
        reach: Reach,
        client: Option<&ClientKey>,
    ) -> Result<Stream, DialError> {
        self.dial_by(self.parents.https(), target, reach, client, via).await
    }

    /// The same for an origin: plain http may have a parent of its own.
    pub async fn dial_origin(
        &self,
        origin: &Origin,
        reach: Reach,
        client: Option<&ClientKey>,
    ) -> Result<Stream, DialError> {
        let parent = match origin.scheme {
            Scheme::Http => self.parents.http(),
            Scheme::Https => self.parents.https(),
        };
        self.dial_by(parent, &origin.target, reach, client, None).await
    }

    /// Whether `address` is one of those that we would dial for `target`; takes at most
    /// [`RESOLVE_TIMEOUT`].
    pub async fn resolves_to(&self, target: &Target, address: SocketAddr) -> bool {
        if let Some(pin) = self.pins.get(target) {
            return *pin == address;
        }
        match self.resolve(target, Reach::Anywhere).await {
            Ok(found) => found
                .iter()
                .any(|a| a.ip().to_canonical() == address.ip() && a.port() == address.port()),
            Err(error) => {
                tracing::debug!(%target, %error, "a redirected connection's name");
                false
            }
        }
    }

    async fn dial_by(
        &self,
        parent: Option<&Parent>,
        target: &Target,
        reach: Reach,
        client: Option<&ClientKey>,
        via: Option<&str>,
    ) -> Result<Stream, DialError> {
        // Before the lookup, which has a descriptor of its own for as long as it takes.
        let spent = self.budget.spend(client).await.ok_or(DialError::Exhausted)?;
        let stream = match parent {
            Some(parent) if !self.is_direct(target) => {
                self.dial_via(parent, target, reach, client, via).await
            }
            _ => self.dial_direct(target, reach, client).await.map(Stream::from),
        };
        stream.map(|stream| stream.spending(spent))
    }

    /// This machine is never asked for elsewhere: an issuer in the clear on loopback would become
    /// one in the clear on the network.
    fn is_direct(&self, target: &Target) -> bool {
        self.pins.contains_key(target)
            || is_loopback(&target.host)
            || self.parents.no_proxy().covers(target)
    }

    async fn dial_via(
        &self,
        parent: &Parent,
        target: &Target,
        reach: Reach,
        client: Option<&ClientKey>,
        via: Option<&str>,
    ) -> Result<Stream, DialError> {
        match &target.host {
            Host::Ip(ip) => self.guard.check(SocketAddr::new(*ip, target.port), reach)?,
            Host::Name(_) if reach == Reach::Anywhere => {}
            Host::Name(name) => self.guard.check_name(name)?,
        }
        let stream = self.dial_parent(parent.target(), client).await;
        let stream = stream.map_err(|error| ViaError::Unreachable(Box::new(error)))?;
        Ok(parent.connect(stream, target, &self.pseudonym.line(via)).await?)
    }

    /// As config or environment names it: anywhere, but not ourselves.
    async fn dial_parent(
        &self,
        parent: &Target,
        client: Option<&ClientKey>,
    ) -> Result<TcpStream, DialError> {
        let addresses = match self.pins.get(parent) {
            Some(pin) => vec![*pin],
            None => self.judged(self.resolve(parent, Reach::Anywhere).await?, Reach::Anywhere)?,
        };
        for address in &addresses {
            self.guard.check_own(*address)?;
        }
        let connecting = connect_any(addresses, || self.budget.spare(client));
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| DialError::Timeout)?
    }

    async fn dial_direct(
        &self,
        target: &Target,
        reach: Reach,
        client: Option<&ClientKey>,
    ) -> Result<TcpStream, DialError> {
        let addresses = match self.pins.get(target) {
            Some(pin) => {
                if reach != Reach::Anywhere {
                    self.guard.check_own(*pin)?;
                }
                vec![*pin]
            }
            None => self.judged(self.resolve(target, reach).await?, reach)?,
        };
        let connecting = connect_any(addresses, || self.budget.spare(client));
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| DialError::Timeout)?
    }

    async fn resolve(&self, target: &Target, reach: Reach) -> Result<Vec<SocketAddr>, DialError> {
        let name = match &target.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, target.port)]),
            Host::Name(name) => Arc::clone(name),
        };
        if reach != Reach::Anywhere {
            self.guard.check_name(&name)?;
        }
        let (port, deadline) = (target.port, Instant::now() + RESOLVE_TIMEOUT);
        let lookup = async {
            // Never closed; an error would mean that no lookup can be made.
            let Ok(permit) = Arc::clone(&self.lookups).acquire_owned().await else {
                return Err(DialError::Unresolved(None));
            };
            let answers = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                (&*name, port).to_socket_addrs().map(Vec::from_iter)
            });
            match answers.await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err(DialError::Unresolved(Some(error))),
                Err(_) => Err(DialError::Unresolved(None)),
            }
        };
        timeout_at(deadline, lookup).await.map_err(|_| DialError::UnresolvedInTime)?
    }

    /// All answers or none; then as many as are worth trying.
    fn judged(
        &self,
        mut answers: Vec<SocketAddr>,
        reach: Reach,
    ) -> Result<Vec<SocketAddr>, DialError> {
        if answers.is_empty() {
            return Err(DialError::Unresolved(None));
        }
        for answer in &answers {
            self.guard.check(*answer, reach)?;
        }
        answers.truncate(MAX_TRIES);
        Ok(answers)
    }
}

/// Happy Eyeballs in short (RFC 8305): in the resolver's order, the next one as soon as the last
/// failed or has been silent for a while; the first stream wins and the others are dropped. One try
/// is paid for; `spare` pays for each beside it.
async fn connect_any(
    addresses: Vec<SocketAddr>,
    spare: impl Fn() -> Option<Spent>,
) -> Result<TcpStream, DialError> {
    let mut left = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut last = None;
    loop {
        let beside = if tries.is_empty() { None } else { spare() };
        if (tries.is_empty() || beside.is_some())
            && let Some(address) = left.next()
        {
            tries.spawn(async move {
                let _beside = beside;
                connect(address).await
            });
        }
        tokio::select! {
            done = tries.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = Some(error),
                Some(Err(error)) => last = Some(io::Error::other(error)),
                None => {
                    let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
                    return Err(DialError::Unreachable(error));
                }
            },
            () = sleep(STAGGER), if left.len() > 0 => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    platform::keep_alive(&stream);
    Ok(stream)
}

/// RFC 8305 section 5 recommends 250 ms between attempts.
const STAGGER: Duration = Duration::from_millis(250);
/// Of 10,000 answers all are judged and these dialled.
const MAX_TRIES: usize = 8;
/// Blocking threads in the resolver at once.
const MAX_LOOKUPS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use crate::model::reason::Reason;
    use crate::net::guard::Refused;
    use tokio::net::TcpListener;

    fn target(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    fn dialer(pins: &[(&str, SocketAddr)], guard: Guard) -> Dialer {
        Dialer::new(pins.iter().map(|(name, to)| (target(name), *to)).collect(), guard)
    }

    fn loopback() -> Network {
        Network { address: [127, 0, 0, 1].into(), prefix: 8 }
    }

    #[tokio::test]
    async fn a_pin_wins_over_resolver_and_guard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let dialer = dialer(&[("api.example:443", to)], Guard::default());
        let stream = dialer.dial(&target("api.example:443"), Reach::Public, None).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        let stream = stream.tcp().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_pin_to_ourselves_is_refused() {
        let own: SocketAddr = "127.0.0.1:8383".parse().unwrap();
        let dialer = dialer(&[("api.example:443", own)], Guard::new(vec![], vec![own]));
        let error = dialer.dial(&target("api.example:443"), Reach::Public, None).await.unwrap_err();
        assert!(matches!(error, DialError::Refused(Refused::OwnListener)));
        assert_eq!(error.reason().code(), "address-refused");
    }

    #[tokio::test]
    async fn the_guard_judges_literals_and_names() {
        let dialer = dialer(&[], Guard::default());
        for text in
            ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "a.localhost:1"]
        {
            let error = dialer.dial(&target(text), Reach::Private, None).await.unwrap_err();
            assert_eq!(error.reason().code(), "address-refused", "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_that_was_made_up_is_named_as_that() {
        let dialer = dialer(&[], Guard::default());
        for (text, synthetic) in [("198.19.255.1:443", true), ("192.0.2.1:443", false)] {
            let error = dialer.dial(&target(text), Reach::Private, None).await.unwrap_err();
            assert_eq!(error.reason().code(), "address-refused");
            assert_eq!(error.reason().detail().contains("fake-IP"), synthetic, "{text}");
        }
    }

    #[test]
    fn one_refused_answer_refuses_the_name() {
        let dialer = dialer(&[], Guard::default());
        let answers = |texts: &[&str]| {
            let answers = texts.iter().map(|t| t.parse().unwrap()).collect();
            dialer.judged(answers, Reach::Public)
        };
        assert!(answers(&["8.8.8.8:443", "[2606:4700::1]:443"]).is_ok());
        assert!(answers(&["8.8.8.8:443", "127.0.0.1:443"]).is_err());
        assert!(answers(&["8.8.8.8:443", "[fd00::1]:443"]).is_err());
        assert!(answers(&[]).is_err());
        let many = answers(&vec!["8.8.8.8:443"; 10_000]).unwrap();
        assert_eq!(many.len(), MAX_TRIES);
        let mut last_bad = vec!["8.8.8.8:443"; 9_999];
        last_bad.push("10.0.0.1:443");
        assert!(answers(&last_bad).is_err());
    }

    #[tokio::test]
    async fn the_next_address_is_tried() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect_any(vec![closed, open.local_addr().unwrap()], || None).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let dialer = dialer(&[], Guard::new(vec![loopback()], vec![]));
        let error =
            dialer.dial(&target(&closed.to_string()), Reach::Public, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamUnreachable);
    }
}
