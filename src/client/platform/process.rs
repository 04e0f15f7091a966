//! Linux: which process holds a socket, read from `/proc` (proc(5)), and what it is.
//!
//! The kernel names a socket's owner by uid for next to nothing, its process only by a search of everybody's
//! descriptors. So the likely ones are looked at first: those seen before, then a session's own tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::client::{Parent, Process};

/// Processes of one tree that are looked at.
const MAX_TREE: usize = 512;
/// Of a command line, in bytes; the audit cuts it further.
const MAX_COMMAND: usize = 4096;

/// The process that holds the socket of this inode: one of `likely`, of the tree below `root`, or any of `uid`.
pub(in crate::client) fn holder_of(
    inode: u64,
    uid: u32,
    likely: &[u32],
    root: Option<u32>,
) -> Option<Process> {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let held = |pid: &u32| holds(*pid, &link);
    let pid = likely.iter().copied().find(held);
    let pid = pid.or_else(|| root.and_then(|root| tree(root).into_iter().rev().find(held)));
    let pid = pid.or_else(|| all_of(uid).into_iter().find(held))?;
    let found = describe(pid);
    // A pid may be used again between two looks: what was read counts if the socket is still its own.
    holds(pid, &link).then_some(found)
}

/// Itself and all below it, oldest first.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied()
        && found.len() < MAX_TREE
    {
        next += 1;
        for task in entries(&PathBuf::from(format!("/proc/{pid}/task"))) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            found.extend(
                children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found.truncate(MAX_TREE);
    found
}

/// All of a user's, the youngest number first: whoever connects has often just begun.
fn all_of(uid: u32) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let own = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.uid() == uid);
    let numbered = entries(Path::new("/proc")).filter(own).filter_map(|path| number(&path));
    let mut pids: Vec<u32> = numbered.collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    pids
}

fn holds(pid: u32, link: &Path) -> bool {
    entries(&PathBuf::from(format!("/proc/{pid}/fd")))
        .any(|fd| fs::read_link(fd).is_ok_and(|target| target == link))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// What a process is.
pub(in crate::client) fn describe(pid: u32) -> Process {
    let parent = parent_of(pid).filter(|parent| *parent > 0);
    Process {
        pid,
        exe: exe(pid),
        command: command(pid),
        parent: parent.map(|pid| Parent { pid, exe: exe(pid) }),
    }
}

fn exe(pid: u32) -> Option<Box<str>> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into())
}

/// The words of its command line.
fn command(pid: u32) -> Vec<Box<str>> {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.truncate(MAX_COMMAND);
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into()).collect()
}

/// The fourth field of `stat`, behind the name, which may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
