//! Directories that this thread, and whatever it starts, can neither read nor run anything of: held
//! by the kernel (landlock(7)), whatever path, link or interpreter leads there.
//!
//! Landlock only allows. So a rule is added for everything beside the way to such a directory, and
//! the machine stays as it is but for that. A domain belongs to a thread and to what it starts from
//! then on, and cannot be left: give it to a thread that ends.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use landlock::{
    AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, make_bitflags,
};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Our own program: a watch beside a helper is it once more.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Whether the kernel can do it here: it has Landlock, and nothing (a container's seccomp filter)
/// forbids it.
pub fn is_kept() -> bool {
    static KEPT: OnceLock<bool> = OnceLock::new();
    let tried = || thread::spawn(|| keep_out(&[], &[]).is_ok()).join().unwrap_or(false);
    *KEPT.get_or_init(tried)
}

/// Bars this thread from what lies below `barred`, which are real paths, but for the files `open`.
pub fn keep_out(barred: &[PathBuf], open: &[PathBuf]) -> io::Result<()> {
    let mut rules = ruleset().map_err(io::Error::other)?;
    allow(&mut rules, Path::new("/"), barred);
    for path in open.iter().map(PathBuf::as_path).chain([Path::new(OWN_PROGRAM)]) {
        add(&mut rules, path, OFlags::empty(), used());
    }
    // Moving files between directories is no way in: the kernel lets nothing move to where more may
    // be done with it.
    rules = rules.set_compatibility(CompatLevel::BestEffort);
    add(&mut rules, Path::new("/"), OFlags::empty(), AccessFs::Refer.into());
    let status = rules.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}

fn used() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | Execute})
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(used())?
        // Older kernels let nothing be moved to another directory in any case.
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::Refer)?
        .create()
}

/// Allows all that lies at and below `at`, but what is barred.
fn allow(rules: &mut RulesetCreated, at: &Path, barred: &[PathBuf]) {
    if barred.iter().any(|top| at.starts_with(top)) {
        return;
    }
    let mut next: Vec<_> = barred.iter().filter_map(|top| next_name(at, top)).collect();
    if next.is_empty() {
        return add(rules, at, OFlags::NOFOLLOW, used());
    }
    next.sort_unstable();
    next.dedup();
    // Where the names cannot be seen, what has them stays barred too.
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        // What a link leads to is allowed, or not, where it is.
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if !is_link && !next.contains(&&*entry.file_name()) {
            add(rules, &entry.path(), OFlags::NOFOLLOW, used());
        }
    }
    next.iter().for_each(|name| allow(rules, &at.join(name), barred));
}

/// The name in `at` that leads on to `top`.
fn next_name<'a>(at: &Path, top: &'a Path) -> Option<&'a OsStr> {
    Some(top.strip_prefix(at).ok()?.components().next()?.as_os_str())
}

/// What cannot be opened, not even so, cannot be used either.
fn add(rules: &mut RulesetCreated, path: &Path, flags: OFlags, access: BitFlags<AccessFs>) {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let opened: Result<OwnedFd, _> = openat(CWD, path, flags, Mode::empty());
    if let Ok(opened) = opened {
        let _ = rules.add_rule(PathBeneath::new(opened, access));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `work` gives on a thread that is kept out.
    fn kept_out<T: Send + 'static>(
        barred: &Path,
        open: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (barred, open) = (vec![barred.to_owned()], vec![open.to_owned()]);
        let thread = thread::spawn(move || {
            keep_out(&barred, &open).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    #[test]
    fn only_what_is_barred_is_shut() {
        if !is_kept() {
            return println!("skipped: this kernel has no Landlock");
        }
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("p/sub")).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        for name in ["p/sub/x", "p/copy", "beside"] {
            fs::write(top.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(top.join("p/sub/x"), top.join("link")).unwrap();
        let at = top.clone();
        let seen = kept_out(&top.join("p"), &top.join("p/copy"), move || {
            let read = |name: &str| fs::read_to_string(at.join(name)).is_ok();
            let names = ["p/sub/x", "link", "beside/../p/sub/x", "p/copy", "beside"].map(read);
            let moved = fs::rename(at.join("p/sub/x"), at.join("d/x")).is_ok();
            let ran = std::process::Command::new("/bin/true").status().is_ok_and(|s| s.success());
            let cat = |name: &str| {
                let done = std::process::Command::new("/bin/cat").arg(at.join(name)).output();
                done.is_ok_and(|done| done.status.success())
            };
            (names, moved, ran, cat("p/sub/x"), cat("beside"))
        });
        assert_eq!(seen, ([false, false, false, true, true], false, true, false, true));
        assert!(fs::read(top.join("p/sub/x")).is_ok(), "no other thread is kept out");
    }
}
