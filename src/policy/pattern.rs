//! Patterns of routes: hosts with one leading `*.` label, paths with `*` and `**`.
//!
//! Both are small enough that it can be proved at load whether two of them ever match the same
//! thing; that is what ambiguity rests on.

use std::borrow::Cow;
use std::fmt;

use super::path::RequestPath;
use crate::model::host::Host;

/// The host of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name and no other.
    Exact(Box<str>),
    /// Any name with exactly one label before this suffix.
    OneLabel(Box<str>),
}

impl HostPattern {
    /// Reads `api.example.com`, or `*.example.com` for the names one label below.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (wild, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.contains('*') {
            return Err("`*` stands for one whole label at the start of a host");
        }
        let Ok(Host::Name(name)) = Host::parse(rest) else {
            return Err(
                "a route's host is a DNS name in ASCII (write an international name as its `xn--` form), no address",
            );
        };
        if !wild {
            return Ok(Self::Exact(name.as_ref().into()));
        }
        if !name.contains('.') {
            return Err("a wildcard over a whole top-level domain is too wide");
        }
        Ok(Self::OneLabel(name.as_ref().into()))
    }

    /// The DNS subtree that a certificate authority must be able to sign for.
    pub fn subtree(&self) -> &str {
        match self {
            Self::Exact(name) | Self::OneLabel(name) => name,
        }
    }

    /// Whether it names this host.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::OneLabel(suffix) => {
                host.split_once('.').is_some_and(|(_, rest)| *rest == **suffix)
            }
        }
    }

    /// Whether some host matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::OneLabel(a), Self::OneLabel(b)) => a == b,
            (Self::Exact(name), Self::OneLabel(suffix))
            | (Self::OneLabel(suffix), Self::Exact(name)) => {
                name.split_once('.').is_some_and(|(_, rest)| rest == suffix.as_ref())
            }
        }
    }
}

/// As it was written, in canonical form.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::OneLabel(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// As it was written, decoded.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Any => f.write_str("/**")?,
                Part::Literal(text) => write!(f, "/{text}")?,
                Part::One => f.write_str("/*")?,
            }
        }
        if self.0.is_empty() { f.write_str("/") } else { Ok(()) }
    }
}

/// What to write in place of a URL, or of a name with more behind it.
pub(super) fn bare(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    HostPattern::parse(host).ok().filter(|_| host != text)?;
    let mut hint = format!("a host has neither scheme, port nor path: host = \"{host}\"");
    if !matches!(port, "" | "443") && port.parse::<u16>().is_ok() {
        hint.push_str(&format!(", port = {port}"));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    if !path.is_empty() && PathPattern::parse(&format!("{path}/**")).is_ok() {
        hint.push_str(&format!(", path = [\"{path}/**\"]"));
    }
    Some(hint)
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// `**`: any number of segments.
    Any,
    /// Exactly this segment, decoded.
    Literal(Box<str>),
    /// `*`: one segment that is not empty.
    One,
}

/// The path of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(Box<[Part]>);

impl PathPattern {
    /// Reads a glob like `/v1/**` or `/v1/*/items`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(['?', '#']) {
            return Err("a path pattern has no query or fragment");
        }
        let path = RequestPath::parse(text)
            .map_err(|_| "a path pattern starts with `/` and has no dot segments, backslashes or broken escapes")?;
        let mut parts = Vec::new();
        for segment in path.segments() {
            parts.push(match segment.as_ref() {
                "" => return Err("a path pattern has no empty segments"),
                "*" => Part::One,
                "**" => Part::Any,
                other if other.contains('*') => {
                    return Err("`*` and `**` stand for whole segments");
                }
                other if other.contains(';') => return Err("a path pattern has no `;parameters`"),
                other => Part::Literal(other.into()),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Self(parts.into()))
    }

    /// Whether its first segment is a literal one.
    pub fn begins_literally(&self) -> bool {
        matches!(self.0.first(), Some(Part::Literal(_)))
    }

    /// Whether it matches decoded segments.
    pub fn matches(&self, segments: &[Cow<'_, str>]) -> bool {
        matches(&self.0, segments)
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        overlaps(&self.0, &other.0)
    }
}

/// Glob matching with one point to go back to: the last `**`. Linear for real patterns, quadratic
/// at worst.
fn matches(pattern: &[Part], segments: &[Cow<'_, str>]) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while s < segments.len() {
        let here = match pattern.get(p) {
            Some(Part::Any) => {
                back = Some((p, s));
                p += 1;
                continue;
            }
            Some(Part::One) => !segments[s].is_empty(),
            Some(Part::Literal(text)) => **text == *segments[s],
            None => false,
        };
        if here {
            (p, s) = (p + 1, s + 1);
        } else if let Some((any, from)) = back {
            back = Some((any, from + 1));
            (p, s) = (any + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|part| *part == Part::Any)
}

/// Whether the two languages meet: a table over all pairs of suffixes, from the ends backwards.
fn overlaps(a: &[Part], b: &[Part]) -> bool {
    let width = b.len() + 1;
    let mut meet = vec![false; (a.len() + 1) * width];
    for i in (0..=a.len()).rev() {
        for j in (0..=b.len()).rev() {
            let at = |i: usize, j: usize| meet[i * width + j];
            meet[i * width + j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(Part::Any), _) if at(i + 1, j) => true,
                (_, Some(Part::Any)) if at(i, j + 1) => true,
                (Some(Part::Any), Some(_)) => at(i, j + 1),
                (Some(_), Some(Part::Any)) => at(i + 1, j),
                (Some(Part::Literal(x)), Some(Part::Literal(y))) => x == y && at(i + 1, j + 1),
                (Some(_), Some(_)) => at(i + 1, j + 1),
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
    }
    meet[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(RequestPath::parse(path).unwrap().segments())
    }

    #[test]
    fn paths_match() {
        for (pattern, text) in [
            ("/", "/"),
            ("/**", "/"),
            ("/**", "/a/b"),
            ("/v1/*", "/v1/a"),
            ("/v1/**", "/v1"),
            ("/a/**/z", "/a/z"),
            ("/a/**/z", "/a/b/z/z"),
            ("/v1/orders", "/v1/%6frders"),
            ("/v1/orders", "/v1/orders/"),
            ("/**/b/*", "/b/b/b"),
        ] {
            assert!(path(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/", "/a"),
            ("/v1/*", "/v1"),
            ("/v1/*", "/v1/a/b"),
            ("/v1/**", "/v2"),
            ("/a/*/z", "/a//z"),
            ("/V1", "/v1"),
        ] {
            assert!(!path(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in ["", "v1", "/v1/a*", "/a//b", "/..", "/a?b", "/a;b", "/%2e%2e"] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
        for text in [
            "*",
            "*.com",
            "a.*.b",
            "*a.example.com",
            "1.2.3.4",
            "[::1]",
            "b\u{fc}cher.example",
            "*.*.example.com",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_overlap() {
        let parse = |t| HostPattern::parse(t).unwrap();
        assert!(parse("a.example.com").overlaps(&parse("*.example.com")));
        assert!(!parse("a.b.example.com").overlaps(&parse("*.example.com")));
        assert!(!parse("example.com").overlaps(&parse("*.example.com")));
    }

    proptest! {
        #[test]
        fn what_both_match_overlaps(a in "(/(a|b|\\*|\\*\\*)){1,4}", b in "(/(a|b|\\*|\\*\\*)){1,4}", text in "(/(a|b|c)){0,5}") {
            let (a, b) = (PathPattern::parse(&a).unwrap(), PathPattern::parse(&b).unwrap());
            let text = format!("/{}", text.trim_start_matches('/'));
            let request = RequestPath::parse(&text).unwrap();
            if a.matches(request.segments()) && b.matches(request.segments()) {
                prop_assert!(a.overlaps(&b) && b.overlaps(&a));
            }
        }
    }
}
