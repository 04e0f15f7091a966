//! A request path, split and decoded once, or refused because it has two readings.
//!
//! Patterns are matched on decoded segments, so `/%61dmin` is `/admin`; `%2F` stays inside its
//! segment. What some server may read as another path (empty segments, `;parameters`) has a second
//! reading, and policy must say the same of both (invariant I4). What `%2F` would make of a path is
//! asked of routes that deny, and of no others: names with a slash in them are common.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_decode_str};

/// How often a segment is decoded to look for what a careless upstream might see in it.
const DECODINGS: usize = 4;

/// A path that may be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a> {
    segments: Vec<Cow<'a, str>>,
    plain: Option<Vec<Cow<'a, str>>>,
    literal: Option<Vec<Cow<'a, str>>>,
    slashed: Option<Vec<Cow<'a, str>>>,
}

/// The path holds dot segments, a backslash, control characters or broken escapes, plain or
/// encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl<'a> RequestPath<'a> {
    /// Splits a path in origin-form (RFC 9112 section 3.2.1), without its query.
    pub fn parse(path: &'a str) -> Result<Self, Ambiguous> {
        let rest = path.strip_prefix('/').ok_or(Ambiguous)?;
        let mut segments = Vec::with_capacity(8);
        let (mut odd, mut needless) = (false, false);
        for raw in rest.split('/') {
            let segment = decode(raw)?;
            odd |= segment.is_empty() || segment.contains(';');
            needless |= literal(raw).is_some();
            segments.push(segment);
        }
        // A trailing slash makes no difference, here and in patterns.
        if segments.last().is_some_and(|last| last.is_empty()) {
            segments.pop();
        }
        let plain = odd.then(|| plain(&segments)).filter(|plain| *plain != segments);
        let by_letter =
            |(raw, segment): (&str, &Cow<'a, str>)| literal(raw).unwrap_or_else(|| segment.clone());
        let literal = needless.then(|| rest.split('/').zip(&segments).map(by_letter).collect());
        let slashes = segments.iter().any(|segment| segment.contains(['/', '%']));
        let slashed = slashes.then(|| slashed(&segments)).filter(|slashed| *slashed != segments);
        Ok(Self { segments, plain, literal, slashed })
    }

    /// The segments as sent, decoded.
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }

    /// The segments as a server has them that takes `%2F` for a slash, where there is one.
    pub fn slashed(&self) -> Option<&[Cow<'a, str>]> {
        self.slashed.as_deref()
    }

    /// The other readings, where there are any: without empty segments and `;parameters`; and with
    /// needless escapes (`%76` for `v`) taken by the letter.
    pub fn others(&self) -> impl Iterator<Item = &[Cow<'a, str>]> {
        [self.plain.as_deref(), self.literal.as_deref()].into_iter().flatten()
    }
}

/// One reading as a text that has no other: what is decoded is left so but for `/` and `%`.
pub(super) fn written(segments: &[Cow<'_, str>]) -> String {
    let mut path = String::with_capacity(64);
    for segment in segments {
        path.push('/');
        if segment.contains(['/', '%']) {
            path.push_str(&segment.replace('%', "%25").replace('/', "%2F"));
        } else {
            path.push_str(segment);
        }
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

/// Split at encoded slashes too, however often they are encoded, and otherwise plain.
fn slashed<'a>(segments: &[Cow<'a, str>]) -> Vec<Cow<'a, str>> {
    let decoded = |segment: &Cow<'a, str>| {
        let mut text = segment.clone().into_owned();
        for _ in 0..DECODINGS {
            text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        }
        text.split('/').map(|part| Cow::Owned(part.to_owned())).collect::<Vec<_>>()
    };
    plain(&segments.iter().flat_map(decoded).collect::<Vec<_>>())
}

fn plain<'a>(segments: &[Cow<'a, str>]) -> Vec<Cow<'a, str>> {
    let without = |s: &Cow<'a, str>| match s.find(';') {
        Some(end) => Cow::Owned(s[..end].to_owned()),
        None => s.clone(),
    };
    segments.iter().map(without).filter(|s| !s.is_empty()).collect()
}

/// The segment with escapes of characters that need none (RFC 3986 section 2.3) left as they are;
/// `None` where it has no such escape.
fn literal<'a>(raw: &str) -> Option<Cow<'a, str>> {
    if !raw.contains('%') {
        return None;
    }
    let needless = |hex: &str| {
        let byte = hex.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let mut parts = raw.split('%');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    let mut any = false;
    for part in parts {
        any |= needless(part);
        kept.push_str(if needless(part) { "%25" } else { "%" });
        kept.push_str(part);
    }
    let text = any.then(|| percent_decode_str(&kept).decode_utf8_lossy().into_owned());
    text.map(Cow::Owned)
}

fn decode(raw: &str) -> Result<Cow<'_, str>, Ambiguous> {
    check(raw.as_bytes())?;
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let once = decode_once(raw)?;
    let mut deeper = Cow::Borrowed(once.as_bytes());
    for _ in 0..DECODINGS {
        check(&deeper)?;
        // As careless readers do it: a per cent sign that is no escape stays, the others are
        // decoded, and nobody asks for UTF-8.
        let next: Vec<u8> = percent_decode(&deeper).collect();
        if next.len() == deeper.len() {
            break;
        }
        deeper = Cow::Owned(next);
    }
    Ok(once)
}

fn decode_once(text: &str) -> Result<Cow<'_, str>, Ambiguous> {
    let bytes = text.as_bytes();
    let escaped =
        |i: usize| bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(i, b)| *b == b'%' && !escaped(i)) {
        return Err(Ambiguous);
    }
    // Not UTF-8 covers overlong forms of dots and slashes.
    percent_decode_str(text).decode_utf8().map_err(|_| Ambiguous)
}

/// No control character, no backslash, and no dot segment, also behind an encoded slash, before
/// `;parameters`, or among spaces, which some file systems drop.
fn check(text: &[u8]) -> Result<(), Ambiguous> {
    let bad = |byte: &u8| *byte < 0x20 || *byte == 0x7f || *byte == b'\\';
    let dots = |part: &[u8]| {
        let name = part.split(|b| *b == b';').next().unwrap_or_default();
        let spaced = name.contains(&b' ') && name.contains(&b'.');
        matches!(name, b"." | b"..") || spaced && name.iter().all(|b| b". ".contains(b))
    };
    if text.iter().any(bad) || text.split(|b| *b == b'/').any(dots) {
        return Err(Ambiguous);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_readings_are_refused() {
        for path in [
            "/a/../b",
            "/a/..%20/b",
            "/a/%20../b",
            "/a/..%20.%20/b",
            "/%2e%2e/b",
            "/%252e%252e/b",
            "/..;/b",
            "/.",
            "/./a",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/%ff",
            "/%c0%ae%c0%ae/",
            "/a%2f..%2fb",
            "/%zz",
            "/%2",
            "a",
            "",
            "*",
            "/%25252e./x",
            "/%252e%252e%252fb%25zz",
            "/%252e%252e%252fb%25ff",
            "/b%255c%25",
            "/%2e;x=1/",
            "/a%0d%0a",
        ] {
            assert_eq!(RequestPath::parse(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn encoded_slash_stays_inside() {
        let path = RequestPath::parse("/api/v4/projects/group%2Fname/x").unwrap();
        assert_eq!(path.segments()[3], "group/name");
        assert!(path.others().next().is_none());
        let slashed = ["api", "v4", "projects", "group", "name", "x"];
        assert_eq!(path.slashed().unwrap(), slashed);
        let twice = RequestPath::parse("/api/v4/projects%252Fgroup/name;v=1/x").unwrap();
        assert_eq!(twice.slashed().unwrap(), slashed);
        assert!(RequestPath::parse("/api/100%25").unwrap().slashed().is_none());
    }

    #[test]
    fn needless_escapes_have_a_reading_of_their_own() {
        let path = RequestPath::parse("/%76%31/a%2Fb%7e/c").unwrap();
        assert_eq!(path.segments(), ["v1", "a/b~", "c"]);
        assert_eq!(path.others().next().unwrap(), ["%76%31", "a/b%7e", "c"]);
    }

    #[test]
    fn a_trailing_slash_makes_no_difference() {
        assert_eq!(
            RequestPath::parse("/a/").unwrap().segments(),
            RequestPath::parse("/a").unwrap().segments()
        );
        assert!(RequestPath::parse("/").unwrap().segments().is_empty());
    }

    #[test]
    fn odd_forms_have_a_plain_reading() {
        let path = RequestPath::parse("/v1//admin;x=1").unwrap();
        assert_eq!(path.others().next().unwrap(), ["v1", "admin"]);
        assert_eq!(RequestPath::parse("/v1/100%25").unwrap().segments()[1], "100%");
    }

    proptest! {
        #[test]
        fn no_accepted_path_escapes(path in "/[a%25fF2eE./;c5C0]{0,24}") {
            if let Ok(parsed) = RequestPath::parse(&path) {
                for segment in parsed.segments() {
                    prop_assert!(segment != "." && segment != ".." && !segment.contains('\\'));
                }
            }
        }
    }
}
