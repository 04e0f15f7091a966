//! `audit inventory`: static keys that tools still send, and what to do about each.

use std::collections::BTreeSet;

use serde::Serialize;

use super::args::Json;
use super::audit_advice;
use super::audit_failure::unreadable_record;
use super::failure::Failure;
use super::local_time::Here;
use super::printer;
use super::table::table;
use super::terminal::{width, wrap};
use crate::audit::inventory::{Seen, inventory};
use crate::config::Config;

/// What is printed of a key.
#[derive(Serialize)]
struct InventoryRow {
    #[serde(flatten)]
    seen: Seen,
    advice: String,
    /// The recipe that has it whole.
    recipe: Option<&'static str>,
    /// TOML; nothing where a route takes its place already.
    replace: Option<String>,
}

pub(super) fn run(args: &Json, config: &Config) -> Result<(), Failure> {
    let path = &config.audit.path;
    let seen = inventory(path).map_err(|error| unreadable_record(path, &error))?;
    let row = |seen: Seen| {
        let advice = audit_advice::of(&seen, config);
        InventoryRow { advice: advice.text, recipe: advice.recipe, replace: advice.replace, seen }
    };
    let rows: Vec<_> = seen.into_iter().map(row).collect();
    if args.json {
        return printer::json(&rows);
    }
    printer::line(human(&rows, &Here::new(false)))
}

fn human(rows: &[InventoryRow], here: &Here) -> String {
    let head = ["KIND", "KEY", "HOST", "TOOL", "USER", "FIRST", "LAST", "REQUESTS", "REFUSED"];
    let text = table(head, rows, |InventoryRow { seen, .. }| {
        let many = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
        [
            seen.kind.clone(),
            seen.fingerprint.clone(),
            many(&seen.hosts),
            many(&seen.tools),
            many(&seen.users),
            here.short(&seen.first),
            here.short(&seen.last),
            seen.requests.to_string(),
            seen.refused.to_string(),
        ]
        .map(|cell| printer::plain(&cell))
    });
    let mut text = text.trim_start().to_owned();
    for row in rows {
        text.push('\n');
        let advice = printer::plain(&format!("{} {}", row.seen.fingerprint, row.advice));
        for line in wrap(&advice, width().saturating_sub(COMMENT.len())) {
            text.push_str(&format!("\n{COMMENT}{line}"));
        }
        if let Some(replace) = &row.replace {
            text.push('\n');
            text.push_str(replace.trim_end());
        }
    }
    text
}

/// So that all below the table can be pasted into a config.
const COMMENT: &str = "# ";
