//! From the files of a config to what each route asks: parsed, named, validated, and all that is
//! wrong with them at once.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::ask::{Actions, Kinds, Names};
use super::place::{Place, problem};
use super::schema::schema;
use super::select::{Known, Selection, by_id};
use crate::config::problem::{Problem, Problems, Severity};
use crate::config::wording::meant;
use crate::config::{Config, PolicyFile};
use crate::policy::route::{Action, Route};

/// The longest `@id` and `@hint`, in bytes: both stand in answers and records.
const MAX_ID: usize = 64;
const MAX_HINT: usize = 300;

/// What Cedar's messages are about, for who does not know it.
const SYNTAX: &str = "the language is Cedar: docs.cedarpolicy.com/policies/syntax-policy.html";
const NAMES: &str = "`valetkey policy schema` prints what there is to say a policy about; all names begin with `Valetkey::`";

/// A policy of a file.
struct Read<'a> {
    known: Known,
    file: &'a PolicyFile,
    place: Place,
}

/// Gives each route the policies that it asks. Nothing is asked where the config names none.
pub(in crate::policy) fn asked(config: &Config, routes: &mut [Route], problems: &mut Problems) {
    if !config.policies.are_asked() {
        return;
    }
    let (Some(kinds), Some(actions)) = (Kinds::new(), Actions::new()) else { return };
    let mut found = Vec::new();
    let mut read = Vec::new();
    for file in &config.policies.files {
        read.extend(policies(file, &mut found));
    }
    distinct(&read, &mut found);
    for one in &read {
        named(one, &kinds, config, &mut found);
    }
    validate(&read, &mut found);
    let is_whole = found.iter().all(|problem| problem.severity == Severity::Warning);
    problems.extend(found);
    let mut all: Vec<Known> = read.into_iter().map(|read| read.known).collect();
    // Which file one stands in makes no difference, nor where.
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let (kinds, actions, policies) = (Arc::new(kinds), Arc::new(actions), Arc::new(by_id(&all)));
    let mut selection = Selection::of(&all);
    for route in routes.iter_mut().filter(|route| route.action != Action::Deny) {
        let names = Names::of(route, config, &kinds, &actions, &policies);
        let asked = selection.route(names, route);
        if is_whole && asked.never_permits() {
            let message =
                format!("no policy permits what route `{}` does: all of it is denied", route.name);
            let hint = "Cedar permits nothing by itself: as in permit (principal, action, resource == Valetkey::Route::\"NAME\"); or without the route, for all";
            problems.warn(route.line, "policy-permits-nothing", message, hint);
        }
        route.asked = Some(asked);
    }
}

/// The policies of one file, in their order.
fn policies<'a>(file: &'a PolicyFile, problems: &mut Vec<Problem>) -> Vec<Read<'a>> {
    let mut error = |place, code, message: String, hint: &str| {
        problems.push(problem(file, place, Severity::Error, code, message, hint.to_owned()));
    };
    let start = Place { line: 1, column: 1 };
    let set = match file.text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(errors) => {
            for one in errors.iter() {
                let place = Place::of(one, &file.text).unwrap_or(start);
                error(place, "policy-syntax", one_line(one), SYNTAX);
            }
            return Vec::new();
        }
    };
    for template in set.templates() {
        let place = file.text.find('?').map_or(start, |at| Place::at(&file.text, at));
        let message = format!("a template decides nothing by itself: `{}`", template.id());
        error(
            place,
            "policy-template",
            message,
            "name whom and what it is about in place of `?principal` and `?resource`",
        );
    }
    let mut all: Vec<Policy> = set.policies().cloned().collect();
    // Cedar numbers them as they stand there.
    all.sort_by_key(|policy| {
        let number = policy.id().to_string();
        number.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX)
    });
    let mut read = Vec::new();
    let mut from = 0;
    for policy in all {
        let text = policy.to_string();
        let at = file.text.get(from..).and_then(|rest| rest.find(&text)).map(|at| from + at);
        from = at.map_or(from, |at| at + text.len());
        let place = at.map_or(start, |at| Place::at(&file.text, at));
        if policy.annotation("approve").is_some() {
            let hint =
                "take `@approve` out: without it, this policy would permit what nobody approved";
            error(
                place,
                "policy-approval",
                "`@approve` is not known to this version".to_owned(),
                hint,
            );
            continue;
        }
        let hint = policy.annotation("hint").map(str::to_owned);
        if hint.as_ref().is_some_and(|hint| hint.len() > MAX_HINT || !is_line(hint)) {
            let message = format!("`@hint` is one line of at most {MAX_HINT} bytes");
            error(place, "policy-hint", message, "say what the client is to do, in one sentence");
            continue;
        }
        let id = match policy.annotation("id") {
            Some(id) if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(is_of_id) => {
                let message =
                    format!("`@id` is no name: at most {MAX_ID} letters, digits and `._-`");
                error(place, "policy-id", message, "as in @id(\"orders-office-hours\")");
                continue;
            }
            Some(id) => id.to_owned(),
            None => unnamed(file, place, &read),
        };
        let known = Known::new(&policy, id.into(), hint.map(Into::into));
        read.push(Read { known, file, place });
    }
    read
}

/// What a policy without an `@id` goes by: its file and line, and where another begins on that,
/// the column.
fn unnamed(file: &PolicyFile, place: Place, before: &[Read<'_>]) -> String {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let Place { line, column } = place;
    if before.iter().any(|read| read.place.line == line) {
        return format!("{name}:{line}:{column}");
    }
    format!("{name}:{line}")
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Two of one name could not be told apart in a record.
fn distinct(read: &[Read<'_>], problems: &mut Vec<Problem>) {
    let mut seen = HashMap::<&str, &Read<'_>>::new();
    for one in read {
        let Some(other) = seen.insert(&one.known.id, one) else { continue };
        let message = format!(
            "two policies are called `{}`: the other stands in {}:{}",
            one.known.id,
            other.file.path.display(),
            other.place.line
        );
        let hint = "give each an @id of its own".to_owned();
        problems.push(problem(one.file, one.place, Severity::Error, "policy-id", message, hint));
    }
}

/// Routes and credentials that there are not: a policy about them would never apply.
fn named(read: &Read<'_>, kinds: &Kinds, config: &Config, problems: &mut Vec<Problem>) {
    let literals: Vec<EntityUid> = read.known.policy.entity_literals();
    for literal in literals {
        let name = literal.id().unescaped();
        let routes = || config.routes.iter().map(|route| route.value.name.as_str());
        let credentials = || config.credentials.keys().map(|name| name.as_str());
        let (code, what, hint) = if kinds.is_route(&literal) && !routes().any(|known| known == name)
        {
            ("unknown-route", "route", meant(name, routes()))
        } else if kinds.is_credential(&literal) && !credentials().any(|known| known == name) {
            ("unknown-credential", "credential", meant(name, credentials()))
        } else {
            continue;
        };
        let message = format!("a policy names a {what} that there is not: `{name}`");
        let hint = format!("{hint}add the {what} or correct the name");
        let from = offset(read);
        let at = read.file.text.get(from..).and_then(|rest| rest.find(&format!("\"{name}\"")));
        let place = at.map_or(read.place, |at| Place::at(&read.file.text, from + at));
        problems.push(problem(read.file, place, Severity::Error, code, message, hint));
    }
}

/// Where the policy begins in its file.
fn offset(read: &Read<'_>) -> usize {
    let lines = read.file.text.split_inclusive('\n').take(read.place.line - 1);
    lines.map(str::len).sum()
}

/// By the schema: types, attributes that may be missing, names.
fn validate(read: &[Read<'_>], problems: &mut Vec<Problem>) {
    let Ok((schema, _)) = Schema::from_cedarschema_str(&schema()) else { return };
    let validator = Validator::new(schema);
    let mut of_id = HashMap::<PolicyId, &Read<'_>>::new();
    let mut set = PolicySet::new();
    for one in read {
        // Of two with one name the second is a problem already.
        if set.add(one.known.policy.clone()).is_ok() {
            of_id.insert(one.known.policy.id().clone(), one);
        }
    }
    let result = validator.validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        if let Some(read) = of_id.get(error.policy_id()) {
            problems.push(found(error, read, Severity::Error, "policy-invalid"));
        }
    }
    for warning in result.validation_warnings() {
        if let Some(read) = of_id.get(warning.policy_id()) {
            problems.push(found(warning, read, Severity::Warning, "policy-doubtful"));
        }
    }
}

fn found<D: Diagnostic>(
    finding: &D,
    read: &Read<'_>,
    severity: Severity,
    code: &'static str,
) -> Problem {
    let place = Place::of(finding, &read.file.text).unwrap_or(read.place);
    let hint = finding.help().map(|help| format!("{help}; ")).unwrap_or_default();
    let message = one_line(finding);
    // It says which policy by a name that Cedar gave it.
    let told = format!("for policy `{}`, ", read.known.id);
    let message = message.strip_prefix(&told).unwrap_or(&message);
    let message = format!("{message} (policy `{}`)", read.known.id);
    problem(read.file, place, severity, code, message, format!("{hint}{NAMES}"))
}

/// What it says, in one line.
fn one_line(finding: &impl Diagnostic) -> String {
    finding.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
