//! Policies as people write them, and as they should not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::config::problem::{Problem, Severity};
use crate::config::{Config, PolicyFile, parse};
use crate::model::client::{Client, Parent, Process};
use crate::model::id::SessionName;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::policy::{Context, Permit, Policy, PolicyFacts, Refusal};

const CONFIG: &str = r#"
config_version = 1
[policy]
cedar = ["x.cedar"]
[credentials.one]
grant = "client-credentials"
token_url = "https://idp.example/token"
client_id = "x"
client_secret = { env = "X" }
[credentials.old]
grant = "static-key"
secret = { env = "Y" }
[[routes]]
name = "orders"
host = "api.example.com"
credential = "one"
path = ["/orders/**", "/projects/**"]
[[routes]]
name = "also-orders"
host = "api.example.com"
credential = "one"
path = ["/orders/shared/**"]
[[routes]]
name = "billing"
host = "*.billing.example"
credential = "old"
"#;

const ALL: &str = "permit (principal, action, resource);";

fn config(files: &[(&str, &str)]) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    std::fs::write(at.join("x.cedar"), ALL).unwrap();
    let (mut config, _) =
        parse(&at.join("valetkey.toml"), CONFIG.as_bytes(), "/state".into()).unwrap();
    let file = |(name, text): &(&str, &str)| PolicyFile { path: name.into(), text: (*text).into() };
    config.policies.files = files.iter().map(file).collect();
    config
}

fn compile(text: &str) -> Result<Policy, Vec<Problem>> {
    Policy::compile(&config(&[("/p/x.cedar", text)])).map(|(policy, _)| policy)
}

/// One request, in plain words.
struct Ask<'a> {
    client: Client,
    method: &'a str,
    url: &'a str,
    process: Option<Process>,
    project: Option<&'a str>,
    reason: Option<&'a str>,
    age: Option<u64>,
    now: SystemTime,
    unfound: bool,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        let client = Client { uid: Some(1000), user: Some("ann".into()), ..Client::default() };
        // Monday, 1970-01-05 at nine.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4 * 86400 + 9 * 3600);
        let url = "api.example.com/orders/1";
        let (process, project, reason, age) = (None, None, None, None);
        Self { client, method: "GET", url, process, project, reason, age, now, unfound: false }
    }
}

impl Ask<'_> {
    fn of(&self, policy: &Policy) -> Result<Permit, Refusal> {
        let (host, path) = self.url.split_at(self.url.find('/').unwrap());
        policy.decide(PolicyFacts {
            client: &self.client,
            allowed: None,
            method: &Method::from_bytes(self.method.as_bytes()).unwrap(),
            target: &Target::parse(host, Some(443)).unwrap(),
            path,
            bound: None,
            context: Context {
                process: self.process.as_ref(),
                process_unfound: self.unfound,
                project: self.project,
                reason: self.reason,
                session_age: self.age.map(Duration::from_secs),
                now: self.now,
            },
        })
    }

    /// Whether it may pass; the policies that decided.
    fn said(&self, text: &str) -> (bool, Vec<String>) {
        let listed = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect();
        match self.of(&compile(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))) {
            Ok(permit) => (true, listed(permit.policies().unwrap())),
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::PolicyDenied, "{text}");
                (false, listed(&refusal.policies.unwrap()))
            }
        }
    }
}

fn process(exe: &str) -> Option<Process> {
    let parent = Some(Parent { pid: 1, exe: Some("/usr/bin/bash".into()) });
    let command = vec![exe.into(), "--flag".into()];
    Some(Process { pid: 7, exe: Some(exe.into()), command, parent })
}

/// With everything permitted but for one condition of a forbid.
fn permits(ask: &Ask<'_>, condition: &str) -> bool {
    let text = format!("{ALL}\n@id(\"no\")\nforbid (principal, action, resource) {condition};");
    let (permits, ids) = ask.said(&text);
    assert_eq!(ids, if permits { ["x.cedar:1"] } else { ["no"] }, "{condition}");
    permits
}

#[test]
fn what_policies_see_of_a_request() {
    let ask = || Ask {
        process: process("/usr/bin/curl"),
        project: Some("/home/ann/shop"),
        reason: Some("ticket 7"),
        age: Some(60),
        ..Ask::default()
    };
    for (condition, otherwise) in [
        (
            "unless { principal == Valetkey::Client::\"uid:1000\" }",
            "unless { principal == Valetkey::Client::\"uid:1\" }",
        ),
        (
            "unless { principal in Valetkey::User::\"ann\" }",
            "unless { principal in Valetkey::User::\"bob\" }",
        ),
        (
            "unless { principal has user && principal.user == \"ann\" }",
            "unless { principal has session }",
        ),
        (
            "unless { principal has uid && principal.uid == 1000 }",
            "unless { principal has uid && principal.uid > 1000 }",
        ),
        (
            "unless { action == Valetkey::Action::\"GET\" }",
            "unless { action in Valetkey::Action::\"write\" }",
        ),
        (
            "unless { resource in Valetkey::Credential::\"one\" }",
            "unless { resource in Valetkey::Credential::\"old\" }",
        ),
        (
            "unless { resource.host == \"api.example.com\" && resource.port == 443 }",
            "unless { resource.host like \"*.billing.example\" }",
        ),
        ("when { resource.standing }", "unless { resource.standing }"),
        ("unless { context.path like \"/orders/*\" }", "when { context.path like \"/orders/*\" }"),
        ("unless { context.method == \"GET\" }", "unless { context.method == \"POST\" }"),
        (
            "unless { context has exe && context.exe == \"/usr/bin/curl\" }",
            "unless { context has exe && context.exe == \"/bin/sh\" }",
        ),
        (
            "unless { context has command && context.command like \"* --flag\" }",
            "unless { context has command && context.command == \"x\" }",
        ),
        (
            "unless { context has parent && context.parent like \"*/bash\" }",
            "unless { context has parent && context.parent like \"*/zsh\" }",
        ),
        (
            "unless { context has project && context.project like \"/home/ann/*\" }",
            "unless { context has project && context.project like \"/home/bob/*\" }",
        ),
        (
            "unless { context has reason && context.reason like \"ticket *\" }",
            "unless { context has reason && context.reason == \"\" }",
        ),
        ("when { context.session_age > 3600 }", "when { context.session_age > 59 }"),
        ("unless { context.hour >= 9 && context.hour < 17 }", "unless { context.hour >= 10 }"),
        ("unless { context.weekday <= 5 }", "when { context.weekday == 1 }"),
    ] {
        assert!(permits(&ask(), condition), "{condition}");
        assert!(!permits(&ask(), otherwise), "{otherwise}");
    }
}

#[test]
fn what_is_not_known_is_not_there() {
    let ask = Ask::default();
    for name in ["exe", "command", "parent", "project", "reason"] {
        assert!(!permits(&ask, &format!("unless {{ context has {name} }}")), "{name}");
    }
    // Whoever has no session has none that is young.
    assert!(!permits(&ask, "when { context.session_age > 1000000 }"));
    let session = Client { session: Some(SessionName::new("ci")), ..Client::default() };
    let ask = Ask { client: session, age: Some(0), ..Ask::default() };
    assert!(permits(&ask, "unless { principal in Valetkey::Session::\"ci\" }"));
    assert!(permits(&ask, "when { principal has uid || principal has user }"));
}

#[test]
fn cedar_permits_nothing_by_itself() {
    let only = "@id(\"a\") permit (principal, action, resource == Valetkey::Route::\"orders\");";
    assert_eq!(Ask::default().said(only), (true, vec!["a".to_owned()]));
    let billing = Ask { url: "x.billing.example/", ..Ask::default() };
    assert_eq!(billing.said(only), (false, vec![]));
    let (_, warnings) = Policy::compile(&config(&[("/p/x.cedar", only)])).unwrap();
    let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["policy-permits-nothing"; 2]);
    assert!(warnings[0].message.contains("`also-orders`"), "{warnings:?}");
    assert_eq!(Ask::default().said("// none\n"), (false, vec![]));
    let reads = "permit (principal, action in Valetkey::Action::\"read\", resource);";
    for (method, permitted) in
        [("GET", true), ("OPTIONS", true), ("POST", false), ("MKCOL", false), ("NEW", false)]
    {
        let ask = Ask { method, ..Ask::default() };
        assert_eq!(ask.said(reads).0, permitted, "{method}");
    }
    let new = "permit (principal, action in Valetkey::Action::\"write\", resource) when { context.method == \"NEW\" };";
    assert!(Ask { method: "NEW", ..Ask::default() }.said(new).0);
}

#[test]
fn every_route_that_matches_is_asked() {
    let text = format!(
        "{ALL} @id(\"no\") forbid (principal, action, resource == Valetkey::Route::\"orders\");"
    );
    let shared = Ask { url: "api.example.com/orders/shared/1", ..Ask::default() };
    // The record would name the other.
    assert_eq!(shared.said(&text), (false, vec!["no".to_owned()]));
    let billing = Ask { url: "x.billing.example/", ..Ask::default() };
    assert!(billing.said(&text).0);
}

#[test]
fn a_path_has_one_form_and_no_way_round() {
    let text = format!(
        "{ALL} forbid (principal, action, resource) when {{ context.path like \"/orders/secret*\" }};"
    );
    for url in [
        "orders/secret",
        "orders/secret/",
        "orders/%73ecret",
        "orders//secret",
        "orders;x/secret",
        "orders%2Fsecret",
    ] {
        let url = format!("api.example.com/{url}");
        let ask = Ask { url: &url, ..Ask::default() };
        // A path that no route matches gets no token, and is nobody's to forbid.
        let permit = ask.of(&compile(&text).unwrap());
        assert!(permit.is_err() || !permit.unwrap().injects(), "{url}");
    }
    // As one segment, which is how GitLab names a project.
    let project = Ask { url: "api.example.com/projects/a%2Fb%25/x/", ..Ask::default() };
    let is = |path: &str| {
        format!("permit (principal, action, resource) when {{ context.path == \"{path}\" }};")
    };
    assert!(project.said(&is("/projects/a%2Fb%25/x")).0);
    assert!(!project.said(&is("/projects/a/b%/x")).0, "that nobody permits it so is not heard");
    let forbid = format!(
        "{ALL} @id(\"no\") forbid (principal, action, resource) when {{ context.path like \"/projects/a/*\" }};"
    );
    assert_eq!(project.said(&forbid), (false, vec!["no".to_owned()]), "what forbids it so is");
}

#[test]
fn what_cannot_be_evaluated_denies() {
    // It validates, and overflows.
    let text = format!(
        "{ALL} @id(\"odd\") forbid (principal, action, resource) when {{ context.session_age + 1 < 0 }};"
    );
    assert_eq!(Ask::default().said(&text), (false, vec!["odd".to_owned()]));
    assert!(Ask { age: Some(1), ..Ask::default() }.said(&text).0);
}

#[test]
fn the_first_hint_of_those_that_forbid_is_told() {
    let text = format!(
        "{ALL} @id(\"b\") @hint(\"second\") forbid (principal, action, resource) when {{ context.hour < 24 }};
        @id(\"a\") @hint(\"ask Ann\") forbid (principal, action, resource) unless {{ context has project }};"
    );
    let refusal = Ask::default().of(&compile(&text).unwrap()).unwrap_err();
    assert_eq!(refusal.hint.as_deref(), Some("ask Ann"));
    assert_eq!(refusal.route.unwrap().as_str(), "orders");
}

#[test]
fn only_where_a_policy_looks_at_the_process_it_is_waited_for() {
    let target = |host: &str| Target::parse(host, Some(443)).unwrap();
    let text = format!(
        "{ALL} forbid (principal, action, resource == Valetkey::Route::\"orders\") unless {{ context[\"\\u{{65}}xe\"] like \"*\" }};"
    );
    // Cedar refuses to guess at an attribute, however it is spelt.
    assert_eq!(compile(&text).unwrap_err()[0].code, "policy-invalid");
    let text = format!(
        "{ALL} forbid (principal, action, resource == Valetkey::Route::\"orders\") unless {{ context has \"\\u{{65}}xe\" }};"
    );
    let policy = compile(&text).unwrap();
    assert!(policy.needs_process(&target("api.example.com")));
    assert!(!policy.needs_process(&target("x.billing.example")));
    assert!(!compile(ALL).unwrap().needs_process(&target("api.example.com")));
}

/// A text, and of its first problem: code, line and column, what the message and the hint hold.
type Wrong = (&'static str, &'static str, (usize, usize), &'static str, &'static str);

const WRONG: &[Wrong] = &[
    ("permit (principal, action, resource)", "policy-syntax", (1, 37), "unexpected end", "Cedar"),
    (
        "permit (principal, action, resource);\n  forbid (principle, action, resource);",
        "policy-syntax",
        (2, 11),
        "principle",
        "",
    ),
    (
        "// é\n@note(\"é\") permit (principal, action, resource) when { context.ext == 1 };",
        "policy-invalid",
        (2, 56),
        "ext",
        "exe",
    ),
    (
        "permit (principal in User::\"ann\", action, resource);",
        "policy-invalid",
        (1, 22),
        "User",
        "Valetkey::User",
    ),
    (
        "permit (principal, action == Valetkey::Action::\"GETS\", resource);",
        "policy-invalid",
        (1, 30),
        "GETS",
        "",
    ),
    (
        "permit (principal, action, resource) when { context.exe == \"x\" };",
        "policy-invalid",
        (1, 45),
        "exe",
        "has",
    ),
    (
        "permit (principal, action, resource == Valetkey::Route::\"ordrs\");",
        "unknown-route",
        (1, 57),
        "ordrs",
        "`orders`",
    ),
    (
        "permit (principal, action, resource in Valetkey::Credential::\"noe\");",
        "unknown-credential",
        (1, 62),
        "noe",
        "`one`",
    ),
    ("@id(\"a b\")\npermit (principal, action, resource);", "policy-id", (1, 1), "@id", "@id("),
    (
        "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
        "policy-id",
        (2, 1),
        "`a`",
        "@id",
    ),
    ("@hint(\"a\\nb\") permit (principal, action, resource);", "policy-hint", (1, 1), "@hint", ""),
    (
        "@approve(\"per-session\") permit (principal, action, resource);",
        "policy-approval",
        (1, 1),
        "@approve",
        "take",
    ),
    (
        "permit (principal == ?principal, action, resource);",
        "policy-template",
        (1, 22),
        "template",
        "?principal",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for &(text, code, place, message, hint) in WRONG {
        let problems = compile(text).map(drop).unwrap_err();
        let first = &problems[0];
        assert_eq!(
            (first.code, first.line, first.column),
            (code, place.0, place.1),
            "{text}: {problems:?}"
        );
        assert_eq!(first.file, std::path::Path::new("/p/x.cedar"));
        let of_first = |p: &&Problem| (p.code, p.line, p.column) == (code, place.0, place.1);
        assert_eq!(problems.iter().filter(of_first).count(), 1, "{text}: said once");
        assert!(first.message.contains(message), "{text}: {first}");
        assert!(first.hint.contains(hint), "{text}: {first}");
    }
    // All at once, of all files.
    let two = config(&[
        ("/p/a.cedar", "forbid (x);"),
        ("/p/b.cedar", "permit (principal, action, resource) when { context.no };"),
    ]);
    let problems = Policy::compile(&two).map(drop).unwrap_err();
    assert!(problems.iter().filter(|p| p.severity == Severity::Error).count() >= 2, "{problems:?}");
}

/// Upstreams there are that fold case.
#[test]
fn a_method_is_not_hidden_by_its_spelling() {
    let no_delete = format!(
        "{ALL} @id(\"no\") forbid (principal, action == Valetkey::Action::\"DELETE\", resource);"
    );
    let no_read = format!(
        "{ALL} @id(\"no\") forbid (principal, action in Valetkey::Action::\"read\", resource) when {{ context.hour < 24 }};"
    );
    for (text, method, permitted) in [
        (&no_delete, "DELETE", false),
        (&no_delete, "delete", false),
        (&no_delete, "Delete", false),
        (&no_delete, "post", true),
        (&no_read, "get", false),
        // What stands for no method is no group either.
        (&no_read, "read", true),
        (&no_read, "write", true),
    ] {
        let ask = Ask { method, ..Ask::default() };
        assert_eq!(ask.said(text).0, permitted, "{method}: {text}");
    }
}

/// A route that matches only where `%2F` is a slash is heard as well.
#[test]
fn a_slash_is_not_hidden_by_its_spelling() {
    let text = format!(
        "{ALL} @id(\"no\") forbid (principal, action, resource == Valetkey::Route::\"also-orders\");"
    );
    for url in ["orders/shared/x", "orders/shared%2Fx", "orders/shared%252Fx", "orders%2Fshared/x"]
    {
        let url = format!("api.example.com/{url}");
        let permit = Ask { url: &url, ..Ask::default() }.of(&compile(&text).unwrap());
        assert!(permit.is_err() || !permit.unwrap().injects(), "{url}");
    }
}

#[test]
fn whose_process_is_not_found_is_denied_where_a_policy_looks_at_it() {
    let looks = format!(
        "{ALL} forbid (principal, action, resource == Valetkey::Route::\"orders\") when {{ context has exe && context.exe == \"/bin/x\" }};"
    );
    let ask = Ask { unfound: true, ..Ask::default() };
    let refusal = ask.of(&compile(&looks).unwrap()).unwrap_err();
    assert!(refusal.hint.unwrap().contains("repeat"), "it fails closed, and says so");
    assert!(ask.said(ALL).0, "where none looks it makes no difference");
    assert!(Ask { url: "x.billing.example/", ..ask }.said(&looks).0);
}

/// Cedar walks a policy by recursion: what could take more stack than there is is not read.
#[test]
fn no_policy_is_too_deep_to_be_judged() {
    let forbid = |condition: &str| {
        format!("{ALL}\nforbid (principal, action, resource) when {{ {condition} }};")
    };
    let row = |terms: usize| vec!["context.path == \"/zz\""; terms].join(" || ");
    let nested =
        |depth: usize| format!("{}context.hour == 1{}", "(".repeat(depth), ")".repeat(depth));
    for (condition, code) in [
        (row(100), None),
        (row(600), None),
        (row(2_000), Some("policy-too-large")),
        (nested(50), None),
        (nested(100), Some("policy-too-deep")),
        (nested(50_000), Some("policy-too-deep")),
        (format!("context.hour == {}1", "1+".repeat(5_000)), Some("policy-too-deep")),
        (format!("context{} == 1", ".a".repeat(5_000)), Some("policy-too-deep")),
        (format!("{}true", "if true then true else ".repeat(600)), Some("policy-too-deep")),
    ] {
        let text = forbid(&condition);
        let compiled = compile(&text).map_err(|problems| problems[0].code);
        match code {
            Some(code) => assert_eq!(compiled.map(drop), Err(code), "{}", condition.len()),
            None => assert!(Ask::default().of(&compiled.unwrap()).is_ok(), "{}", condition.len()),
        }
    }
}

/// Some of these in some files are the same policy in any order and any files.
fn some() -> impl Strategy<Value = String> {
    let scope = select(vec![
        "principal, action, resource",
        "principal, action in Valetkey::Action::\"write\", resource",
        "principal, action, resource == Valetkey::Route::\"orders\"",
        "principal, action, resource in Valetkey::Credential::\"one\"",
        "principal in Valetkey::User::\"ann\", action == Valetkey::Action::\"GET\", resource",
        "principal is Valetkey::Client, action, resource is Valetkey::Route in Valetkey::Credential::\"old\"",
    ]);
    let condition = select(vec![
        "",
        "when { context.hour > 12 }",
        "when { context has exe }",
        "unless { context.path like \"/orders/1*\" }",
        "when { context.session_age + 1 > 0 }",
    ]);
    let effect = select(vec!["permit", "permit", "forbid"]);
    (effect, scope, condition)
        .prop_map(|(effect, scope, condition)| format!("{effect} ({scope}) {condition};"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn order_and_files_make_no_difference(
        texts in proptest::collection::vec(some(), 1..7),
        order in proptest::collection::vec(any::<Index>(), 7),
        hour in 0u64..24,
        known in any::<bool>(),
        method in select(vec!["GET", "POST", "MKCOL", "NEW", "get", "post", "read", "write"]),
        url in select(vec!["api.example.com/orders/1", "api.example.com/orders/shared/2", "a.billing.example/"]),
    ) {
        let named: Vec<_> = texts.iter().enumerate().map(|(at, text)| format!("@id(\"p{at}\") {text}\n")).collect();
        let mut other = named.clone();
        for (at, index) in order.iter().enumerate().take(other.len()) {
            let with = index.index(other.len());
            other.swap(at, with);
        }
        let ask = Ask {
            method,
            url,
            process: known.then(|| process("/usr/bin/curl")).flatten(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600),
            ..Ask::default()
        };
        let said = |policy: &Policy| match ask.of(policy) {
            Ok(permit) => (true, permit.policies().cloned(), None),
            Err(refusal) => (false, refusal.policies, refusal.hint),
        };
        let one = compile(&named.concat()).unwrap();
        let (first, rest) = other.split_at(other.len() / 2);
        let (first, rest) = (first.concat(), rest.concat());
        let two = config(&[("/p/a.cedar", &first), ("/p/b.cedar", &rest)]);
        let two = Policy::compile(&two).map(|(policy, _)| policy).unwrap();
        prop_assert_eq!(said(&one), said(&two));
        // What was decided by scopes beforehand is what Cedar says that is asked each time: a condition that always
        // holds takes the shortcuts away.
        let asked = |text: &String| text.replace(";\n", " when { context.hour >= 0 };\n");
        let each: String = named.iter().map(asked).collect();
        prop_assert_eq!(said(&one).0, said(&compile(&each).unwrap()).0);
    }
}
