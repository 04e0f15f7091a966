//! Where a secret is read from; and the refusal of one that is written into the config itself.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::HelperTable;

/// Where a secret is read from: exactly one of these; never a literal.
#[derive(Clone, Debug, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretTable {
    /// An environment variable of the daemon; `run` removes it from what the tool gets.
    Env(String),
    /// A program that prints it; one trailing newline is dropped.
    Exec(HelperTable),
    /// A file, relative to the config; one trailing newline is dropped.
    File(PathBuf),
    /// The name of an item in the keyring of the desktop session (Secret Service), stored by `secret-tool store --label=NAME service valetkey
    /// username NAME` or `keyring set valetkey NAME`.
    Keyring(String),
    /// The name of a credential that systemd hands over (`LoadCredential=`).
    Systemd(String),
}

impl<'de> Deserialize<'de> for SecretTable {
    /// By hand, because the derived error would print the literal secret that stands here by mistake.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SecretTable;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("{ env = \"NAME\" }, { file = \"PATH\" } or another source")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(E::custom(LITERAL_SECRET))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    let source = match key.as_str() {
                        "env" => SecretTable::Env(map.next_value()?),
                        "exec" => SecretTable::Exec(map.next_value()?),
                        "file" => SecretTable::File(map.next_value()?),
                        "keyring" => SecretTable::Keyring(map.next_value()?),
                        "systemd" => SecretTable::Systemd(map.next_value()?),
                        _ => return Err(de::Error::unknown_field(&key, SOURCES)),
                    };
                    if found.replace(source).is_some() {
                        return Err(de::Error::custom("a secret has exactly one source"));
                    }
                }
                let none = "a secret needs a source: `env`, `exec`, `file`, `keyring` or `systemd`";
                found.ok_or_else(|| de::Error::custom(none))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

const SOURCES: &[&str] = &["env", "exec", "file", "keyring", "systemd"];

/// The message for a secret written into the config; `check` recognises it.
pub const LITERAL_SECRET: &str = "a secret is never written into the config itself";
