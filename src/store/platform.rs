//! What depends on the platform about running our own program, and what it was started with.

use std::fs;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Our own program, as it runs now: on Linux also where its file was replaced since. `None` where
/// that cannot be told.
pub(super) fn own_program() -> Option<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { Some(link) } else { std::env::current_exe().ok() }
}

/// Closes every descriptor but the standard streams. Call it first thing, before anything of ours
/// is open.
pub fn close_inherited() {
    // The directory's own descriptor is among them, and gone before its number is closed again.
    for descriptor in descriptors().unwrap_or_default() {
        nix::unistd::close(descriptor).ok();
    }
}

/// Those that are open beside the standard streams. `None` where that cannot be told.
fn descriptors() -> Option<Vec<RawFd>> {
    let directory = ["/proc/self/fd", "/dev/fd"].iter().find_map(|path| fs::read_dir(path).ok())?;
    let names = directory.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Some(names.filter(|descriptor| *descriptor > 2).collect())
}
