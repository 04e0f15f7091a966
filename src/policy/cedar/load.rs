//! From the files of a config to what each route asks: parsed, named, validated, and all that is
//! wrong with them at once.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::ask::{Actions, Kinds, Names};
use super::merge;
use super::outline::{STACK, TooMuch, outline};
use super::place::{LineStarts, Place, problem};
use super::schema::schema_of;
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
const SHORTER: &str =
    "write a row of alternatives as [\"a\", \"b\"].contains(…), or as several policies";
const NAMES: &str = "`valetkey policy schema` prints what there is to say a policy about; all names begin with `Valetkey::`";

/// A policy of a file.
struct Read<'a> {
    known: Known,
    file: &'a PolicyFile,
    /// Where it begins, as an offset.
    begin: usize,
    place: Place,
}

/// Gives each route the policies that it asks. Nothing is asked where the config names none.
pub(in crate::policy) fn asked(config: &Config, routes: &mut [Route], problems: &mut Problems) {
    if !config.policies.are_asked() {
        return;
    }
    let done = std::thread::scope(|scope| {
        let deep = std::thread::Builder::new().name("policies".into()).stack_size(STACK);
        let load = || load(config, routes, problems);
        deep.spawn_scoped(scope, load).map(|thread| thread.join().is_ok())
    });
    match done {
        Ok(true) => {}
        Ok(false) => problems.error(0, "policy-invalid", "Cedar broke off", "please report it"),
        Err(error) => {
            let message = format!("there is no thread to read policies on: {error}");
            problems.error(0, "policy-invalid", message, "give the process more memory or threads");
        }
    }
}

fn load(config: &Config, routes: &mut [Route], problems: &mut Problems) {
    let (Some(kinds), Some(actions)) = (Kinds::new(), Actions::new()) else {
        return problems.error(
            0,
            "policy-invalid",
            "Cedar takes no name of ours",
            "please report it",
        );
    };
    let mut found = Vec::new();
    let mut read = Vec::new();
    for file in &config.policies.files {
        read.extend(policies(file, &mut found));
    }
    distinct(&read, &mut found);
    for one in &read {
        named(one, &kinds, config, &mut found);
    }
    validate(&read, &kinds, &mut found);
    let is_whole = found.iter().all(|problem| problem.severity == Severity::Warning);
    problems.extend(found);
    let mut all: Vec<Known> = read.into_iter().map(|read| read.known).collect();
    // Which file one stands in makes no difference, nor where.
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let (kinds, actions, policies) = (Arc::new(kinds), Arc::new(actions), Arc::new(by_id(&all)));
    let mut selection = Selection::of(&all, &actions, &kinds);
    for route in routes.iter_mut().filter(|route| route.action != Action::Deny) {
        let names = Names::of(route, config, &kinds, &actions, &policies);
        let asked = selection.route(names);
        if is_whole && asked.never_permits(route) {
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
    let lines = LineStarts::of(&file.text);
    let starts = match outline(&file.text) {
        Ok(starts) => starts,
        Err(much) => {
            let (at, code, message) = match much {
                TooMuch::Brackets(at) => (at, "policy-too-deep", "too many brackets in brackets"),
                TooMuch::Bytes(at) => (at, "policy-too-large", "a policy is larger than 16 KiB"),
                TooMuch::Policies(at) => (at, "policy-too-large", "more than 10,000 policies"),
            };
            error(lines.place(at), code, message.to_owned(), SHORTER);
            return Vec::new();
        }
    };
    let set = match file.text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(errors) => {
            for one in errors.iter() {
                let place = lines.of_finding(one).unwrap_or(start);
                error(place, "policy-syntax", one_line(one), SYNTAX);
            }
            return Vec::new();
        }
    };
    // Cedar numbers them as they stand there.
    let begins = |id: &PolicyId| {
        let number = id.to_string();
        let number = number.trim_start_matches(|c: char| !c.is_ascii_digit());
        starts.get(number.parse().unwrap_or(usize::MAX)).copied().unwrap_or_default()
    };
    for template in set.templates() {
        let begin = begins(template.id());
        let slot = file.text[begin..].find("?principal").or(file.text[begin..].find("?resource"));
        let place = lines.place(begin + slot.unwrap_or_default());
        let hint = "name whom and what it is about in place of `?principal` and `?resource`";
        error(place, "policy-template", "a template decides nothing by itself".to_owned(), hint);
    }
    let mut all: Vec<(usize, &Policy)> =
        set.policies().map(|policy| (begins(policy.id()), policy)).collect();
    all.sort_by_key(|(begin, _)| *begin);
    let mut read: Vec<Read<'_>> = Vec::new();
    for (begin, policy) in all {
        let place = lines.place(begin);
        match known(policy, || unnamed(file, place, &read)) {
            Ok(known) => read.push(Read { known, file, begin, place }),
            Err((code, message, hint)) => error(place, code, message, hint),
        }
    }
    read
}

/// One policy by its annotations; else the code, what is wrong, and what to do.
fn known(
    policy: &Policy,
    unnamed: impl FnOnce() -> String,
) -> Result<Known, (&'static str, String, &'static str)> {
    let Some(asked) = merge::balanced(policy) else {
        return Err(("policy-too-deep", "a policy is nested too deep".to_owned(), SHORTER));
    };
    if policy.annotation("approve").is_some() {
        let hint = "take `@approve` out: without it, this policy would permit what nobody approved";
        return Err((
            "policy-approval",
            "`@approve` is not known to this version".to_owned(),
            hint,
        ));
    }
    let hint = policy.annotation("hint");
    if hint.is_some_and(|hint| hint.len() > MAX_HINT || !is_line(hint)) {
        let message = format!("`@hint` is one line of at most {MAX_HINT} bytes");
        return Err(("policy-hint", message, "say what the client is to do, in one sentence"));
    }
    let id = match policy.annotation("id") {
        Some(id) if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(is_of_id) => {
            let message = format!("`@id` is no name: at most {MAX_ID} letters, digits and `._-`");
            return Err(("policy-id", message, "as in @id(\"orders-office-hours\")"));
        }
        Some(id) => id.to_owned(),
        None => unnamed(),
    };
    Ok(Known::new(policy, &asked, id.into(), hint.map(Into::into)))
}

/// What a policy without an `@id` goes by: its file and line, and where another begins on that,
/// the column.
fn unnamed(file: &PolicyFile, place: Place, before: &[Read<'_>]) -> String {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let odd = |c: char| !(c.is_ascii() && is_of_id(c as u8));
    let name = name.replace(odd, "_");
    let Place { line, column } = place;
    if before.last().is_some_and(|read| read.place.line == line) {
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
        let at = read.file.text[read.begin..].find(&format!("\"{name}\""));
        let place =
            at.map_or(read.place, |at| LineStarts::of(&read.file.text).place(read.begin + at));
        problems.push(problem(read.file, place, Severity::Error, code, message, hint));
    }
}

/// By the schema: types, attributes that may be missing, names.
fn validate(read: &[Read<'_>], kinds: &Kinds, problems: &mut Vec<Problem>) {
    let literals: Vec<EntityUid> =
        read.iter().flat_map(|read| read.known.policy.entity_literals()).collect();
    let mut methods: Vec<_> =
        literals.iter().filter(|it| kinds.is_action(it)).map(|it| it.id().unescaped()).collect();
    methods.sort_unstable();
    methods.dedup();
    let Ok((schema, _)) = Schema::from_cedarschema_str(&schema_of(&methods)) else {
        // Of every set, for none was validated.
        problems.extend(read.first().map(|read| {
            let (message, hint) =
                ("Cedar does not take our schema".into(), "please report it".into());
            problem(read.file, read.place, Severity::Error, "policy-invalid", message, hint)
        }));
        return;
    };
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
    let mut once = |problem: Problem| {
        // Cedar tries each policy with each method, and says the same of each.
        let key = |it: &Problem| (it.line, it.column, it.code);
        let said = |it: &Problem| it.file == problem.file && key(it) == key(&problem);
        if !problems.iter().any(said) {
            problems.push(problem);
        }
    };
    for error in result.validation_errors() {
        if let Some(read) = of_id.get(error.policy_id()) {
            once(found(error, read, Severity::Error, "policy-invalid"));
        }
    }
    for warning in result.validation_warnings() {
        if let Some(read) = of_id.get(warning.policy_id()) {
            once(found(warning, read, Severity::Warning, "policy-doubtful"));
        }
    }
}

fn found<D: Diagnostic>(
    finding: &D,
    read: &Read<'_>,
    severity: Severity,
    code: &'static str,
) -> Problem {
    let place = LineStarts::of(&read.file.text).of_finding(finding).unwrap_or(read.place);
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
