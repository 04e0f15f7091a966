//! Which proxies stand above us: config's, or those of the environment that the daemon was started
//! in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::Error;
use crate::config::no_proxy::NoProxy;
use crate::config::parent::is_loopback;
use crate::config::{Upstream, env};
use crate::model::host::Host;
use crate::model::target::Target;
use crate::net::guard::Guard;
use crate::net::roots::Roots;
use crate::net::via::{self, HTTP_VARIABLES, HTTPS_VARIABLES, Parent, Parents};
use crate::store;

/// Config decides; where it names none, the environment does, unless it points to us.
pub(super) fn build(upstream: &Upstream, roots: &Roots, guard: &Guard) -> Result<Parents, Error> {
    let mut no_proxy = upstream.no_proxy.clone();
    let tls = roots.single_use_tls();
    if let Some(parent) = &upstream.parent {
        if is_us(&parent.origin.target, guard) {
            return Err(Error::ParentIsUs);
        }
        let password = parent.login.as_ref().map(|login| store::read(&login.password));
        let password = password.transpose().map_err(|source| Error::ParentSecret { source })?;
        let login = parent.login.as_ref().map(|login| login.user.as_str()).zip(password.as_ref());
        let parent = Parent::new(parent.origin.clone(), login, tls);
        return Ok(Parents::new(Some(parent.clone()), Some(parent), no_proxy));
    }
    let from = |variables: &[&'static str]| {
        let named = match via::named(variables, &env::text) {
            Ok(named) => named?,
            Err(ignored) => {
                tracing::warn!("{ignored}");
                return None;
            }
        };
        let via::Named { variable, origin, login } = named;
        if is_us(&origin.target, guard) {
            tracing::info!("{variable} is ignored: it points to Valetkey");
            return None;
        }
        tracing::info!("upstreams are reached through the parent proxy {origin} ({variable})");
        let login = login.as_ref().map(|(user, password)| (user.as_str(), password));
        Some(Parent::new(origin, login, tls.clone()))
    };
    let (https, http) = (from(HTTPS_VARIABLES), from(HTTP_VARIABLES));
    if let Some(list) = env::text("no_proxy").or_else(|| env::text("NO_PROXY")) {
        no_proxy.extend(NoProxy::of_variable(&list));
    }
    Ok(Parents::new(https, http, no_proxy))
}

/// One of our own listeners, as far as that shows without a resolver; the dialler looks again.
fn is_us(parent: &Target, guard: &Guard) -> bool {
    let own = |ip: IpAddr| guard.check_own(SocketAddr::new(ip, parent.port)).is_err();
    match &parent.host {
        Host::Ip(ip) => own(*ip),
        Host::Name(_) if is_loopback(&parent.host) => {
            own(Ipv4Addr::LOCALHOST.into()) || own(Ipv6Addr::LOCALHOST.into())
        }
        Host::Name(_) => false,
    }
}
