//! [`Issuer`]: what the OAuth grants share. Finds the endpoints, authenticates the client, asks,
//! revokes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::answer::Expect;
use super::beside::DeviceAnswer;
use super::discovery::{Discovery, Found};
use super::endpoint::{Call, Endpoint, Form, Given, Scopes, basic, failure};
use super::{DiscoveryError, MintError, OauthError, Revocation, either, jws};
use crate::config::{ClientAuth, Endpoints, Identity, Oauth};
use crate::model::ask::Ask;
use crate::model::clock::Clock;
use crate::model::dpop::ProofKey;
use crate::model::id::CredentialName;
use crate::model::secret::Secret;
use crate::model::token::Token;
use crate::net::client::Client;
use crate::store;
use crate::store::logins::Whose;

pub(super) struct Issuer {
    oauth: Oauth,
    ttl: Option<Duration>,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    discovery: Option<Discovery>,
    /// What its tokens are bound to (RFC 9449), where config wants that.
    dpop: Option<ArcSwap<ProofKey>>,
}

impl Issuer {
    pub(super) fn new(
        oauth: Oauth,
        ttl: Option<Duration>,
        client: Arc<Client>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let discovery = match &oauth.endpoints {
            Endpoints::Discovered { issuer, url, origins } => Some(Discovery::new(
                issuer.clone(),
                url.clone(),
                origins.clone(),
                Arc::clone(&client),
                Arc::clone(&clock),
            )),
            Endpoints::Named { .. } => None,
        };
        let dpop = oauth.dpop.then(|| ArcSwap::from_pointee(ProofKey::new()));
        Self { oauth, ttl, client, clock, discovery, dpop }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Whose logins they are that are got here for a credential.
    pub(super) fn whose(&self, credential: &CredentialName) -> Whose {
        Whose::of(&self.oauth, credential)
    }

    /// The key that its refresh tokens are bound to: of public clients they are (RFC 9449 section
    /// 5).
    pub(super) fn login_key(&self) -> Option<Arc<ProofKey>> {
        let public = self.oauth.auth == ClientAuth::None;
        self.dpop.as_ref().filter(|_| public).map(ArcSwap::load_full)
    }

    /// From now on tokens are bound to this key.
    pub(super) fn bind(&self, key: Arc<ProofKey>) {
        if let Some(dpop) = &self.dpop {
            dpop.store(key);
        }
    }

    pub(super) fn client_id(&self) -> &str {
        self.oauth.client_id.as_deref().unwrap_or_default()
    }

    /// The issuer's identifier, where it has one.
    pub(super) fn identifier(&self) -> Option<&str> {
        match &self.oauth.endpoints {
            Endpoints::Discovered { issuer, .. } => Some(issuer),
            Endpoints::Named { .. } => None,
        }
    }

    /// Where it is at home.
    pub(super) fn home(&self) -> &http::Uri {
        match &self.oauth.endpoints {
            Endpoints::Discovered { url, .. } => url,
            Endpoints::Named { token, .. } => token,
        }
    }

    /// Adds all that the credential asks for to the first request of a login.
    pub(super) fn asking(&self, form: Form, params: &BTreeMap<String, String>) -> Form {
        let Oauth { scope, audience, resource, .. } = &self.oauth;
        let form = form.asking(scope, audience, resource);
        params.iter().fold(form, |form, (name, value)| form.text(name, value))
    }

    /// Asks for a code that a person types.
    pub(super) async fn device(
        &self,
        url: &http::Uri,
        params: &BTreeMap<String, String>,
    ) -> Result<DeviceAnswer, MintError> {
        let (client, _) = self.client().await?;
        let (authorization, form) = self.authenticate(self.asking(Form::empty(), params)).await?;
        let endpoint = Endpoint::new(url.clone(), client, Arc::clone(&self.clock));
        endpoint.device(authorization, form).await
    }

    /// The identifier of the issuer and its keys (RFC 7517), where its document says where they
    /// are.
    pub(super) async fn keys(&self) -> Result<Option<(String, Secret)>, MintError> {
        let Some(issuer) = self.identifier() else { return Ok(None) };
        let Some(url) = self.endpoints().await?.keys else { return Ok(None) };
        let answer = self.client.get(&url?).await?;
        match answer.status.as_u16() {
            200 => Ok(Some((issuer.to_owned(), answer.body))),
            _ => Err(failure(&answer, self.clock.now())),
        }
    }

    /// What the issuer calls itself: its identifier, else its token endpoint.
    pub(super) fn audience(&self) -> String {
        self.oauth.issuer()
    }

    /// Asks for a token with what the grant put into `form`.
    pub(super) async fn ask(
        &self,
        form: Form,
        wanted: &Ask,
        expect: Expect<'_>,
    ) -> Result<Token, MintError> {
        let given = self.ask_all(form, wanted, expect).await?;
        if let (Some(discovery), Err(error)) = (&self.discovery, &given.token) {
            discovery.doubt(error);
        }
        given.token
    }

    /// As [`Self::ask`], with what stands beside the token. An error means that nothing was given
    /// at all.
    pub(super) async fn ask_all(
        &self,
        form: Form,
        wanted: &Ask,
        expect: Expect<'_>,
    ) -> Result<Given, MintError> {
        self.ask_within(form, wanted, Scopes::all(self.scope_of(wanted)), expect).await
    }

    /// As [`Self::ask_all`], with less scope than config asks for, or as much.
    pub(super) async fn ask_within(
        &self,
        form: Form,
        wanted: &Ask,
        scopes: Scopes<'_>,
        expect: Expect<'_>,
    ) -> Result<Given, MintError> {
        let audience = either(&wanted.audience, &self.oauth.audience);
        let resource = either(&wanted.resource, &self.oauth.resource);
        self.send(form.asking(scopes.asked, audience, resource), scopes, expect).await
    }

    /// The scope that a route's token is to have.
    pub(super) fn scope_of<'a>(&'a self, wanted: &'a Ask) -> &'a [String] {
        either(&wanted.scope, &self.oauth.scope)
    }

    /// The scope of a login.
    pub(super) fn scope(&self) -> &[String] {
        &self.oauth.scope
    }

    /// Trades in what a login brought. What is granted was asked for before, and may not exceed
    /// that.
    pub(super) async fn ask_bare(
        &self,
        form: Form,
        expect: Expect<'_>,
    ) -> Result<Given, MintError> {
        self.send(form, Scopes::all(&self.oauth.scope), expect).await
    }

    async fn send(
        &self,
        form: Form,
        scopes: Scopes<'_>,
        expect: Expect<'_>,
    ) -> Result<Given, MintError> {
        let found = self.endpoints().await?;
        let mut form = form;
        for (name, value) in &self.oauth.params {
            form = form.text(name, value);
        }
        let (client, mtls) = self.client().await?;
        let url = if mtls { found.mtls_token.unwrap_or(found.token) } else { found.token };
        let endpoint = Endpoint::new(url, client, Arc::clone(&self.clock));
        let key = self.dpop.as_ref().map(ArcSwap::load_full);
        let dpop = key.as_ref();
        let mut asked = false;
        let result = loop {
            // Signed anew where it is asked for twice: an assertion is good once.
            let (authorization, form) = self.authenticate(form.again()).await?;
            let ttl = self.ttl;
            let call = Call { authorization, form, scopes, ttl, expect, dpop };
            let result = endpoint.ask_all(call).await;
            // RFC 9449 section 8: nothing was spent, and by now we know the nonce.
            let nonce = matches!(
                &result,
                Err(MintError::Refused { error: Some(OauthError::UseDpopNonce), .. })
            );
            if dpop.is_none() || asked || !nonce {
                break result;
            }
            asked = true;
        };
        if let (Some(discovery), Err(error)) = (&self.discovery, &result) {
            discovery.doubt(error);
        }
        result
    }

    /// Tells the issuer that the token is not wanted any more (RFC 7009 section 2).
    pub(super) async fn revoke(&self, token: &Token) -> Result<Revocation, MintError> {
        self.revoke_secret(token.value(), "access_token").await
    }

    /// The same for a token of either kind.
    pub(super) async fn revoke_secret(
        &self,
        token: &Secret,
        kind: &str,
    ) -> Result<Revocation, MintError> {
        let found = self.endpoints().await?;
        let (client, mtls) = self.client().await?;
        let url = match (found.mtls_revocation, found.revocation) {
            (Some(url), _) if mtls => url,
            (_, Some(url)) => url,
            _ => return Ok(Revocation::Unsupported),
        };
        let form = Form::empty().secret("token", token).text("token_type_hint", kind);
        let (authorization, form) = self.authenticate(form).await?;
        Endpoint::new(url, client, Arc::clone(&self.clock)).revoke(authorization, form).await?;
        Ok(Revocation::Done)
    }

    pub(super) async fn endpoints(&self) -> Result<Found, MintError> {
        match (&self.oauth.endpoints, &self.discovery) {
            (Endpoints::Named { token, revocation }, _) => Ok(Found {
                token: token.clone(),
                revocation: revocation.clone(),
                authorization: None,
                device: None,
                keys: None,
                says_issuer: false,
                mtls_token: None,
                mtls_revocation: None,
            }),
            (Endpoints::Discovered { .. }, Some(discovery)) => discovery.endpoints().await,
            (Endpoints::Discovered { .. }, None) => Err(DiscoveryError::Document.into()),
        }
    }

    /// The client of this credential: with its certificate, where it has one.
    async fn client(&self) -> Result<(Arc<Client>, bool), MintError> {
        let ClientAuth::TlsClientAuth(Identity { chain, key }) = &self.oauth.auth else {
            return Ok((Arc::clone(&self.client), false));
        };
        let key = store::read_key_soon(key).await?;
        let chain = store::read_key_soon(&crate::config::SecretSource::File(chain.clone())).await?;
        let client = self.client.identified(&chain, jws::tls_key(&key)?)?;
        Ok((Arc::new(client), true))
    }

    async fn authenticate(&self, form: Form) -> Result<(Option<Secret>, Form), MintError> {
        let id = self.oauth.client_id.as_deref().unwrap_or_default();
        Ok(match &self.oauth.auth {
            ClientAuth::Basic(secret) => (Some(basic(id, &store::read_soon(secret).await?)), form),
            ClientAuth::Post(secret) => {
                let secret = store::read_soon(secret).await?;
                (None, form.text("client_id", id).secret("client_secret", &secret))
            }
            ClientAuth::None if self.oauth.client_id.is_none() => (None, form),
            ClientAuth::None | ClientAuth::TlsClientAuth(_) => (None, form.text("client_id", id)),
            ClientAuth::PrivateKeyJwt(key) => {
                let now = self.clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
                let proof = jws::prove(key, id, &self.audience(), now.as_secs()).await?;
                let form = form
                    .text("client_id", id)
                    .text("client_assertion_type", ASSERTION_TYPE)
                    .secret("client_assertion", &proof);
                (None, form)
            }
        })
    }
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
