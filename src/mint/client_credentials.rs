//! `grant = "client-credentials"` (RFC 6749 section 4.4): the machine's own identity.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Ask, Endpoint, Form, basic};
use super::{MintError, MintRequest, Minter, Minting};
use crate::config::{self, ClientAuth};
use crate::model::clock::Clock;
use crate::model::token::Token;
use crate::net::client::Client;
use crate::store;

pub(super) struct ClientCredentials {
    grant: config::ClientCredentials,
    ttl: Option<Duration>,
    endpoint: Endpoint,
}

impl ClientCredentials {
    pub(super) fn new(
        grant: config::ClientCredentials,
        ttl: Option<Duration>,
        client: Arc<Client>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let endpoint = Endpoint::new(grant.token_url.clone(), client, clock);
        Self { grant, ttl, endpoint }
    }

    async fn ask(&self) -> Result<Token, MintError> {
        let secret = store::read_soon(&self.grant.client_secret).await?;
        let mut form = Form::new("client_credentials");
        if !self.grant.scope.is_empty() {
            form = form.text("scope", &self.grant.scope.join(" "));
        }
        let authorization = match self.grant.auth {
            ClientAuth::Basic => Some(basic(&self.grant.client_id, &secret)),
            ClientAuth::Post => {
                let id = &self.grant.client_id;
                form = form.text("client_id", id).secret("client_secret", &secret);
                None
            }
        };
        let ask = Ask { authorization, form, scope: &self.grant.scope, ttl: self.ttl };
        self.endpoint.ask(ask).await
    }
}

impl Minter for ClientCredentials {
    fn mint(&self, _: MintRequest) -> Minting<'_> {
        Box::pin(self.ask())
    }
}
