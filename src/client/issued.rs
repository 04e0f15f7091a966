//! [`Issued`]: which sessions were opened, long after they have ended; of pre-shared ones nothing.
//!
//! A build daemon that outlives its session goes on sending what it was given. It is refused as
//! everybody is without a session, but it guesses nothing: whoever sends name and secret of one of
//! these is told so, and is not counted among those who guess. Kept are fingerprints alone, of so
//! many as were opened last, and written down for the next daemon: that a daemon has ended is how
//! most sessions of `run` are lost.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Mutex;

use aws_lc_rs::digest;

use super::disk;
use crate::model::hex::hex;
use crate::model::lock::lock;

/// Those that are known at most; what is written down has 36 KB then.
const MAX_ISSUED: usize = 1024;

/// Of a session's name and its secret's SHA-256: 128 bits.
type Print = String;

/// The sessions that were opened last.
#[derive(Debug, Default)]
pub(super) struct Issued(Mutex<IssuedPrints>);

#[derive(Debug, Default)]
struct IssuedPrints {
    all: HashSet<Print>,
    oldest_first: VecDeque<Print>,
}

impl Issued {
    /// One more; the oldest goes where there are too many.
    pub(super) fn note(&self, name: &str, secret_sha256: &[u8; 32]) {
        lock(&self.0).add(print(name, secret_sha256));
    }

    /// Whether it is among them.
    pub(super) fn has(&self, name: &str, secret_sha256: &[u8; 32]) -> bool {
        let known = lock(&self.0);
        known.all.contains(&print(name, secret_sha256))
    }

    /// Writes them to `path`, by rename, mode 0600.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let known = lock(&self.0);
        disk::replace(path, &known.oldest_first)
    }

    /// Takes up those of an earlier daemon; a missing file is no error.
    pub(super) fn restore(&self, path: &Path) -> io::Result<()> {
        let Some(text) = disk::read(path)? else { return Ok(()) };
        let saved: Vec<Print> = serde_json::from_slice(&text)?;
        let mut known = lock(&self.0);
        saved.into_iter().rev().take(MAX_ISSUED).rev().for_each(|one| known.add(one));
        Ok(())
    }
}

impl IssuedPrints {
    fn add(&mut self, print: Print) {
        if self.all.insert(print.clone()) {
            self.oldest_first.push_back(print);
        }
        while self.oldest_first.len() > MAX_ISSUED {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.all.remove(&oldest);
            }
        }
    }
}

fn print(name: &str, secret_sha256: &[u8; 32]) -> Print {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(secret_sha256);
    hash.update(name.as_bytes());
    hex(&hash.finish().as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_known_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("issued.json");
        let issued = Issued::default();
        issued.restore(&path).unwrap();
        for n in 0..MAX_ISSUED + 5 {
            issued.note(&n.to_string(), &[7; 32]);
            issued.note(&n.to_string(), &[7; 32]);
        }
        issued.save(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 64 * 1024);
        let later = Issued::default();
        later.restore(&path).unwrap();
        for known in [&issued, &later] {
            assert!(known.has("5", &[7; 32]) && known.has("1028", &[7; 32]));
            assert!(!known.has("4", &[7; 32]), "the oldest have gone");
            assert!(!known.has("5", &[8; 32]) && !known.has("x", &[7; 32]), "a guess is none");
            assert_eq!(known.0.lock().unwrap().all.len(), MAX_ISSUED);
        }
        std::fs::write(&path, "{").unwrap();
        assert!(Issued::default().restore(&path).is_err());
    }
}
