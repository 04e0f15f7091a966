//! The TOML shapes, one struct per table, with what a person reads about each key.
//!
//! `config/schema.json` is generated from these doc comments. Text values stay text here:
//! `check` parses them and says what is wrong with which line.

mod exec;
mod http;
mod inject;
mod limits;
mod login;
pub mod oauth;
mod proxy;
mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

pub use exec::{ExecTable, HelperTable, OutputFormat};
pub use http::{HttpRevokeTable, HttpTable};
pub use inject::{Cookies, InjectBasicTable, InjectTable, OnStaticKey, Truncation, When};
pub use limits::{LimitsTable, TimeoutsTable};
pub use login::{LoginProtection, LoginsTable};
pub use proxy::{AdmittedBy, ProxyTable, Unmatched};
pub use secret::{LITERAL_SECRET, SecretTable};

/// A whole `valetkey.toml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read table by table in `check`; whole only for the schema")]
pub struct File {
    /// The version of this format: 1.
    pub config_version: u32,
    /// The proxy itself.
    #[serde(default)]
    pub proxy: ProxyTable,
    /// Pre-shared sessions, for sidecars and CI; sent as Basic NAME:SECRET.
    #[serde(default)]
    pub sessions: Vec<SessionTable>,
    /// The local certificate authority.
    #[serde(default)]
    pub ca: CaTable,
    /// How upstreams are reached and verified.
    #[serde(default)]
    pub upstream: UpstreamTable,
    /// The audit trail.
    #[serde(default)]
    pub audit: AuditTable,
    /// The way in for the command line.
    #[serde(default)]
    pub admin: AdminTable,
    /// Where logins are kept.
    #[serde(default)]
    pub logins: LoginsTable,
    /// What must permit a request beside its route.
    #[serde(default)]
    pub policy: PolicyTable,
    /// Rates of requests; beyond them the answer is 429 with Retry-After.
    #[serde(default)]
    pub limits: LimitsTable,
    /// How tokens are minted, by name.
    #[serde(default)]
    pub credentials: BTreeMap<String, CredentialTable>,
    /// Which requests get which token.
    #[serde(default)]
    pub routes: Vec<RouteTable>,
}

/// One value or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    /// As a list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `[[sessions]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionTable {
    /// The user part of the proxy credentials.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// The password part, at least 16 bytes.
    pub secret: SecretTable,
    /// Names of the routes it may use; absent: all.
    #[schemars(with = "Option<Vec<String>>")]
    pub routes: Option<Spanned<Vec<String>>>,
    /// The user of this machine that it is bound to, where the kernel names the peer; absent: whoever has its secret.
    #[serde(default)]
    pub uid: Option<u32>,
}

/// `[ca]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaTable {
    /// "routes" (the default): critical name constraints on the hosts of routes and `permit`; "any" lifts them.
    pub scope: Option<CaScope>,
    /// Further DNS subtrees that the CA may sign for, so that a new route needs no new trust; no public suffix ("com", "co.uk").
    #[schemars(with = "Vec<String>")]
    pub permit: Vec<Spanned<String>>,
    /// Life of the CA. Default: "30d"; a successor is made at two thirds of it.
    #[schemars(with = "Option<String>")]
    pub lifetime: Option<Spanned<String>>,
    /// Life of a leaf certificate. Default: "24h".
    #[schemars(with = "Option<String>")]
    pub leaf_lifetime: Option<Spanned<String>>,
    /// A directory where the daemon keeps what tools must trust, for containers that share it: `valetkey-ca.pem` (ours alone), `combined.pem`
    /// (with the platform's), `truststore.p12` (the same for Java); never a key. A relative path counts from the config's directory. Absent: none.
    pub publish: Option<PathBuf>,
}

/// `ca.scope`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum CaScope {
    /// No name constraints.
    Any,
    /// Only names that routes and `permit` name, and names below them.
    Routes,
}

/// `[upstream]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTable {
    /// PEM files with roots that are trusted beside the platform's.
    pub extra_roots: Vec<PathBuf>,
    /// Networks, in CIDR form, that the guard lets pass although they are private.
    #[schemars(with = "Vec<String>")]
    pub allow_private: Vec<Spanned<String>>,
    /// Pins a name and port to an address and port; exempt from the guard.
    #[schemars(with = "BTreeMap<String, String>")]
    pub resolve: BTreeMap<Spanned<String>, Spanned<String>>,
    /// The proxy that upstreams and issuers are reached through. Absent: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the daemon's own start, unless they point to Valetkey.
    #[schemars(with = "Option<ParentTable>")]
    pub parent: Option<Spanned<ParentTable>>,
    /// What is reached directly all the same: "host" (and names below it), ".suffix" or "*.suffix" (only names below it), an address, a network in CIDR form, each also with ":port", or "*".
    #[schemars(with = "Vec<String>")]
    pub no_proxy: Vec<Spanned<String>>,
}

/// `upstream.parent`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentTable {
    /// "http://HOST:PORT", or "https://HOST:PORT" for TLS to the proxy itself; without user and password.
    pub url: String,
    /// The user part of its Basic credentials; needs `password`.
    pub user: Option<String>,
    /// The password part of its Basic credentials; needs `user`.
    pub password: Option<SecretTable>,
}

/// `[audit]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditTable {
    /// The file, relative to the state directory. Default: "audit.jsonl".
    pub path: Option<PathBuf>,
    /// What happens to requests that cannot be recorded: "deny" (the default) or "continue".
    pub on_failure: Option<OnFailure>,
    /// Rotated beyond this size. Default: "64MiB".
    #[schemars(with = "Option<String>")]
    pub max_size: Option<Spanned<String>>,
    /// Rotated files kept. Default: 16.
    #[schemars(with = "Option<usize>")]
    pub keep: Option<Spanned<usize>>,
}

/// `audit.on_failure`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Serve them all the same.
    Continue,
    /// Refuse them.
    Deny,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminTable {
    /// The unix socket, relative to the state directory. Default: "admin.sock".
    pub socket: Option<PathBuf>,
    /// IP:PORT of a plain HTTP listener for `/metrics` (Prometheus), `/healthz` and `/readyz`, as "127.0.0.1:9383". Absent:
    /// none. It asks nobody who they are; beyond loopback, other machines read the names of routes and credentials.
    #[schemars(with = "Option<String>")]
    pub metrics: Option<Spanned<String>>,
}

/// `[policy]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyTable {
    /// Files of Cedar policies, whose names end in ".cedar"; a name may hold one "*". Relative paths count from the
    /// config's directory. None: routes alone decide; some: Cedar must permit as well whatever a route permits.
    #[schemars(with = "Vec<String>")]
    pub cedar: Vec<Spanned<String>>,
}

/// `[credentials.NAME]`: `check` reads `grant` by hand, serde only tells the schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "grant", rename_all = "kebab-case")]
pub enum CredentialTable {
    /// A person logs in with a browser on this machine: `valetkey login`.
    AuthorizationCode(oauth::AuthorizationCodeTable),
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4).
    ClientCredentials(oauth::ClientCredentialsTable),
    /// A person logs in by a code, on any device: `valetkey login` (RFC 8628).
    Device(oauth::DeviceTable),
    /// A program that prints a token.
    Exec(ExecTable),
    /// An HTTP exchange that config describes, for issuers that speak no OAuth.
    Http(HttpTable),
    /// A token signed here, for APIs that know the key.
    Jwt(oauth::JwtTable),
    /// A signed assertion for a token (RFC 7523 section 2.1).
    JwtBearer(oauth::JwtBearerTable),
    /// A refresh token from elsewhere, which is renewed from then on (RFC 6749 section 6).
    RefreshToken(oauth::RefreshTokenTable),
    /// Last resort: a standing key, handed on as it is and reported as standing everywhere.
    StaticKey(StaticKeyTable),
    /// Another's token for one of ours (RFC 8693).
    TokenExchange(oauth::TokenExchangeTable),
}

/// `grant = "static-key"`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticKeyTable {
    /// Where the key is.
    pub secret: SecretTable,
    /// The age beyond which it is refused, as "90d".
    #[serde(default)]
    pub max_age: Option<String>,
    /// The day on which it was made, as "2026-01-31"; absent: when its file was changed.
    #[serde(default)]
    pub since: Option<String>,
    /// How long a read value is used before it is read again. Default: "5m".
    #[serde(default)]
    pub ttl: Option<String>,
}

/// `[[routes]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// Unique name; stands in the audit.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// DNS name, exact or with one leading "*." label; no IP literal.
    #[schemars(with = "String")]
    pub host: Spanned<String>,
    /// Default: 443.
    #[serde(default)]
    #[schemars(with = "Option<u16>")]
    pub port: Option<Spanned<u16>>,
    /// Methods; absent: all but TRACE and TRACK.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub methods: Option<Spanned<Vec<String>>>,
    /// Path patterns: "*" is one segment, "**" any number. Absent: all paths.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub path: Option<Spanned<Vec<String>>>,
    /// The credential whose token goes in; absent: pass without a token.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub credential: Option<Spanned<String>>,
    /// Scopes to ask for at this route, of those that the credential names; each set has a token of its own.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub scope: Option<Spanned<Vec<String>>>,
    /// Audience or audiences to ask for at this route.
    #[serde(default)]
    #[schemars(with = "Option<OneOrMany>")]
    pub audience: Option<Spanned<OneOrMany>>,
    /// Resource or resources to ask for at this route: absolute URIs (RFC 8707).
    #[serde(default)]
    #[schemars(with = "Option<OneOrMany>")]
    pub resource: Option<Spanned<OneOrMany>>,
    /// Further claims of a token that is signed here; values may name "{session}", "{uid}", "{user}", "{client}".
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub claims: BTreeMap<String, Spanned<String>>,
    /// Placements that are emptied first: "header:NAME", "query:NAME".
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub strip: Vec<Spanned<String>>,
    /// Where the token goes. Default: { header = "authorization", scheme = "Bearer" }.
    #[serde(default)]
    #[schemars(with = "Option<InjectTable>")]
    pub inject: Option<Spanned<InjectTable>>,
    /// Variables that `run` gives the tool, as "placeholder:KIND": anthropic, aws, aws-secret, github, gitlab, hugging-face, jwt, npm, opaque,
    /// openai, pypi, slack or stripe. Each placeholder is good for its session and for routes with this variable; where several routes match,
    /// the one that was sent decides. Names that `run` sets itself, or that loaders, shells and interpreters obey (PATH, LD_PRELOAD,
    /// BASH_ENV, NODE_OPTIONS, …), are refused.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Spanned<String>>,
    /// Whom it serves: "session:NAME" (one of [[sessions]]), "uid:N", "user:NAME"; absent: everyone.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub clients: Option<Spanned<Vec<String>>>,
    /// Protocols that an upgrade may switch to, as ["websocket"]; after the upstream's own 101 bytes are carried as they are. Absent: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub upgrade: Vec<Spanned<String>>,
    /// How long its requests may take where nothing moves; absent: as `[limits]` has it.
    #[serde(default)]
    pub timeouts: TimeoutsTable,
    /// Fields that are passed on though upstreams may take them for something of the request, as ["x-vault-namespace"]: of `x-real-ip`, `x-envoy-*`, `x-forwarded-*`, `x-original-*` and `x-vault-*`, what names no method, host, port or path. Absent: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub keep: Vec<Spanned<String>>,
    /// What each client may have of this route, as "10/s", "100/m" or "1000/h"; absent: no limit.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub rate_limit: Option<Spanned<String>>,
    /// Refuses what matches.
    #[serde(default)]
    pub deny: bool,
    /// Answers are searched for the token, in its usual encodings, and what is found is masked (true, the default). Bodies are decoded for it
    /// (gzip, br, zstd, deflate) and passed on decoded. For large stored files set false: their bytes pass as they are; header fields are masked all the same.
    #[serde(default)]
    pub redact: Option<bool>,
    /// Cookies that an answer sets are bought with the token, so they are taken out ("strip", the default) where the route has a
    /// credential; "pass" lets the tool have them.
    #[serde(default)]
    pub cookies: Cookies,
    /// When the token goes in: "always", or "placeholder": only where one of our placeholders stands in its slot, while any other credential
    /// passes as it is, such as one that the API itself gave to the tool.
    #[serde(default)]
    pub when: When,
    /// What becomes of an answer without a length whose connection ends without TLS's close_notify: "refuse" (an error, for it may have been
    /// cut) or "pass", for old servers that always end so.
    #[serde(default)]
    pub truncation: Truncation,
    /// What looks like a real key is audited, and taken out of the places that the route owns ("report", the default); or the request is
    /// refused ("deny").
    #[serde(default)]
    pub on_static_key: OnStaticKey,
    /// Lets the route match endpoints that give out tokens: whoever reaches one with a token may leave with a stronger one.
    #[serde(default)]
    pub allow_token_endpoint: bool,
}

/// The JSON schema of the config, as in `config/schema.json`.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(File)
}
