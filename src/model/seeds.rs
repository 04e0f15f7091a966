//! The seeds of `tests/fuzz`, for the tests that hold them to what the targets assert.

use std::path::Path;

/// Calls with each seed of a target.
pub(crate) fn each(target: &str, mut call: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        call(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "there are seeds in {}", folder.display());
}
