//! What a machine cannot run, said by the test that would have: as `not_run` of the harness in
//! `tests/it`.

use std::io::Write as _;

/// The test returns after it. `tests/run` counts what is written here.
pub(crate) fn not_run(why: &str) {
    let Some(list) = std::env::var_os("VALETKEY_TEST_NOT_RUN") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}
