//! Commands of ours in hints, so that they do what they should when they are pasted: a config that
//! isn't found by itself is named in each of them. Pure.

use std::borrow::Cow;
use std::path::Path;

/// Commands that read a config, or find a daemon by it.
pub const OF_A_CONFIG: &[&str] = &[
    "audit",
    "bench",
    "ca",
    "check",
    "credential",
    "env",
    "explain",
    "init",
    "login",
    "logout",
    "logs",
    "restart",
    "revoke",
    "run",
    "serve",
    "session",
    "status",
    "stop",
];

const PROGRAM: &str = "valetkey";

/// What names a config on a command line, with a space before; as a shell reads it.
pub fn config_flag(path: &Path) -> String {
    format!(" --config {}", quoted(&path.display().to_string()))
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/+@%:".contains(&b);
    // A `~` is a home directory in the first place only.
    match !word.is_empty() && !word.starts_with('~') && word.bytes().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

/// The same text, in which each command of ours that reads a config names it. `flag`: of
/// [`config_flag`]; empty: the config is found by itself. A text that names one already stays as it
/// is.
pub fn with_config<'a>(text: &'a str, flag: &str) -> Cow<'a, str> {
    if flag.is_empty() || text.contains("--config") || !text.contains(PROGRAM) {
        return Cow::Borrowed(text);
    }
    let mut whole = String::with_capacity(text.len() + flag.len());
    let mut rest = text;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, after) = rest.split_at(at + PROGRAM.len());
        whole.push_str(before);
        // Not a path or another word that ends so.
        let begins = before.as_bytes().iter().rev().nth(PROGRAM.len());
        let is_word = begins.is_none_or(|byte| b" `\"'(\n".contains(byte));
        let (command, after) = after.split_at(if is_word { command(after) } else { 0 });
        whole.push_str(command);
        if !command.is_empty() {
            whole.push_str(flag);
        }
        rest = after;
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

/// How long the command is that stands behind the program's name, where it is one that reads a
/// config.
fn command(after: &str) -> usize {
    let word = |from: usize| {
        let rest = after[from..].strip_prefix(' ')?;
        let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        (end > 0).then_some((&rest[..end], from + 1 + end))
    };
    let Some((first, end)) = word(0).filter(|(first, _)| OF_A_CONFIG.contains(first)) else {
        return 0;
    };
    let second = word(end).filter(|_| OF_SEVERAL.contains(&first));
    second.map_or(end, |(_, end)| end)
}

/// Commands whose second word is a command too.
const OF_SEVERAL: &[&str] = &["audit", "ca", "credential", "session"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_names_its_config() {
        let flag = config_flag(Path::new("/p/it's/v.toml"));
        assert_eq!(flag, r" --config '/p/it'\''s/v.toml'");
        let flag = config_flag(Path::new("team.toml"));
        for (text, whole) in [
            ("type: valetkey login me", "type: valetkey login --config team.toml me"),
            (
                "`eval \"$(valetkey env)\"` or `valetkey run` opens a new session",
                "`eval \"$(valetkey env --config team.toml)\"` or `valetkey run --config team.toml` opens a new session",
            ),
            (
                "`valetkey session list` shows them",
                "`valetkey session list --config team.toml` shows them",
            ),
            ("valetkey run -- CMD", "valetkey run --config team.toml -- CMD"),
            ("type: valetkey login me --config x", "type: valetkey login me --config x"),
            ("`valetkey --help`", "`valetkey --help`"),
            ("`valetkey trust FILE`, `valetkey ps`", "`valetkey trust FILE`, `valetkey ps`"),
            ("read /home/ann/.config/valetkey run", "read /home/ann/.config/valetkey run"),
            ("the valetkey", "the valetkey"),
            ("", ""),
        ] {
            assert_eq!(with_config(text, &flag), whole);
            assert_eq!(with_config(text, ""), text);
        }
    }
}
