//! Notices that the config, or a file that it names, changed, and has it reloaded.
//!
//! It looks at the files four times a second rather than asking the kernel to tell: a few `stat`s
//! cost next to nothing, need no crate, work on every filesystem, and see a file behind symlinks
//! that are put elsewhere, which takes a watch on every directory on the way otherwise. A change
//! counts once two looks in a row find the same, so a file is rarely taken up half written; if it
//! is, it is refused whole, and the rest of it is the next change.

use std::sync::Arc;
use std::time::Duration;

use super::control::Daemon;
use super::sight::Sight;

/// Time between two looks at the files.
const FILES_LOOK_EVERY: Duration = Duration::from_millis(250);
/// From a change to the look that finds it unchanged.
const SETTLE: Duration = Duration::from_millis(100);

/// Looks until the task is dropped.
pub(super) async fn run(daemon: Arc<Daemon>) {
    loop {
        tokio::time::sleep(FILES_LOOK_EVERY).await;
        let mut last = look(&daemon).await;
        while let Some(changed) = last {
            tokio::time::sleep(SETTLE).await;
            last = look(&daemon).await;
            if last.as_ref() == Some(&changed) {
                let daemon = Arc::clone(&daemon);
                // Files are read and keys may be made: not on the thread that mints.
                tokio::task::spawn_blocking(move || daemon.take_up_change()).await.ok();
                break;
            }
        }
    }
}

/// What the files hold, where that is not what was last considered.
async fn look(daemon: &Arc<Daemon>) -> Option<Sight> {
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || daemon.changed()).await.ok().flatten()
}
