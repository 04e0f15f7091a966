//! Whose share of the connections an accepted one counts into: the session's that it is admitted
//! by, else its user's, else its address's.

use std::net::{IpAddr, SocketAddr};

use crate::client::{Admitted, Peer};
use crate::model::client::ClientKey;
use crate::net::shares::Share;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Of another machine or network namespace, and without a session.
    Address(IpAddr),
    /// Known by more than that.
    Client(ClientKey),
    /// Of this machine, by whichever of its many addresses, and of no user that it knows: all of
    /// them are one.
    Unnamed,
}

impl Holder {
    /// As far as it is known before anything was said.
    pub(super) fn before(end: &Peer, peer: Option<SocketAddr>) -> Self {
        match (end.uid, peer) {
            (Some(uid), _) => Self::Client(ClientKey::Uid(uid)),
            (None, Some(_)) if end.here => Self::Unnamed,
            (None, Some(peer)) => Self::Address(peer.ip()),
            (None, None) => Self::Client(ClientKey::Anyone),
        }
    }
}

/// Counts a connection for who it was admitted as; `false`: that one has its share.
pub(super) fn pass(share: &Share<Holder>, admitted: &Admitted) -> bool {
    match admitted.client.key() {
        // Nobody was asked: its address is all that is known.
        ClientKey::Anyone => true,
        key => share.pass_to(&Holder::Client(key)),
    }
}
