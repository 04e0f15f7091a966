//! `schema`: the JSON schema of the config, for editors and for whoever looks for a key.

use super::failure::Failure;
use super::printer;
use crate::config::file;

pub(super) fn run() -> Result<(), Failure> {
    printer::json(&file::schema())
}
