//! `grant = "token-exchange"` (RFC 8693): a token that somebody else issued, for one of ours.
//!
//! Subject and actor tokens are read anew for each exchange: a projected Kubernetes token is
//! replaced in its file long before it ends.

use super::answer::Expect;
use super::endpoint::Form;
use super::issuer::Issuer;
use super::{MintError, MintRequest, Minter, Minting, Revoking};
use crate::config::TypedToken;
use crate::model::token::Token;
use crate::store;

pub(super) struct TokenExchange {
    pub(super) issuer: Issuer,
    pub(super) subject: TypedToken,
    pub(super) actor: Option<TypedToken>,
    pub(super) requested: Option<String>,
}

impl TokenExchange {
    async fn ask(&self, request: MintRequest) -> Result<Token, MintError> {
        let subject = store::read_soon(&self.subject.token).await?;
        let mut form = Form::new("urn:ietf:params:oauth:grant-type:token-exchange")
            .secret("subject_token", &subject)
            .text("subject_token_type", &self.subject.kind);
        if let Some(actor) = &self.actor {
            let token = store::read_soon(&actor.token).await?;
            form = form.secret("actor_token", &token).text("actor_token_type", &actor.kind);
        }
        if let Some(requested) = &self.requested {
            form = form.text("requested_token_type", requested);
        }
        let expect = Expect::Exchanged { requested: self.requested.as_deref() };
        self.issuer.ask(form, &request.ask, expect).await
    }
}

impl Minter for TokenExchange {
    fn mint(&self, request: MintRequest) -> Minting<'_> {
        Box::pin(self.ask(request))
    }

    fn revoke<'a>(&'a self, token: &'a Token) -> Revoking<'a> {
        Box::pin(self.issuer.revoke(token))
    }
}
