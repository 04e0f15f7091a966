//! One question to Cedar: may this client do this to this route now?

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, PolicyId, Request, RestrictedExpression,
};
use http::Method;

use super::Verdict;
use super::schema::{READ, WRITE};
use super::select::Sets;
use crate::config::{Config, Grant};
use crate::model::client::Client;
use crate::policy::facts::PolicyFacts;
use crate::policy::route::{Action, Route};

/// What stands for one route in Cedar's world.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) route: EntityUid,
    /// `None`: it puts no token in.
    pub(super) credential: Option<EntityUid>,
    standing: bool,
    pub(super) actions: Arc<Actions>,
    policies: Arc<Told>,
    kinds: Arc<Kinds>,
}

/// So many policies are named in a record and an answer.
const MOST_NAMED: usize = 16;

/// What each policy goes by, and its hint, by what Cedar calls it.
pub(super) type Told = HashMap<PolicyId, (Arc<str>, Option<Arc<str>>)>;

/// The names of entity types.
#[derive(Debug)]
pub(super) struct Kinds {
    action: EntityTypeName,
    client: EntityTypeName,
    credential: EntityTypeName,
    route: EntityTypeName,
    session: EntityTypeName,
    user: EntityTypeName,
}

/// All methods.
#[derive(Debug)]
pub(super) struct Actions {
    known: Vec<(Method, MethodAction)>,
    kind: EntityTypeName,
    write: EntityUid,
}

/// One method, and whether it reads or writes.
#[derive(Clone, Debug)]
pub(super) struct MethodAction {
    pub(super) uid: EntityUid,
    pub(super) group: EntityUid,
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn kind(name: &str) -> Option<EntityTypeName> {
    format!("Valetkey::{name}").parse().ok()
}

impl Kinds {
    /// `None` where Cedar does not take our names for names.
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            action: kind("Action")?,
            client: kind("Client")?,
            credential: kind("Credential")?,
            route: kind("Route")?,
            session: kind("Session")?,
            user: kind("User")?,
        })
    }

    pub(super) fn is_action(&self, name: &EntityUid) -> bool {
        *name.type_name() == self.action
    }

    pub(super) fn is_credential(&self, name: &EntityUid) -> bool {
        *name.type_name() == self.credential
    }

    pub(super) fn is_route(&self, name: &EntityUid) -> bool {
        self.are_routes(name.type_name())
    }

    pub(super) fn are_routes(&self, kind: &EntityTypeName) -> bool {
        *kind == self.route
    }
}

impl Actions {
    pub(super) fn new() -> Option<Self> {
        let kind = kind("Action")?;
        let (read, write) = (uid(&kind, "read"), uid(&kind, "write"));
        let of = |names: &[&str], group: &EntityUid| {
            let action = |name: &&str| {
                let action = MethodAction { uid: uid(&kind, name), group: group.clone() };
                Some((name.parse::<Method>().ok()?, action))
            };
            names.iter().filter_map(action).collect::<Vec<_>>()
        };
        let known = [of(&READ, &read), of(&WRITE, &write)].concat();
        Some(Self { known, kind, write })
    }

    pub(super) fn of(&self, method: &Method) -> Cow<'_, MethodAction> {
        match self.known.iter().find(|(known, _)| known == method) {
            Some((_, action)) => Cow::Borrowed(action),
            None => {
                // Two of these are names of groups.
                let name = match method.as_str() {
                    name @ ("read" | "write") => format!("({name})"),
                    name => name.to_owned(),
                };
                let (uid, group) = (uid(&self.kind, &name), self.write.clone());
                Cow::Owned(MethodAction { uid, group })
            }
        }
    }
}

impl Names {
    pub(super) fn of(
        route: &Route,
        config: &Config,
        kinds: &Arc<Kinds>,
        actions: &Arc<Actions>,
        policies: &Arc<Told>,
    ) -> Self {
        let credential = match &route.action {
            Action::Inject(credential, _) => Some(credential),
            Action::Deny | Action::Pass => None,
        };
        let grant = credential.and_then(|name| Some(&config.credentials.get(name)?.grant));
        Self {
            route: uid(&kinds.route, route.name.as_str()),
            credential: credential.map(|name| uid(&kinds.credential, name.as_str())),
            standing: matches!(grant, Some(Grant::StaticKey(_))),
            actions: Arc::clone(actions),
            policies: Arc::clone(policies),
            kinds: Arc::clone(kinds),
        }
    }

    fn resource(&self, facts: &PolicyFacts<'_>) -> Option<Entity> {
        let attributes = HashMap::from([
            text("host", &facts.target.host.text()),
            number("port", facts.target.port.into()),
            ("standing".to_owned(), RestrictedExpression::new_bool(self.standing)),
        ]);
        Entity::new(self.route.clone(), attributes, self.credential.iter().cloned().collect()).ok()
    }

    fn principal(&self, client: &Client) -> Option<Entity> {
        let mut attributes = HashMap::new();
        let mut groups = HashSet::new();
        let user = match (&client.user, client.uid) {
            (Some(user), _) => Some(Cow::Borrowed(&**user)),
            (None, Some(uid)) => Some(Cow::Owned(format!("uid:{uid}"))),
            (None, None) => None,
        };
        if let Some(user) = user {
            groups.insert(uid(&self.kinds.user, &user));
            attributes.extend([text("user", &user)]);
        }
        if let Some(session) = &client.session {
            groups.insert(uid(&self.kinds.session, session.as_str()));
            attributes.extend([text("session", session.as_str())]);
        }
        attributes.extend(client.uid.map(|uid| number("uid", uid.into())));
        let name = uid(&self.kinds.client, &client.key().to_string());
        Entity::new(name, attributes, groups).ok()
    }

    /// Whether it is permitted, and which policies say so.
    fn verdict<'a>(&self, permits: bool, deciding: impl Iterator<Item = &'a PolicyId>) -> Verdict {
        let mut told: Vec<_> = deciding.filter_map(|id| self.policies.get(id)).collect();
        told.sort();
        told.dedup();
        let policies = told.iter().take(MOST_NAMED).map(|(id, _)| Arc::clone(id)).collect();
        match permits {
            true => Verdict::Permit { policies },
            false => {
                let hint = told.iter().find_map(|(_, hint)| hint.clone());
                Verdict::Forbid { policies, hint }
            }
        }
    }
}

fn text(name: &str, text: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_string(text.to_owned()))
}

fn number(name: &str, number: i64) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_long(number))
}

fn context(facts: &PolicyFacts<'_>, path: &str) -> Option<Context> {
    let seen = &facts.context;
    let (hour, weekday) = seen.hour_and_weekday();
    let mut pairs = vec![
        text("path", path),
        text("method", facts.method.as_str()),
        number("session_age", seen.session_age()),
        number("hour", hour),
        number("weekday", weekday),
    ];
    pairs.extend(seen.texts().map(|(name, value)| text(name, &value)));
    Context::from_pairs(pairs).ok()
}

/// What these policies say of it. Of those that forbid, one that Cedar cannot evaluate denies.
pub(super) fn ask(
    sets: &Sets,
    names: &Names,
    route: &Route,
    facts: &PolicyFacts<'_>,
    path: &str,
) -> Verdict {
    debug_assert_eq!(names.route.id().unescaped(), route.name.as_str());
    // Texts, numbers and a truth are values to Cedar, whatever they are.
    let Some((request, entities)) = question(names, facts, path) else {
        return Verdict::Forbid { policies: Arc::default(), hint: None };
    };
    let ask = |set| Authorizer::new().is_authorized(&request, set, &entities);
    if let Some(response) = sets.merged.as_ref().map(ask)
        && response.decision() == Decision::Allow
        && response.diagnostics().errors().next().is_none()
    {
        return names.verdict(true, response.diagnostics().reason());
    }
    let response = ask(&sets.all);
    let diagnostics = response.diagnostics();
    let forbids =
        |id: &&PolicyId| sets.all.policy(id).is_none_or(|policy| policy.effect() == Effect::Forbid);
    let failed = diagnostics.errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    });
    let failed: Vec<_> = failed.filter(forbids).collect();
    if !failed.is_empty() {
        return names.verdict(false, failed.into_iter());
    }
    names.verdict(response.decision() == Decision::Allow, diagnostics.reason())
}

fn question(names: &Names, facts: &PolicyFacts<'_>, path: &str) -> Option<(Request, Entities)> {
    let (client, resource) = (names.principal(facts.client)?, names.resource(facts)?);
    let MethodAction { uid: action, group } = names.actions.of(facts.method).into_owned();
    let (who, what) = (client.uid(), resource.uid());
    let method = Entity::new_no_attrs(action.clone(), HashSet::from([group]));
    let entities = Entities::from_entities([client, resource, method], None).ok()?;
    Some((Request::new(who, action, what, context(facts, path)?, None).ok()?, entities))
}
