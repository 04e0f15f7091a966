//! Gives back the pages of the program that only the start has used.

use std::ffi::c_void;
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Unmaps the program's code: what runs from now on is mapped again when it first runs, from the
/// cache of files that it never left. What only the start has run stays out of our resident memory,
/// and is the first that a system short of memory takes back (Linux keeps pages of code that are
/// mapped longer than others).
///
/// Two thirds of the code are of that kind, as Linux maps it by dozens of pages
/// (`benches/README.md`). Where memory is locked, or the maps cannot be read, all stays as it is.
pub(super) fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    if let Some(code) = code_at(&maps, give_back as fn() as usize) {
        unmap(code);
    }
}

#[expect(unsafe_code, reason = "no safe interface unmaps pages")]
fn unmap(code: Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(code.start);
    // SAFETY: the range is one mapping of a file, of this program, whole; it may be read and run
    // and was never written (`code_at`): Linux maps what the file holds again at the next access,
    // which is what was there. That the file can't change meanwhile is what it guarantees of
    // programs that run (ETXTBSY).
    if let Err(error) = unsafe { madvise(start, code.len(), Advice::LinuxDontNeed) } {
        tracing::debug!(%error, "the pages of the start stay mapped");
    }
}

/// The mapping of a file that has this address, if it is code that nobody writes
/// (proc_pid_maps(5)).
fn code_at(maps: &str, address: usize) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let hex = |text| usize::from_str_radix(text, 16).ok();
        let range = hex(start)?..hex(end)?;
        let (permissions, inode) = (fields.next()?, fields.nth(2)?);
        (permissions == "r-xp" && inode != "0" && range.contains(&address)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55e0a0000000-55e0a03d7000 r--p 00000000 fe:00 131 /usr/bin/valetkey
55e0a03d7000-55e0a122f000 r-xp 003d7000 fe:00 131 /usr/bin/valetkey
55e0a122f000-55e0a1284000 r--p 0122e000 fe:00 131 /usr/bin/valetkey
55e0a1284000-55e0a128a000 rw-p 01282000 fe:00 131 /usr/bin/valetkey
7f0000000000-7f0000021000 r-xp 00000000 00:00 0
7f0000100000-7f0000121000 rwxp 00000000 fe:00 132 /usr/lib/other.so
";

    #[test]
    fn only_code_of_a_file_is_given_back() {
        let code = 0x55e0_a03d_7000..0x55e0_a122_f000;
        assert_eq!(code_at(MAPS, code.start), Some(code.clone()));
        assert_eq!(code_at(MAPS, code.end - 1), Some(code.clone()));
        // Constants, with what the linker has written among them; no file; what may be written.
        for other in [code.start - 1, code.end, 0x7f00_0000_0010, 0x7f00_0010_0010, 0] {
            assert_eq!(code_at(MAPS, other), None, "{other:x}");
        }
        assert_eq!(code_at("nonsense\n\nr-xp\n", code.start), None);
    }

    #[test]
    fn what_was_given_back_runs_again() {
        give_back();
        only_code_of_a_file_is_given_back();
    }
}
