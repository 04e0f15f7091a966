//! Sessions that end with a process: `valetkey run` may be killed before it can say goodbye.

use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::platform::{self, Process};
use crate::model::id::SessionName;
use crate::model::lock::lock;

/// The processes that live sessions hang on.
#[derive(Debug, Default)]
pub struct Processes(Mutex<Vec<Tied>>);

/// A process that a session was opened for, at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProcess {
    session: SessionName,
    pid: u32,
    /// When it began, in the kernel's ticks: with the pid, it names one process.
    began: u64,
}

#[derive(Debug)]
struct Tied {
    session: SessionName,
    pid: u32,
    /// `None`: it was gone already.
    process: Option<Process>,
    /// The session has ended; the process and what is below it are held to it all the same.
    over: bool,
}

impl Tied {
    fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(Process::has_ended)
    }
}

impl Processes {
    /// Ties a session to a process; one that is gone already ends it at the next look.
    pub fn tie(&self, session: SessionName, pid: u32) {
        self.list().push(Tied { session, pid, process: Process::open(pid), over: false });
    }

    /// Notes that a session ended otherwise. Its process stays known by it: whoever ends his
    /// session is not free of it.
    pub fn untie(&self, session: &SessionName) {
        self.list()
            .iter_mut()
            .filter(|tied| tied.session == *session)
            .for_each(|tied| tied.over = true);
    }

    /// Takes up what an earlier daemon knew: a process counts while it is the one that began then.
    pub fn restore(&self, known: Vec<KnownProcess>) {
        for KnownProcess { session, pid, began } in known {
            let process = Process::open(pid);
            if platform::began(pid) == Some(began) {
                self.list().push(Tied { session, pid, process, over: true });
            }
        }
    }

    /// What the next daemon has to know.
    pub fn known(&self) -> Vec<KnownProcess> {
        let list = self.list();
        let living = list.iter().filter(|tied| !tied.has_ended());
        let known = living.filter_map(|tied| {
            let began = platform::began(tied.pid)?;
            Some(KnownProcess { session: tied.session.clone(), pid: tied.pid, began })
        });
        known.collect()
    }

    /// The sessions whose process lives, with its number.
    pub fn living(&self) -> Vec<(SessionName, u32)> {
        let list = self.list();
        let living = list.iter().filter(|tied| !tied.has_ended());
        living.map(|tied| (tied.session.clone(), tied.pid)).collect()
    }

    /// Takes out the sessions whose process has ended.
    pub fn ended(&self) -> Vec<SessionName> {
        let mut list = self.list();
        let ended = list.extract_if(.., |tied| tied.has_ended());
        ended.filter(|tied| !tied.over).map(|tied| tied.session).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Tied>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_held_after_its_session_and_its_daemon() {
        let processes = Processes::default();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        processes.tie(SessionName::new("a"), child.id());
        processes.untie(&SessionName::new("a"));
        let held = [(SessionName::new("a"), child.id())];
        assert_eq!(processes.living(), held);
        let next = Processes::default();
        next.restore(processes.known());
        assert_eq!(next.living(), held);
        let other = KnownProcess { began: 1, ..processes.known().remove(0) };
        let reused = Processes::default();
        reused.restore(vec![other]);
        assert_eq!(reused.living(), [], "another process of this number");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(next.ended().is_empty() && next.living().is_empty());
    }

    #[test]
    fn a_process_that_ends_ends_its_session() {
        let processes = Processes::default();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        processes.tie(SessionName::new("a"), child.id());
        assert!(processes.ended().is_empty());
        assert_eq!(processes.living(), [(SessionName::new("a"), child.id())]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(processes.living().is_empty());
        assert_eq!(processes.ended(), [SessionName::new("a")]);
        assert!(processes.ended().is_empty());
    }
}
