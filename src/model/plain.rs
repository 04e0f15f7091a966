//! Text of others as a person may see it: nothing in it that a terminal would act on, that turns
//! round what is read, or that is not seen.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// What does something to a terminal or its reader, or looks like nothing or like a space: controls
/// (C0, C1, DEL), and [`UNSEEN`]; and those that are no characters, which we mark colours by.
fn acts(c: char) -> bool {
    let order = |&(first, last): &(char, char)| match c {
        c if c < first => Ordering::Greater,
        c if c > last => Ordering::Less,
        _ => Ordering::Equal,
    };
    c.is_control() || UNSEEN.binary_search_by(order).is_ok()
}

/// Unicode's categories Cf, Zl, Zp and Zs but the plain space, fillers and blanks of other
/// categories, selectors of variants, and what may become such (Unicode 17.0); first and last of
/// each range, sorted.
const UNSEEN: [(char, char); 30] = [
    ('\u{a0}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// One line: a line break is a control like any other.
pub fn line(text: &str) -> Cow<'_, str> {
    match text.contains(acts) {
        true => text.chars().map(|c| if acts(c) { '?' } else { c }).collect(),
        false => text.into(),
    }
}

/// Lines of ours with words of others in them.
pub fn lines(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && acts(c);
    match text.contains(acts) {
        true => text.chars().map(|c| if acts(c) { '?' } else { c }).collect(),
        false => text.into(),
    }
}

/// The same JSON, with all of these characters escaped; line breaks between its parts stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && acts(c);
    if !text.contains(acts) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_chose_is_read_as_it_stands() {
        let text =
            "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}\u{200b}d\u{2028}e\u{feff}\u{e0041} é 日本 –\n";
        assert_eq!(line(text), "a?[2J?b?c??d?e?? é 日本 –?");
        assert_eq!(lines(text), "a?[2J?b?c??d?e?? é 日本 –\n");
        assert!(matches!(line("plain é"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_looks_like_nothing_is_shown() {
        let sorted = UNSEEN.iter().all(|(first, last)| first <= last)
            && UNSEEN.windows(2).all(|pair| pair[0].1 < pair[1].0);
        assert!(sorted);
        // Whitespace of Unicode, all of which are controls, Zs, Zl or Zp.
        let blank = |c: &char| c.is_whitespace() && *c != ' ';
        for c in ('\0'..=char::MAX)
            .filter(blank)
            .chain("\u{3164}\u{2800}\u{600}\u{110bd}\u{1d173}\u{180e}\u{e0041}".chars())
        {
            assert_eq!(line(&format!("a{c}b")), "a?b", "{c:?}");
        }
        for c in ['\u{9f}', '\u{2027}', '\u{2801}', '–', '日', 'ё'] {
            assert_eq!(acts(c), c == '\u{9f}', "{c:?}");
        }
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "a\u{9b}": "x\u{202e}\u{1b}\u{e0041}\u{7f}y\n" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = json(&text);
            assert!(!escaped.contains(|c| c != '\n' && acts(c)), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in "\\PC*|.*") {
            prop_assert!(!line(&text).contains(acts));
            prop_assert!(!lines(&text).contains(|c| c != '\n' && acts(c)));
            let value = serde_json::Value::String(text);
            let escaped = json(&value.to_string()).into_owned();
            prop_assert!(!escaped.contains(acts));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }
}
