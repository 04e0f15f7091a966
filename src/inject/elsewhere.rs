//! Real keys in the places that no route owns: another header field, another parameter,
//! `Authorization` where no route matched. They pass as they came and are written down, so that the
//! inventory has them.
//!
//! Only what a provider's own shape shows: a random word may be anything there. Each byte of each
//! request comes by, so the search is for the few that all shapes have, and allocates for nothing
//! but what it finds or has to decode.

use http::HeaderName;
use http::request::Parts;

use super::shape::{self, Standing};
use super::strip;

/// The first in the header fields or the query. `own`: a field that may hold one.
pub(super) fn key(parts: &Parts, own: Option<&HeaderName>) -> Option<Standing> {
    let fields = parts.headers.iter().filter(|(name, _)| own.is_none_or(|own| *name != own));
    let fields = fields.map(|(_, value)| value.as_bytes());
    let query = parts.uri.query().map(str::as_bytes);
    let mut found = None;
    for value in fields.chain(query).filter(|value| value.len() >= shape::SHORTEST) {
        // The error is the find: it ends the search.
        let done = strip::each_form(value, |form| {
            found = within(form);
            if found.is_some() { Err(()) } else { Ok(()) }
        });
        if done.is_err() {
            break;
        }
    }
    found
}

/// The first in a text: a word of a known shape that nothing stands before.
fn within(text: &[u8]) -> Option<Standing> {
    memchr::memchr3_iter(b'_', b'-', b'A', text)
        .filter_map(|at| start(text, at))
        .filter(|start| !follows_word(&text[..*start]))
        .find_map(|start| shape::standing_for_long(word(&text[start..])))
}

/// Where a shape would begin that has this byte in it. Dates, names and numbers are full of dashes:
/// the letter before says which one it could be.
fn start(text: &[u8], at: usize) -> Option<usize> {
    let (before, rest) = (&text[..at], &text[at + 1..]);
    if text[at] == b'A' {
        return (rest.starts_with(b"KIA") || rest.starts_with(b"Iza")).then_some(at);
    }
    let own: &[u8] = match (before.last()?, text[at]) {
        (b'a', b'-') => b"xoxa",
        (b'b', b'-') => b"xoxb",
        (b'b', b'_') => b"github",
        (b'f', b'_') => b"hf",
        (b'i', b'-') => b"pypi",
        (b'k', b'_') if before.ends_with(b"rk") => b"rk",
        (b'k', _) => b"sk",
        (b'm', b'_') => b"npm",
        (b'o', b'_') => b"gho",
        (b'p', b'-') => b"xoxp",
        (b'p', b'_') => b"ghp",
        (b't', b'-') => b"glpat",
        (b'u', b'_') => b"ghu",
        _ => return None,
    };
    before.ends_with(own).then(|| at - own.len())
}

/// As in `task-1` or `xghp_`: the end of a longer word, and no key.
fn follows_word(before: &[u8]) -> bool {
    before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn word(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !shape::is_word(*byte)).unwrap_or(text.len());
    // As at the end of a sentence.
    let dots = text[..end].iter().rev().take_while(|byte| **byte == b'.').count();
    &text[..end - dots]
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::Request;

    use super::*;
    use crate::model::placeholder::{self, Kind, Placeholder};

    /// Made here, so that no scanner finds a key in this file.
    fn github(prefix: &str) -> String {
        let random = "abcdefghijklmnopqrstuvwxyz0123";
        format!("{prefix}_{random}{}", placeholder::checksum(random))
    }

    fn kind(field: &str, query: &str) -> Option<&'static str> {
        let request = Request::get(format!("https://a.example/x?{query}")).header("x-more", field);
        key(&request.body(()).unwrap().into_parts().0, None).map(|found| found.kind)
    }

    #[test]
    fn in_any_field_and_parameter() {
        let key = github("ghp");
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1";
        let basic = STANDARD.encode(format!("x:{key}"));
        for text in [
            key.clone(),
            format!("Bearer {key}"),
            format!("a=\"{key}\"; b"),
            format!("see {key}."),
            format!("a/{key}/b"),
            format!("%20{key}"),
            format!("Basic {basic}"),
            key.replace('_', "%5F"),
            format!("x-a-b_c {key}"),
        ] {
            assert_eq!(kind(&text, ""), Some("github"), "{text}");
        }
        for (query, found) in [
            (format!("a=1&other={key}"), "github"),
            (format!("other={}", key.replace('_', "%5f")), "github"),
            (format!("glpat-{}", &long[..20]), "gitlab"),
            (format!("k=sk-ant-{long}"), "anthropic"),
            (format!("k=sk-{}-{long}", "proj"), "openai"),
            (format!("k=sk_{}_{long}", "live"), "stripe"),
            (format!("k=AKI{}", "AABCDEFGHIJKLMNO2"), "aws"),
            (format!("k=xoxb-{long}"), "slack"),
            (format!("k=npm_{}", &long[..36]), "npm"),
            (format!("k=pypi-AgE{long}"), "pypi"),
            (format!("k=hf_{}", &long[..34]), "hugging-face"),
            (format!("k=AIza{}", &long[..35]), "google"),
            (format!("k=github_pat_{long}"), "github"),
            (github("gho"), "github"),
            (github("ghu"), "github"),
            (format!("k=rk_{}_{long}", "live"), "stripe"),
            (format!("k=xoxa-{long}"), "slack"),
            (format!("k=xoxp-{long}"), "slack"),
        ] {
            assert_eq!(kind("", &query), Some(found), "{query}");
        }
    }

    #[test]
    fn what_is_no_standing_key_is_left_alone() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1";
        for text in [
            String::new(),
            "Mozilla/5.0 (X11; Linux x86_64) task-runner sk-xxxx ghp_short".to_owned(),
            github("ghp").replace("abc", "xyz"),
            format!("x{}", github("ghp")),
            format!("task-{long}"),
            "q=sk-nejaky-dlhy-nazov-clanku-1".to_owned(),
            "npm_config_some_long_name_of_a_setting_here".to_owned(),
            "hf_some_long_name_of_a_model_in_two_words".to_owned(),
            // Random, or a token: it may be anything here.
            long.to_owned(),
            "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln".to_owned(),
            // They end by themselves.
            github("ghs"),
            format!("ASI{}", "AABCDEFGHIJKLMNO2"),
        ] {
            assert_eq!(kind(&text, ""), None, "{text}");
        }
        for of in Kind::ALL {
            for text in [Placeholder::free(of).to_string(), Placeholder::bound(of).0.to_string()] {
                assert_eq!(kind(&text, &format!("k={text}")), None, "{text}");
            }
        }
    }
}
