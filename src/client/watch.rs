//! Waiting for a process to end.

/// Resolves when process `pid` has ended; at once where there is none. By descriptor (`pidfd_open(2)`), so
/// that a pid used again is never mistaken for the first one.
pub async fn exited(pid: u32) {
    super::platform::exited(pid).await;
}
