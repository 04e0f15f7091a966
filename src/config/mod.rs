//! Floor 1: from TOML text to a [`Config`] that cannot be wrong.
//!
//! `file` holds the serde shapes (and so the schema), `check` turns them into the types below and
//! reports all problems at once, `search` says which file is meant and `locate` reads it, `trust`
//! guards a project's own config and `held` what that has run or believed of the project. Nothing
//! here opens a socket or reads a secret.

pub mod at_start;
pub mod check;
pub mod env;
mod exec;
pub mod file;
pub mod found;
mod grant;
mod held;
mod http;
pub mod index;
mod json;
mod load;
pub mod locate;
mod login;
pub mod no_proxy;
pub mod oauth;
pub mod parent;
mod places;
mod policies;
pub mod problem;
mod project;
mod route;
pub mod search;
mod slot;
pub mod trust;
pub mod wording;

pub use self::http::{Http, HttpBody, HttpCall, HttpTemplate, JsonTemplate, Part};
pub use check::parse;
pub use exec::{Exec, ExecFormat, Helper};
pub use file::{LoginProtection, OnStaticKey, Unmatched};
pub use grant::{CanAsk, Credential, Grant, OwnAsk, SecretSource, StaticKey};
pub use held::{Held, helpers, prune};
pub use json::Pointer;
pub use load::{
    LoadError, UNFENCED, UNFENCED_HINT, UNFENCED_SAYS, load, load_to_trust, load_to_use, reload,
};
pub use login::{AuthorizationCode, Device, Logins, Redirect, RefreshToken};
pub use oauth::{
    Algorithm, Claim, ClientAuth, Endpoints, Identity, Jwt, JwtBearer, KeyJwt, Oauth, Signed,
    TokenExchange, TypedToken,
};
pub use places::Places;
pub use policies::{Policies, PolicyFile};
pub use project::{Fence, Project};
pub use route::{ClientSelector, Inject, Placement, Route};
pub use slot::PathSlot;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::local::place::Private;
use crate::model::id::{CredentialName, RouteName, SessionName};
use crate::model::target::Target;
use problem::Located;

/// A whole config, parsed. Paths are absolute, durations and sizes are numbers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from, symlinks followed: relative paths count from its directory.
    pub path: PathBuf,
    /// The same as it was named, absolute: a symlink that is put elsewhere is followed anew.
    pub named: PathBuf,
    /// Tells this very config from any other, and from the same with other files of its project:
    /// whether a daemon runs it. Of one that needs no trust it is that of its text.
    pub digest: String,
    /// SHA-256 of its text, in hex.
    pub text_sha256: String,
    /// What it has run or believed of its project, where it is used because it was trusted.
    pub held: Option<Held>,
    /// Where CA, sessions and audit live; mode 0700.
    pub state_dir: PathBuf,
    /// The same directory, held open by whoever uses the config and does not only look at it.
    pub state: Option<Arc<Private>>,
    /// Whether nobody else could put another in its place when a daemon took it up: a reload holds
    /// it to that.
    pub unexposed: bool,
    pub proxy: Proxy,
    pub sessions: Vec<PresharedSession>,
    pub ca: Ca,
    pub upstream: Upstream,
    pub audit: Audit,
    pub admin: Admin,
    pub logins: Logins,
    pub policies: Policies,
    pub limits: Limits,
    pub credentials: BTreeMap<CredentialName, Credential>,
    /// `[[routes]]`, patterns still as text: `policy` compiles them.
    pub routes: Vec<Located<Route>>,
    /// Where it all stands in the file.
    pub places: Arc<Places>,
}

impl Config {
    /// Names of the environment variables that hold a secret, sorted, each once.
    pub fn secret_variables(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.secret_sources().filter_map(SecretSource::variable).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Where all of its secrets are.
    pub fn secret_sources(&self) -> impl Iterator<Item = &SecretSource> {
        let credentials = self.credentials.values().flat_map(|c| c.grant.secrets());
        let parent = self.upstream.parent.iter().filter_map(|parent| parent.login.as_ref());
        (credentials.chain(self.sessions.iter().map(|session| &session.secret)))
            .chain(parent.map(|login| &login.password))
    }

    /// A path as others know it: a descriptor of ours says nothing to another process.
    pub fn by_name(&self, path: &Path) -> PathBuf {
        match (&self.state, path.strip_prefix(&self.state_dir)) {
            (Some(state), Ok(below)) => state.path().join(below),
            _ => path.to_owned(),
        }
    }

    /// Every file whose content a reload takes in: the config itself, and what it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let secrets = self.sessions.iter().filter_map(|session| session.secret.file());
        let named = self.upstream.files().chain(secrets).cloned();
        // Their copies never change: what they were made of does.
        let held = self.held.iter().flat_map(Held::files).map(|(path, _)| path.to_owned());
        let trusted = self.held.as_ref().and_then(|_| trust::Records::own().file_of(&self.named));
        let policies = self.policies.paths();
        (std::iter::once(self.named.clone())
            .chain(named)
            .chain(policies)
            .chain(held)
            .chain(trusted))
        .collect()
    }
}

impl Upstream {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let login = self.parent.as_ref().and_then(|parent| parent.login.as_ref());
        self.extra_roots.iter().chain(login.and_then(|login| login.password.file()))
    }
}

#[derive(Clone, Debug)]
pub struct Proxy {
    /// TCP addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Whether the config names none: `listen` is then what is usual, and any other port will do.
    pub any_port: bool,
    /// Unix sockets to listen on.
    pub sockets: Vec<PathBuf>,
    /// Addresses that connections are redirected to.
    pub transparent: Vec<SocketAddr>,
    /// What happens to hosts that no route names.
    pub unmatched: Unmatched,
    /// Ports of routed hosts that are tunnelled where no route names them.
    pub tunnel_ports: Vec<u16>,
    /// Whether the credentials of a session admit a client.
    pub auth_session: bool,
    /// Whether the uid of a loopback peer admits.
    pub auth_uid: bool,
    /// Other uids that are admitted as our own is.
    pub allow_uids: Vec<u32>,
}

impl Proxy {
    /// Whether nobody is asked who they are (`client_auth = []`).
    pub fn open_to_all(&self) -> bool {
        !self.auth_session && !self.auth_uid
    }
}

/// `[[sessions]]`: pre-shared, sent as Basic NAME:SECRET.
#[derive(Clone, Debug)]
pub struct PresharedSession {
    /// The user part of Basic.
    pub name: SessionName,
    /// The password part of Basic.
    pub secret: SecretSource,
    /// Routes it may use; `None`: all.
    pub routes: Option<Vec<RouteName>>,
    /// The user of this machine that it is bound to; `None`: whoever has its secret.
    pub uid: Option<u32>,
    /// Where it stands in the file.
    pub line: usize,
}

#[derive(Clone, Debug)]
pub struct Ca {
    /// `scope = "any"`: no name constraints.
    pub unconstrained: bool,
    /// Further DNS subtrees that the CA may sign for.
    pub permit: Vec<String>,
    /// Life of root and intermediate.
    pub lifetime: Duration,
    /// How long a leaf is valid.
    pub leaf_lifetime: Duration,
    /// Where the roots are kept for others to read.
    pub publish: Option<PathBuf>,
}

#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// PEM files beside the platform's roots.
    pub extra_roots: Vec<PathBuf>,
    /// Networks that the guard lets pass, as (address, prefix length).
    pub allow_private: Vec<Network>,
    /// Names pinned to an address.
    pub resolve: BTreeMap<Target, SocketAddr>,
    /// The proxy above us; `None`: that of the daemon's own environment, if it names one.
    pub parent: Option<parent::Parent>,
    /// What is dialled directly all the same.
    pub no_proxy: no_proxy::NoProxy,
}

/// An IP network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: std::net::IpAddr,
    /// Leading bits that count: 0 to 32 or 128.
    pub prefix: u8,
}

impl Network {
    /// `10.0.0.0/8`
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: std::net::IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= widest).then_some(Self { address, prefix })
    }

    pub fn exactly(address: std::net::IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address of the same family is in it.
    pub fn holds(&self, ip: std::net::IpAddr) -> bool {
        use std::net::IpAddr::{V4, V6};
        match (self.address, ip) {
            (V4(own), V4(ip)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (own.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (V6(own), V6(ip)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (own.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (V4(_), V6(_)) | (V6(_), V4(_)) => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Audit {
    /// The file that is written; rotated ones stand beside it.
    pub path: PathBuf,
    /// `on_failure = "continue"`: requests are served although they cannot be recorded.
    pub continue_on_failure: bool,
    /// Rotated beyond this many bytes.
    pub max_size: u64,
    /// How many rotated files are kept.
    pub keep: usize,
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// The unix socket of the CLI.
    pub socket: PathBuf,
    /// Where scrapers and health checks are answered, over plain HTTP.
    pub metrics: Option<SocketAddr>,
}

/// So many requests in so much time: `"100/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many requests; at least one.
    pub count: u32,
    /// Over which they come in again.
    pub per: Duration,
}

impl Rate {
    /// `COUNT/s`, `COUNT/m` or `COUNT/h`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let count = count.parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
        Some(Self { count, per: Duration::from_secs(seconds) })
    }
}

#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Each client's, over all routes.
    pub per_client: Option<Rate>,
    /// Of sessions by name, in place of `per_client`.
    pub sessions: BTreeMap<SessionName, Rate>,
    /// Of credentials by name, all clients together.
    pub credentials: BTreeMap<CredentialName, Rate>,
    /// Of a request's body, in bytes; `None`: no limit.
    pub body: Option<u64>,
    /// Where no route says otherwise.
    pub timeouts: Timeouts,
}

/// How long a request may take where nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From its last byte to the head of its answer.
    pub head: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// While the client takes or sends nothing.
    pub stall: Duration,
}

impl Timeouts {
    /// The longer of each.
    pub fn longest(self, other: Self) -> Self {
        Self {
            head: self.head.max(other.head),
            idle: self.idle.max(other.idle),
            stall: self.stall.max(other.stall),
        }
    }
}

impl Default for Timeouts {
    /// What libraries of APIs wait for themselves is ten minutes, and models that think take longer.
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self { head: minutes(15), idle: minutes(60), stall: minutes(10) }
    }
}
