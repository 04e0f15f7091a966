//! `inject`, `cookies` and `on_static_key` of a route, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

/// `inject`: `{ header, scheme? }`, `{ basic = { user } }`, `{ query }` or `{ path }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectTable {
    /// A header field.
    #[serde(default)]
    pub header: Option<String>,
    /// What stands before the token in it, as "Bearer"; absent: the bare token (but "Bearer" in `authorization`).
    #[serde(default)]
    pub scheme: Option<String>,
    /// HTTP Basic with the token as password (git).
    #[serde(default)]
    pub basic: Option<InjectBasicTable>,
    /// A query parameter.
    #[serde(default)]
    pub query: Option<String>,
    /// A segment of the path, as "/bot{token}/**".
    #[serde(default)]
    pub path: Option<String>,
}

/// `inject.basic`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectBasicTable {
    /// The user; many git hosts take any.
    pub user: String,
}

/// `cookies`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cookies {
    /// They reach the tool.
    Pass,
    /// Taken out.
    #[default]
    Strip,
}

/// `when`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Whatever the tool sends there.
    #[default]
    Always,
    /// Only where one of our placeholders stands; any other credential of the tool's passes.
    Placeholder,
}

/// `truncation`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// As good as any other end.
    Pass,
    /// An error: what came may have been cut.
    #[default]
    Refuse,
}

/// `on_static_key`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnStaticKey {
    /// The request is refused.
    Deny,
    /// It is audited, and taken out in any case.
    #[default]
    Report,
}
