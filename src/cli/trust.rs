//! `trust [FILE]`: allows a project's own config, exactly as it is now, and says what that allows.

use std::time::SystemTime;

use similar::{ChangeTag, TextDiff};

use super::args::Trust;
use super::failure::Failure;
use super::{context, printer};
use crate::config::trust::{Record, Records};
use crate::config::{Config, SecretSource, helpers, load_to_trust};

/// Changed lines that are shown.
const MAX_LINES: usize = 60;

pub(super) fn run(args: &Trust) -> Result<(), Failure> {
    let (found, config, held) = load_to_trust(&args.file).map_err(context::said)?;
    let records = Records::own();
    let before = records.find(&found.named)?;
    let now = Record::of(&found, &held, SystemTime::now());
    let shown = found.named.display();
    if before.as_ref().is_some_and(|before| before.is_for(&found, &held)) {
        printer::note(&format!("already trusted: {shown}"));
        return Ok(());
    }
    records.allow(&found, &now)?;
    let mut text = format!("trusted: {shown}\n");
    for line in allows(&config) {
        text.push_str(&format!("  {line}\n"));
    }
    if !now.files.is_empty() {
        text.push_str("held as they are now, and used from copies:\n");
    }
    for (path, sha256) in &now.files {
        let state = sha256.as_deref().map_or("absent", |hex| &hex[..12]);
        text.push_str(&format!("  {path} ({state})\n"));
    }
    if let Some(before) = &before {
        text.push_str(&format!("changed since it was trusted at {}:\n", before.since));
        text.push_str(&changes(before, &now, &before.changed(&held)));
    }
    text.push_str("any change to it, or to what is held, needs `valetkey trust` again");
    printer::note(&text);
    Ok(())
}

/// What whoever trusts it should have read: what is run, what is spent, and where it goes.
fn allows(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (helper, _) in helpers(config) {
        let words = std::iter::once(helper.program.display().to_string())
            .chain(helper.arguments.iter().cloned());
        lines.push(format!("runs {}", words.collect::<Vec<_>>().join(" ")));
    }
    for (name, credential) in &config.credentials {
        let sources: Vec<String> =
            credential.grant.secrets().into_iter().filter_map(source).collect();
        let spends = if sources.is_empty() {
            String::new()
        } else {
            format!(", spends {}", sources.join(", "))
        };
        lines.push(format!("mints `{name}` by {}{spends}", credential.grant.name()));
    }
    for route in config.routes.iter().map(|route| &route.value) {
        if let Some(credential) = &route.credential {
            lines.push(format!("sends tokens of `{credential}` to {}:{}", route.host, route.port));
        }
    }
    for (target, address) in &config.upstream.resolve {
        lines.push(format!("takes {address} for {target}"));
    }
    for root in &config.upstream.extra_roots {
        lines.push(format!("believes certificates of {}", root.display()));
    }
    if config.proxy.open_to_all() {
        lines.push("gives tokens to every process of this machine".to_owned());
    }
    lines
}

/// A secret by its place; what a helper prints is named with the helper.
fn source(source: &SecretSource) -> Option<String> {
    match source {
        SecretSource::Env(name) => Some(format!("${name}")),
        SecretSource::Exec(_) => None,
        SecretSource::File(path) => Some(path.display().to_string()),
        SecretSource::Keyring(name) => Some(format!("`{name}` of the keyring")),
        SecretSource::Systemd(name) => Some(format!("`{name}` of systemd")),
    }
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
        Some(format!("  {sign} {}\n", change.value().trim_end()))
    });
    let mut lines: Vec<String> = changed.collect();
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("  … and {more} lines more: read the file\n"));
    }
    lines.extend(files.iter().map(|path| format!("  ! {path}\n")));
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
