//! `demo`: the whole story on one machine, offline.
pub(super) fn run(_args: &super::args::Json) -> Result<(), super::failure::Failure> {
    Ok(())
}
