//! [`Scope`]: the names a CA may sign for, as critical name constraints (RFC 5280 section
//! 4.2.1.10), and back from a certificate.
//!
//! Constraints bind only the name types they mention, so permitting DNS subtrees alone would
//! leave addresses and mailboxes free: every address is excluded, and mail is permitted for
//! `invalid` alone. URIs cannot be expressed with rcgen; the intermediate's serverAuth-only
//! key usage keeps such a certificate from being worth anything.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{CidrSubnet, GeneralSubtree};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::error::CaError;
use crate::model::host::Host;

/// The names a CA may sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// No constraints at all (`scope = "any"`).
    Any,
    /// These DNS names and all below them. Sorted, none below another; may be empty.
    Names(Vec<Arc<str>>),
}

impl Scope {
    /// From the hosts of routes and `permit`: canonical, without a leading `*.`, without
    /// duplicates and names that another one covers.
    pub fn of_names(names: &[Arc<str>]) -> Result<Self, CaError> {
        let mut canonical = Vec::with_capacity(names.len());
        for name in names {
            let bare = name.strip_prefix("*.").or(name.strip_prefix('.')).unwrap_or(name);
            canonical.push(dns_name(bare)?);
        }
        Ok(Self::Names(minimal(canonical)))
    }

    /// What several may sign for together.
    pub(super) fn all<'a>(scopes: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Vec::new();
        for scope in scopes {
            match scope {
                Self::Any => return Self::Any,
                Self::Names(names) => all.extend(names.iter().cloned()),
            }
        }
        Self::Names(minimal(all))
    }

    /// Whether a leaf for this canonical DNS name is within.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Names(names) => names.iter().any(|name| is_at_or_below(host, name)),
        }
    }

    /// The names of `wanted` that this scope does not cover; `None` where `wanted` has no bounds
    /// and this has.
    pub fn missing(&self, wanted: &Self) -> Option<Vec<Arc<str>>> {
        match (self, wanted) {
            (Self::Any, _) => Some(Vec::new()),
            (Self::Names(_), Self::Any) => None,
            (Self::Names(_), Self::Names(wanted)) => {
                Some(wanted.iter().filter(|name| !self.covers(name)).cloned().collect())
            }
        }
    }

    /// As an extension; `None` for [`Scope::Any`]. rcgen marks it critical.
    pub fn constraints(&self) -> Option<rcgen::NameConstraints> {
        let Self::Names(names) = self else {
            return None;
        };
        // An empty list of DNS subtrees would permit every name: `invalid` (RFC 2606) stands for
        // none.
        let nobody = [Arc::from(NOBODY)];
        let names = if names.is_empty() { &nobody[..] } else { names };
        let mut permitted: Vec<GeneralSubtree> =
            names.iter().map(|name| GeneralSubtree::DnsName(name.to_string())).collect();
        permitted.push(GeneralSubtree::Rfc822Name(NOBODY.to_owned()));
        let v4 = CidrSubnet::from_addr_prefix(Ipv4Addr::UNSPECIFIED.into(), 0);
        let v6 = CidrSubnet::from_addr_prefix(Ipv6Addr::UNSPECIFIED.into(), 0);
        Some(rcgen::NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: vec![GeneralSubtree::IpAddress(v4), GeneralSubtree::IpAddress(v6)],
        })
    }

    /// Read back from a certificate; `None` where the constraints are not of our making.
    pub fn of_certificate(certificate: &X509Certificate<'_>) -> Option<Self> {
        let Some(constraints) = certificate.name_constraints().ok()? else {
            return Some(Self::Any);
        };
        let permitted = constraints.value.permitted_subtrees.as_ref()?;
        let mut names = Vec::new();
        for subtree in permitted {
            if let GeneralName::DNSName(name) = subtree.base {
                names.push(dns_name(name).ok()?);
            }
        }
        if !constraints.critical || names.is_empty() {
            return None;
        }
        if names.len() == 1 && &*names[0] == NOBODY {
            names.clear();
        }
        Some(Self::Names(minimal(names)))
    }
}

/// What `[ca] permit` would have to name, so that neither these hosts nor their later neighbours
/// need a new root: the domains that were registered. None for a host that is such a domain itself,
/// since all below it is permitted anyhow.
pub fn sparing<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut domains: Vec<String> = (hosts.into_iter())
        .filter_map(|host| {
            psl2::lookup(host)?.registrable_domain().filter(|domain| *domain != host)
        })
        .map(str::to_owned)
        .collect();
    domains.sort();
    domains.dedup();
    domains
}

/// A name in its one spelling, or an error: no address, no wildcard.
pub(super) fn dns_name(text: &str) -> Result<Arc<str>, CaError> {
    match Host::parse(text) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Ip(_)) | Err(_) => Err(CaError::Name { name: text.to_owned() }),
    }
}

fn minimal(mut names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    names.sort();
    names.dedup();
    let all = names.clone();
    names.retain(|name| !all.iter().any(|other| other != name && is_at_or_below(name, other)));
    names
}

fn is_at_or_below(host: &str, subtree: &str) -> bool {
    host.strip_suffix(subtree).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A name that nobody can have (RFC 2606 section 2).
const NOBODY: &str = "invalid";

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(names: &[&str]) -> Scope {
        Scope::of_names(&names.iter().map(|&n| Arc::from(n)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn canonical_and_minimal() {
        assert_eq!(
            scope(&["*.B.example", "a.b.example", "c.example", "c.example."]),
            scope(&["b.example", "c.example"])
        );
        assert!(Scope::of_names(&["127.0.0.1".into()]).is_err());
        assert!(Scope::of_names(&["a.*.example".into()]).is_err());
    }

    #[test]
    fn covers_by_whole_labels() {
        let scope = scope(&["b.example"]);
        assert!(scope.covers("b.example") && scope.covers("x.y.b.example"));
        assert!(!scope.covers("ab.example") && !scope.covers("example"));
    }

    #[test]
    fn what_would_spare_a_new_root_is_a_domain_of_ones_own() {
        let hosts = ["api.orders.example", "a.b.shop.co.uk", "me.github.io", "x.me.github.io"];
        assert_eq!(sparing(hosts), ["me.github.io", "orders.example", "shop.co.uk"]);
        assert_eq!(sparing(["orders.example", "example"]), [""; 0]);
    }

    #[test]
    fn names_what_is_missing() {
        let small = scope(&["b.example"]);
        let wanted = scope(&["a.b.example", "c.example"]);
        assert_eq!(small.missing(&wanted).unwrap(), [Arc::from("c.example")]);
        assert_eq!(small.missing(&scope(&[])).unwrap(), []);
        assert_eq!(small.missing(&Scope::Any), None);
        assert_eq!(Scope::Any.missing(&small).unwrap(), []);
    }
}
