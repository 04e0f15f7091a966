//! All that clients can connect to, opened together and closed together.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::error::Error;
use super::listeners::{self, Listeners};
use super::port;
use super::sockets::{self, Socket};
use super::state::StateDir;
use crate::config::Config;
use crate::proxy::front::Bound;

/// Bound, not yet accepted from.
pub(super) struct Doors {
    /// For clients that mean us.
    tcp: Listeners,
    /// For those that the kernel brings.
    redirected: Listeners,
    sockets: Vec<Socket>,
}

impl Doors {
    /// All that the config names, or none; a free port where it names none.
    pub(super) fn open(config: &Config, state: &StateDir) -> Result<Self, Error> {
        let redirected = listeners::bind(&config.proxy.transparent)?;
        let tcp = match config.proxy.any_port {
            true => port::bind(config, state.last_address().as_ref())?,
            false => listeners::bind(&config.proxy.listen)?,
        };
        Ok(Self { tcp, redirected, sockets: sockets::bind(config)? })
    }

    /// The addresses really bound, ports filled in; those that a client can be told of first.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        Ok([self.tcp.addresses()?, self.redirected.addresses()?].concat())
    }

    /// The address that clients are told.
    pub(super) fn told(&self) -> Result<Option<SocketAddr>, Error> {
        Ok(self.tcp.addresses()?.first().copied())
    }

    /// Another handle to each, for one more worker.
    pub(super) fn for_worker(&self) -> io::Result<Vec<Bound>> {
        let tcp = self.tcp.iter().map(|listener| listener.try_clone().map(Bound::Tcp));
        let redirected =
            self.redirected.iter().map(|listener| listener.try_clone().map(Bound::Redirected));
        let unix = self.sockets.iter().map(|socket| socket.listener.try_clone().map(Bound::Unix));
        tcp.chain(redirected).chain(unix).collect()
    }

    /// Says where to connect, and how long that took.
    pub(super) fn announce(&self, took: Duration) -> Result<(), Error> {
        for address in self.tcp.addresses()? {
            tracing::info!(ms = took.as_millis() as u64, "listening on {address}");
        }
        for address in self.redirected.addresses()? {
            tracing::info!("taking redirected connections on {address}");
        }
        for socket in &self.sockets {
            tracing::info!("listening on unix:{}", socket.path().display());
        }
        Ok(())
    }
}
