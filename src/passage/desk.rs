//! What every request passes: the parts that are shared, and those that a config decides.

use std::sync::Arc;

use super::given::AllGiven;
use super::refused::Refused;
use crate::audit::Audit;
use crate::broker::{Broker, Minters};
use crate::client::{Admitted, Gate, Rules};
use crate::limits::{Buckets, Rates};
use crate::model::client::ClientKey;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::policy::Policy;

/// What all requests share: who may come, tokens, records, the present, rates.
pub struct Passage {
    /// Knows who is revoked, and whose session has ended.
    pub gate: Arc<Gate>,
    pub broker: Arc<Broker>,
    /// Writes down who did what.
    pub audit: Arc<Audit>,
    pub clock: Arc<dyn Clock>,
    /// What was had lately of each rate.
    pub buckets: Buckets,
    pub(super) given: AllGiven,
    /// What `valetkey login` needs beside the credential to find this config, with a space before;
    /// empty: nothing.
    pub config_flag: String,
}

/// What a config decides of requests, as one immutable snapshot.
pub struct Terms {
    pub policy: Policy,
    pub rules: Rules,
    /// Make the tokens of its credentials. They are part of the snapshot, so that a request never
    /// gets the token of a credential as another policy defines it.
    pub minters: Minters,
    /// How much of it anybody may have.
    pub rates: Rates,
    /// Counts snapshots.
    pub generation: u64,
}

impl Passage {
    /// With nothing given to any upstream yet, and every rate unused. `config_flag`: as in the
    /// field.
    pub fn new(
        gate: Arc<Gate>,
        broker: Arc<Broker>,
        audit: Arc<Audit>,
        clock: Arc<dyn Clock>,
        config_flag: String,
    ) -> Self {
        let (buckets, given) = (Buckets::default(), AllGiven::default());
        Self { gate, broker, audit, clock, buckets, given, config_flag }
    }

    /// Whether a client may open a tunnel now, counted into its rates; else why not.
    pub fn may_tunnel(&self, terms: &Terms, admitted: &Admitted) -> Result<(), Refused> {
        let now = self.clock.now();
        if let Some(reason) = self.gate.objection(&terms.rules, admitted, now) {
            return Err(reason.into());
        }
        let taken = self.buckets.take(&terms.rates, &admitted.client, None, None, now.mono);
        taken.map_err(|wait| Refused::until(Reason::RateLimited, wait))
    }

    /// Drops all tokens of a client and revokes them at their issuers; says how many there were.
    /// Call it after the client is no longer admitted.
    pub fn end_client(&self, client: &ClientKey) -> usize {
        let ended = self.broker.end_client(client);
        self.given.forget(|other, _| other == client);
        ended
    }

    /// The same for whoever is revoked; call it after they are.
    pub fn revoke_clients(&self, revoked: impl Fn(&ClientKey) -> bool) -> usize {
        let ended = self.broker.revoke_clients(&revoked);
        self.given.forget(|client, _| revoked(client));
        ended
    }

    /// The same for a credential, after it is barred.
    pub fn revoke(&self, credential: &CredentialName) -> usize {
        let ended = self.broker.revoke(credential);
        self.given.forget(|_, other| other == credential);
        ended
    }

    /// Forgets what is over; call it now and then.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.broker.sweep();
        self.buckets.sweep(now.mono);
        self.given.sweep(now);
    }
}
