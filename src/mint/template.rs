//! Filling the templates of `grant = "http"`: the one place where its secrets become bytes.
//!
//! Values go into the leaves of a tree or the values of a form and are escaped on their way, so
//! none can end a string, begin a member or be read as a template again.

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

use super::MintError;
use super::endpoint::Form;
use super::json::wipe;
use crate::config::{self, HttpBody, HttpTemplate, JsonTemplate, Part};
use crate::model::ask::{Variable, Who};
use crate::model::secret::Secret;

/// What templates may name, at one mint.
pub(super) struct Values<'a> {
    pub(super) secrets: BTreeMap<&'a str, Secret>,
    pub(super) client_id: &'a str,
    session: String,
    uid: String,
    /// The token that is to end.
    token: Option<&'a Secret>,
}

impl<'a> Values<'a> {
    /// For one client, who has all that the grant's templates name. Without a route that asked
    /// policy first it may lack something, and nothing is left out or made up in its place.
    pub(super) fn new(
        grant: &'a config::Http,
        secrets: BTreeMap<&'a str, Secret>,
        who: &Who,
    ) -> Result<Self, MintError> {
        let lacks = |name: &Variable| who.value(*name).is_none();
        if let Some(name) = grant.call.variables().into_iter().find(lacks) {
            return Err(MintError::Client(name));
        }
        let value = |name| who.value(name).unwrap_or_default();
        let (session, uid) = (value(Variable::Session), value(Variable::Uid));
        Ok(Self { secrets, client_id: &grant.client_id, session, uid, token: None })
    }

    /// To end a token, whoever it was for: config has checked that nothing names the client.
    pub(super) fn ending(
        grant: &'a config::Http,
        secrets: BTreeMap<&'a str, Secret>,
        token: &'a Secret,
    ) -> Self {
        let (session, uid) = (String::new(), String::new());
        Self { secrets, client_id: &grant.client_id, session, uid, token: Some(token) }
    }
}

impl Values<'_> {
    /// The text with everything filled in.
    pub(super) fn fill(&self, template: &HttpTemplate) -> Secret {
        let pieces: Vec<&[u8]> = (template.0.iter())
            .map(|part| match part {
                Part::ClientId => self.client_id.as_bytes(),
                // Config has checked that there is one.
                Part::Secret(name) => {
                    self.secrets.get(name.as_str()).map_or(&[][..], Secret::expose)
                }
                Part::Session => self.session.as_bytes(),
                Part::Text(text) => text.as_bytes(),
                Part::Token => self.token.map_or(&[][..], Secret::expose),
                Part::Uid => self.uid.as_bytes(),
            })
            .collect();
        // Into a buffer of just this size: one that grows leaves copies behind that nobody wipes.
        Secret::new(pieces.concat())
    }

    /// The body and its media type.
    pub(super) fn body(&self, body: &HttpBody) -> Option<(&'static str, Secret)> {
        match body {
            HttpBody::None => None,
            HttpBody::Form(pairs) => {
                let fill = |form: Form, (name, template): &(String, HttpTemplate)| {
                    form.secret(name, &self.fill(template))
                };
                let form = pairs.iter().fold(Form::empty(), fill);
                Some(("application/x-www-form-urlencoded", form.into_secret()))
            }
            HttpBody::Json(template) => {
                let mut value = self.json(template);
                let mut text = Zeroizing::new(Vec::with_capacity(room(&value)));
                // A tree of strings, numbers and names of strings is always JSON.
                serde_json::to_writer(&mut *text, &value).ok();
                wipe(&mut value);
                Some(("application/json", Secret::new(std::mem::take(&mut *text))))
            }
        }
    }

    fn json(&self, template: &JsonTemplate) -> Value {
        match template {
            JsonTemplate::Array(list) => list.iter().map(|item| self.json(item)).collect(),
            JsonTemplate::Object(map) => {
                map.iter().map(|(name, item)| (name.clone(), self.json(item))).collect()
            }
            JsonTemplate::Plain(value) => value.clone(),
            // Secrets are printable ASCII, and the rest is text already.
            JsonTemplate::Text(text) => {
                Value::String(String::from_utf8_lossy(self.fill(text).expose()).into_owned())
            }
        }
    }
}

/// More than its JSON takes: six bytes for each character, and the marks around.
fn room(value: &Value) -> usize {
    16 + match value {
        Value::String(text) => 6 * text.len(),
        Value::Array(list) => list.iter().map(room).sum(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| 8 + 6 * name.len() + room(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(secret: &str, body: &HttpBody) -> String {
        let secrets = BTreeMap::from([("k", Secret::new(secret))]);
        let (session, uid) = ("ci".to_owned(), "7".to_owned());
        let values = Values { secrets, client_id: "{secret.k}", session, uid, token: None };
        String::from_utf8(values.body(body).unwrap().1.expose().to_vec()).unwrap()
    }

    fn text(template: &str) -> JsonTemplate {
        JsonTemplate::Text(HttpTemplate::parse(template).unwrap())
    }

    #[test]
    fn values_cannot_break_out() {
        let json = HttpBody::Json(JsonTemplate::Object(vec![
            ("key".into(), text("a{secret.k}b")),
            ("id".into(), text("{client_id}{session}{uid}")),
            ("n".into(), JsonTemplate::Plain(1.into())),
        ]));
        let body = filled("\",\"admin\":true,\"x\":\"{uid}\\", &json);
        let back: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(back.as_object().unwrap().len(), 3, "{body}");
        assert_eq!(back["key"], "a\",\"admin\":true,\"x\":\"{uid}\\b");
        assert_eq!(back["id"], "{secret.k}ci7", "what is filled in is no template");
        let form = HttpBody::Form(vec![("key".into(), HttpTemplate::parse("{secret.k}").unwrap())]);
        assert_eq!(filled("a&b=c d", &form), "key=a%26b%3Dc+d");
    }

    proptest! {
        #[test]
        fn any_secret_arrives_as_one_string(secret in "[ -~]{1,64}") {
            let body = filled(&secret, &HttpBody::Json(text("{secret.k}")));
            prop_assert_eq!(serde_json::from_str::<String>(&body).unwrap(), secret);
        }
    }
}
