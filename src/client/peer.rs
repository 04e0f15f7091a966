//! Names of this machine's users.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use crate::config::wording::nearest;

/// Login names by uid, from `/etc/passwd` (passwd(5)), read once. Directory services are not asked:
/// a name is for people's eyes, the uid decides.
#[derive(Debug, Default)]
pub struct Users(HashMap<u32, Arc<str>>);

impl Users {
    /// Reads the file; without it there are no names.
    pub fn read() -> Self {
        let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((fields.nth(1)?.parse().ok()?, Arc::from(name)))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    /// All login names, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.values()
    }

    /// Whether somebody of this machine may go by this name, which is a login name, or `uid:N` of
    /// one without.
    pub fn has(&self, name: &str) -> bool {
        match name.strip_prefix("uid:").and_then(|uid| uid.parse().ok()) {
            Some(uid) => !self.0.contains_key(&uid),
            None => self.names().any(|known| **known == *name),
        }
    }

    /// The known name that is nearest to one that nobody has. Who is called by number goes by the
    /// name, where it has one.
    pub fn nearest<'a>(
        &'a self,
        name: &str,
        others: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let uid = name.strip_prefix("uid:").and_then(|uid| uid.parse().ok());
        match uid.and_then(|uid: u32| self.0.get(&uid)) {
            Some(known) => Some(known),
            None => nearest(name, self.names().map(|name| &**name).chain(others)),
        }
    }

    /// The uid of a login name.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| ***known == *name).map(|(uid, _)| *uid)
    }

    /// The login name of `uid`.
    pub fn name(&self, uid: u32) -> Option<Arc<str>> {
        self.0.get(&uid).cloned()
    }
}
