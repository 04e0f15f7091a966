//! Which processes stand above another, and which is which.

mod platform;

/// Deeper than this no tree of processes goes that somebody works in.
const MAX_DEPTH: usize = 256;

/// Those that a process comes from, the nearest first. `None`: it is gone, a parent ended while
/// they were counted, or there are too many, so that nothing can be said.
pub fn ancestors(pid: u32) -> Option<Vec<u32>> {
    chain(pid, platform::parent_of)
}

fn chain(pid: u32, parent_of: impl Fn(u32) -> Option<u32>) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut next = parent_of(pid)?;
    while next > 0 {
        if found.len() == MAX_DEPTH {
            return None;
        }
        found.push(next);
        next = parent_of(next)?;
    }
    Some(found)
}

/// When a process began, as the kernel counts: a number that is used again is told by it. `None`:
/// it is gone.
pub fn began(pid: u32) -> Option<u64> {
    platform::began(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_deep_to_be_counted_comes_from_nowhere() {
        let below = |pid: u32| pid.checked_sub(1);
        assert_eq!(chain(3, below), Some(vec![2, 1]));
        assert_eq!(chain(257, below).map(|above| above.len()), Some(MAX_DEPTH));
        for depth in [258, 1040, 5000] {
            assert_eq!(
                chain(depth, below),
                None,
                "{depth}: part of them would be none of a session's"
            );
        }
    }

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
