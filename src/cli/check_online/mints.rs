//! A test token of each credential, for each thing that its routes ask of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::LIMIT;
use super::finding::Finding;
use crate::cli::session;
use crate::config::{Config, Credential, Grant};
use crate::local::uid::Uid;
use crate::mint::login::LoginError;
use crate::mint::{self, MintError, MintRequest, Minter, Revocation};
use crate::model::ask::Ask;
use crate::model::client::{Client as Asker, ClientKey};
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::token::Token;
use crate::net::client::Client;
use crate::store::logins::Logins;

/// One credential, and what is to be asked of it.
pub(super) struct Test {
    name: CredentialName,
    /// Its key is handed on as it is.
    standing: bool,
    minter: Arc<dyn Minter>,
    asks: BTreeSet<Arc<Ask>>,
    client: ClientKey,
}

impl Test {
    /// All that the config has.
    pub(super) fn all(
        config: &Config,
        client: &Arc<Client>,
        logins: &Arc<Logins>,
        clock: &Arc<dyn Clock>,
    ) -> Vec<Self> {
        let uid = Uid::own().map(Uid::raw);
        let asker = Asker { uid, user: Some(session::user().into()), ..Asker::default() };
        let test = |(name, credential): (&CredentialName, &Credential)| Self {
            name: name.clone(),
            standing: matches!(credential.grant, Grant::StaticKey(_)),
            minter: mint::build(name, credential, client, logins, clock),
            asks: asks(config, name).iter().map(|ask| ask.of(&asker)).collect(),
            client: asker.key(),
        };
        config.credentials.iter().map(test).collect()
    }

    /// One after the other: a login is renewed by one at a time.
    pub(super) async fn run(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ask in &self.asks {
            findings.push(self.one(ask).await);
        }
        findings
    }

    async fn one(&self, ask: &Arc<Ask>) -> Finding {
        let of = match ask.scope.as_slice() {
            [] => self.name.to_string(),
            scope => format!("{} (scope {})", self.name, scope.join(" ")),
        };
        let request = MintRequest {
            credential: self.name.clone(),
            client: self.client.clone(),
            ask: Arc::clone(ask),
        };
        let minted = timeout(LIMIT, self.minter.mint(request)).await;
        match minted.unwrap_or(Err(MintError::Deadline)) {
            Ok(_) if self.standing => {
                Finding::fine("mint", &of, "a standing key: it can be read, and was sent nowhere")
            }
            Ok(token) => self.revoked(&of, &token).await,
            Err(MintError::Client(variable)) => {
                let why = format!(
                    "{{{}}} in its template has a value under `run` only",
                    variable.as_str()
                );
                Finding::skipped("mint", &of, &why)
            }
            Err(MintError::Unreachable(error)) => Finding::unreached("mint", &of, &error),
            Err(error) => {
                let said = error.said().map(crate::inject::mask_text);
                let said = said.map(|said| format!(" (it says: {said})")).unwrap_or_default();
                Finding::failed(
                    "mint",
                    &of,
                    error.code(),
                    &format!("{error}{said}"),
                    &self.hint(&error),
                )
            }
        }
    }

    async fn revoked(&self, of: &str, token: &Token) -> Finding {
        let life = token.expires().duration_since(token.minted().wall).unwrap_or_default();
        let life = humantime::format_duration(Duration::from_secs(life.as_secs()));
        let revoked = timeout(LIMIT, self.minter.revoke(token)).await;
        match revoked.unwrap_or(Err(MintError::Deadline)) {
            Ok(Revocation::Done) => Finding::fine(
                "mint",
                of,
                &format!("a token for {life} was minted, and revoked again"),
            ),
            Ok(Revocation::Unsupported) => {
                Finding::fine("mint", of, &format!("a token was minted; unused, it ends in {life}"))
            }
            Err(error) => Finding::failed(
                "mint",
                of,
                "revoke-failed",
                &format!("a token was minted, but not revoked: {error}"),
                "check `revocation_url`, and that this client may revoke; unused, the token ends by itself",
            ),
        }
    }

    fn hint(&self, error: &MintError) -> String {
        match error {
            MintError::Login(LoginError::Ended(_) | LoginError::Required)
                if self.minter.is_of_a_person() =>
            {
                format!("type: valetkey login {}", self.name)
            }
            MintError::Secret(_) => {
                format!(
                    "{}; the daemon reads its own environment, which may be another",
                    error.hint()
                )
            }
            _ => error.hint().to_owned(),
        }
    }
}

/// What routes ask of it; where there is none, what it asks by itself.
fn asks(config: &Config, name: &CredentialName) -> BTreeSet<Arc<Ask>> {
    let routes = config.routes.iter().map(|route| &route.value);
    let its = routes.filter(|route| route.credential.as_ref() == Some(name));
    let asks: BTreeSet<_> = its.map(|route| Arc::new(route.ask.clone())).collect();
    if asks.is_empty() { [Arc::default()].into() } else { asks }
}
