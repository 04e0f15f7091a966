//! Text of others as a person may see it: nothing in it that a terminal would act on, that turns round what is read,
//! or that is not seen.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What does something to a terminal or its reader: controls (C0, C1, DEL) and the characters of Unicode's
/// category Cf, line and paragraph separators among them; and those that are no characters, which we mark colours by.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fdd0}'..='\u{fdef}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

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
