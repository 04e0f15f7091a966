//! The files of Cedar policies that a config names, read with it: a policy is compiled from one
//! reading of all of them.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Located;

/// `[policy]`
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// As the config has them: absolute, and the last part may hold a star.
    pub named: Vec<Located<PathBuf>>,
    /// What they name, by path.
    pub files: Vec<PolicyFile>,
}

/// One file, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    pub path: PathBuf,
    pub text: Arc<str>,
}

impl Policies {
    /// Whether any must permit what a route permits.
    pub fn are_asked(&self) -> bool {
        !self.named.is_empty()
    }

    /// What a reload looks at: each file, and each directory that another may turn up in.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.files.iter().map(|file| file.path.clone());
        let starred = self.named.iter().filter(|named| has_star(&named.value));
        files.chain(starred.filter_map(|named| named.value.parent().map(PathBuf::from)))
    }
}

/// Whether a name stands for several files.
pub(super) fn has_star(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains('*'))
}
