//! The members of an issuer's JSON that mean something to us. A member that comes twice, at any
//! depth and in any spelling, makes two readings of one text: refused.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::AnswerError;

/// A number, however it is written.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Seconds {
    Whole(u64),
    Float(f64),
    Text(String),
}

/// Text for people. Anything else in its place says nothing, and is no reason to doubt the rest.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Remark {
    Text(String),
    Other(IgnoredAny),
}

macro_rules! members {
    ($($name:ident: $kind:ty,)*) => {
        /// All of them, wherever they came from.
        #[derive(Default)]
        pub(super) struct Members { $(pub(super) $name: Option<$kind>,)* }

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        $(stringify!($name) => members.$name = map.next_value()?,)*
                        _ => map.next_value_seed(Unambiguous)?,
                    }
                    if !seen.insert(name) {
                        return Err(A::Error::custom("a member comes twice"));
                    }
                }
                Ok(members)
            }
        }
    };
}

members! {
    access_token: String,
    authorization_endpoint: String,
    authorization_response_iss_parameter_supported: bool,
    device_authorization_endpoint: String,
    device_code: String,
    error: String,
    error_description: Remark,
    expires_in: Seconds,
    id_token: String,
    interval: Seconds,
    issued_token_type: String,
    issuer: String,
    jwks_uri: String,
    mtls_endpoint_aliases: Box<Members>,
    refresh_expires_in: Seconds,
    refresh_token: String,
    refresh_token_expires_in: Seconds,
    revocation_endpoint: String,
    scope: String,
    token_endpoint: String,
    token_type: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    verification_url: String,
}

impl Members {
    /// The parser's own message may quote the token: it goes no further.
    pub(super) fn read(body: &[u8]) -> Result<Self, AnswerError> {
        serde_json::from_slice(body).map_err(|_| AnswerError::Json)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

/// Any value, thrown away, in which no object has a member twice.
struct Unambiguous;

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Unambiguous)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(Unambiguous)?;
            if !seen.insert(name) {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(())
    }
}
