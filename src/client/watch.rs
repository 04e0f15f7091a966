//! Sessions that end with a process: `valetkey run` may be killed before it can say goodbye.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::platform::Process;
use crate::model::id::SessionName;

/// The processes that live sessions hang on.
#[derive(Debug, Default)]
pub struct Processes(Mutex<Vec<(SessionName, Option<Process>)>>);

impl Processes {
    /// Ties a session to a process; one that is gone already ends it at the next look.
    pub fn tie(&self, session: SessionName, pid: u32) {
        self.list().push((session, Process::open(pid)));
    }

    /// Forgets a session that ended otherwise.
    pub fn untie(&self, session: &SessionName) {
        self.list().retain(|(name, _)| name != session);
    }

    /// Takes out the sessions whose process has ended.
    pub fn ended(&self) -> Vec<SessionName> {
        let over = |(_, process): &mut (_, Option<Process>)| {
            process.as_ref().is_none_or(Process::has_ended)
        };
        self.list().extract_if(.., over).map(|(name, _)| name).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<(SessionName, Option<Process>)>> {
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
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(processes.ended(), [SessionName::new("a")]);
        assert!(processes.ended().is_empty());
    }
}
