//! Small files that our key signs: one JSON object, its last member the MAC of all bytes before
//! that. They are replaced as a whole, so a reader finds the old one or the new one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::no_follow;
use crate::local::place::{self, PlaceError};
use crate::model::secret::Secret;

/// Some hundred bytes are written, and more where a start found much wrong.
const MAX_LEN: u64 = 1024 * 1024;

/// What stands in the place of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed<T> {
    Absent,
    /// Something that our key did not sign.
    Invalid,
    Valid(T),
}

/// Replaces the file at `path` atomically.
pub(crate) fn write(
    path: &Path,
    content: &impl Serialize,
    mac: impl Fn(&[u8]) -> String,
) -> io::Result<()> {
    let mut text = serde_json::to_string(content)?;
    text.pop();
    let mac = mac(text.as_bytes());
    text.push_str(&format!("{MAC}{mac}\"}}\n"));

    // One writer at a time (the audit's lock), so that one fixed name does and leaves no litter.
    let mut fresh = path.to_owned().into_os_string();
    fresh.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}

/// Reads and checks the file at `path`.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    mac: impl Fn(&[u8]) -> String,
) -> io::Result<Signed<T>> {
    let text = match place::open(path) {
        Ok(opened) => opened.read(MAX_LEN)?,
        Err(PlaceError::Absent { .. }) => return Ok(Signed::Absent),
        Err(error) => return Err(error.into()),
    };
    Ok(parse(&text, mac).map_or(Signed::Invalid, Signed::Valid))
}

fn parse<T: DeserializeOwned>(text: &[u8], mac: impl Fn(&[u8]) -> String) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix("\"}\n")?;
    let (body, found) = text.rsplit_once(MAC)?;
    if !Secret::new(mac(body.as_bytes())).matches(found.as_bytes()) {
        return None;
    }
    serde_json::from_str(&format!("{body}}}")).ok()
}

const MAC: &str = ",\"mac\":\"";
