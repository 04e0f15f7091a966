//! The audit's file, damaged: opening it, writing on and verifying it never fail but as an error; an end that was torn off
//! is repaired; and what is missing of what the head has signed is always found.
//!
//! The input: two bytes that say where the file is cut, one that says whether the head is there, and what follows the cut.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use valetkey::audit::read::Records;
use valetkey::audit::tail::Tail;
use valetkey::audit::{Audit, Event, Key, verify};
use valetkey::config;
use valetkey::model::clock::SystemClock;

/// What a daemon left behind: its file, and how much of that its head covers.
struct Left {
    folder: tempfile::TempDir,
    file: Vec<u8>,
    signed: usize,
    head: Vec<u8>,
}

static LEFT: LazyLock<Left> = LazyLock::new(|| {
    // In memory where that is possible: it is written for each input.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a directory");
    let audit = open(folder.path());
    write(&audit, 3);
    audit.flush().expect("a flush");
    let signed = fs::metadata(current(&folder)).expect("a file").len() as usize;
    let head = fs::read(head(&folder)).expect("a head");
    write(&audit, 3);
    drop(audit);
    let file = fs::read(current(&folder)).expect("a file");
    assert!(signed < file.len());
    Left { folder, file, signed, head }
});

fn open(folder: &Path) -> Audit {
    let config = config::Audit { path: folder.join("audit.jsonl"), ..config() };
    Audit::open(&config, folder, Arc::new(SystemClock)).expect("an audit").0
}

fn config() -> config::Audit {
    let text = b"config_version = 1\n[audit]\nmax_size = \"1GiB\"\n";
    let parsed = config::parse(Path::new("/nowhere/valetkey.toml"), text, "/nowhere".into());
    parsed.expect("a config").0.audit
}

fn write(audit: &Audit, records: usize) {
    for _ in 0..records {
        audit.event(Event::config("loaded", None).with("message", "a record")).expect("a record");
    }
}

fn current(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("audit.jsonl")
}

fn head(folder: &tempfile::TempDir) -> PathBuf {
    let entries = fs::read_dir(folder.path()).expect("a directory").flatten();
    let named =
        entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("head"));
    named.expect("a head")
}

fuzz_target!(|input: &[u8]| {
    let Left { folder, file, signed, head: signature } = &*LEFT;
    let [low, high, keep, tail @ ..] = input else { return };
    let cut = usize::from(u16::from_le_bytes([*low, *high])) % (file.len() + 1);
    let (place, signed_file) = (current(folder), keep % 2 == 0);
    let damaged = [&file[..cut], tail].concat();
    fs::write(&place, &damaged).expect("a file");
    fs::write(head(folder), if signed_file { signature } else { &b"x"[..] }).expect("a head");
    // It knows the whole file, and what earlier inputs were found to be.
    fs::remove_file(folder.path().join("audit.index")).ok();

    let key = Key::read(folder.path()).expect("a key");
    for record in Records::open(&place).expect("records") {
        let _ = record;
    }
    let _ = Tail::open(&place, 3).and_then(|mut tail| tail.poll());
    let before = verify(&place, key.as_ref()).expect("a report");
    let audit = open(folder.path());
    write(&audit, 1);
    drop(audit);
    let after = verify(&place, key.as_ref()).expect("a report");
    assert!(!after.torn, "it ends in a whole record");
    if signed_file {
        let begun = damaged.starts_with(&file[..*signed]);
        assert!(begun || !after.is_intact(), "what was signed is missing, and nobody says so");
        assert!(begun || !before.is_intact(), "what was signed is missing, and nobody says so");
        // A line that its writer did not end is no damage, and is gone.
        if begun && !tail.contains(&b'\n') {
            assert!(before.is_intact(), "{:?}", before.problems);
            assert!(after.is_intact(), "{:?}", after.problems);
        }
    }
});
