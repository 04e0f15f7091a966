//! `grant = "http"`, checked: an exchange that config describes, and the templates in it.

use std::collections::BTreeMap;

use http::{HeaderName, Method, Uri};

use super::SecretSource;
use super::json::Pointer;
use crate::model::ask::Variable;

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub call: HttpCall,
    /// What is sent to end a token.
    pub revoke: Option<HttpCall>,
    /// By the names that templates use.
    pub secrets: BTreeMap<String, SecretSource>,
    /// What stands for `{client_id}`.
    pub client_id: String,
    /// Where the token stands in the answer.
    pub token: Pointer,
    /// Where its end stands: RFC 3339, or a number of seconds.
    pub expires: Pointer,
    /// Where something stands in an answer that is a refusal.
    pub error: Option<Pointer>,
}

impl Eq for Http {}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpCall {
    pub method: Method,
    /// https, or http to a loopback address.
    pub url: Uri,
    /// None that frames the message.
    pub headers: Vec<(HeaderName, HttpTemplate)>,
    pub body: HttpBody,
}

/// A body, filled at each mint.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpBody {
    /// `application/x-www-form-urlencoded`
    Form(Vec<(String, HttpTemplate)>),
    /// `application/json`
    Json(JsonTemplate),
    None,
}

/// A JSON value whose texts are templates. What is filled in becomes a string and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonTemplate {
    Array(Vec<JsonTemplate>),
    /// By name; names are no templates.
    Object(Vec<(String, JsonTemplate)>),
    /// A number, a boolean or null.
    Plain(serde_json::Value),
    Text(HttpTemplate),
}

/// A text with places in it. Nothing that is filled in is read as a template again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTemplate(pub Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `{client_id}`
    ClientId,
    /// `{secret.NAME}`
    Secret(String),
    /// `{session}`: the session's name. A client without one is refused.
    Session,
    Text(String),
    /// `{token}`: the one that is to end; in `revoke` alone.
    Token,
    /// `{uid}`: the user's number. A client without one is refused.
    Uid,
}

impl HttpCall {
    /// What its templates name of the client.
    pub fn variables(&self) -> Vec<Variable> {
        let named = self.parts().into_iter().filter_map(|part| match part {
            Part::Session => Some(Variable::Session),
            Part::Uid => Some(Variable::Uid),
            Part::ClientId | Part::Secret(_) | Part::Text(_) | Part::Token => None,
        });
        named.collect()
    }

    /// Whether it names the token that is to end.
    pub fn names_token(&self) -> bool {
        self.parts().contains(&&Part::Token)
    }

    fn parts(&self) -> Vec<&Part> {
        let mut parts: Vec<_> = self.headers.iter().flat_map(|(_, text)| &text.0).collect();
        match &self.body {
            HttpBody::Form(pairs) => parts.extend(pairs.iter().flat_map(|(_, text)| &text.0)),
            HttpBody::Json(template) => template.parts(&mut parts),
            HttpBody::None => {}
        }
        parts
    }
}

impl JsonTemplate {
    fn parts<'a>(&'a self, parts: &mut Vec<&'a Part>) {
        match self {
            Self::Array(list) => list.iter().for_each(|item| item.parts(parts)),
            Self::Object(map) => map.iter().for_each(|(_, item)| item.parts(parts)),
            Self::Plain(_) => {}
            Self::Text(text) => parts.extend(&text.0),
        }
    }
}

impl HttpTemplate {
    /// `text {name} {{ }}`; a name that is unknown, or a brace alone, is an error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let Some(end) = rest.find('}').filter(|_| brace == "{") else {
                return Err("a template holds a brace alone".to_owned());
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Self::place(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    fn place(name: &str) -> Result<Part, String> {
        match name {
            "client_id" => Ok(Part::ClientId),
            "session" => Ok(Part::Session),
            "token" => Ok(Part::Token),
            "uid" => Ok(Part::Uid),
            _ => match name.strip_prefix("secret.") {
                Some(secret) if !secret.is_empty() => Ok(Part::Secret(secret.to_owned())),
                // The name is not shown: a literal secret may stand between braces by mistake.
                _ => Err("a template names something unknown".to_owned()),
            },
        }
    }

    /// The secrets that it names.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_are_strict() {
        let parse = |text: &str| HttpTemplate::parse(text).map(|template| template.0);
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parse("a").unwrap(), [text("a")]);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(
            parse("a{{b}}{secret.k}{client_id}{{{uid}").unwrap(),
            [text("a{b}"), Part::Secret("k".into()), Part::ClientId, text("{"), Part::Uid]
        );
        for bad in ["{", "}", "{a", "a}", "{}", "{secret.}", "{env.HOME}", "{ uid }", "{{a}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[{}a.é]{0,24}") {
            let _ = HttpTemplate::parse(&text);
        }
    }
}
