//! A part of a coded body (RFC 9110 section 14.4). By itself it can be decoded by nobody here, and
//! by others perhaps: the whole is searched from its beginning on, and the part taken out of that.

use bytes::{Buf as _, Bytes};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};

use super::coding::Codings;
use super::fields::has_coded_messages;

/// Encoded bytes before a part, which are fetched for it alone, at most.
const MOST_BEFORE: u64 = 256 * 1024 * 1024;
const BYTE_RANGES: &[u8] = b"multipart/byteranges";

/// Which bytes of a coded body a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes still to come before it.
    before: u64,
    /// Its bytes still to come.
    left: u64,
    total: u64,
}

impl Part {
    /// The one that an answer is, where that is coded and its whole can be searched.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if status != StatusCode::PARTIAL_CONTENT || has_coded_messages(headers) {
            return None;
        }
        let codings = Codings::of(headers).ok()??;
        let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let [first, last, total] = [first, last, total].map(number);
        let (before, last, total) = (first?, last?, total?);
        let sound = before <= last && last < total && before <= MOST_BEFORE;
        let left = (last + 1).checked_sub(before)?;
        (sound && codings.are_prompt()).then_some(Self { before, left, total })
    }

    /// Whether this is the whole that the part is of, as far as both say.
    pub fn is_of(&self, part: &HeaderMap, status: StatusCode, whole: &HeaderMap) -> bool {
        let said = whole.get(CONTENT_LENGTH).map(|length| length.to_str().ok().and_then(number));
        status == StatusCode::OK
            && said.is_none_or(|length| length == Some(self.total))
            && part.get_all(CONTENT_ENCODING).iter().eq(whole.get_all(CONTENT_ENCODING))
            && [ETAG, LAST_MODIFIED].iter().all(|name| part.get(name) == whole.get(name))
    }

    /// What of the next bytes of the whole is of the part.
    pub(super) fn take(&mut self, mut piece: Bytes) -> Bytes {
        let length = piece.len() as u64;
        let skipped = self.before.min(length);
        self.before -= skipped;
        // No more than the piece has.
        piece.advance(skipped as usize);
        let kept = self.left.min(length - skipped);
        self.left -= kept;
        piece.truncate(kept as usize);
        piece
    }

    /// Bytes of it that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

/// Whether this is several parts of a coded body at once (RFC 9110 section 14.6): none can be taken
/// out of a whole that is searched, and a server may answer with the whole instead.
pub fn are_several(status: StatusCode, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let kind = kind.get(..BYTE_RANGES.len()).unwrap_or_default();
    status == StatusCode::PARTIAL_CONTENT
        && kind.eq_ignore_ascii_case(BYTE_RANGES)
        && matches!(Codings::of(headers), Ok(Some(_)))
}

/// Digits alone.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(range: &str, coding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(range).unwrap());
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        headers
    }

    #[test]
    fn a_part_says_which() {
        let of = |range: &str, coding| Part::of(StatusCode::PARTIAL_CONTENT, &head(range, coding));
        let part = Part { before: 2, left: 3, total: 9 };
        assert_eq!(of("bytes 2-4/9", "gzip"), Some(part));
        assert_eq!(of("bytes 2-4/9", "utf-8"), None);
        for bad in ["bytes 4-2/9", "bytes 2-9/9", "bytes 2-4/*", "bytes */9", "bytes +2-4/9"] {
            assert_eq!(of(bad, "gzip"), None, "{bad}");
        }
        let far = MOST_BEFORE + 1;
        assert_eq!(of(&format!("bytes {far}-{far}/{}", u64::MAX), "gzip"), None);
        assert_eq!(Part::of(StatusCode::OK, &head("bytes 2-4/9", "gzip")), None);
    }

    #[test]
    fn several_parts_are_told_from_one() {
        let several = |status, kind, coding| {
            let mut headers = head("", coding);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            are_several(status, &headers)
        };
        let kind = "Multipart/ByteRanges; boundary=x";
        assert!(several(StatusCode::PARTIAL_CONTENT, kind, "gzip"));
        assert!(!several(StatusCode::OK, kind, "gzip"));
        assert!(!several(StatusCode::PARTIAL_CONTENT, kind, "utf-8"));
        assert!(!several(StatusCode::PARTIAL_CONTENT, "text/plain", "gzip"));
    }

    #[test]
    fn a_part_is_taken_in_any_pieces() {
        for length in 1..12 {
            let mut part = Part { before: 2, left: 3, total: 9 };
            let taken: Vec<u8> = b"012345678"
                .chunks(length)
                .flat_map(|piece| part.take(Bytes::copy_from_slice(piece)))
                .collect();
            assert_eq!((&taken[..], part.left()), (&b"234"[..], 0));
        }
    }

    #[test]
    fn another_version_is_not_its_whole() {
        let part = Part { before: 2, left: 3, total: 9 };
        let (one, mut whole) = (head("bytes 2-4/9", "gzip"), head("", "gzip"));
        assert!(part.is_of(&one, StatusCode::OK, &whole));
        assert!(!part.is_of(&one, StatusCode::PARTIAL_CONTENT, &whole));
        assert!(!part.is_of(&one, StatusCode::OK, &head("", "br")));
        whole.insert(ETAG, HeaderValue::from_static("\"2\""));
        assert!(!part.is_of(&one, StatusCode::OK, &whole));
        whole.remove(ETAG);
        whole.insert(CONTENT_LENGTH, HeaderValue::from_static("8"));
        assert!(!part.is_of(&one, StatusCode::OK, &whole));
    }
}
