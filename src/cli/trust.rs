//! `trust [FILE]`: allows a project's own config, exactly as it is now, and says what that allows.
//! What is allowed already is `trusted`'s.

use std::time::SystemTime;

use similar::{ChangeTag, TextDiff};

use super::args::Trust;
use super::failure::Failure;
use super::trust_summary::TrustSummary;
use super::{context, printer, trusted};
use crate::config::trust::{Record, Records};
use crate::config::{
    Config, Held, UNFENCED, UNFENCED_HINT, UNFENCED_SAYS, env, helpers, load_to_trust, parse,
};
use crate::local::fence;
use crate::policy::Policy;

/// Changed lines that are shown.
const MAX_LINES: usize = 60;

pub(super) fn run(args: &Trust, verbose: u8) -> Result<(), Failure> {
    match &args.remove {
        _ if args.list => trusted::list(args.json),
        Some(path) => trusted::remove(path),
        None => allow(args, verbose),
    }
}

fn allow(args: &Trust, verbose: u8) -> Result<(), Failure> {
    let (found, config, held) = load_to_trust(&args.file).map_err(context::said)?;
    // What does not hold as a whole is not shown as if it did.
    Policy::compile(&config).map_err(|problems| {
        printer::problems(&problems);
        Failure::usage("config-invalid", "the config has errors", "repair it, and trust it then")
    })?;
    let records = Records::own();
    let before = records.find(&found.named)?;
    let now = Record::of(&found, &held, SystemTime::now());
    let shown = found.named.display();
    if before.as_ref().is_some_and(|before| before.is_for(&found, &held)) {
        printer::note(&format!("already trusted: {}", printer::plain(&shown.to_string())));
        return Ok(());
    }
    let has_helpers = helpers(&config).next().is_some();
    if has_helpers && !fence::is_kept() {
        printer::warn(UNFENCED, UNFENCED_SAYS, UNFENCED_HINT);
    }
    let mut text = format!("{} allows what follows:\n", printer::plain(&shown.to_string()));
    for line in project(&held, has_helpers) {
        text.push_str(&format!("  {}\n", printer::plain(&line)));
    }
    let earlier = before.as_ref().map(|before| then(before, &config)).unwrap_or_default();
    let (known, new) = TrustSummary::of(&config).split(&earlier);
    for line in known.lines(verbose > 0) {
        text.push_str(&format!("  {}\n", printer::plain(&line)));
    }
    if before.is_none() {
        text.push_str(&marked(&new.lines(verbose > 0), "  "));
    }
    if !now.files.is_empty() {
        text.push_str("held as they are now, and used from copies:\n");
    }
    for (path, sha256) in &now.files {
        let state = sha256.as_deref().map_or("absent", |hex| &hex[..12]);
        text.push_str(&format!("  {} ({state})\n", printer::plain(path)));
    }
    if let Some(before) = &before {
        text.push_str(&format!("changed since it was trusted at {}:\n", before.since));
        let files = before.changed(&held);
        text.push_str(&changes(before, &now, &files));
        // Last, and whole: what a person must not miss.
        let mut fresh: Vec<_> =
            files.iter().map(|path| format!("uses as it is now {path}")).collect();
        fresh.extend(new.new_lines(verbose > 0));
        text.push_str(match fresh.is_empty() {
            true => "nothing that it did not allow before\n",
            false => "what it did not allow before:\n",
        });
        text.push_str(&marked(&fresh, "  NEW  "));
    }
    // Said before it holds: a daemon that runs may take it up at once.
    printer::note(text.trim_end());
    records.allow(&found, &now)?;
    printer::note("trusted; any change to it, or to what is held, needs `valetkey trust` again");
    Ok(())
}

/// Where the project is, and what follows from that.
fn project(held: &Held, has_helpers: bool) -> Vec<String> {
    let tops = held.project().real();
    let mut lines: Vec<_> = tops.iter().map(|top| format!("project: {}", top.display())).collect();
    let home = env::path("HOME").and_then(|home| home.canonicalize().ok());
    if has_helpers && home.is_some_and(|home| tops.iter().any(|top| home.starts_with(top))) {
        lines.push(
            "its helpers can open nothing of your home directory: it is the project".to_owned(),
        );
    }
    lines
}

/// What was allowed by what was trusted before; where that cannot be read any more, nothing.
fn then(before: &Record, now: &Config) -> TrustSummary {
    let parsed = parse(&now.path, before.text.as_bytes(), now.state_dir.clone());
    parsed.map(|(config, _)| TrustSummary::of(&config)).unwrap_or_default()
}

fn marked(lines: &[String], mark: &str) -> String {
    lines.iter().map(|line| format!("{mark}{}\n", printer::plain(line))).collect()
}

/// Lines that were taken out and put in, and files that are others.
fn changes(before: &Record, now: &Record, files: &[String]) -> String {
    let diff = TextDiff::from_lines(&before.text, &now.text);
    let changed = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Equal => return None,
            ChangeTag::Insert => '+',
        };
        Some(format!("  {sign} {}\n", printer::plain(change.value().trim_end())))
    });
    let mut lines: Vec<String> = changed.collect();
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("  … and {more} lines more: read the file\n"));
    }
    lines.extend(files.iter().map(|path| format!("  ! {}\n", printer::plain(path))));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        serde_json::from_value(serde_json::json!({
            "named": "/p/valetkey.toml", "digest": "", "text": text, "files": [], "since": "",
        }))
        .unwrap()
    }

    #[test]
    fn says_what_changed() {
        let (before, now) = (record("a\nb\nc\n"), record("a\nB\nc\nd\n"));
        let said = changes(&before, &now, &["/p/mint.sh".to_owned()]);
        assert_eq!(said, "  - b\n  + B\n  + d\n  ! /p/mint.sh\n");
        let long = record(&"x\n".repeat(200));
        let said = changes(&before, &long, &[]);
        assert!(said.lines().count() == MAX_LINES + 1 && said.contains("143 lines more"), "{said}");
    }
}
