//! Reading a foreign JSON document of any shape: strictly, by pointers, and wiped when dropped.
//!
//! For grants whose answers config describes (`exec`, `http`). What has two readings is refused, as
//! in `answer`: an object in which a member comes twice has one token for us and another for
//! others.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::AnswerError;
use crate::config::Pointer;
use crate::model::secret::Secret;

/// A document that may hold a secret anywhere.
pub(super) struct Document(Value);

impl Document {
    /// The parser's own message may quote the token: it goes no further.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, AnswerError> {
        let strict: Result<Strict, _> = serde_json::from_slice(bytes);
        strict.map(|strict| Self(strict.0)).map_err(|_| AnswerError::Json)
    }

    /// The token that stands there: a string that is not empty.
    pub(super) fn token(&self, at: &Pointer) -> Result<Secret, AnswerError> {
        match self.0.pointer(at.as_str()) {
            Some(Value::String(text)) if !text.is_empty() => Ok(Secret::new(text.as_bytes())),
            _ => Err(AnswerError::AccessToken),
        }
    }

    /// How long from `now` until the end that stands there; `None` where nothing does, or null.
    pub(super) fn life(
        &self,
        at: &Pointer,
        now: SystemTime,
    ) -> Result<Option<Duration>, AnswerError> {
        match self.0.pointer(at.as_str()) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => life(value, now).map(Some).ok_or(AnswerError::ExpiresIn),
        }
    }

    /// Whether something but null, false, 0 or the empty string stands there.
    pub(super) fn says(&self, at: &Pointer) -> bool {
        match self.0.pointer(at.as_str()) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(_) => true,
        }
    }

    /// Whether this number stands there.
    pub(super) fn counts(&self, at: &'static str, number: u64) -> bool {
        self.0.pointer(at).and_then(Value::as_u64) == Some(number)
    }

    /// Whether this text stands there.
    pub(super) fn is(&self, at: &'static str, text: &str) -> bool {
        self.0.pointer(at).and_then(Value::as_str) == Some(text)
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Wipes every text of a document that held secrets.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A number below 10^9 counts seconds from now, one below 10^12 seconds since 1970, a larger one
/// milliseconds: no real end is ambiguous, for 10^9 s are 31 years. Digits in a string are the
/// same; any other string is RFC 3339. An end that is not ahead is an error.
fn life(value: &Value, now: SystemTime) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            // Fractions are cut, which ends the token sooner.
            number.as_f64().filter(|n| (1.0..1e15).contains(n)).map(|n| n as u64)
        })?,
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        Value::String(text) => return ahead(rfc3339(text)?, now),
        _ => return None,
    };
    match number {
        0 => None,
        1..RELATIVE => Some(Duration::from_secs(number)),
        RELATIVE..MILLISECONDS => ahead(UNIX_EPOCH.checked_add(Duration::from_secs(number))?, now),
        _ => ahead(UNIX_EPOCH.checked_add(Duration::from_millis(number))?, now),
    }
}

/// How long until `end`, where it lies ahead.
pub(super) fn ahead(end: SystemTime, now: SystemTime) -> Option<Duration> {
    end.duration_since(now).ok().filter(|life| !life.is_zero())
}

/// RFC 3339, with `Z` or an offset in minutes (`humantime` knows `Z` only).
pub(super) fn rfc3339(text: &str) -> Option<SystemTime> {
    let cut = text.len().checked_sub(6)?;
    let (Some(time), Some(offset)) = (text.get(..cut), text.get(cut..)) else { return None };
    let east = match offset.as_bytes() {
        [b'+', _, _, b':', _, _] => true,
        [b'-', _, _, b':', _, _] => false,
        _ => return humantime::parse_rfc3339(text).ok(),
    };
    let number = |range| offset.get(range).filter(|t: &&str| t.bytes().all(|b| b.is_ascii_digit()));
    let (hours, minutes): (u64, u64) = (number(1..3)?.parse().ok()?, number(4..6)?.parse().ok()?);
    let local = humantime::parse_rfc3339(&format!("{time}Z")).ok()?;
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    if hours > 23 || minutes > 59 {
        return None;
    }
    if east { local.checked_sub(offset) } else { local.checked_add(offset) }
}

/// A value in which no object has a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Strict(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a member comes twice"));
            }
        }
        Ok(Strict(Value::Object(object)))
    }
}

const RELATIVE: u64 = 1_000_000_000;
const MILLISECONDS: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn life_of(json: &str) -> Option<u64> {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        life(&serde_json::from_str(json).unwrap(), now).map(|life| life.as_secs())
    }

    #[test]
    fn ends_in_every_spelling() {
        for (json, seconds) in [
            ("60", Some(60)),
            ("60.9", Some(60)),
            ("\"60\"", Some(60)),
            ("1700000060", Some(60)),
            ("\"1700000060\"", Some(60)),
            ("1700000060000", Some(60)),
            ("\"2023-11-14T22:14:20Z\"", Some(60)),
            ("\"2023-11-14T22:14:20.5Z\"", Some(60)),
            ("\"2023-11-14T23:44:20+01:30\"", Some(60)),
            ("\"2023-11-14T21:14:20-01:00\"", Some(60)),
            ("0", None),
            ("-5", None),
            ("1700000000", None),
            ("1600000000", None),
            ("\"2023-11-14T22:13:20Z\"", None),
            ("\"soon\"", None),
            ("\"\"", None),
            ("true", None),
            ("[]", None),
            ("1e300", None),
            ("18446744073709551615", Some(18_446_742_373_709_551)),
        ] {
            assert_eq!(life_of(json), seconds, "{json}");
        }
    }

    #[test]
    fn two_readings_are_refused() {
        for body in
            ["", "{", "{\"a\":1,\"a\":2}", "[{\"a\":1,\"\\u0061\":2}]", "{} x", "\u{feff}{}"]
        {
            assert!(Document::read(body.as_bytes()).is_err(), "{body}");
        }
        let deep = "[".repeat(50_000);
        assert!(Document::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn finds_what_config_points_to() {
        let document = Document::read(br#"{"d":[{"t":"canary"}],"e":"","n":null}"#).unwrap();
        assert!(document.token(&Pointer::known("/d/0/t")).unwrap().matches(b"canary"));
        for at in ["/d", "/e", "/n", "/none", "/d/1/t"] {
            assert!(document.token(&Pointer::known(at)).is_err(), "{at}");
        }
        assert!(document.says(&Pointer::known("/d")) && !document.says(&Pointer::known("/e")));
    }

    proptest! {
        #[test]
        fn arbitrary_times_never_panic(text in "[-+:.0-9TZé ]{0,32}") {
            rfc3339(&text);
        }
    }
}
