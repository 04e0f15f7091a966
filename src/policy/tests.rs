//! Decisions, on small configs.

use std::path::{Path, PathBuf};

use http::Method;
use proptest::prelude::*;

use super::{AtConnect, Policy, PolicyFacts};
use crate::config;
use crate::model::ask::Who;
use crate::model::client::Client;
use crate::model::id::{RouteName, SessionName};
use crate::model::reason::Reason;
use crate::model::target::Target;

const HEAD: &str = r#"
config_version = 1
[credentials.one]
grant = "static-key"
secret = { env = "S1" }
[credentials.two]
grant = "static-key"
secret = { env = "S2" }
"#;

fn compile(routes: &str) -> Result<Policy, Vec<&'static str>> {
    let text = format!("{HEAD}{routes}");
    let (config, _) =
        config::parse(Path::new("/v.toml"), text.as_bytes(), PathBuf::from("/s")).unwrap();
    Policy::compile(&config)
        .map(|(policy, _)| policy)
        .map_err(|p| p.iter().map(|p| p.code).collect())
}

fn route(name: &str, host: &str, rest: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\nhost = \"{host}\"\n{rest}\n")
}

fn target(text: &str) -> Target {
    Target::parse(text, None).unwrap()
}

fn unknown() -> crate::policy::Context<'static> {
    crate::policy::Context::unknown(std::time::SystemTime::UNIX_EPOCH)
}

fn decide(policy: &Policy, method: Method, path: &str) -> Result<Option<String>, Reason> {
    decide_as(policy, &Client::default(), method, path)
}

fn decide_as(
    policy: &Policy,
    client: &Client,
    method: Method,
    path: &str,
) -> Result<Option<String>, Reason> {
    let target = target("api.example.com:443");
    let facts = PolicyFacts {
        client,
        allowed: None,
        method: &method,
        target: &target,
        path,
        bound: None,
        context: unknown(),
    };
    let permit = policy.decide(facts).map_err(|refusal| refusal.reason)?;
    Ok(permit.injects().then(|| permit.route().unwrap().name.to_string()))
}

/// SSH beside the API of the same host: never decrypted, and a route's own port never tunnelled.
#[test]
fn ports_that_the_config_names_are_tunnelled() {
    let ports = "[proxy]\ntunnel_ports = [22, 443]\n";
    let policy = compile(&(ports.to_owned() + &route("a", "api.example.com", ""))).unwrap();
    assert_eq!(policy.at_connect(&target("api.example.com:22")), AtConnect::Tunnel);
    assert_eq!(policy.at_connect(&target("api.example.com:443")), AtConnect::Intercept);
    let refused = AtConnect::Refuse(Reason::PortNotRouted);
    assert_eq!(policy.at_connect(&target("api.example.com:80")), refused);
    let deny = ports.to_owned() + "unmatched = \"deny\"\n" + &route("a", "api.example.com", "");
    let policy = compile(&deny).unwrap();
    assert_eq!(policy.at_connect(&target("api.example.com:22")), AtConnect::Tunnel);
    let refused = AtConnect::Refuse(Reason::NoRoute);
    assert_eq!(policy.at_connect(&target("other.example.com:22")), refused);
}

#[test]
fn connections() {
    let policy =
        compile(&(route("a", "api.example.com", "") + &route("b", "*.w.example.com", ""))).unwrap();
    assert_eq!(policy.at_connect(&target("api.example.com:443")), AtConnect::Intercept);
    assert_eq!(
        policy.at_connect(&target("api.example.com:80")),
        AtConnect::Refuse(Reason::PortNotRouted)
    );
    assert_eq!(policy.at_connect(&target("x.w.example.com:443")), AtConnect::Intercept);
    for other in [
        "w.example.com:443",
        "a.b.w.example.com:443",
        "evilw.example.com:443",
        "api.example.com.evil.com:443",
        "1.2.3.4:443",
    ] {
        assert_eq!(policy.at_connect(&target(other)), AtConnect::Tunnel, "{other}");
    }
}

#[test]
fn methods_and_paths() {
    let policy = compile(&route(
        "a",
        "api.example.com",
        "methods = [\"GET\"]\npath = [\"/v1/**\"]\ncredential = \"one\"",
    ))
    .unwrap();
    assert_eq!(decide(&policy, Method::GET, "/v1/x"), Ok(Some("a".into())));
    assert_eq!(decide(&policy, Method::POST, "/v1/x"), Ok(None));
    assert_eq!(decide(&policy, Method::OPTIONS, "/v1/x"), Ok(None));
    assert_eq!(decide(&policy, Method::OPTIONS, "*"), Ok(None));
    assert_eq!(decide(&policy, Method::GET, "/v2/x"), Ok(None));
    assert_eq!(decide(&policy, Method::TRACE, "/v1/x"), Err(Reason::MethodRefused));
    assert_eq!(
        decide(&policy, Method::from_bytes(b"TRACK").unwrap(), "/"),
        Err(Reason::MethodRefused)
    );
    assert_eq!(decide(&policy, Method::GET, "/v1/../x"), Err(Reason::AmbiguousPath));
}

#[test]
fn two_readings_must_agree() {
    let policy = compile(
        &(route("a", "api.example.com", "path = [\"/v1/**\"]\ncredential = \"one\"")
            + &route("d", "api.example.com", "path = [\"/v1/admin/**\"]\ndeny = true")),
    )
    .unwrap();
    assert_eq!(decide(&policy, Method::GET, "/v1//x"), Ok(Some("a".into())));
    assert_eq!(decide(&policy, Method::GET, "/v1//admin"), Err(Reason::RouteDenied));
    assert_eq!(decide(&policy, Method::GET, "/v1/admin;x=1"), Err(Reason::RouteDenied));
    assert_eq!(decide(&policy, Method::GET, "//v1/x"), Err(Reason::AmbiguousPath));
    assert_eq!(decide(&policy, Method::GET, "/%76%31/x"), Err(Reason::AmbiguousPath));
    assert_eq!(decide(&policy, Method::GET, "/v1/%7Euser"), Ok(Some("a".into())));
    assert_eq!(decide(&policy, Method::GET, "/v1/%61dmin/"), Err(Reason::RouteDenied));
    // An encoded slash is one for routes that deny, and for no others.
    for path in
        ["/v1/admin%2Fx", "/v1%2Fadmin", "/v1%252Fadmin%252f", "/v1/%2Fadmin", "/v1%2Fadmin;a/x"]
    {
        assert_eq!(decide(&policy, Method::GET, path), Err(Reason::RouteDenied), "{path}");
    }
    assert_eq!(decide(&policy, Method::GET, "/v1/a%2Fadmin"), Ok(Some("a".into())));
    assert_eq!(decide(&policy, Method::GET, "/v1%2Fx"), Ok(None));
}

/// All that a permit grants, not its token alone.
#[test]
fn two_readings_must_agree_on_all_they_allow() {
    let all = "path = [\"/v1/**\"]\ncredential = \"one\"\n";
    for more in ["upgrade = [\"websocket\"]", "on_static_key = \"deny\""] {
        let some = format!("path = [\"/v1/some/**\"]\ncredential = \"one\"\n{more}");
        let all = route("a", "api.example.com", all);
        let policy = compile(&(all + &route("b", "api.example.com", &some))).unwrap();
        assert_eq!(decide(&policy, Method::GET, "/v1//x"), Ok(Some("a".into())), "{more}");
        assert_eq!(decide(&policy, Method::GET, "/v1/some//x"), Ok(Some("a".into())), "{more}");
        let two = decide(&policy, Method::GET, "/v1//some/x");
        assert_eq!(two, Err(Reason::AmbiguousPath), "{more}");
    }
}

#[test]
fn ambiguity_is_found_at_load() {
    let both = |a: &str, b: &str| {
        compile(&(route("a", "api.example.com", a) + &route("b", "*.example.com", b)))
    };
    assert_eq!(
        both("credential = \"one\"", "credential = \"two\"").unwrap_err(),
        ["ambiguous-route"]
    );
    assert_eq!(both("credential = \"one\"", "").unwrap_err(), ["ambiguous-route"]);
    both("credential = \"one\"", "credential = \"one\"").unwrap();
    both("credential = \"one\"\npath = [\"/a/**\"]", "credential = \"two\"\npath = [\"/b/**\"]")
        .unwrap();
    both(
        "credential = \"one\"\nclients = [\"uid:1\"]",
        "credential = \"two\"\nclients = [\"uid:2\"]",
    )
    .unwrap();
    both("credential = \"one\"", "deny = true").unwrap();
}

#[test]
fn what_depends_on_the_client_is_found_at_the_request() {
    let policy = compile(
        &(route("a", "api.example.com", "credential = \"one\"\nclients = [\"uid:1\"]")
            + &route("b", "api.example.com", "credential = \"two\"\nclients = [\"session:s\"]")
            + "[[sessions]]\nname = \"s\"\nsecret = { env = \"S\" }\n"),
    )
    .unwrap();
    let client = |uid, session: Option<&str>| Client {
        uid,
        session: session.map(SessionName::new),
        ..Client::default()
    };
    assert_eq!(decide_as(&policy, &client(Some(1), None), Method::GET, "/"), Ok(Some("a".into())));
    assert_eq!(
        decide_as(&policy, &client(None, Some("s")), Method::GET, "/"),
        Ok(Some("b".into()))
    );
    assert_eq!(
        decide_as(&policy, &client(Some(1), Some("s")), Method::GET, "/"),
        Err(Reason::AmbiguousRoute)
    );
    assert_eq!(
        decide_as(&policy, &client(Some(2), None), Method::GET, "/"),
        Err(Reason::RouteNotForClient)
    );
}

#[test]
fn sessions_are_limited_to_their_routes() {
    let policy = compile(&route("a", "api.example.com", "credential = \"one\"")).unwrap();
    let target = target("api.example.com:443");
    let decide = |allowed: &[RouteName]| {
        let facts = PolicyFacts {
            client: &Client::default(),
            allowed: Some(allowed),
            method: &Method::GET,
            target: &target,
            path: "/",
            bound: None,
            context: unknown(),
        };
        policy.decide(facts).map(|p| p.injects()).map_err(|r| r.reason)
    };
    assert_eq!(decide(&[RouteName::new("a")]), Ok(true));
    assert_eq!(decide(&[RouteName::new("b")]), Err(Reason::RouteNotInSession));
}

#[test]
fn explains() {
    let policy = compile(&route(
        "a",
        "api.example.com",
        "methods = [\"GET\"]\ncredential = \"one\"\nstrip = [\"query:key\"]",
    ))
    .unwrap();
    let explain = |method, url: &str| {
        policy.explain(&Client::default(), unknown(), &method, &url.parse().unwrap()).unwrap()
    };
    let yes = explain(Method::GET, "https://api.example.com/x?key=1");
    assert_eq!(
        (yes.decision, yes.placement.as_deref()),
        ("inject", Some("authorization: Bearer TOKEN"))
    );
    assert!(!yes.to_string().contains("key=1"));
    assert_eq!(
        explain(Method::POST, "https://api.example.com/x").considered,
        ["a: other methods (GET)"]
    );
    assert_eq!(explain(Method::GET, "https://api.example.com:8443/").code, Some("port-not-routed"));
    assert_eq!(explain(Method::GET, "http://api.example.com/").code, Some("port-not-routed"));
    assert_eq!(explain(Method::GET, "http://api.example.com:443/").code, Some("tls-required"));
    assert_eq!(explain(Method::GET, "http://other.example/").decision, "pass");
    assert_eq!(explain(Method::GET, "https://other.example/").decision, "tunnel");
}

proptest! {
    #[test]
    fn order_never_matters(order in Just(vec![0, 1, 2, 3]).prop_shuffle(), path in "/(v1|v2)(/(a|b))?", uid in 0u32..3) {
        let routes = [
            route("a", "api.example.com", "credential = \"one\"\npath = [\"/v1/**\"]\nclients = [\"uid:1\"]"),
            route("b", "api.example.com", "credential = \"two\"\npath = [\"/v1/**\"]\nclients = [\"uid:2\"]"),
            route("c", "*.example.com", "deny = true\npath = [\"/v2/b\"]"),
            route("d", "*.example.com", "credential = \"one\"\npath = [\"/v2/a\"]"),
        ];
        let straight = compile(&routes.concat()).unwrap();
        let shuffled = compile(&order.iter().map(|i| routes[*i].as_str()).collect::<String>()).unwrap();
        let client = Client { uid: Some(uid), ..Client::default() };
        prop_assert_eq!(decide_as(&straight, &client, Method::GET, &path), decide_as(&shuffled, &client, Method::GET, &path));
        prop_assert_eq!(straight.hash(), shuffled.hash());
    }
}

#[test]
fn wildcards_over_strangers_are_refused() {
    let with = |host: &str| compile(&route("a", host, "credential = \"one\""));
    for host in [
        "*.co.uk",
        "*.github.io",
        "*.workers.dev",
        "*.s3.amazonaws.com",
        "*.blob.core.windows.net",
        "*.herokuapp.com",
        "*.compute.amazonaws.com",
    ] {
        assert_eq!(with(host).unwrap_err(), ["wildcard-public-suffix"], "{host}");
    }
    for host in ["*.example.com", "*.mine.github.io", "mine.github.io", "*.corp.internal"] {
        assert!(with(host).is_ok(), "{host}");
    }
    assert!(compile(&route("a", "*.github.io", "")).is_ok(), "without a credential nothing leaks");
}

#[test]
fn token_endpoints_need_a_word() {
    let github = |rest: &str| {
        compile(&route("a", "api.github.com", &format!("credential = \"one\"\n{rest}")))
    };
    assert!(github("").is_ok(), "an app's endpoint takes an app's assertion alone");
    assert_eq!(github("path = [\"/app/**\"]").unwrap_err(), ["token-endpoint-routed"]);
    let app = |rest: &str| {
        let credential = "[credentials.app]\ngrant = \"jwt\"\nkey = { file = \"app.pem\" }\nalgorithm = \"RS256\"\niss = \"12345\"\n";
        compile(
            &(credential.to_owned()
                + &route("a", "api.github.com", &format!("credential = \"app\"\n{rest}"))),
        )
    };
    assert_eq!(app("").unwrap_err(), ["token-endpoint-routed"], "an app's assertion, to all of it");
    assert!(app("methods = [\"GET\"]").is_ok());
    assert!(app("path = [\"/repos/**\"]").is_ok());
    assert!(app("allow_token_endpoint = true").is_ok());
    let with =
        |rest: &str| compile(&route("a", "gitlab.com", &format!("credential = \"one\"\n{rest}")));
    assert_eq!(with("").unwrap_err(), ["token-endpoint-routed"]);
    assert!(with("allow_token_endpoint = true").is_ok());
    assert!(with("methods = [\"GET\"]").is_ok());
    assert!(with("path = [\"/repos/**\"]").is_ok());
    let own = |path: &str| {
        let credential = "[credentials.cc]\ngrant = \"client-credentials\"\ntoken_url = \"https://api.example.com/auth/mint\"\nclient_id = \"c\"\nclient_secret = { env = \"S\" }\n";
        compile(
            &(credential.to_owned()
                + &route("a", "api.example.com", &format!("credential = \"cc\"\n{path}"))),
        )
    };
    assert_eq!(own("").unwrap_err(), ["token-endpoint-routed"], "the config's own token_url");
    assert!(own("path = [\"/v1/**\"]").is_ok());
    for grant in [
        "grant = \"jwt-bearer\"\nkey = { file = \"k.pem\" }\nalgorithm = \"ES256\"\niss = \"i\"\nsub = \"s\"\naud = \"a\"",
        "grant = \"token-exchange\"\nsubject_token = { file = \"/t\" }\nsubject_token_type = \"jwt\"",
    ] {
        for (at, path) in [
            ("token_url = \"https://api.example.com/auth/mint\"", "/auth/**"),
            ("issuer = \"https://api.example.com\"", "/**"),
        ] {
            let credential = format!("[credentials.x]\n{grant}\n{at}\n");
            let on = |path: &str| {
                let rest = format!("credential = \"one\"\npath = [{path:?}]");
                compile(&(credential.clone() + &route("a", "api.example.com", &rest)))
            };
            assert_eq!(on(path).unwrap_err(), ["token-endpoint-routed"], "{grant} {at}");
            assert!(on("/v1/**").is_ok(), "{grant} {at}");
        }
    }
    let usual = |path: &str| {
        compile(&route("a", "api.example.com", &format!("credential = \"one\"\npath = [{path:?}]")))
    };
    assert_eq!(usual("/oauth2/**").unwrap_err(), ["token-endpoint-routed"]);
    assert!(usual("/**").is_ok(), "a whole host is not refused for what it might have");
}

#[test]
fn a_token_in_the_path_has_a_segment_of_its_own() {
    let slot = "credential = \"one\"\ninject = { path = \"/bot{token}/**\" }";
    let policy = compile(&route("a", "api.example.com", slot)).unwrap();
    assert_eq!(decide(&policy, Method::GET, "/botX/send"), Ok(Some("a".into())));
    for other in ["/bot/send", "/robotX/send", "/", "/file/botX"] {
        assert_eq!(decide(&policy, Method::GET, other), Ok(None), "{other}");
    }
    let recorded =
        |path: &str| policy.recorded_path(&target("api.example.com:443"), path).into_owned();
    assert_eq!(recorded("/botSECRET/send"), "/bot****/send");
    assert_eq!(recorded("/file/x"), "/file/x");
    assert_eq!(recorded("/robotX/send"), "/robotX/send");
    for elsewhere in [
        "/botSECRET/../x",
        "//botSECRET/send",
        "/;/botSECRET/x",
        "/BotSECRET/x",
        "/x%2fbotSECRET/x",
        "/file/%62otSECRET/x",
    ] {
        assert_eq!(recorded(elsewhere), "/****", "{elsewhere}");
    }
    let two = route(
        "a",
        "api.example.com",
        "credential = \"one\"\ninject = { path = \"/a/{token}/**\" }",
    ) + &route(
        "b",
        "api.example.com",
        "credential = \"two\"\ninject = { path = \"/b/{token}/**\" }",
    );
    let policy = compile(&two).unwrap();
    assert_eq!(decide(&policy, Method::GET, "/b/x/y"), Ok(Some("b".into())));
    let same =
        route("a", "api.example.com", "credential = \"one\"\ninject = { path = \"/{token}/**\" }")
            + &route("b", "api.example.com", "credential = \"two\"\npath = [\"/v1/**\"]");
    assert_eq!(compile(&same).unwrap_err(), ["ambiguous-route"]);
}

/// Routes that each give a placeholder of their own stand side by side; what is sent decides.
#[test]
fn a_placeholder_decides_between_routes_that_each_give_one() {
    let gives = |credential: &str, variable: &str| {
        format!("credential = \"{credential}\"\nenv = {{ {variable} = \"placeholder:opaque\" }}")
    };
    let both = |one: &str, two: &str| {
        compile(&(route("a", "api.example.com", one) + &route("b", "api.example.com", two)))
    };
    let shared = both(&gives("one", "X"), &gives("two", "X"));
    assert_eq!(shared.unwrap_err(), ["ambiguous-route"], "one variable cannot decide");
    let half = both(&gives("one", "X"), "credential = \"two\"");
    assert_eq!(half.unwrap_err(), ["ambiguous-route"], "one of them has none");
    let policy = both(&gives("one", "X"), &gives("two", "Y")).unwrap();
    let target = target("api.example.com:443");
    let decide = |bound: Option<&[RouteName]>| {
        let facts = PolicyFacts {
            client: &Client::default(),
            allowed: None,
            method: &Method::GET,
            target: &target,
            path: "/",
            bound,
            context: unknown(),
        };
        let permit = policy.decide(facts).map_err(|refusal| refusal.reason)?;
        Ok(permit.credential().unwrap().to_string())
    };
    let name = RouteName::new;
    assert_eq!(decide(Some(&[name("a")])), Ok("one".to_owned()));
    assert_eq!(decide(Some(&[name("b")])), Ok("two".to_owned()));
    assert_eq!(decide(Some(&[name("c")])), Err(Reason::AmbiguousRoute));
    assert_eq!(decide(Some(&[name("a"), name("b")])), Err(Reason::AmbiguousRoute));
    assert_eq!(decide(None), Err(Reason::PlaceholderMissing));
}

/// Where one route matches, a placeholder of another is no good, unless both ask for the very same
/// there.
#[test]
fn a_placeholder_is_for_its_own_routes() {
    let policy = compile(
        &(route("a", "api.example.com", "path = [\"/a\"]\ncredential = \"one\"")
            + &route("same", "api.example.com", "path = [\"/same\"]\ncredential = \"one\"")
            + &route("b", "api.example.com", "path = [\"/b\"]\ncredential = \"two\"")
            + &route("pass", "api.example.com", "path = [\"/pass\"]")
            + &route("far", "far.example.com", "credential = \"one\"")),
    )
    .unwrap();
    let decide = |host: &str, path: &str| {
        let facts = PolicyFacts {
            client: &Client::default(),
            allowed: None,
            method: &Method::GET,
            target: &target(host),
            path,
            bound: Some(&[RouteName::new("a")]),
            context: unknown(),
        };
        policy.decide(facts).map(|permit| permit.injects()).map_err(|refusal| refusal.reason)
    };
    let (api, far) = ("api.example.com:443", "far.example.com:443");
    assert_eq!((decide(api, "/a"), decide(api, "/same")), (Ok(true), Ok(true)));
    assert_eq!((decide(api, "/pass"), decide(api, "/none")), (Ok(false), Ok(false)));
    assert_eq!(decide(api, "/b"), Err(Reason::PlaceholderRefused));
    assert_eq!(decide(far, "/"), Err(Reason::PlaceholderRefused));
}

const SIGNED: &str = r#"
[credentials.signed]
grant = "jwt"
key = { env = "S3" }
algorithm = "HS256"
aud = "api"
"#;

#[test]
fn a_token_that_names_its_session_needs_one() {
    let policy = compile(
        &(SIGNED.to_owned()
            + &route(
                "a",
                "api.example.com",
                "credential = \"signed\"\nclaims = { who = \"{session}\" }",
            )),
    )
    .unwrap();
    let uid = Client { uid: Some(7), ..Client::default() };
    assert_eq!(decide_as(&policy, &uid, Method::GET, "/x"), Err(Reason::TemplateUnfilled));
    let explained = policy.explain(
        &uid,
        unknown(),
        &Method::GET,
        &"https://api.example.com/x".parse().unwrap(),
    );
    let explained = explained.unwrap();
    assert_eq!((explained.decision, explained.code), ("deny", Some("template-unfilled")));
    assert_eq!(explained.route.as_deref(), Some("a"));
    let session = Client { session: Some(SessionName::new("ci")), ..uid };
    assert_eq!(decide_as(&policy, &session, Method::GET, "/x"), Ok(Some("a".into())));
}

fn arbitrary_route() -> impl Strategy<Value = String> {
    let line = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::of(prop::sample::select(values)).prop_map(move |value| {
            value.map(|value| format!("{key} = {value}\n")).unwrap_or_default()
        })
    };
    let host = prop::sample::select(&["api.example.com", "*.example.com"][..]);
    let action = prop::sample::select(
        &[
            "",
            "deny = true\n",
            "credential = \"one\"\n",
            "credential = \"one\"\ninject = { query = \"k\" }\n",
            "credential = \"signed\"\n",
            "credential = \"signed\"\nclaims = { a = \"{session}\" }\n",
            "credential = \"signed\"\nclaims = { a = \"{user} {client}\" }\n",
            "credential = \"signed\"\nclaims = { a = \"{uid}\" }\n",
        ][..],
    );
    let more = (
        line("methods", &["[\"GET\"]", "[\"GET\", \"POST\"]"]),
        line("path", &["[\"/v1/**\"]", "[\"/v1/*\", \"/x\"]", "[\"/**\"]"]),
        line("clients", &["[\"session:ci\"]", "[\"uid:7\"]", "[\"user:ada\"]"]),
        line("strip", &["[\"header:x-api-key\"]"]),
        line("env", &["{ A_KEY = \"placeholder:opaque\" }", "{ B_KEY = \"placeholder:github\" }"]),
    );
    (host, action, more).prop_map(|(host, action, (a, b, c, d, e))| {
        format!("host = \"{host}\"\n{action}{a}{b}{c}{d}{e}")
    })
}

fn arbitrary_client() -> impl Strategy<Value = Client> {
    let some = |text: &'static str| proptest::option::of(Just(text));
    (some("ci"), proptest::option::of(6..8u32), some("ada")).prop_map(|(session, uid, user)| {
        Client {
            session: session.map(SessionName::new),
            uid,
            user: user.map(Into::into),
            ..Client::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What `explain` says is what the request gets; and what it gets a token for can be minted for
    /// whoever asks.
    #[test]
    fn explain_and_the_request_say_the_same(
        routes in prop::collection::vec(arbitrary_route(), 1..4),
        client in arbitrary_client(),
        method in prop::sample::select(&["GET", "POST", "OPTIONS", "TRACE"][..]),
        path in prop::sample::select(&["/x", "/v1/x", "/v1/x/y", "/v1//x", "/v1/x;a=b", "/v1/%2e%2e/x", "/"][..]),
        unmatched in prop::sample::select(&["tunnel", "deny"][..]),
    ) {
        let routes: String = (routes.iter().enumerate())
            .map(|(n, rest)| format!("[[routes]]\nname = \"r{n}\"\n{rest}"))
            .collect();
        let text = format!("{HEAD}{SIGNED}[proxy]\nunmatched = \"{unmatched}\"\n{routes}");
        let parsed = config::parse(Path::new("/v.toml"), text.as_bytes(), PathBuf::from("/s"));
        let Ok(Ok((policy, _))) = parsed.map(|(config, _)| Policy::compile(&config)) else {
            return Ok(());
        };
        let (method, target) = (method.parse::<Method>().unwrap(), target("api.example.com:443"));
        let url = format!("https://api.example.com{path}").parse().unwrap();
        let said = policy.explain(&client, unknown(), &method, &url).unwrap();
        let facts = PolicyFacts {
            client: &client, allowed: None, method: &method, target: &target, path, bound: None,
            context: unknown(),
        };
        match policy.decide(facts) {
            Ok(permit) => {
                prop_assert_eq!(said.decision, if permit.injects() { "inject" } else { "pass" });
                prop_assert_eq!(said.code, None);
                prop_assert_eq!(said.route, permit.route().map(|route| route.name.to_string()));
                if permit.injects() {
                    let who = Who::from(&client);
                    for claim in permit.route().unwrap().ask.claims.values() {
                        prop_assert!(claim.fill(&who).is_ok(), "{:?}", claim);
                    }
                }
            }
            Err(refusal) => {
                prop_assert_eq!(said.decision, "deny");
                prop_assert_eq!(said.code, Some(refusal.reason.code()));
                prop_assert_eq!(said.hint.as_deref(), Some(refusal.reason.hint()));
                prop_assert_eq!(said.route, refusal.route.map(|name| name.to_string()));
            }
        }
    }
}
