//! The table of logins.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// `[logins]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logins {
    /// Where refresh tokens are kept, encrypted, one file each; relative to the state directory. Configs that name the same directory
    /// share the logins of credentials with the same name, issuer and client. Default: "logins".
    pub dir: Option<PathBuf>,
}
