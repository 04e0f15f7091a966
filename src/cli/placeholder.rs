//! `placeholder KIND`: something that looks like a key and is none, for a setting that wants one.

use super::args::PlaceholderKind;
use super::failure::Failure;
use super::printer;
use crate::model::placeholder::{Kind, Placeholder};

pub(super) fn run(args: &PlaceholderKind) -> Result<(), Failure> {
    // The command line lets no other name through.
    let kind = Kind::parse(&args.kind).unwrap_or(Kind::Opaque);
    printer::line(Placeholder::free(kind).to_string())
}
