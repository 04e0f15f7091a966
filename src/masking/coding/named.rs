//! Which names in `Content-Encoding` are codings: those that come off here, those that nobody here
//! reads, and all else, which servers write there and which changes no byte.

/// A content coding that we take off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

/// What a name in the field stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodingName {
    Coding(Coding),
    /// None that any client would take off: `aws-chunked`, `UTF-8`, `none`.
    Nothing,
    /// One that changes the bytes, or may be read as one, and comes off nowhere here.
    Unread,
}

/// Registered with IANA and not read here, and those beside them that servers are known to use.
const UNREAD: [&str; 14] = [
    "aes128gcm",
    "compress",
    "dcb",
    "dcz",
    "exi",
    "lz4",
    "lzma",
    "sdch",
    "snappy",
    "x-compress",
    "x-lzma",
    "x-snappy",
    "x-xz",
    "xz",
];
/// A name with one of these in it is close enough to a coding for some client to take it for one.
const TELLING: [&str; 4] = ["brotli", "deflate", "zip", "zst"];

impl CodingName {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Self::Nothing,
            "br" => Self::Coding(Coding::Brotli),
            "deflate" => Self::Coding(Coding::Deflate),
            "gzip" | "x-gzip" => Self::Coding(Coding::Gzip),
            "zstd" => Self::Coding(Coding::Zstd),
            // What is no name has more than one reading: `gzip;q=1`.
            name if !name.bytes().all(is_tchar) => Self::Unread,
            name if UNREAD.contains(&name) => Self::Unread,
            name if TELLING.iter().any(|part| name.contains(part)) => Self::Unread,
            _ => Self::Nothing,
        }
    }
}

/// What the request may be told that we take: what the client takes of it. Not zstd, which we take
/// off but not as it streams.
pub(in crate::masking) fn is_asked_for(name: &str) -> bool {
    let asked = [Coding::Brotli, Coding::Deflate, Coding::Gzip].map(CodingName::Coding);
    asked.contains(&CodingName::of(name)) || name.eq_ignore_ascii_case("identity")
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_coding_or_nothing() {
        let nothing = ["", "identity", "aws-chunked", "UTF-8", "none", "binary", "8bit", "7bit"];
        for name in nothing.iter().chain(&["base64", "null", "x", "utf8", "amz-1.0", "*"]) {
            assert_eq!(CodingName::of(name), CodingName::Nothing, "{name}");
        }
        for name in UNREAD.iter().chain(&["pack200-gzip", "bzip2", "GZIP2", "x-zstd", "gzip;q=1"]) {
            assert_eq!(CodingName::of(name), CodingName::Unread, "{name}");
        }
        for name in ["gzip br", "\"gzip\"", "gzip\tbr"] {
            assert_eq!(CodingName::of(name), CodingName::Unread, "{name}");
        }
        assert_eq!(CodingName::of("X-GZip"), CodingName::Coding(Coding::Gzip));
    }
}
