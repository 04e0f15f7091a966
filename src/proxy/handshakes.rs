//! Which programs end TLS handshakes with us, and which break them off: one that does both has two
//! TLS libraries, of which one reads our roots and the other reads its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::model::client::Found;
use crate::model::lock::lock;

/// Handshakes of each kind that are remembered.
const REMEMBERED: usize = 256;

/// The last ones of each kind, by the client's process: its search may end after the handshake.
#[derive(Debug, Default)]
pub struct Handshakes {
    ended: Mutex<VecDeque<Found>>,
    broken: Mutex<VecDeque<Broken>>,
}

#[derive(Debug)]
struct Broken {
    by: Found,
    host: Arc<str>,
    at: SystemTime,
}

/// A program that broke off handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// The path of its program; `None`: it was not found.
    pub exe: Option<String>,
    /// How many of the last handshakes.
    pub times: usize,
    /// The host and time of the last one.
    pub host: Arc<str>,
    pub at: SystemTime,
    /// It has ended others.
    pub ends_others: bool,
}

impl Handshakes {
    pub(super) fn ended(&self, by: &Found) {
        let mut ended = lock(&self.ended);
        // Connections of one process share it.
        if ended.iter().any(|other| other.is(by)) {
            return;
        }
        keep(&mut ended, by.clone());
    }

    pub(super) fn broken(&self, by: &Found, host: Arc<str>, at: SystemTime) {
        keep(&mut lock(&self.broken), Broken { by: by.clone(), host, at });
    }

    /// By program, the one that broke off last first.
    pub fn distrust(&self) -> Vec<Distrust> {
        let mut all = BTreeMap::<Option<String>, Distrust>::new();
        for Broken { by, host, at } in &*lock(&self.broken) {
            let (host, at, exe) = (Arc::clone(host), *at, program(by));
            let ends_others = false;
            let new = Distrust { exe: exe.clone(), times: 0, host, at, ends_others };
            let times = all.get(&exe).map_or(0, |before| before.times) + 1;
            all.insert(exe, Distrust { times, ..new });
        }
        for exe in lock(&self.ended).iter().filter_map(program) {
            if let Some(distrust) = all.get_mut(&Some(exe)) {
                distrust.ends_others = true;
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|distrust| std::cmp::Reverse(distrust.at));
        all
    }
}

fn keep<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() == REMEMBERED {
        all.pop_front();
    }
    all.push_back(one);
}

fn program(found: &Found) -> Option<String> {
    found.get()?.exe.as_deref().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::client::Process;

    fn found(found: &Found, exe: &str) {
        let exe = Some(exe.into());
        found.set(Arc::new(Process { pid: 7, exe, command: Vec::new(), parent: None }));
    }

    #[test]
    fn a_program_that_does_both_is_told_from_one_that_never_ends_any() {
        let (all, at) = (Handshakes::default(), SystemTime::UNIX_EPOCH);
        let [python, java, unknown] = [0; 3].map(|_| Found::default());
        all.ended(&python);
        for later in 0..3 {
            all.broken(&python, "a.example".into(), at + Duration::from_secs(later));
        }
        all.broken(&java, "b.example".into(), at + Duration::from_secs(9));
        all.broken(&unknown, "c.example".into(), at);
        // Found after that.
        found(&python, "/usr/bin/python3");
        found(&java, "/usr/bin/java");
        let told: Vec<_> = all.distrust();
        let told: Vec<_> =
            told.iter().map(|one| (one.exe.as_deref(), one.times, one.ends_others)).collect();
        let (java, python) = (Some("/usr/bin/java"), Some("/usr/bin/python3"));
        assert_eq!(told, [(java, 1, false), (python, 3, true), (None, 1, false)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let all = Handshakes::default();
        for _ in 0..2 * REMEMBERED {
            let by = Found::default();
            all.ended(&by);
            all.ended(&by);
            all.broken(&by, "a.example".into(), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(lock(&all.ended).len(), REMEMBERED);
        assert_eq!(all.distrust()[0].times, REMEMBERED);
    }
}
