//! What a server asks for in `WWW-Authenticate`: challenges, several in a field and several fields
//! (RFC 9110 sections 11.2 and 11.6.1). A parameter is found only where it is one: `error="x"`
//! inside of a quoted string is text.
//!
//! What is malformed ends no reading: it is passed over, and what stands behind it is read.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge: `Bearer realm="a", error="invalid_token"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Whether its scheme is this one, in any case.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// What a parameter says, unquoted; its name in any case. Of two with one name the first
    /// counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of an answer, in order: the first [`MAX_CHALLENGES`] of them.
pub fn challenges(headers: &HeaderMap) -> impl Iterator<Item = Challenge> {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter();
    fields.flat_map(|field| parse(&String::from_utf8_lossy(field.as_bytes()))).take(MAX_CHALLENGES)
}

/// The `error` of each challenge that has one (RFC 6750 section 3).
pub fn errors(headers: &HeaderMap) -> impl Iterator<Item = String> {
    challenges(headers).filter_map(|challenge| challenge.parameter("error").map(str::to_owned))
}

fn parse(field: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = Rest(field);
    while let Some(word) = rest.word() {
        if rest.takes('=') {
            let value = rest.value();
            // One in front of every scheme belongs to no challenge.
            if let Some(challenge) = found.last_mut()
                && challenge.parameters.len() < MAX_PARAMETERS
            {
                challenge.parameters.push((word.to_owned(), value));
            }
        } else if found.len() < MAX_CHALLENGES {
            rest.skip_token68();
            found.push(Challenge { scheme: word.to_owned(), ..Challenge::default() });
        } else {
            break;
        }
    }
    found
}

/// What is still to be read of a field.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The next token (RFC 9110 section 5.6.2), and what stands before it that is none.
    fn word(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches([' ', '\t', ',']);
            let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            if !word.is_empty() {
                return Some(word);
            }
            // A quoted string that is nobody's value is passed over whole, any other character by
            // itself.
            if self.0.starts_with('"') {
                self.value();
            } else {
                let mut characters = self.0.chars();
                characters.next()?;
                self.0 = characters.as_str();
            }
        }
    }

    /// Whether this is next, with white space around it, which is taken too.
    fn takes(&mut self, wanted: char) -> bool {
        let Some(rest) = self.0.trim_start_matches(SPACE).strip_prefix(wanted) else {
            return false;
        };
        self.0 = rest.trim_start_matches(SPACE);
        true
    }

    /// A quoted string without its quotes and escapes, or what stands up to white space or a comma.
    fn value(&mut self) -> String {
        let Some(quoted) = self.0.strip_prefix('"') else {
            let end = self.0.find([' ', '\t', ',']).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut characters = quoted.chars();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => value.extend(characters.next()),
                c => value.push(c),
            }
        }
        self.0 = characters.as_str();
        value
    }

    /// The one word that a scheme may have instead of parameters, `=` at its end: `Negotiate YII=`.
    fn skip_token68(&mut self) {
        let word = self.0.trim_start_matches(SPACE);
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let rest = word.trim_start_matches(is_token68);
        let behind = rest.trim_start_matches('=');
        let over = behind.trim_start_matches(SPACE);
        // A name stands before a `=`, or it is the next scheme; a token68 is all that its challenge
        // has.
        if word.len() < self.0.len()
            && rest.len() < word.len()
            && (over.is_empty() || over.starts_with(','))
        {
            self.0 = over;
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

const SPACE: [char; 2] = [' ', '\t'];
/// Challenges that are read of an answer: it has at most a few.
pub const MAX_CHALLENGES: usize = 64;
/// Parameters that are read of a challenge.
const MAX_PARAMETERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    /// `scheme name=value …`, challenges between ` | `.
    fn read(fields: &[&str]) -> String {
        let value = |field: &&str| HeaderValue::from_bytes(field.as_bytes()).unwrap();
        let headers: HeaderMap =
            fields.iter().map(|field| (WWW_AUTHENTICATE, value(field))).collect();
        let one = |challenge: Challenge| {
            let parameters = challenge.parameters.iter().map(|(n, v)| format!(" {n}={v}"));
            challenge.scheme.clone() + &parameters.collect::<String>()
        };
        challenges(&headers).map(one).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn parameters_are_found_where_they_are() {
        for (field, found) in [
            ("", ""),
            (" , ,", ""),
            ("Bearer", "Bearer"),
            ("Bearer realm=\"x\"", "Bearer realm=x"),
            (
                "Bearer realm=\"a, error=\\\"no\\\"\",error=yes",
                "Bearer realm=a, error=\"no\" error=yes",
            ),
            ("Bearer realm = \"x\" ,, Error\t=y", "Bearer realm=x Error=y"),
            ("Bearer realm=x error=y", "Bearer realm=x error=y"),
            ("Bearer error_uri=https://a/b?c=d, x=y", "Bearer error_uri=https://a/b?c=d x=y"),
            ("Bearer realm=\"caf\u{e9}\", x=y", "Bearer realm=caf\u{e9} x=y"),
            ("Bearer realm=\"open, error=no", "Bearer realm=open, error=no"),
            ("Bearer realm=\"\\", "Bearer realm="),
            ("Bearer x=", "Bearer"),
            ("Bearer x=, y=z", "Bearer y=z"),
            ("Bearer (\"error=no\") x=y", "Bearer x=y"),
            ("x=y, Bearer z=1", "Bearer z=1"),
            ("Negotiate", "Negotiate"),
            ("Negotiate a+/b==, Bearer x=y", "Negotiate | Bearer x=y"),
            ("Basic realm=x, NTLM, DPoP algs=\"ES256\"", "Basic realm=x | NTLM | DPoP algs=ES256"),
            ("Basic realm=x Bearer y=z", "Basic realm=x | Bearer y=z"),
        ] {
            assert_eq!(read(&[field]), found, "{field}");
        }
        assert_eq!(
            read(&["Bearer a=b", "c=d, DPoP", "NTLM"]),
            "Bearer a=b | DPoP | NTLM",
            "a field each"
        );
    }

    #[test]
    fn an_error_inside_of_a_text_is_none() {
        let errors = |field: &'static str| {
            let headers =
                HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(field))]);
            errors(&headers).collect::<Vec<_>>()
        };
        assert_eq!(
            errors(
                "Bearer error_description=\"see error=insufficient_scope\", error=\"invalid_token\""
            ),
            ["invalid_token"]
        );
        assert_eq!(errors("Bearer ERROR=a, error=b, DPoP error=\"c d\", Basic"), ["a", "c d"]);
    }

    #[test]
    fn names_in_any_case() {
        let challenge = parse("bearer Scope=\"a b\", scope=c").remove(0);
        assert!(challenge.is("Bearer") && !challenge.is("Bear"));
        assert_eq!(challenge.parameter("scope"), Some("a b"));
        assert_eq!(challenge.parameter("error"), None);
    }

    #[test]
    fn many_are_bounded() {
        assert_eq!(parse(&"a,".repeat(1000)).len(), MAX_CHALLENGES);
        let one = parse(&format!("Bearer {}", "a=b,".repeat(1000))).remove(0);
        assert_eq!(one.parameters.len(), MAX_PARAMETERS);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "([ -~\u{e9}]{0,12}|[a-c=\", \\\\]{0,12}){0,6}") {
            for challenge in parse(&text) {
                prop_assert!(!challenge.scheme.is_empty());
                prop_assert!(challenge.parameters.iter().all(|(name, _)| name.chars().all(is_token)));
            }
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[ -~]{0,40}", after in "[a-z]{1,5}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = parse(&format!("Bearer x=\"{quoted}\", {after}y=z"));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].parameter("x"), Some(value.as_str()));
            prop_assert_eq!(found[0].parameter(&format!("{after}y")), Some("z"));
        }
    }
}
