//! The pages that a browser sees when it comes back: plain, without a script, and nothing of the
//! query in them.

use crate::model::plain;

/// The longest heading, in characters: it may hold a name by the issuer's word.
const MAX_HEADING: usize = 200;

pub(super) fn page(heading: &str, text: &str) -> String {
    let heading: String = plain::line(heading).chars().take(MAX_HEADING).map(escaped).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Valetkey</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem}}</style>\
         </head><body><h1>{heading}</h1><p>{text}</p></body></html>\n"
    )
}

/// As HTML shows a character of a text.
fn escaped(c: char) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_no_markup() {
        let page = super::page("Logged in as <script>\u{202e}&'\"", "x");
        assert!(page.contains("<h1>Logged in as &lt;script&gt;?&amp;&#39;&quot;</h1>"), "{page}");
        assert!(super::page(&"x".repeat(9000), "x").len() < 2000);
    }
}
