//! [`Places`]: on which line each key and value of a config stands, so that a problem is said
//! there.
//!
//! Problems name in backticks what they are about. Whoever finds one knows the line of its table;
//! here the names lead on: to the key, to a key or an entry inside it.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The lines of one file.
#[derive(Clone, Default)]
pub struct Places {
    /// By the line that their header or brace stands on.
    tables: BTreeMap<usize, Vec<PlacedKey>>,
    root: Vec<PlacedKey>,
}

/// A key, or a text in a list.
#[derive(Clone)]
struct PlacedKey {
    name: String,
    /// What stands there, where that is a text.
    text: Option<String>,
    line: usize,
    within: Vec<PlacedKey>,
}

impl Places {
    /// Of a whole file. `line`: of an offset.
    pub(super) fn of(root: &DeTable<'_>, line: &dyn Fn(usize) -> usize) -> Self {
        let mut places = Self { tables: BTreeMap::new(), root: entries(root, line) };
        for (_, value) in root {
            places.tables_in(value, line);
        }
        places
    }

    /// Tables and lists of tables, and those in them: [credentials.NAME].
    fn tables_in(&mut self, value: &Spanned<DeValue<'_>>, line: &dyn Fn(usize) -> usize) {
        match value.get_ref() {
            DeValue::Table(table) => {
                let at = line(value.span().start);
                self.tables.entry(at).or_default().extend(entries(table, line));
                for (key, value) in table {
                    if let DeValue::Table(inner) = value.get_ref() {
                        // Some are known by the line of their name.
                        let at = line(key.span().start);
                        self.tables.entry(at).or_default().extend(entries(inner, line));
                    }
                    self.tables_in(value, line);
                }
            }
            DeValue::Array(list) => list.iter().for_each(|value| self.tables_in(value, line)),
            _ => {}
        }
    }

    /// The line of what a message names, of the table at `line`; 0 means the file, whose tables and
    /// keys are named as `table.key`. Where nothing is found: `line`.
    pub fn line(&self, line: usize, message: &str) -> usize {
        let names = message.split('`').skip(1).step_by(2);
        let names: Vec<&str> = match line {
            0 => names.flat_map(|name| name.split('.')).collect(),
            _ => names.collect(),
        };
        let mut entries =
            if line == 0 { &self.root } else { self.tables.get(&line).unwrap_or(&self.root) };
        if line != 0 && !self.tables.contains_key(&line) {
            return line;
        }
        let mut found = line;
        for name in names {
            let key = entries.iter().find(|entry| entry.name == name);
            // Values count only behind their key: a credential may be named as something else is.
            let value = || entries.iter().find(|entry| entry.text.as_deref() == Some(name));
            let hit = key.or_else(|| (found != line).then(value).flatten());
            let Some(hit) = hit else { continue };
            found = hit.line;
            if hit.within.is_empty() {
                break;
            }
            entries = &hit.within;
        }
        found
    }
}

/// Nothing of a config's values goes into a log.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

fn entries(table: &DeTable<'_>, line: &dyn Fn(usize) -> usize) -> Vec<PlacedKey> {
    let of = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        entry(name, line(key.span().start), value, line)
    };
    table.iter().map(of).collect()
}

fn entry(
    name: &str,
    at: usize,
    value: &Spanned<DeValue<'_>>,
    line: &dyn Fn(usize) -> usize,
) -> PlacedKey {
    let (mut text, mut within) = (None, Vec::new());
    match value.get_ref() {
        DeValue::String(value) => text = Some(value.to_string()),
        DeValue::Table(table) => within = entries(table, line),
        DeValue::Array(list) => {
            let each = list.iter().filter(|value| matches!(value.get_ref(), DeValue::String(_)));
            within = each.map(|value| entry("", line(value.span().start), value, line)).collect();
        }
        _ => {}
    }
    PlacedKey { name: name.to_owned(), text, line: at, within }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"config_version = 1
[ca]
scope = "any"
[credentials.name]
name = "x"
scope = [
  "a",
  "b",
]
inject = { header = "h" }
[[routes]]
name = "a"
path = ["/a"]
[[routes]]
name = "b"
path = [
  "/b",
  "/c",
]
[routes.env]
KEY = "v"
"#;

    #[test]
    fn a_problem_is_where_what_it_names_is() {
        let (root, errors) = DeTable::parse_recoverable(TEXT);
        assert!(errors.is_empty(), "{errors:?}");
        let line = |offset: usize| 1 + TEXT[..offset].matches('\n').count();
        let places = Places::of(root.get_ref(), &line);
        for (table, message, wanted) in [
            (0, "`ca.scope` is wide", 3),
            (0, "`nothing` is there", 0),
            (4, "`scope` has no `b`", 8),
            (4, "`scope` has no `z`", 6),
            (4, "`inject` cannot `header`", 10),
            (4, "credential `x`: `scope` is wrong", 6),
            (4, "credential `x` is wrong", 4),
            (11, "`path` is wrong: `/a`", 13),
            (14, "`path` is wrong: `/c` (route `b`)", 18),
            (14, "`env` cannot set `KEY`", 21),
            (14, "`host` is missing", 14),
            (99, "`path` is wrong", 99),
        ] {
            assert_eq!(places.line(table, message), wanted, "{table} {message}");
        }
    }
}
