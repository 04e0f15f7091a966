//! `trust [FILE]`: allows a project's own config, exactly as it is now, and says what that allows. What is allowed
//! already is `trusted`'s.

use std::time::SystemTime;

use similar::{ChangeTag, TextDiff};

use super::args::Trust;
use super::failure::Failure;
use super::{context, printer, trusted};
use crate::config::trust::{Record, Records};
use crate::config::{Config, SecretSource, helpers, load_to_trust};

/// Changed lines that are shown.
const MAX_LINES: usize = 60;

pub(super) fn run(args: &Trust) -> Result<(), Failure> {
    match &args.remove {
        _ if args.list => trusted::list(args.json),
        Some(path) => trusted::remove(path),
        None => allow(args),
    }
}

fn allow(args: &Trust) -> Result<(), Failure> {
    let (found, config, held) = load_to_trust(&args.file).map_err(context::said)?;
    let records = Records::own();
    let before = records.find(&found.named)?;
    let now = Record::of(&found, &held, SystemTime::now());
    let shown = found.named.display();
    if before.as_ref().is_some_and(|before| before.is_for(&found, &held)) {
        printer::note(&format!("already trusted: {}", printer::plain(&shown.to_string())));
        return Ok(());
    }
    let mut text = format!("{} allows what follows:\n", printer::plain(&shown.to_string()));
    for line in allows(&config) {
        text.push_str(&format!("  {}\n", printer::plain(&line)));
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
        text.push_str(&changes(before, &now, &before.changed(&held)));
    }
    // Said before it holds: a daemon that runs may take it up at once.
    printer::note(text.trim_end());
    records.allow(&found, &now)?;
    printer::note("trusted; any change to it, or to what is held, needs `valetkey trust` again");
    Ok(())
}

/// What whoever trusts it should have read: what is run, what is spent, and where it goes.
fn allows(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (helper, _) in helpers(config) {
        let words = std::iter::once(helper.program.display().to_string())
            .chain(helper.arguments.iter().cloned());
        let given = if helper.env.is_empty() {
            String::new()
        } else {
            format!(", with ${}", helper.env.join(" $"))
        };
        lines.push(format!("runs {}{given}", words.collect::<Vec<_>>().join(" ")));
    }
    for (name, credential) in &config.credentials {
        let sources: Vec<String> =
            credential.grant.secrets().into_iter().filter_map(source).collect();
        let spends = if sources.is_empty() {
            String::new()
        } else {
            format!(", spends {}", sources.join(", "))
        };
        let at = credential
            .grant
            .endpoints()
            .into_iter()
            .map(|url| format!(" at {url}"))
            .collect::<String>();
        lines.push(format!("mints `{name}` by {}{at}{spends}", credential.grant.name()));
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
    for session in &config.sessions {
        lines.push(format!("lets in whoever has the secret of session `{}`", session.name));
    }
    if let Some(parent) = &config.upstream.parent {
        lines.push(format!("goes through the proxy {}", parent.origin));
    }
    let beyond = config.proxy.listen.iter().filter(|address| !address.ip().is_loopback());
    lines.extend(beyond.map(|address| format!("listens on {address}, for other machines")));
    lines.extend(config.proxy.allow_uids.iter().map(|uid| format!("lets in uid {uid}")));
    lines.extend(
        config.ca.publish.iter().map(|dir| format!("writes certificates to {}", dir.display())),
    );
    let bare = config.routes.iter().filter(|route| !route.value.redact);
    lines
        .extend(bare.map(|route| format!("looks for no token in answers of {}", route.value.host)));
    if !config.upstream.allow_private.is_empty() {
        lines.push("reaches private networks".to_owned());
    }
    if config.ca.unconstrained {
        lines.push("has a CA that may sign any name".to_owned());
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
