//! What `tests/fuzz` feeds with foreign bytes: paths, with what must hold of those that may be
//! judged. Compiled for tests and fuzzing alone; the seeds are tests as well.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::path::RequestPath;

/// What no careless reader may find: how often it decodes, at most.
const CARELESS: usize = 4;

/// Every reading of a path is a normal form, and nobody who reads the path as it is sent finds a
/// way up in it, however often he decodes, whatever he takes for a slash, with or without
/// parameters.
pub fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(path) = RequestPath::parse(text) else { return };
    for reading in std::iter::once(path.segments()).chain(path.others()) {
        let normal = spelt(reading);
        let again = RequestPath::parse(&normal);
        assert_eq!(again.as_ref().map(RequestPath::segments), Ok(reading), "{normal}");
    }
    let mut read = Cow::Borrowed(text.as_bytes());
    for _ in 0..=CARELESS {
        for segment in read.split(|byte| matches!(byte, b'/' | b'\\')) {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(name != b".." && name != b".", "{text} leads elsewhere");
        }
        read = Cow::Owned(percent_decode(&read).collect());
    }
}

fn spelt(segments: &[Cow<'_, str>]) -> String {
    let mut path: String = segments
        .iter()
        .flat_map(|segment| {
            ["/".into(), utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()]
        })
        .collect();
    // One slash at the end makes no difference.
    if segments.last().is_none_or(|last| last.is_empty()) {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds;

    #[test]
    fn seeds_hold() {
        seeds::each("path", path);
    }
}
