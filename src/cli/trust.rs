//! `trust [FILE]`: allows a project's own config, exactly as it is now.

use super::args::Trust;
use super::failure::Failure;
use super::printer;
use crate::config::{locate, trust};

pub(super) fn run(args: &Trust) -> Result<(), Failure> {
    let locate::Found { path, text, .. } = locate::find(Some(&args.file))?;
    let known = trust::is_trusted(&path, &text);
    trust::allow(&path, &text)?;
    let shown = path.display();
    printer::note(&if known {
        format!("already trusted: {shown}")
    } else {
        format!("trusted: {shown}\nany change to it needs `valetkey trust` again")
    });
    Ok(())
}
