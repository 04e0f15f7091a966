//! Why a dial brings no stream: directly, or by a parent proxy, which is dialled itself. And how
//! long each step of it may take, for the errors name these times.

use std::io;
use std::time::Duration;

use super::anchors::RootsUnread;
use super::guard::Refused;
use crate::model::reason::{AddressFault, Reason};

/// Why no stream came to be.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// All descriptors for upstreams are taken.
    #[error("as many upstream connections are open as may be")]
    Exhausted,
    #[error("the target may not be reached")]
    Refused(#[from] Refused),
    #[error("no address of the target answered within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// All addresses refused or reset the connection; the last error.
    #[error("no address of the target could be connected to")]
    Unreachable(#[source] io::Error),
    /// The resolver failed, or the name has no address.
    #[error("the name of the target could not be resolved")]
    Unresolved(#[source] Option<io::Error>),
    /// The resolver said nothing within [`RESOLVE_TIMEOUT`].
    #[error("the resolver did not answer within {} s", RESOLVE_TIMEOUT.as_secs())]
    UnresolvedInTime,
    /// The parent proxy did not open a way to the target.
    #[error("no way through the parent proxy")]
    Via(#[from] ViaError),
}

impl DialError {
    /// What a client is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Exhausted => Reason::TooManyConnections,
            Self::Refused(Refused::Synthetic) => Reason::AddressRefused(AddressFault::Synthetic),
            Self::Refused(_) => Reason::AddressRefused(AddressFault::Other),
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Unreachable(_) => Reason::UpstreamUnreachable,
            Self::Unresolved(_) | Self::UnresolvedInTime => Reason::UpstreamNameUnresolved,
            Self::Via(error) => error.reason(),
        }
    }
}

/// Why there is no way through the parent.
#[derive(Debug, thiserror::Error)]
pub enum ViaError {
    #[error("the parent proxy does not accept our credentials: 407")]
    Auth,
    /// The connection to it broke before its answer was complete.
    #[error("the parent proxy broke off")]
    Broken(#[source] io::Error),
    /// Its answer is not HTTP/1, or too long.
    #[error("the parent proxy's answer is not valid HTTP")]
    Invalid,
    /// It answered something else than 2xx or 407.
    #[error("the parent proxy refused or failed: {0}")]
    Refused(u16),
    /// Nothing that an https one says of itself can be verified yet.
    #[error(transparent)]
    Roots(#[from] RootsUnread),
    #[error("the parent proxy did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// Its certificate or handshake is not acceptable.
    #[error("the parent proxy's TLS is not acceptable")]
    Tls(#[source] io::Error),
    #[error("the parent proxy cannot be reached")]
    Unreachable(#[source] Box<DialError>),
}

impl ViaError {
    /// What a client is told: the class, nothing of what the parent said.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Auth => Reason::ParentAuthFailed,
            Self::Broken(_) | Self::Tls(_) | Self::Unreachable(_) => Reason::ParentUnreachable,
            Self::Invalid => Reason::ParentAnswerInvalid,
            Self::Refused(_) => Reason::ParentRefused,
            Self::Roots(_) => Reason::RootsUnread,
            Self::Timeout => Reason::ParentTimeout,
        }
    }
}

/// How long the system's resolver may take for one name.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// For all addresses of a target together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For TLS with the parent and its answer to CONNECT, after the connection.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
