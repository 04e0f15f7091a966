//! The tables of the OAuth grants and of tokens that are signed here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{OneOrMany, SecretTable};

/// The keys that every OAuth grant has beside its own: serde's `flatten` would cost the lines in messages.
macro_rules! oauth_table {
    ($(#[$doc:meta])* $name:ident { $($(#[$own_doc:meta])* pub $own:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$own_doc])* pub $own: $kind,)*
            /// The token endpoint: https, or http to a loopback address. This or `issuer`.
            #[serde(default)]
            pub token_url: Option<String>,
            /// The revocation endpoint (RFC 7009), for what is revoked at a session's end; beside `token_url`.
            #[serde(default)]
            pub revocation_url: Option<String>,
            /// The issuer's identifier, whose own document names the endpoints (RFC 8414, OpenID Connect Discovery).
            #[serde(default)]
            pub issuer: Option<String>,
            /// Origins beside the issuer's own that its endpoints may be on, as "https://tokens.example".
            #[serde(default)]
            pub endpoint_origins: OneOrMany,
            /// The client's name at the issuer.
            #[serde(default)]
            pub client_id: Option<String>,
            /// The client's secret, for `auth` "basic" and "post".
            #[serde(default)]
            pub client_secret: Option<SecretTable>,
            /// How the client authenticates: "basic" (the default where there is a secret), "post", "private-key-jwt", "tls-client-auth", "none".
            #[serde(default)]
            pub auth: Option<TokenEndpointAuth>,
            /// The client's private key in PEM, for "private-key-jwt" and "tls-client-auth".
            #[serde(default)]
            pub client_key: Option<SecretTable>,
            /// The key's name at the issuer (`kid`), for "private-key-jwt".
            #[serde(default)]
            pub client_key_id: Option<String>,
            /// How the key signs, for "private-key-jwt": "RS256", "PS256", "ES256", "ES384", "EdDSA", …
            #[serde(default)]
            pub client_key_algorithm: Option<String>,
            /// `aud` of the client's assertion. Default: the issuer, else the token endpoint.
            #[serde(default)]
            pub client_assertion_audience: Option<String>,
            /// PEM file with the client's certificate and its chain, for "tls-client-auth".
            #[serde(default)]
            pub client_cert: Option<PathBuf>,
            /// Scopes to ask for; absent: the issuer's default.
            #[serde(default)]
            pub scope: Vec<String>,
            /// Audience or audiences to ask for, where the issuer knows such a parameter.
            #[serde(default)]
            pub audience: OneOrMany,
            /// Resource or resources to ask for: absolute URIs (RFC 8707).
            #[serde(default)]
            pub resource: OneOrMany,
            /// Further parameters of the token request; never a secret.
            #[serde(default)]
            pub params: BTreeMap<String, String>,
            /// Bind each token to a key that is made in memory and on no disk, and send a proof with each request (DPoP, RFC 9449). The key of
            /// a public client's login is kept in the kernel's keyring until `logout`, or until the machine goes down.
            #[serde(default)]
            pub dpop_bound_access_tokens: bool,
            /// Upper bound of a token's life, and its life where the issuer names none. Default of the latter: "5m".
            #[serde(default)]
            pub ttl: Option<String>,
        }

        impl $name {
            /// The common keys, taken out.
            pub fn oauth(&mut self) -> OauthTable {
                OauthTable {
                    token_url: self.token_url.take(),
                    revocation_url: self.revocation_url.take(),
                    issuer: self.issuer.take(),
                    endpoint_origins: std::mem::take(&mut self.endpoint_origins).into_vec(),
                    client_id: self.client_id.take(),
                    client_secret: self.client_secret.take(),
                    auth: self.auth,
                    client_key: self.client_key.take(),
                    client_key_id: self.client_key_id.take(),
                    client_key_algorithm: self.client_key_algorithm.take(),
                    client_assertion_audience: self.client_assertion_audience.take(),
                    client_cert: self.client_cert.take(),
                    scope: std::mem::take(&mut self.scope),
                    audience: std::mem::take(&mut self.audience).into_vec(),
                    resource: std::mem::take(&mut self.resource).into_vec(),
                    params: std::mem::take(&mut self.params),
                    dpop_bound_access_tokens: self.dpop_bound_access_tokens,
                }
            }
        }
    };
}

oauth_table! {
    /// `grant = "client-credentials"`
    ClientCredentialsTable {}
}

oauth_table! {
    /// `grant = "authorization-code"`: a person logs in with a browser on this machine (RFC 6749 section 4.1, RFC 7636, RFC 8252).
    AuthorizationCodeTable {
        /// The authorization endpoint, beside `token_url`.
        #[serde(default)]
        pub authorization_url: Option<String>,
        /// Where the browser comes back to, as it is registered at the issuer: http on 127.0.0.1, [::1] or localhost. Without a port a free one
        /// is taken. Default: "http://127.0.0.1/callback".
        #[serde(default)]
        pub redirect_uri: Option<String>,
        /// Further parameters of the authorization request, as { prompt = "consent" }; never a secret.
        #[serde(default)]
        pub login_params: BTreeMap<String, String>,
    }
}

oauth_table! {
    /// `grant = "device"`: a person logs in by a code, on any device with a browser (RFC 8628).
    DeviceTable {
        /// The device authorization endpoint, beside `token_url`.
        #[serde(default)]
        pub device_url: Option<String>,
        /// Origins that a person may be sent to, as "https://microsoft.com", beside the issuer's own.
        #[serde(default)]
        pub verification_origins: OneOrMany,
        /// Further parameters of the request for a code; never a secret.
        #[serde(default)]
        pub login_params: BTreeMap<String, String>,
    }
}

oauth_table! {
    /// `grant = "jwt-bearer"`: an assertion signed here is the grant (RFC 7523 section 2.1).
    JwtBearerTable {
        /// The private key in PEM, or for HS algorithms the shared secret itself.
        pub key: SecretTable,
        /// How it signs: "RS256", "PS256", "ES256", "ES384", "EdDSA", …
        pub algorithm: String,
        /// Further header parameters, as `kid`.
        #[serde(default)]
        pub header: BTreeMap<String, String>,
        /// Who signs; absent: `client_id`.
        #[serde(default)]
        pub iss: Option<String>,
        /// Whom the token is about; absent: who signs.
        #[serde(default)]
        pub sub: Option<String>,
        /// For whom the assertion is. Default: the issuer, else the token endpoint.
        #[serde(default)]
        pub aud: OneOrMany,
        /// Further claims of the assertion.
        #[serde(default)]
        pub claims: BTreeMap<String, ClaimValue>,
    }
}

oauth_table! {
    /// `grant = "refresh-token"`: a refresh token that was got elsewhere (RFC 6749 section 6).
    RefreshTokenTable {
        /// The first refresh token: it is taken over once, and again when another stands there. Those that the issuer gives in its place
        /// are kept with the logins.
        pub refresh_token: SecretTable,
    }
}

oauth_table! {
    /// `grant = "token-exchange"`: another's token for one of ours (RFC 8693).
    TokenExchangeTable {
        /// The token of the one on whose behalf it is asked; read anew each time.
        pub subject_token: SecretTable,
        /// Its type: "access_token", "id_token", "jwt", "saml1", "saml2" or a URI. Default: "jwt".
        #[serde(default)]
        pub subject_token_type: Option<String>,
        /// The token of the one who acts.
        #[serde(default)]
        pub actor_token: Option<SecretTable>,
        /// Its type. Default: "jwt".
        #[serde(default)]
        pub actor_token_type: Option<String>,
        /// The type of token to ask for; absent: an access token.
        #[serde(default)]
        pub requested_token_type: Option<String>,
    }
}

/// What they have in common.
#[derive(Debug)]
pub struct OauthTable {
    pub token_url: Option<String>,
    pub revocation_url: Option<String>,
    pub issuer: Option<String>,
    pub endpoint_origins: Vec<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<SecretTable>,
    pub auth: Option<TokenEndpointAuth>,
    pub client_key: Option<SecretTable>,
    pub client_key_id: Option<String>,
    pub client_key_algorithm: Option<String>,
    pub client_assertion_audience: Option<String>,
    pub client_cert: Option<PathBuf>,
    pub scope: Vec<String>,
    pub audience: Vec<String>,
    pub resource: Vec<String>,
    pub params: BTreeMap<String, String>,
    pub dpop_bound_access_tokens: bool,
}

/// `auth` of the OAuth grants.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenEndpointAuth {
    /// Id and secret in the Authorization field.
    Basic,
    /// Not at all: a public client.
    None,
    /// Id and secret in the form body.
    Post,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// A client certificate (RFC 8705).
    TlsClientAuth,
}

/// `grant = "jwt"`: a token signed here, without an issuer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtTable {
    /// The private key in PEM, or for HS algorithms the shared secret itself.
    pub key: SecretTable,
    /// "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384" or "HS512".
    pub algorithm: String,
    /// Further header parameters, as `kid`; `typ` is "JWT" unless given.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// Who signs. Texts here and in `sub`, `header` and `claims` may name "{session}", "{uid}", "{user}", "{client}".
    #[serde(default)]
    pub iss: Option<String>,
    /// Whom the token is about.
    #[serde(default)]
    pub sub: Option<String>,
    /// For whom it is; a route's `audience` narrows it.
    #[serde(default)]
    pub aud: OneOrMany,
    /// Further claims: text, whole numbers, true and false, lists and tables of them.
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimValue>,
    /// How far `iat` lies back, for verifiers whose clock is behind. Default: "0s".
    #[serde(default)]
    pub backdate: Option<String>,
    /// A token's life. Default: "5m".
    #[serde(default)]
    pub ttl: Option<String>,
}

/// A claim's value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "text, a whole number, true or false, or a list or table of them")]
pub enum ClaimValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Text, which may name the client.
    Text(String),
    /// A list.
    List(Vec<ClaimValue>),
    /// A table.
    Object(BTreeMap<String, ClaimValue>),
}
