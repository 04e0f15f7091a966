//! Where the policies of a file begin, seen before Cedar reads it: it walks what it reads by
//! recursion, so nothing is given to it that could take more stack than there is.

use serde_json::Value;

/// The largest policy, in bytes.
const MAX_POLICY: usize = 16 * 1024;
/// Policies of one file.
const MAX_POLICIES: usize = 10_000;
/// Brackets within brackets.
const MAX_BRACKETS: usize = 64;
/// Levels of Cedar's JSON, of which each operator takes two: so many can be evaluated on any stack.
const MAX_LEVELS: usize = 100;
/// Room for the deepest policy of that size, in every pass of Cedar's, in a build for debugging. It
/// takes no memory that is not used.
pub(super) const STACK: usize = 256 * 1024 * 1024;

/// What there is too much of, and where, as an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    Brackets(usize),
    Bytes(usize),
    Policies(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Comment,
    Text,
    Policies,
}

/// The offset of each policy, in their order.
pub(super) fn outline(text: &str) -> Result<Vec<usize>, TooMuch> {
    let (mut starts, mut begun, mut depth) = (Vec::new(), None, 0_usize);
    let (mut within, mut escaped) = (Within::Policies, false);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match within {
            Within::Comment if *byte == b'\n' => within = Within::Policies,
            Within::Comment => continue,
            Within::Text if escaped => escaped = false,
            Within::Text => match byte {
                b'\\' => escaped = true,
                b'"' => within = Within::Policies,
                _ => {}
            },
            Within::Policies => {
                if *byte == b'/' && bytes.get(at + 1) == Some(&b'/') {
                    within = Within::Comment;
                    continue;
                }
                if begun.is_none() && !byte.is_ascii_whitespace() {
                    begun = Some(at);
                    starts.push(at);
                }
                match byte {
                    b'"' => within = Within::Text,
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    b';' => (begun, depth) = (None, 0),
                    _ => {}
                }
            }
        }
        if depth > MAX_BRACKETS {
            return Err(TooMuch::Brackets(at));
        }
        if let Some(start) = begun.filter(|start| at - start > MAX_POLICY) {
            return Err(TooMuch::Bytes(start));
        }
        if starts.len() > MAX_POLICIES {
            return Err(TooMuch::Policies(at));
        }
    }
    Ok(starts)
}

/// Whether a policy, in Cedar's JSON, can be evaluated on any stack.
pub(super) fn is_shallow(policy: &Value) -> bool {
    levels(policy, 0) <= MAX_LEVELS
}

fn levels(value: &Value, above: usize) -> usize {
    let deeper = |value| levels(value, above + 1);
    match value {
        Value::Array(list) => list.iter().map(deeper).max().unwrap_or(above),
        Value::Object(map) => map.values().map(deeper).max().unwrap_or(above),
        _ => above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_begin_where_no_text_and_no_comment_is() {
        let text = "// permit ;\n a; // \" b;\n\n@id(\"x;\\\";{((\")\nc(\"//\");d";
        let starts = outline(text).unwrap();
        let first: Vec<_> = starts.iter().map(|at| &text[*at..=*at]).collect();
        assert_eq!(first, ["a", "@", "d"]);
        assert_eq!(outline(""), Ok(vec![]));
    }

    #[test]
    fn too_much_is_found_where_it_is() {
        let deep = format!("a; {}", "(".repeat(MAX_BRACKETS + 1));
        assert_eq!(outline(&deep), Err(TooMuch::Brackets(3 + MAX_BRACKETS)));
        assert!(outline(&"(a);".repeat(1000)).is_ok());
        let long = format!("a;b{}", "x".repeat(MAX_POLICY + 1));
        assert_eq!(outline(&long), Err(TooMuch::Bytes(2)));
        assert_eq!(
            outline(&"a;".repeat(MAX_POLICIES + 1)),
            Err(TooMuch::Policies(2 * MAX_POLICIES))
        );
    }
}
