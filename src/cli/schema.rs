//! `schema`: the JSON schema of the config, for editors and for whoever looks for a key; and
//! `policy schema`: the Cedar schema, for whoever writes policies.

use super::failure::Failure;
use super::printer;
use crate::config::file;
use crate::policy;

pub(super) fn run() -> Result<(), Failure> {
    printer::json(&file::schema())
}

pub(super) fn policy() -> Result<(), Failure> {
    printer::line(policy::schema().trim_end())
}
