//! Why a daemon does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::admin::SocketError;
use crate::audit::AuditError;
use crate::ca::CaError;
use crate::ca::trust::TrustError;
use crate::config::locate::StateError;
use crate::config::problem::Problem;
use crate::net::roots::RootsError;
use crate::store::StoreError;

/// What stood in the way, whose it is, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin socket cannot be made.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// The audit cannot be opened, or its key not used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The local CA cannot be opened or made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As the config names it.
        address: SocketAddr,
        /// The error that this comes from.
        source: io::Error,
    },
    /// Somebody else has the same port of the other family.
    #[error("cannot listen on {bound} alone: another program has {other}")]
    ListenBeside {
        /// The address that we could have.
        bound: SocketAddr,
        /// What must be ours as well.
        other: SocketAddr,
        /// The error that this comes from.
        source: io::Error,
    },
    /// A unix socket cannot be listened on.
    #[error("cannot listen on unix:{path}", path = path.display())]
    ListenSocket {
        /// As the config names it.
        path: PathBuf,
        /// The error that this comes from.
        source: io::Error,
    },
    /// Another daemon holds the state directory.
    #[error("a daemon is running for this config already: {path}", path = path.display())]
    Running {
        /// The lock file that it holds.
        path: PathBuf,
    },
    /// Routes of the config contradict each other.
    #[error("the config's routes have errors")]
    Policy(Vec<Problem>),
    /// What was revoked cannot be read: nobody can be let in.
    #[error("the list of what was revoked cannot be read: {path}", path = path.display())]
    Revoked {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error that this comes from.
        source: io::Error,
    },
    /// The roots that upstreams are verified by cannot be loaded.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The parent proxy that config names is this daemon.
    #[error("upstream.parent points to Valetkey's own listener")]
    ParentIsUs,
    /// The parent proxy's password cannot be read.
    #[error("the password of upstream.parent cannot be read")]
    ParentSecret {
        /// The error that this comes from.
        source: StoreError,
    },
    /// No runtime or no thread.
    #[error("the system refused a thread or an event queue")]
    Runtime(#[source] io::Error),
    /// The secret of a session of the config cannot be read.
    #[error("the secret of session `{session}` cannot be read")]
    SessionSecret {
        /// The name of the session in the config.
        session: String,
        /// The error that this comes from.
        source: StoreError,
    },
    /// A pre-shared session's secret can be guessed.
    #[error("the secret of session `{session}` is shorter than 16 bytes")]
    SessionSecretShort {
        /// The name of the session in the config.
        session: String,
    },
    /// The system does not deliver signals to us.
    #[error("the system refused to deliver signals")]
    Signals(#[source] io::Error),
    /// The state directory cannot be made.
    #[error("cannot use the state directory: {path}", path = path.display())]
    State {
        /// The state directory of this config.
        path: PathBuf,
        /// The error that this comes from.
        source: io::Error,
    },
    /// What tools must trust cannot be put where they look for it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The state directory is someone else's, or others may write to it.
    #[error(transparent)]
    StateUnsafe(#[from] StateError),
}

impl Error {
    /// The stable word of this failure, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Admin(error) => error.code(),
            Self::Audit(error) => error.code(),
            Self::Ca(error) => error.code(),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "port-in-use"
            }
            Self::ListenSocket { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "socket-in-use"
            }
            Self::Listen { .. } | Self::ListenSocket { .. } => "listen-failed",
            Self::ListenBeside { .. } => "port-shared",
            Self::Running { .. } => "daemon-running",
            Self::Policy(_) => "config-invalid",
            Self::ParentIsUs => "parent-is-valetkey",
            Self::ParentSecret { .. } => "parent-secret-unusable",
            Self::Revoked { .. } => "revoked-unreadable",
            Self::Roots(error) => error.code(),
            Self::Runtime(_) => "runtime-unavailable",
            Self::SessionSecret { .. } | Self::SessionSecretShort { .. } => {
                "session-secret-unusable"
            }
            Self::Signals(_) => "runtime-unavailable",
            Self::State { .. } => "state-dir-unwritable",
            Self::StateUnsafe(error) => error.code(),
            Self::Trust(error) => error.code(),
        }
    }

    /// What the person who started the daemon can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Admin(error) => error.hint().into(),
            Self::Audit(error) => error.hint().into(),
            Self::Ca(error) => error.hint().into(),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program, perhaps the Valetkey of another config, listens there: stop it, name another port in proxy.listen, or none: then a free one is taken"
                    .into()
            }
            Self::Listen { .. } => "name an address of this machine in proxy.listen".into(),
            Self::ListenBeside { other, .. } => format!(
                "it could take connections that are meant for Valetkey: stop what listens on port {} (`ss -ltnp` shows it), or name another port or single addresses of this machine",
                other.port()
            ),
            Self::ListenSocket { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "another program, perhaps the Valetkey of another config, listens there: stop it, or name another path in proxy.listen",
                io::ErrorKind::AlreadyExists => "something that is no socket lies there: look who put it there, and remove it",
                _ => "check the directory and its permissions, or name another path in proxy.listen",
            }
            .into(),
            Self::Running { .. } => {
                "`valetkey status` shows it; `valetkey restart` starts it anew, `valetkey stop` ends it".into()
            }
            Self::Policy(_) => "`valetkey check` lists all problems".into(),
            Self::ParentIsUs => {
                "name the proxy above Valetkey, or take upstream.parent out".into()
            }
            Self::ParentSecret { source } => source.hint().into(),
            Self::Revoked { .. } => {
                "put the file back as it was; without it, everything that was revoked is let in again"
                    .into()
            }
            Self::Roots(error) => error.hint().into(),
            Self::Runtime(_) | Self::Signals(_) => "check `ulimit -a`".into(),
            Self::SessionSecret { source, .. } => source.hint().into(),
            Self::SessionSecretShort { .. } => "`openssl rand -hex 32` makes one that also fits into a URL".into(),
            Self::State { .. } => "check its permissions, or set VALETKEY_STATE_DIR".into(),
            Self::Trust(_) => "`ca.publish` must name a directory that the daemon can write to".into(),
            Self::StateUnsafe(error) => error.hint(),
        }
    }
}
