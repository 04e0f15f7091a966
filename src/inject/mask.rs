//! Words of a command line as they may be written down: whatever could be a key is taken out, and
//! rather too much than too little.

use super::standing;

/// What stands in the place of it.
const MASK: &str = "****";
/// A run of key characters with letters and digits in it, from this length on, may be one.
const SUSPICIOUS: usize = 16;
/// A word is cut here, in bytes.
const MAX_WORD: usize = 512;

/// Each word of a text, and all of a PEM: a line of one may look like a path.
pub fn mask_text(text: &str) -> String {
    let (mut masked, mut inside) = (Vec::new(), false);
    for word in text.split(' ') {
        let (begin, end) = (word.rfind("-----BEGIN"), word.rfind("-----END"));
        if inside || begin.is_some() {
            masked.extend((!inside).then(|| MASK.to_owned()));
            // Without an end, to the end of the text.
            inside = end.is_none() || begin > end;
        } else {
            masked.push(mask_word(word));
        }
    }
    masked.join(" ")
}

/// One word of a command line.
pub fn mask_word(word: &str) -> String {
    let word = &word[..word.floor_char_boundary(MAX_WORD)];
    // In a path each part is looked at for itself; elsewhere `/` may be of base64.
    let path = word.starts_with(['/', '.', '~']) || word.contains("://");
    if !path && standing::is_key(word.as_bytes()) {
        return MASK.to_owned();
    }
    let word = without_password(word);
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.+=~".contains(c) || (c == '/' && !path);
    let mut masked = String::with_capacity(word.len());
    let mut rest = word.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| legal(c) != legal(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        masked.push_str(if legal(first) && is_suspicious(run) { MASK } else { run });
        rest = after;
    }
    masked
}

fn is_suspicious(run: &str) -> bool {
    let has = |test: fn(&u8) -> bool| run.as_bytes().iter().any(test);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    (run.len() >= SUSPICIOUS && mixed) || standing::is_key(run.as_bytes())
}

/// `scheme://user:password@host` and the like.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    match rest.split_once('@') {
        Some((_, rest)) => format!("{scheme}://{MASK}@{rest}"),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::placeholder::{Kind, Placeholder};

    /// Base64 has slashes, and every 64th line begins with one.
    #[test]
    fn all_of_a_pem_is_taken_out() {
        let line = "/AbcdefghijklM/nopQrstuvwxyzab/CDEFGHIJKLmno";
        for (text, masked) in [
            (
                format!("no -----BEGIN RSA PRIVATE KEY----- {line} {line} -----END RSA it is"),
                "no **** RSA it is",
            ),
            (format!("no -----BEGIN PRIVATE KEY----- {line}"), "no ****"),
            (
                format!(
                    "-----BEGIN X----- {line} -----END X----------BEGIN Y----- {line}\n-----END Y"
                ),
                "**** **** Y",
            ),
        ] {
            assert_eq!(mask_text(&text), masked);
        }
    }

    #[test]
    fn what_could_be_a_key_is_taken_out() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1";
        for (word, masked) in [
            ("curl", "curl"),
            ("-H", "-H"),
            ("/usr/lib/python3.11/site-packages/x.py", "/usr/lib/python3.11/site-packages/x.py"),
            ("https://api.orders.example/v1/x?page=2", "https://api.orders.example/v1/x?page=2"),
            ("http://run-1:secret@127.0.0.1:8383", "http://****@127.0.0.1:8383"),
            ("Authorization: Bearer abc", "Authorization: Bearer abc"),
            (&format!("Authorization: Bearer {long}"), "Authorization: Bearer ****"),
            (&format!("x-api-key:{long}"), "****"),
            (&format!("--token={long}"), "****"),
            (&format!("https://h.example/v1?key={long}"), "https://h.example/v1?****"),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzKEY", "****"),
            ("--oauth2-bearer=hunter2", "****"),
        ] {
            assert_eq!(mask_word(word), masked);
        }
        for kind in Kind::ALL {
            let (placeholder, _) = Placeholder::bound(kind);
            assert!(!mask_word(&format!("-H x: {placeholder}")).contains("laceholder"), "{kind}");
        }
        assert!(mask_word(&"ä".repeat(1000)).len() <= MAX_WORD);
    }
}
