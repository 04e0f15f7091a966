//! Linux: which process holds a socket, read from `/proc` (proc(5)), and what it is.
//!
//! The kernel names a socket's owner by uid for next to nothing, its process only by a search of
//! everybody's descriptors. So many sockets are looked for in one walk, and in the likely processes
//! first: those seen before, then a session's own tree.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::client::{Parent, Process};

/// Processes of one tree that are looked at.
const MAX_TREE: usize = 512;
/// Of a command line, in bytes; the audit cuts it further.
const MAX_READ_COMMAND: usize = 4096;

/// Which processes are looked at, in which order.
#[derive(Debug, Default)]
pub(in crate::client) struct SearchOrder {
    /// Processes that are looked at first.
    pub(in crate::client) likely: Vec<u32>,
    /// The trees below these come next.
    pub(in crate::client) roots: Vec<u32>,
    /// And then whatever is theirs.
    pub(in crate::client) uids: HashSet<u32>,
}

/// Calls `found` with each process that holds sockets of these inodes, and with those of them that
/// it holds.
pub(in crate::client) fn holders_of(
    mut inodes: HashSet<u64>,
    places: &SearchOrder,
    mut found: impl FnMut(Process, Vec<u64>),
) {
    let likely = places.likely.iter().copied();
    let trees = places.roots.iter().flat_map(|root| tree(*root).into_iter().rev());
    let all = places.uids.iter().flat_map(|uid| all_of(*uid));
    let mut looked_at = HashSet::new();
    for pid in likely.chain(trees).chain(all) {
        if inodes.is_empty() {
            return;
        }
        if !looked_at.insert(pid) {
            continue;
        }
        let began = stat(pid).map(|stat| stat.began);
        let held = held_by(pid, &inodes);
        if held.is_empty() {
            continue;
        }
        let process = describe(pid);
        // A pid may be used again between two looks: what was read counts if it is still the same
        // process.
        if began.is_some() && stat(pid).map(|stat| stat.began) == began {
            inodes.retain(|inode| !held.contains(inode));
            found(process, held);
        }
    }
}

/// Which of these sockets a process holds. The highest descriptors come first: what is asked about
/// is new.
fn held_by(pid: u32, inodes: &HashSet<u64>) -> Vec<u64> {
    let mut held = Vec::new();
    let fds: Vec<PathBuf> = entries(&PathBuf::from(format!("/proc/{pid}/fd"))).collect();
    for fd in fds.iter().rev() {
        let inode = fs::read_link(fd).ok().and_then(|target| socket(&target));
        if let Some(inode) = inode.filter(|inode| inodes.contains(inode) && !held.contains(inode)) {
            held.push(inode);
            if held.len() == inodes.len() {
                break;
            }
        }
    }
    held
}

fn socket(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
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

/// All of a user's, the youngest number first: whoever connects has often just begun. Whose a
/// process is, is asked of each as it is reached.
fn all_of(uid: u32) -> impl Iterator<Item = u32> {
    use std::os::unix::fs::MetadataExt as _;
    let mut pids: Vec<u32> = entries(Path::new("/proc")).filter_map(|path| number(&path)).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    let own =
        move |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == uid);
    pids.into_iter().filter(own)
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

pub(in crate::client) fn describe(pid: u32) -> Process {
    let parent = stat(pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
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
    bytes.truncate(MAX_READ_COMMAND);
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into()).collect()
}

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug)]
struct Stat {
    parent: u32,
    /// When it began, in the kernel's ticks: with the pid, it names one process.
    began: u64,
}

/// The fields 4 and 22, counted behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, began })
}

/// When a process began, in the kernel's ticks.
pub(in crate::client) fn began(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.began)
}
