//! [`Guard`]: which addresses a client may make us dial.
//!
//! A proxy stands inside the network and inside the machine; whoever may use it must not reach
//! through it what it could not reach itself: loopback, metadata services, our own listeners.
//! Judged is the address that will be dialled, after resolving. Issuers and other endpoints that
//! the config names are not judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::Network;

/// How far one dial may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Anywhere: an endpoint that the config names (issuers). The guard is not asked.
    Anywhere,
    /// Public and private addresses: unrouted hosts, for clients of our own uid.
    Private,
    /// Public addresses only: routed hosts, and clients of another uid.
    Public,
}

/// What an address is, as far as the guard cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// Where clouds hand out credentials to whoever asks.
    Metadata,
    /// Unspecified, multicast, broadcast: never one peer's address.
    NotUnicast,
    /// RFC 1918, carrier-grade NAT (RFC 6598), unique local (RFC 4193).
    Private,
    Public,
    /// Special-purpose ranges (RFC 6890) and forms that carry an IPv4 address in disguise.
    Reserved,
}

/// Why an address or name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is of a kind that clients do not reach.
    #[error("the guard refuses addresses of this kind: {0:?}")]
    Kind(AddressKind),
    /// The name means this machine or a metadata service, whatever it resolves to.
    #[error("the guard refuses this name")]
    Name,
    /// It is one of our own listeners.
    #[error("the address is one of our own listeners")]
    OwnListener,
    /// It is of the range for benchmarks (RFC 2544), by which VPNs and proxies stand for names.
    #[error("the address is of 198.18.0.0/15, which no server has")]
    Synthetic,
}

/// The rules: what config excepts, and where we listen ourselves.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Network>,
    listeners: Vec<SocketAddr>,
}

impl Guard {
    /// `allowed` is `upstream.allow_private`; `listeners` are the addresses really bound, the
    /// port of `:0` filled in.
    pub fn new(allowed: Vec<Network>, listeners: Vec<SocketAddr>) -> Self {
        Self { allowed, listeners }
    }

    /// Judges a name before it is resolved (RFC 6761: `localhost` is this machine, always).
    pub fn check_name(&self, name: &str) -> Result<(), Refused> {
        let local = name == "localhost" || name.ends_with(".localhost");
        if local || METADATA_NAMES.contains(&name) { Err(Refused::Name) } else { Ok(()) }
    }

    /// Judges one address. [`Reach::Anywhere`] passes everything.
    pub fn check(&self, address: SocketAddr, reach: Reach) -> Result<(), Refused> {
        if reach == Reach::Anywhere {
            return Ok(());
        }
        self.check_own(address)?;
        let kind = kind(address.ip());
        let free = match kind {
            AddressKind::Public => true,
            AddressKind::Private => reach == Reach::Private,
            _ => false,
        };
        match unwrapped(address.ip()) {
            _ if free || self.excepts(address.ip(), kind) => Ok(()),
            IpAddr::V4(ip) if matches!(ip.octets(), [198, 18 | 19, ..]) => Err(Refused::Synthetic),
            _ => Err(Refused::Kind(kind)),
        }
    }

    /// Refuses our own listeners, which no exception opens: a request would come back to us.
    pub fn check_own(&self, address: SocketAddr) -> Result<(), Refused> {
        let ip = unwrapped(address.ip());
        let own = self.listeners.iter().any(|listener| {
            let bound = unwrapped(listener.ip());
            listener.port() == address.port()
                && (bound == ip || ip.is_unspecified() || bound.is_unspecified() && is_local(ip))
        });
        if own { Err(Refused::OwnListener) } else { Ok(()) }
    }

    /// Whether `allow_private` names it. A wide network opens private addresses only: loopback,
    /// link-local, metadata and reserved ones need an entry that begins in their own kind, so
    /// that `0.0.0.0/0` does not hand out the machine's cloud credentials.
    fn excepts(&self, ip: IpAddr, kind: AddressKind) -> bool {
        let ip = unwrapped(ip);
        kind != AddressKind::NotUnicast
            && self.allowed.iter().any(|network| {
                let base = masked(network.address, network.prefix);
                masked(ip, network.prefix) == base
                    && (kind == AddressKind::Private || self::kind(base) == kind)
            })
    }
}

/// What an address is. Forms that the kernel or a translator turns into IPv4 (mapped, NAT64)
/// are what their IPv4 address is; dead ones (compatible, SIIT, 6to4, Teredo, ISATAP) are
/// reserved whatever they carry.
pub fn kind(ip: IpAddr) -> AddressKind {
    match unwrapped(ip) {
        ip if METADATA.contains(&ip) => AddressKind::Metadata,
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        _ if ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() => {
            AddressKind::NotUnicast
        }
        (127, _, _) => AddressKind::Loopback,
        (169, 254, _) => AddressKind::LinkLocal,
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => AddressKind::Private,
        // This network, protocol assignments, documentation, 6to4 relays, benchmarks, class E.
        (0, _, _) | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) => AddressKind::Reserved,
        (198, 51, 100) | (203, 0, 113) | (240.., _, _) => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn kind_v6(ip: Ipv6Addr) -> AddressKind {
    let s = ip.segments();
    match s[0] {
        _ if ip.is_unspecified() || ip.is_multicast() => AddressKind::NotUnicast,
        _ if ip.is_loopback() => AddressKind::Loopback,
        0xfe80..=0xfebf => AddressKind::LinkLocal,
        0xfc00..=0xfdff => AddressKind::Private,
        // ISATAP (RFC 5214): any prefix, then 0:5efe or 200:5efe, then an IPv4 address.
        _ if s[5] == 0x5efe && (s[4] | 0x0200) == 0x0200 => AddressKind::Reserved,
        // Protocol assignments with Teredo (2001::/32), documentation, 6to4.
        0x2001 if s[1] < 0x0200 || s[1] == 0x0db8 => AddressKind::Reserved,
        0x2002 => AddressKind::Reserved,
        0x3fff if s[1] < 0x1000 => AddressKind::Reserved,
        // Only 2000::/3 is global unicast; the rest holds the site-local and compatible forms.
        0x2000..=0x3fff => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

/// The IPv4 address behind `::ffff:a.b.c.d` and `64:ff9b::a.b.c.d` (RFC 6052), else itself.
fn unwrapped(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => ip,
    }
}

/// The first `prefix` bits; the rest zero.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// Whether the machine has this address on an interface: only then can a socket be bound to it.
/// Asked only where a listener is bound to all of them and the port is the listener's.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// AWS, GCP, Azure and others; ECS and EKS; Alibaba; Oracle; Azure's wire server; EC2 and GCE by
/// IPv6.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guard(allowed: &[(&str, u8)], listeners: &[&str]) -> Guard {
        Guard::new(
            allowed.iter().map(|(a, prefix)| Network { address: ip(a), prefix: *prefix }).collect(),
            listeners.iter().map(|l| l.parse().unwrap()).collect(),
        )
    }

    fn passes(guard: &Guard, address: &str, reach: Reach) -> bool {
        guard.check(SocketAddr::new(ip(address), 443), reach).is_ok()
    }

    #[test]
    fn kinds() {
        for (text, expected) in [
            ("127.0.0.1", AddressKind::Loopback),
            ("127.255.255.254", AddressKind::Loopback),
            ("::1", AddressKind::Loopback),
            ("::ffff:127.0.0.1", AddressKind::Loopback),
            ("64:ff9b::7f00:1", AddressKind::Loopback),
            ("::127.0.0.1", AddressKind::Reserved),
            ("::ffff:0:127.0.0.1", AddressKind::Reserved),
            ("64:ff9b:1::7f00:1", AddressKind::Reserved),
            ("2002:7f00:1::", AddressKind::Reserved),
            ("2002:808:808::1", AddressKind::Reserved),
            ("2001::1", AddressKind::Reserved),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", AddressKind::Reserved),
            ("fe80::5efe:127.0.0.1", AddressKind::LinkLocal),
            ("2a00::5efe:10.0.0.1", AddressKind::Reserved),
            ("2a00::200:5efe:8.8.8.8", AddressKind::Reserved),
            ("fec0::1", AddressKind::Reserved),
            ("0.0.0.0", AddressKind::NotUnicast),
            ("::", AddressKind::NotUnicast),
            ("::ffff:0.0.0.0", AddressKind::NotUnicast),
            ("224.0.0.1", AddressKind::NotUnicast),
            ("255.255.255.255", AddressKind::NotUnicast),
            ("ff02::1", AddressKind::NotUnicast),
            ("0.1.2.3", AddressKind::Reserved),
            ("169.254.0.1", AddressKind::LinkLocal),
            ("fe80::1", AddressKind::LinkLocal),
            ("169.254.169.254", AddressKind::Metadata),
            ("::ffff:169.254.169.254", AddressKind::Metadata),
            ("64:ff9b::a9fe:a9fe", AddressKind::Metadata),
            ("169.254.170.2", AddressKind::Metadata),
            ("fd00:ec2::254", AddressKind::Metadata),
            ("100.100.100.200", AddressKind::Metadata),
            ("192.0.0.192", AddressKind::Metadata),
            ("10.0.0.1", AddressKind::Private),
            ("172.16.0.1", AddressKind::Private),
            ("172.31.255.255", AddressKind::Private),
            ("192.168.1.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::Private),
            ("fd12::1", AddressKind::Private),
            ("64:ff9b::a00:1", AddressKind::Private),
            ("192.0.0.1", AddressKind::Reserved),
            ("198.18.0.1", AddressKind::Reserved),
            ("240.0.0.1", AddressKind::Reserved),
            ("192.0.2.1", AddressKind::Reserved),
            ("2001:db8::1", AddressKind::Reserved),
            ("100::1", AddressKind::Reserved),
            ("8.8.8.8", AddressKind::Public),
            ("172.32.0.1", AddressKind::Public),
            ("100.128.0.1", AddressKind::Public),
            ("::ffff:8.8.8.8", AddressKind::Public),
            ("64:ff9b::808:808", AddressKind::Public),
            ("2001:4860:4860::8888", AddressKind::Public),
            ("2606:4700::1111", AddressKind::Public),
        ] {
            assert_eq!(kind(ip(text)), expected, "{text}");
        }
    }

    #[test]
    fn private_is_for_those_who_may() {
        let guard = guard(&[], &[]);
        assert!(passes(&guard, "10.0.0.1", Reach::Private));
        assert!(!passes(&guard, "10.0.0.1", Reach::Public));
        assert!(passes(&guard, "8.8.8.8", Reach::Public));
        assert!(!passes(&guard, "127.0.0.1", Reach::Private));
        assert!(passes(&guard, "127.0.0.1", Reach::Anywhere));
    }

    #[test]
    fn a_wide_exception_opens_private_addresses_only() {
        let wide = guard(&[("0.0.0.0", 0), ("::", 0)], &[]);
        assert!(passes(&wide, "10.0.0.1", Reach::Public));
        assert!(passes(&wide, "fd12::1", Reach::Public));
        for closed in ["127.0.0.1", "169.254.169.254", "169.254.1.1", "0.0.0.0", "::1"] {
            assert!(!passes(&wide, closed, Reach::Public), "{closed}");
        }
        let exact = guard(&[("127.0.0.1", 8), ("169.254.169.254", 32), ("10.1.0.0", 16)], &[]);
        assert!(passes(&exact, "127.9.9.9", Reach::Public));
        assert!(passes(&exact, "::ffff:127.0.0.1", Reach::Public));
        assert!(passes(&exact, "169.254.169.254", Reach::Public));
        assert!(passes(&exact, "10.1.2.3", Reach::Public));
        assert!(!passes(&exact, "10.2.2.3", Reach::Public));
        assert!(!passes(&guard(&[("169.254.0.0", 16)], &[]), "169.254.169.254", Reach::Public));
    }

    #[test]
    fn own_listeners_are_never_open() {
        let own = |guard: &Guard, address: &str| {
            guard.check(address.parse().unwrap(), Reach::Public) == Err(Refused::OwnListener)
        };
        let exact = guard(&[("127.0.0.0", 8)], &["127.0.0.1:8383"]);
        assert!(own(&exact, "127.0.0.1:8383"));
        assert!(own(&exact, "[::ffff:127.0.0.1]:8383"));
        assert!(own(&exact, "0.0.0.0:8383"));
        assert!(exact.check("127.0.0.1:9443".parse().unwrap(), Reach::Public).is_ok());
        let all = guard(&[("127.0.0.0", 8)], &["[::]:8383"]);
        assert!(own(&all, "127.0.0.7:8383"));
        assert!(!own(&all, "192.0.2.1:8383"));
    }

    #[test]
    fn names_that_mean_this_machine() {
        let guard = guard(&[], &[]);
        for name in ["localhost", "a.localhost", "metadata.google.internal"] {
            assert_eq!(guard.check_name(name), Err(Refused::Name), "{name}");
        }
        assert!(guard.check_name("mylocalhost").is_ok());
    }

    proptest! {
        #[test]
        fn a_wrapped_address_is_never_freer_than_the_plain_one(bits: u32) {
            let plain = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let guard = guard(&[], &[]);
            let open = guard.check(SocketAddr::new(plain.into(), 1), Reach::Public).is_ok();
            for wrapped in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            ] {
                let wrapped = guard.check(SocketAddr::new(wrapped.into(), 1), Reach::Public);
                prop_assert_eq!(wrapped.is_ok(), open);
            }
            for dead in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low),
            ] {
                let refused = guard.check(SocketAddr::new(dead.into(), 1), Reach::Private);
                prop_assert!(refused.is_err(), "{}", dead);
            }
        }

        #[test]
        fn whatever_is_public_is_global_unicast(bits: u128) {
            let ip = Ipv6Addr::from_bits(bits);
            if kind(ip.into()) == AddressKind::Public {
                prop_assert!(bits >> 125 == 1 || unwrapped(ip.into()).is_ipv4());
            }
        }
    }
}
