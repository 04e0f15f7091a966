//! `[limits]`, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

/// `[limits]`: rates, each "COUNT/s", "COUNT/m" or "COUNT/h" (so many may come at once; they are made up for evenly over that time), and sizes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// What each client (a session, or a user without one) may have in all, tunnels included, as "100/s". Absent: no limit.
    #[schemars(with = "Option<String>")]
    pub per_client: Option<Spanned<String>>,
    /// What sessions of this config may have instead, by name.
    #[schemars(with = "BTreeMap<String, String>")]
    pub sessions: BTreeMap<Spanned<String>, Spanned<String>>,
    /// What all clients together may have of a credential, by name.
    #[schemars(with = "BTreeMap<String, String>")]
    pub credentials: BTreeMap<Spanned<String>, Spanned<String>>,
    /// How long the body of a request may be, as "64MiB"; beyond it 413. Absent: no limit, for nothing of a body is kept.
    #[schemars(with = "Option<String>")]
    pub body: Option<Spanned<String>>,
    /// How long requests may take where nothing moves; a route may say otherwise.
    pub timeouts: TimeoutsTable,
}

/// `timeouts`: how long requests may take where nothing moves, each as "15m".
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsTable {
    /// From the last byte of a request, or from the last 1xx, to the head of its answer; default 15m.
    #[schemars(with = "Option<String>")]
    pub head: Option<Spanned<String>>,
    /// Between two pieces of an answer, which an event stream may leave far apart; default 1h.
    #[schemars(with = "Option<String>")]
    pub idle: Option<Spanned<String>>,
    /// While a client takes nothing of its answer, or sends nothing of its body; default 10m. Over HTTP/2 a connection has that of `[limits]`.
    #[schemars(with = "Option<String>")]
    pub stall: Option<Spanned<String>>,
}
