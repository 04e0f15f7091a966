//! What serde says of a value, in the words of whoever writes a config; and what they may have
//! meant.

use toml::de::DeValue;

use crate::config::file;

/// One problem, without its place.
pub(super) struct Said {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// Where in a table it happened.
pub(super) struct At<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a DeValue<'a>,
    /// One entry of the key's list.
    pub(super) is_entry: bool,
}

/// `message` is serde's, on one line.
pub(super) fn of(message: &str, at: Option<At<'_>>) -> Said {
    let place = match &at {
        Some(At { key, is_entry: true, .. }) => format!("an entry of `{key}`"),
        Some(At { key, .. }) => format!("`{key}`"),
        None => "a value".to_owned(),
    };
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let words: Vec<String> = quoted(message);
    let (first, others) = words.split_first().map_or(("", &[][..]), |(f, o)| (f.as_str(), o));
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    if message.contains(file::LITERAL_SECRET) {
        let hint = "name its source: { env = \"NAME\" } or { file = \"PATH\" }; and replace this one, it has been at rest";
        return said("literal-secret", format!("{place}: {}", file::LITERAL_SECRET), hint);
    }
    if message.starts_with("unknown field") {
        return unknown_key(first, &others);
    }
    if message.starts_with("missing field") {
        let hint = "add it to this table; `valetkey schema` says what it takes";
        return said("missing-key", format!("`{first}` is missing"), hint);
    }
    if message.starts_with("unknown variant") {
        let all: Vec<_> = others.iter().map(|word| format!("\"{word}\"")).collect();
        let hint = format!("{}it takes {}", meant(first, others.iter().copied()), any_of(&all));
        return said("unknown-value", format!("{place} takes no such value{}", named(first)), hint);
    }
    let wanted = match message.rsplit_once(", expected ") {
        Some((found, wanted)) if found.starts_with("invalid ") => Some(wanted),
        // Of what may be one of several, serde says only what that is.
        _ => (message.starts_with("a string or ") || message.starts_with("text, "))
            .then_some(message),
    };
    if let Some(wanted) = wanted {
        let (takes, form) = kind(wanted);
        let value = at.as_ref().map(|at| at.value);
        let stands = value.map_or("something else", stands);
        let shown = match value {
            Some(DeValue::Integer(number)) => named(number.as_str()),
            Some(DeValue::Boolean(is)) => named(&is.to_string()),
            _ => String::new(),
        };
        let message = format!("{place} takes {takes}; {stands} stands there{shown}");
        let hint = match at.filter(|at| !at.is_entry && !form.is_empty()) {
            Some(At { key, .. }) => format!("for example {key} = {form}; {TYPES}"),
            None => TYPES.to_owned(),
        };
        return said("wrong-type", message, hint);
    }
    said("wrong-type", format!("{place}: {message}"), TYPES)
}

const TYPES: &str = "`valetkey schema` lists every key with its type";

/// A key that the table does not have.
pub(super) fn unknown_key(key: &str, keys: &[&str]) -> Said {
    let meant = meant(key, keys.iter().copied());
    let rest = match keys {
        [] => "take it out".to_owned(),
        _ if keys.len() <= 12 || meant.is_empty() => {
            format!("the keys here are {}", keys.join(", "))
        }
        _ => "`valetkey schema` lists every key".to_owned(),
    };
    said("unknown-key", format!("unknown key `{key}`"), format!("{meant}{rest}"))
}

/// `did you mean \`orders\`? ` where one of them is near, else nothing.
pub fn meant<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> String {
    nearest(word, all).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default()
}

/// What somebody who wrote `word` may have meant.
pub fn nearest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let word = plain(word);
    // A letter too many, too few, wrong or out of its place; of long words two or three.
    let most = 1 + word.chars().count() / 5;
    let parts = |name: &str| name.len() > 3 && word.len() > 3;
    let near = all.filter_map(|name| {
        let (own, distance) = (plain(name), strsim::osa_distance(&plain(name), &word));
        let part = parts(name)
            && (own.ends_with(&format!("_{word}")) || own.starts_with(&format!("{word}_")));
        (distance <= most.min(word.len().saturating_sub(1)) || part).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}

/// A value behind its problem: `: \`value\``. What may be a secret in the wrong place is not
/// repeated.
pub fn named(value: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '`';
    if value.is_empty()
        || value.chars().count() > LONGEST
        || !value.chars().all(plain)
        || may_open(value)
    {
        return String::new();
    }
    format!(": `{value}`")
}

/// Of a value that is repeated.
const LONGEST: usize = 60;

/// Whether it could be a key or hold a password: many letters and digits in one piece, or a user in
/// a URL.
fn may_open(value: &str) -> bool {
    let pieces = value.split(|c: char| !c.is_ascii_alphanumeric() && !"-_+=".contains(c));
    let mut long = pieces.filter(|piece| piece.len() >= 12);
    let mixed = |piece: &str| {
        let digits = piece.bytes().filter(u8::is_ascii_digit).count();
        digits >= 2 && piece.bytes().any(|b| b.is_ascii_alphabetic())
    };
    value.contains('@') || long.any(|piece| mixed(piece) || piece.len() >= 32)
}

fn said(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Said {
    Said { code, message: message.into(), hint: hint.into() }
}

fn any_of(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What serde expects, and how that is written.
fn kind(wanted: &str) -> (&str, &'static str) {
    match wanted {
        "a sequence" => ("a list", "[\"…\"]"),
        "a map" => ("a table", "{ … }"),
        "a boolean" => ("true or false", "true"),
        "a string" | "a borrowed string" | "path string" => ("a text in quotes", "\"…\""),
        "u8" | "u16" => ("a whole number from 0 to 65535", "443"),
        "u32" | "u64" | "usize" => ("a whole number, not negative", "16"),
        "i32" | "i64" => ("a whole number", "1"),
        other if other.starts_with("struct ") => ("a table", "{ … }"),
        other if other.starts_with("a string or a list") => {
            ("a text or a list of texts", "[\"…\"]")
        }
        other if other.contains("enum ") || other.contains("string or table") => {
            ("a text in quotes", "\"…\"")
        }
        other => (other, ""),
    }
}

fn stands(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Integer(_) => "a number",
        DeValue::String(_) => "a text",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for value in [
            "hunter22-hunter2",
            "sk-live-4eC39HqLyjWDarjtT1zdp7dc",
            "https://u:p@idp.example",
            "literal-secret-7d1f0c",
            "AKIAIOSFODNN7EXAMPLE12",
            "two\nlines",
            "",
        ] {
            assert_eq!(named(value), "", "{value}");
        }
        for value in [
            "somewhere",
            "https://api.example/v1",
            "127.0.0.1:99999",
            "client-credentals",
            "10.0.0.0/99",
        ] {
            assert_eq!(named(value), format!(": `{value}`"));
        }
    }

    #[test]
    fn what_was_meant_is_near() {
        let keys =
            ["path", "port", "host", "client_secret", "client_id", "token_url", "on_static_key"];
        for (word, near) in [
            ("pathh", Some("path")),
            ("prot", Some("port")),
            ("token-url", Some("token_url")),
            ("tokenurl", Some("token_url")),
            ("secret", Some("client_secret")),
            ("static_key", Some("on_static_key")),
            ("HOST", Some("host")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys.into_iter()), near, "{word}");
        }
    }
}
