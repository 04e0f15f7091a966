//! How the fields of a head were spelt, and what its status line said in words. Names are compared
//! without their case, and still there are scripts that look for `Location:`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// More of a reason phrase is not passed on, in bytes.
const MAX_REASON: usize = 256;
/// `HTTP/1.1 200 `, before the words of a status line.
const BEFORE_REASON: usize = 13;

/// A head as its sender wrote it. The values of its fields are parts of it: so each finds the name
/// that stood before it, and nothing is looked up.
#[derive(Clone, Debug, Default)]
pub struct Spelling {
    head: Bytes,
    /// The words behind an answer's status, where they are not the usual ones (RFC 9112 section 4).
    pub reason: Option<Bytes>,
}

impl Spelling {
    /// Of a request whose field values are parts of these bytes.
    pub(super) fn of_request(head: &Bytes) -> Self {
        Self { head: head.clone(), reason: None }
    }

    /// The same of an answer.
    pub(super) fn of_answer(head: &Bytes, status: StatusCode) -> Self {
        let line = &head[..memchr::memchr(b'\r', head).unwrap_or_default()];
        let words = line.get(BEFORE_REASON..).unwrap_or_default();
        let usual = status.canonical_reason().unwrap_or_default().as_bytes() == words;
        let reason = (!usual && (1..=MAX_REASON).contains(&words.len()))
            .then(|| head.slice(BEFORE_REASON..BEFORE_REASON + words.len()));
        Self { head: head.clone(), reason }
    }

    /// Writes the name as it stood before this value. What did not stand there, as what is put in
    /// on the way, is spelt as most do it, where the head is there at all.
    pub(super) fn write(&self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        match self.find(name.as_str(), value.as_bytes()) {
            Some(spelt) => out.extend_from_slice(spelt),
            None => self.write_other(out, name.as_str()),
        }
    }

    /// Writes the name of a field that is ours.
    pub(super) fn write_other(&self, out: &mut Vec<u8>, name: &str) {
        if self.head.is_empty() || name.contains('%') {
            out.extend_from_slice(name.as_bytes());
            return;
        }
        let (from, mut first) = (out.len(), true);
        out.extend_from_slice(name.as_bytes());
        for byte in &mut out[from..] {
            if first {
                byte.make_ascii_uppercase();
            }
            first = *byte == b'-';
        }
    }

    fn find(&self, name: &str, value: &[u8]) -> Option<&[u8]> {
        // Compared as numbers only: a value from elsewhere is outside, or has another name before it.
        let at = value.as_ptr().addr().checked_sub(self.head.as_ptr().addr())?;
        let before = self.head.get(..at)?.trim_ascii_end().strip_suffix(b":")?;
        let (lines, spelt) = before.split_at_checked(before.len().checked_sub(name.len())?)?;
        // What is masked in names is looked for in lower case, and not under escapes.
        let same = |(own, spelt): (u8, &u8)| own == spelt.to_ascii_lowercase() && own != b'%';
        (lines.last() == Some(&b'\n') && name.bytes().zip(spelt).all(same)).then_some(spelt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, LOCATION};

    fn written(spelling: &Spelling, name: &HeaderName, value: &HeaderValue) -> String {
        let mut out = Vec::new();
        spelling.write(&mut out, name, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_name_is_written_as_it_was_read() {
        let text = b"HTTP/1.1 200 Really Fine\r\nLOCation:\t /a\r\nX-Empty:\r\n\r\n";
        let head = Bytes::from_static(text);
        let spelling = Spelling::of_answer(&head, StatusCode::OK);
        assert_eq!(spelling.reason.as_deref(), Some(&b"Really Fine"[..]));
        let at = text.windows(2).position(|two| two == b"/a").unwrap();
        let value = HeaderValue::from_maybe_shared(head.slice(at..at + 2)).unwrap();
        assert_eq!(written(&spelling, &LOCATION, &value), "LOCation");
        // A value that was put in, one that stood behind another name, and an empty one.
        let other = HeaderValue::from_static("/a");
        assert_eq!(written(&spelling, &LOCATION, &other), "Location");
        assert_eq!(written(&spelling, &HeaderName::from_static("x-api-key"), &value), "X-Api-Key");
        let empty = HeaderValue::from_static("");
        assert_eq!(written(&spelling, &HeaderName::from_static("x-empty"), &empty), "X-Empty");
        assert_eq!(written(&Spelling::default(), &LOCATION, &value), "location");
    }

    #[test]
    fn words_are_bounded() {
        let reason = |words: &str| {
            let head = Bytes::from(format!("HTTP/1.1 404 {words}\r\n\r\n"));
            Spelling::of_answer(&head, StatusCode::NOT_FOUND).reason
        };
        assert_eq!(reason("caf\u{e9}").unwrap(), "caf\u{e9}".as_bytes());
        assert_eq!(reason(""), None);
        assert_eq!(reason("Not Found"), None);
        assert_eq!(reason(&"a".repeat(MAX_REASON)).unwrap().len(), MAX_REASON);
        assert_eq!(reason(&"a".repeat(MAX_REASON + 1)), None);
        let bare = Bytes::from_static(b"HTTP/1.1 404\r\n\r\n");
        assert_eq!(Spelling::of_answer(&bare, StatusCode::NOT_FOUND).reason, None);
    }
}
