//! [`Pointer`]: where something stands in a JSON document (RFC 6901).

use std::fmt;

/// A JSON pointer that was checked at load.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer(Box<str>);

impl Pointer {
    /// `/a/0/b~1c`; the whole document (an empty pointer) is no place for a token.
    pub fn parse(text: &str) -> Option<Self> {
        let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        (text.starts_with('/') && escapes).then(|| Self(text.into()))
    }

    /// One that the program itself names.
    pub fn known(text: &'static str) -> Self {
        Self(text.into())
    }

    /// As `serde_json::Value::pointer` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_checked() {
        for good in ["/a", "/a/0", "/a~1b/~0", "/"] {
            assert!(Pointer::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a", "a/b", "/~", "/a~2", "#/a"] {
            assert!(Pointer::parse(bad).is_none(), "{bad}");
        }
    }
}
