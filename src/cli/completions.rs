//! `completions SHELL`: a completion script on stdout.

use clap::CommandFactory as _;

use super::args::{Cli, Completions};
use super::failure::Failure;
use super::printer;

pub(super) fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "valetkey", &mut script);
    printer::bytes(&script)
}
