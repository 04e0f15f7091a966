//! Sessions that end with a process: `valetkey run` may be killed before it can say goodbye.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::platform::Process;
use crate::model::id::SessionName;

/// The processes that live sessions hang on.
#[derive(Debug, Default)]
pub struct Processes(Mutex<Vec<Tied>>);

#[derive(Debug)]
struct Tied {
    session: SessionName,
    pid: u32,
    /// `None`: it was gone already.
    process: Option<Process>,
}

impl Tied {
    fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(Process::has_ended)
    }
}

impl Processes {
    /// Ties a session to a process; one that is gone already ends it at the next look.
    pub fn tie(&self, session: SessionName, pid: u32) {
        self.list().push(Tied { session, pid, process: Process::open(pid) });
    }

    /// Forgets a session that ended otherwise.
    pub fn untie(&self, session: &SessionName) {
        self.list().retain(|tied| tied.session != *session);
    }

    /// The sessions whose process lives, with its number.
    pub fn living(&self) -> Vec<(SessionName, u32)> {
        let list = self.list();
        let living = list.iter().filter(|tied| !tied.has_ended());
        living.map(|tied| (tied.session.clone(), tied.pid)).collect()
    }

    /// Takes out the sessions whose process has ended.
    pub fn ended(&self) -> Vec<SessionName> {
        self.list().extract_if(.., |tied| tied.has_ended()).map(|tied| tied.session).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Tied>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

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
