//! The table of logins.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// `[logins]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginsTable {
    /// Where logins are kept, one file each; relative to the state directory. Configs that name the same directory
    /// share the logins of credentials with the same name, issuer and client. Default: "logins".
    pub dir: Option<PathBuf>,
    /// Where they rest: "keyring" (the Secret Service of the desktop session), "key-file" (encrypted, with a key file beside them),
    /// "kernel-keyring" (Linux's own, in memory alone: they outlive the daemon and all sessions, and end when the machine goes down), or
    /// "auto" (default): a new login in the keyring where there is one that is open, else in a file; one that is kept stays where it is.
    pub protection: Option<LoginProtection>,
}

/// `logins.protection`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LoginProtection {
    /// A new login in the keyring where there is one that is open, else in a file; one that is kept stays where it is.
    #[default]
    Auto,
    /// In the kernel's keyring of the user: until the machine goes down.
    KernelKeyring,
    /// In an encrypted file, with a key file beside it.
    KeyFile,
    /// In the keyring of the desktop session, and nowhere else.
    Keyring,
}
