//! The TOML shapes of `grant = "http"`: an exchange that config describes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::SecretTable;

/// `grant = "http"`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTable {
    /// The endpoint: https, or http to a loopback address.
    pub url: String,
    /// Default: "POST".
    #[serde(default)]
    pub method: Option<String>,
    /// Secrets that templates name as `{secret.NAME}`.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretTable>,
    /// What templates name as `{client_id}`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Header fields, as templates: `{secret.NAME}`, `{client_id}`, `{session}`, `{uid}`; `{{` is a brace.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body: every text in it is a template; what is filled in is escaped.
    #[serde(default)]
    pub json: Option<Value>,
    /// A form body, in place of `json`: every value is a template; what is filled in is escaped.
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
    /// Where the token stands in the answer, as a pointer (RFC 6901). Default: "/access_token".
    #[serde(default)]
    pub token: Option<String>,
    /// Where its end stands: RFC 3339, or a number of seconds from now or since 1970. Default: "/expires_in".
    #[serde(default)]
    pub expires: Option<String>,
    /// Where something stands in an answer that is a refusal in spite of its status 200.
    #[serde(default)]
    pub error: Option<String>,
    /// The call that ends a token, made when its session ends: 2xx, 404 and 410 are done. Absent: tokens end by themselves.
    #[serde(default)]
    pub revoke: Option<HttpRevokeTable>,
    /// Upper bound of a token's life, and its life where the answer names none. Default of the latter: "5m".
    #[serde(default)]
    pub ttl: Option<String>,
}

/// `revoke` of `http`. Its templates name `{token}`, `{secret.NAME}` and `{client_id}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpRevokeTable {
    /// The endpoint: https, or http to a loopback address.
    pub url: String,
    /// Default: "POST".
    #[serde(default)]
    pub method: Option<String>,
    /// Header fields, as templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body: every text in it is a template.
    #[serde(default)]
    pub json: Option<Value>,
    /// A form body, in place of `json`: every value is a template.
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
}
