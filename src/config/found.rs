//! The config as it was read, before anything in it is believed.

use std::path::PathBuf;

/// The largest config that is read, in bytes: room for 100,000 routes.
pub const MAX_CONFIG: u64 = 32 * 1024 * 1024;

/// A config's text and where it stands.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    /// Absolute, as it was named.
    pub named: PathBuf,
    /// What stands there: read once.
    pub text: Vec<u8>,
    /// Whether it is a project's own, which nobody named.
    pub(super) is_project: bool,
}
