use super::args::Serve;
use super::failure::Failure;
use std::path::Path;
pub(super) fn run(_args: &Serve, _explicit: Option<&Path>, _verbose: u8) -> Result<(), Failure> {
    Err(Failure::failed("not-built", "the daemon is not built yet", "wait"))
}
