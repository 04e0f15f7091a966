//! What Linux keeps from others for us: the memory of a process that holds secrets.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Before the first secret is read: no core, neither of us nor of what we start, no reading of our memory or
/// environment by other processes of our user, and, where the system lets us lock as much as we want, no
/// page of ours in swap.
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
