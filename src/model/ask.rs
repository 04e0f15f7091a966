//! [`Ask`]: what exactly a route asks of a credential, [`Wants`]: what that comes to, and
//! [`Template`]: text that names the client.
//!
//! An ask stands in the key of a token's slot: two requests share a token only where all of it is
//! equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::Client;
use super::id::SessionName;

/// How a route narrows its credential. Empty: as the credential says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask {
    /// Scopes (RFC 6749 section 3.3).
    pub scope: Vec<String>,
    /// Audiences (RFC 8693 section 2.1, or `aud` of a token signed here).
    pub audience: Vec<String>,
    /// Resources, absolute URIs (RFC 8707).
    pub resource: Vec<String>,
    /// Further claims of a token that is signed here.
    pub claims: BTreeMap<String, Template>,
    /// Whether a template of the route or its credential names the client.
    pub personal: bool,
    /// The client that templates name; only where `personal`.
    pub who: Option<Who>,
}

/// What templates can say of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    pub session: Option<SessionName>,
    /// The owner of its socket.
    pub uid: Option<u32>,
    pub user: Option<Arc<str>>,
}

impl Ask {
    /// The same for one client: where no template names the client, all of them ask alike.
    pub fn of(self: &Arc<Self>, client: &Client) -> Arc<Self> {
        if !self.personal {
            return Arc::clone(self);
        }
        let who = Who::from(client);
        Arc::new(Self { who: Some(who), ..(**self).clone() })
    }

    /// Whether this is what a route asks, for whichever client.
    pub fn is_of(&self, route: &Self) -> bool {
        // By name, so that what is added to an ask is thought of here.
        let Self { scope, audience, resource, claims, personal, who: _ } = self;
        *scope == route.scope
            && *audience == route.audience
            && *resource == route.resource
            && *claims == route.claims
            && *personal == route.personal
    }
}

/// All that a token is asked for: what the route says, and where it is silent what its credential
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Scopes; empty: the issuer's default.
    pub scope: Vec<String>,
    /// Audiences; empty: the issuer's default.
    pub audience: Vec<String>,
    /// Resources; empty: the issuer's default.
    pub resource: Vec<String>,
    /// Claims of a token that is signed here, as written in config.
    pub claims: BTreeMap<String, String>,
}

impl Wants {
    /// Whether a token that was asked for so may say more than one that is asked for as `now`: by a
    /// word that is no longer asked for, by the issuer's default where words are named now, or by
    /// other claims.
    pub fn exceeds(&self, now: &Self) -> bool {
        let more = |then: &[String], now: &[String]| {
            !now.is_empty() && (then.is_empty() || then.iter().any(|word| !now.contains(word)))
        };
        more(&self.scope, &now.scope)
            || more(&self.audience, &now.audience)
            || more(&self.resource, &now.resource)
            || self.claims != now.claims
    }
}

impl From<&Client> for Who {
    fn from(client: &Client) -> Self {
        Self { session: client.session.clone(), uid: client.uid, user: client.user.clone() }
    }
}

/// Text with `{session}`, `{uid}`, `{user}` and `{client}` in it; `{{` and `}}` are the braces
/// themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Text(String),
    Name(Variable),
}

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// `session:NAME`, `uid:N` or `anyone`: every client has one.
    Client,
    Session,
    User,
    Uid,
}

impl Variable {
    /// The word that stands for it between braces: `session`, `uid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Session => "session",
            Self::User => "user",
            Self::Uid => "uid",
        }
    }

    /// Whether there is anything to write for this client.
    pub fn is_known_of(self, client: &Client) -> bool {
        match self {
            Self::Client => true,
            Self::Session => client.session.is_some(),
            Self::User => client.user.is_some(),
            Self::Uid => client.uid.is_some(),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Client, Self::Session, Self::User, Self::Uid]
            .into_iter()
            .find(|v| v.as_str() == name)
    }
}

/// Why text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("a brace stands alone; a literal one is written twice")]
    Brace,
    /// A name that means nothing here.
    #[error("a template knows {{session}}, {{uid}}, {{user}} and {{client}}")]
    Name,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').ok_or(TemplateError::Brace)?;
            if brace == "}" {
                return Err(TemplateError::Brace);
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Name(Variable::parse(name).ok_or(TemplateError::Name)?));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// What it names of the client.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(*name),
            Part::Text(_) => None,
        })
    }

    /// The text for this client. `Err`: the name that the client has nothing for. Nothing is left
    /// out or made up in its place: the text is what an upstream's log blames.
    pub fn fill(&self, who: &Who) -> Result<String, Variable> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Name(name) => text.push_str(&who.value(*name).ok_or(*name)?),
            }
        }
        Ok(text)
    }
}

impl Who {
    /// What a template gets for a name.
    pub fn value(&self, name: Variable) -> Option<String> {
        match name {
            Variable::Client => Some(match (&self.session, self.uid) {
                (Some(session), _) => format!("session:{session}"),
                (None, Some(uid)) => format!("uid:{uid}"),
                (None, None) => "anyone".to_owned(),
            }),
            Variable::Session => self.session.as_ref().map(ToString::to_string),
            Variable::User => self.user.as_deref().map(str::to_owned),
            Variable::Uid => self.uid.map(|uid| uid.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Who {
        Who { session: Some(SessionName::new("ci")), uid: Some(7), user: Some("ada".into()) }
    }

    #[test]
    fn templates_name_the_client() {
        let fill = |text: &str| Template::parse(text).unwrap().fill(&ada()).unwrap();
        assert_eq!(fill("{user}@{session} ({uid}) {client}"), "ada@ci (7) session:ci");
        assert_eq!(fill("{{user}} }}{{"), "{user} }{");
        assert_eq!(fill(""), "");
        let nobody = Template::parse("{client}").unwrap().fill(&Who::default());
        assert_eq!(nobody.as_deref(), Ok("anyone"));
        assert_eq!(
            Template::parse("x{user}").unwrap().fill(&Who::default()),
            Err(Variable::User),
            "nothing is made up"
        );
        for text in ["{client}", "{session}", "{user}", "{uid}"] {
            let template = Template::parse(text).unwrap();
            let name = template.variables().next().unwrap();
            for client in [Client::default(), Client { uid: Some(7), ..Client::default() }] {
                let filled = template.fill(&Who::from(&client));
                assert_eq!(filled.is_ok(), name.is_known_of(&client), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_template() {
        for text in ["{", "}", "{user", "user}", "{{user}", "a}b{user}"] {
            assert_eq!(Template::parse(text), Err(TemplateError::Brace), "{text}");
        }
        for text in ["{}", "{token}", "{ user }", "{User}", "{env.HOME}"] {
            assert_eq!(Template::parse(text), Err(TemplateError::Name), "{text}");
        }
    }

    #[test]
    fn only_a_personal_ask_differs_by_client() {
        let ask = Arc::new(Ask::default());
        let client = Client { uid: Some(7), ..Client::default() };
        assert!(Arc::ptr_eq(&ask, &ask.of(&client)));
        let ask = Arc::new(Ask { personal: true, ..Ask::default() });
        assert_eq!(ask.of(&client).who.as_ref().unwrap().uid, Some(7));
        assert_ne!(ask.of(&client), ask.of(&Client::default()));
        assert!(ask.of(&client).is_of(&ask) && !ask.is_of(&Ask::default()));
        let scoped = Ask { scope: vec!["a".into()], personal: true, ..Ask::default() };
        assert!(!ask.of(&client).is_of(&scoped));
    }

    #[test]
    fn what_was_asked_for_exceeds_what_is_asked_for_less() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (then, now, exceeds) in [
            ("a b", "a b", false),
            ("a b", "b a", false),
            ("a b", "a", true),
            ("a", "a b", false),
            ("a", "b", true),
            ("", "a", true),
            ("a", "", false),
            ("", "", false),
        ] {
            let of = |scope: &str, audience: &str, resource: &str| Wants {
                scope: words(scope),
                audience: words(audience),
                resource: words(resource),
                claims: BTreeMap::new(),
            };
            for (old, new) in [
                (of(then, "", ""), of(now, "", "")),
                (of("", then, ""), of("", now, "")),
                (of("", "", then), of("", "", now)),
            ] {
                assert_eq!(old.exceeds(&new), exceeds, "`{then}` and then `{now}`");
            }
        }
        let claims = |value: &str| Wants {
            claims: BTreeMap::from([("role".to_owned(), value.to_owned())]),
            ..Wants::default()
        };
        assert!(claims("admin").exceeds(&claims("guest")));
        assert!(claims("admin").exceeds(&Wants::default()));
        assert!(!claims("admin").exceeds(&claims("admin")));
    }
}
