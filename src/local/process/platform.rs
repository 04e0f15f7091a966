//! Linux: who started a process and when, from `/proc/PID/stat` (proc(5)).

/// The parent of a process; 0 where it is outside of this PID namespace, `None` where there is no
/// such process.
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&text)
}

/// Field 4, counted behind the name, which may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// When a process began, in ticks since the machine did; `None` where it has ended.
pub(super) fn began(pid: u32) -> Option<u64> {
    began_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22; field 3 of one that nobody has buried yet is `Z`.
fn began_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if ["Z", "X"].contains(&state) { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parent_in("7 (a) S 1 ) b) S 42 7 7 0"), Some(42));
        assert_eq!(parent_in("7 (a"), None);
        assert!(parent_of(std::process::id()).is_some_and(|parent| parent > 0));
        assert_eq!(parent_of(u32::MAX), None);
        let line = |state| {
            format!("7 (a) S 1 ) b) {state} 42 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 815 9 9")
        };
        assert_eq!((began_in(&line("S")), began_in(&line("Z"))), (Some(815), None));
        assert!(began(std::process::id()).is_some());
    }
}
