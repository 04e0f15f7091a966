//! What Linux keeps from others for us: the memory of a process that holds secrets.

use std::path::{Component, Path};

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Before the first secret is read: no core, neither of us nor of what we start, no reading of our
/// memory or environment by other processes of our user, and, where the system lets us lock as much
/// as we want, no page of ours in swap.
pub(super) fn keep_memory_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read the daemon's memory");
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "a crash may write the daemon's memory to disk");
    }
    // Under a limit, memory that is locked could be missing elsewhere: allocations would fail.
    if getrlimit(Resource::Memlock).current.is_none() {
        let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        if let Err(error) = mlockall(all) {
            tracing::debug!(%error, "memory is not locked");
        }
    }
}

/// What the process may have of memory, in bytes, where a cgroup says so: its own or one above, of
/// either version.
pub(super) fn memory_limit() -> Option<u64> {
    let ours = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_in(&ours, &|path| std::fs::read_to_string(path).ok())
}

fn limit_in(cgroups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = cgroups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be the machine's, and only the root be there.
        let path = Path::new(path.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let levels = if plain { path } else { Path::new("") }.ancestors();
        levels
            .filter_map(|level| read(&Path::new(root).join(level).join(file))?.trim().parse().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_counts() {
        let files = [
            ("/sys/fs/cgroup/a/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "900\n"),
            ("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "700\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(limit_in("0::/a/b\n", &read), Some(900));
        assert_eq!(limit_in("0::/a\n", &read), None);
        assert_eq!(limit_in("4:cpu,memory:/pod\n0::/\n", &read), Some(700));
        assert_eq!(limit_in("0::/../../a/b\n", &read), None);
        assert_eq!(limit_in("", &read), None);
    }
}
