//! What the OAuth grants have in common: an issuer, a client that authenticates there, and what is
//! asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::SecretSource;
use crate::model::ask::{Template, Variable};
use crate::model::target::{Origin, Scheme, Target};

/// How one issuer is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oauth {
    pub endpoints: Endpoints,
    /// RFC 6749 section 2.2; absent where the grant itself names who asks.
    pub client_id: Option<String>,
    pub auth: ClientAuth,
    /// Scopes asked for; empty: the issuer's default.
    pub scope: Vec<String>,
    pub audience: Vec<String>,
    /// Resources asked for (RFC 8707).
    pub resource: Vec<String>,
    /// Further parameters of the token request, none of them secret.
    pub params: BTreeMap<String, String>,
    /// Tokens are bound to a key of ours (DPoP, RFC 9449).
    pub dpop: bool,
}

/// Where tokens are asked for and revoked: URLs that are `https`, or `http` to a loopback literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// As the issuer's own document says (RFC 8414, OpenID Connect Discovery).
    Discovered {
        /// The identifier, exactly as the document must repeat it.
        issuer: String,
        url: http::Uri,
        /// Other origins (`https://host[:port]`) that its endpoints may be on.
        origins: Vec<String>,
    },
    Named {
        /// Where tokens are asked for.
        token: http::Uri,
        /// Where they are revoked (RFC 7009).
        revocation: Option<http::Uri>,
    },
}

/// How a client shows that it is the one (RFC 6749 section 2.3, RFC 7523, RFC 8705).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Id and secret in the `Authorization` field, form-encoded first.
    Basic(SecretSource),
    /// Not at all: a public client, or a grant that is proof enough.
    None,
    /// Id and secret in the form body.
    Post(SecretSource),
    /// An assertion signed by its key (RFC 7523 section 2.2).
    PrivateKeyJwt(KeyJwt),
    /// A client certificate (RFC 8705 section 2.1).
    TlsClientAuth(Identity),
}

/// A key and how it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyJwt {
    /// PEM; for HS algorithms the shared secret itself.
    pub key: SecretSource,
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// `aud` of the assertion where it is neither the issuer nor the token endpoint.
    pub audience: Option<String>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM, the client's certificate first.
    pub chain: PathBuf,
    pub key: SecretSource,
}

macro_rules! algorithms {
    ($($name:ident = $word:literal;)*) => {
        /// How a token or assertion is signed (RFC 7518 section 3.1, RFC 8037).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Algorithm { $($name,)* }

        impl Algorithm {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in the `alg` header.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

algorithms! {
    EdDsa = "EdDSA";
    Es256 = "ES256";
    Es384 = "ES384";
    Hs256 = "HS256";
    Hs384 = "HS384";
    Hs512 = "HS512";
    Ps256 = "PS256";
    Ps384 = "PS384";
    Ps512 = "PS512";
    Rs256 = "RS256";
    Rs384 = "RS384";
    Rs512 = "RS512";
}

impl Algorithm {
    /// Whether both sides share the key: fit for a token between two parties, not for a client's
    /// proof.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// What is signed here: the `jwt` grant's token and `jwt-bearer`'s assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// PEM; for HS algorithms the shared secret itself.
    pub key: SecretSource,
    pub algorithm: Algorithm,
    /// Further header parameters: `kid`, `typ`.
    pub header: BTreeMap<String, Template>,
    pub iss: Option<Template>,
    pub sub: Option<Template>,
    pub aud: Vec<String>,
    /// Further claims; text in them may name the client.
    pub claims: BTreeMap<String, Claim>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Bool(bool),
    List(Vec<Claim>),
    Number(i64),
    Object(BTreeMap<String, Claim>),
    Text(Template),
}

impl Claim {
    fn variables(&self, named: &mut Vec<Variable>) {
        match self {
            Self::Bool(_) | Self::Number(_) => {}
            Self::List(list) => list.iter().for_each(|claim| claim.variables(named)),
            Self::Object(object) => object.values().for_each(|claim| claim.variables(named)),
            Self::Text(text) => named.extend(text.variables()),
        }
    }
}

impl Signed {
    /// What it names of the client it is made for.
    pub fn variables(&self) -> Vec<Variable> {
        let texts = self.header.values().chain(&self.iss).chain(&self.sub);
        let mut named: Vec<_> = texts.flat_map(Template::variables).collect();
        self.claims.values().for_each(|claim| claim.variables(&mut named));
        named
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    pub signed: Signed,
    /// How far `iat` lies back, in seconds, for issuers whose clock is behind.
    pub backdate: std::time::Duration,
}

/// `grant = "jwt-bearer"` (RFC 7523 section 2.1)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtBearer {
    pub oauth: Oauth,
    /// The assertion; an empty `aud` means the issuer, or the token endpoint where none is named.
    pub assertion: Signed,
}

/// `grant = "token-exchange"` (RFC 8693)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExchange {
    pub oauth: Oauth,
    pub subject: TypedToken,
    pub actor: Option<TypedToken>,
    /// `requested_token_type`, a URI.
    pub requested: Option<String>,
}

/// A token that somebody else issued, read anew for each mint: projected tokens change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedToken {
    pub token: SecretSource,
    /// RFC 8693 section 3, a URI.
    pub kind: String,
}

impl Oauth {
    /// What the issuer calls itself: its identifier, else its token endpoint.
    pub fn issuer(&self) -> String {
        match &self.endpoints {
            Endpoints::Discovered { issuer, .. } => issuer.clone(),
            Endpoints::Named { token, .. } => token.to_string(),
        }
    }

    /// What its client authenticates with.
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match &self.auth {
            ClientAuth::Basic(secret) | ClientAuth::Post(secret) => vec![secret],
            ClientAuth::None => Vec::new(),
            ClientAuth::PrivateKeyJwt(key) => vec![&key.key],
            ClientAuth::TlsClientAuth(identity) => vec![&identity.key],
        }
    }
}

/// The origin of a URL that config or an issuer's document names.
pub fn origin_of(url: &http::Uri) -> Option<Origin> {
    let scheme = match url.scheme_str()? {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    let target = Target::parse(url.authority()?.as_str(), Some(scheme.default_port())).ok()?;
    Some(Origin { scheme, target })
}
