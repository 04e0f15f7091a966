//! `grant = "client-credentials"` (RFC 6749 section 4.4): the machine's own identity.

use super::answer::Expect;
use super::endpoint::Form;
use super::issuer::Issuer;
use super::{MintRequest, Minter, Minting, Revoking};
use crate::model::token::Token;

pub(super) struct ClientCredentials(pub(super) Issuer);

impl Minter for ClientCredentials {
    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(async move {
            self.0.ask(Form::new("client_credentials"), &request.ask, Expect::Bearer).await
        })
    }

    fn revoke<'a>(&'a self, token: &'a Token) -> Revoking<'a> {
        Box::pin(self.0.revoke(token))
    }
}
