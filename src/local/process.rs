//! Which processes stand above another, and which is which.

mod platform;

/// So deep no tree of processes goes.
const MAX_DEPTH: usize = 1024;

/// Those that a process comes from, the nearest first. `None`: it is gone, or a parent ended while they were
/// counted, so that nothing can be said.
pub fn ancestors(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut next = platform::parent_of(pid)?;
    while next > 0 && found.len() < MAX_DEPTH {
        found.push(next);
        next = platform::parent_of(next)?;
    }
    Some(found)
}

/// When a process began, as the kernel counts: a number that is used again is told by it. `None`: it is gone.
pub fn began(pid: u32) -> Option<u64> {
    platform::began(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_comes_from_us() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let above = ancestors(child.id()).unwrap();
        assert_eq!(above.first(), Some(&std::process::id()));
        assert_eq!(&above[1..], ancestors(std::process::id()).unwrap());
        assert!(began(child.id()) >= began(std::process::id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(began(child.id()), None);
        assert_eq!(ancestors(child.id()), None, "it is gone");
    }
}
