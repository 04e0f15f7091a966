//! Names of this machine's users.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

/// Login names by uid, from `/etc/passwd` (passwd(5)), read once. Directory services are not asked: a
/// name is for people's eyes, the uid decides.
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

    /// The login name of `uid`.
    pub fn name(&self, uid: u32) -> Option<Arc<str>> {
        self.0.get(&uid).cloned()
    }
}
