//! Bad configs: each is said with code, line and hint, exit code 2, and no secret is repeated.

use crate::harness::client::finish;
use crate::harness::valetkey::{Home, Valetkey};

/// A literal secret that must never be printed.
const LITERAL: &str = "literal-secret-7d1f0c";

const GOOD: &str = r#"config_version = 1
[proxy]
listen = "127.0.0.1:0"
[credentials.orders]
grant = "client-credentials"
token_url = "https://idp.example/token"
client_id = "orders-cli"
client_secret = { env = "ORDERS_CLIENT_SECRET" }
[[routes]]
name = "orders"
host = "api.orders.example"
path = ["/v1/**"]
credential = "orders"
"#;

struct Case {
    name: &'static str,
    /// Replaced in the good config by `with`; empty: `with` is appended.
    replace: &'static str,
    with: &'static str,
    /// Part of the code; empty where the name is the builder's choice.
    code: &'static str,
    /// The line that is named; 0: any.
    line: usize,
}

const fn case(
    name: &'static str,
    replace: &'static str,
    with: &'static str,
    code: &'static str,
    line: usize,
) -> Case {
    Case { name, replace, with, code, line }
}

const CASES: &[Case] = &[
    case("empty", GOOD, "", "config-version", 0),
    case("no version", "config_version = 1\n", "", "config-version", 0),
    case("later version", "config_version = 1", "config_version = 99", "config-version", 1),
    case("syntax", "[proxy]", "[proxy", "config-syntax", 2),
    case("unknown key", "path =", "pathh =", "unknown-key", 12),
    case("unknown table", "", "[surprise]\nx = 1\n", "unknown-key", 14),
    case("duplicate key", "path =", "host = \"b.example\"\npath =", "config-syntax", 12),
    case("wrong type", "path = [\"/v1/**\"]", "path = 7", "wrong-type", 12),
    case("wrong listen type", "\"127.0.0.1:0\"", "true", "wrong-type", 3),
    case("listen is no address", "127.0.0.1:0", "somewhere", "bad-address", 3),
    case(
        "unknown credential",
        "credential = \"orders\"",
        "credential = \"other\"",
        "unknown-credential",
        13,
    ),
    case("unknown grant", "\"client-credentials\"", "\"magic\"", "unknown-value", 5),
    case("no grant", "grant = \"client-credentials\"\n", "", "missing-key", 0),
    case("no host", "host = \"api.orders.example\"\n", "", "missing-key", 0),
    case("host is an address", "api.orders.example", "10.0.0.1", "bad-host", 11),
    case("host with two stars", "api.orders.example", "*.*.example", "bad-host", 11),
    case("host with a star inside", "api.orders.example", "a*.example", "bad-host", 11),
    case("host with a U-label", "api.orders.example", "\u{e4}pi.example", "bad-host", 11),
    case("host with a port", "api.orders.example", "api.orders.example:443", "bad-host", 11),
    case("port zero", "path =", "port = 0\npath =", "bad-port", 12),
    case("no paths", "[\"/v1/**\"]", "[]", "empty-list", 12),
    case("no methods", "path =", "methods = []\npath =", "empty-list", 12),
    case("method TRACE", "path =", "methods = [\"TRACE\"]\npath =", "bad-method", 12),
    case("method in lower case", "path =", "methods = [\"g t\"]\npath =", "bad-method", 12),
    case("path without slash", "/v1/**", "v1/**", "bad-path", 12),
    case("path with dots", "/v1/**", "/v1/../x", "bad-path", 12),
    case(
        "doubled route",
        "",
        "[[routes]]\nname = \"orders\"\nhost = \"b.example\"\n",
        "duplicate-name",
        0,
    ),
    case(
        "literal secret",
        "{ env = \"ORDERS_CLIENT_SECRET\" }",
        "\"literal-secret-7d1f0c\"",
        "literal-secret",
        8,
    ),
    case(
        "literal in a table",
        "{ env = \"ORDERS_CLIENT_SECRET\" }",
        "{ value = \"literal-secret-7d1f0c\" }",
        "",
        8,
    ),
    case("token_url in the clear", "https://idp", "http://idp", "bad-endpoint", 6),
    case(
        "token_url with a password",
        "https://idp",
        "https://u:literal-secret-7d1f0c@idp",
        "bad-endpoint",
        6,
    ),
    case("token_url no url", "https://idp.example/token", "nonsense", "bad-endpoint", 6),
    case("strip of nothing", "path =", "strip = [\"cookie\"]\npath =", "bad-placement", 12),
    case("strip of framing", "path =", "strip = [\"header:host\"]\npath =", "bad-placement", 12),
    case(
        "inject into framing",
        "path =",
        "inject = { header = \"content-length\" }\npath =",
        "bad-inject",
        12,
    ),
    case(
        "inject of two",
        "path =",
        "inject = { header = \"a\", basic = { user = \"x\" } }\npath =",
        "bad-inject",
        12,
    ),
    case(
        "inject without credential",
        "credential = \"orders\"\n",
        "inject = { header = \"authorization\" }\n",
        "no-credential",
        0,
    ),
    case("a later feature", "path =", "approval = \"per-request\"\npath =", "unknown-key", 12),
    case("bad client", "path =", "clients = [\"everyone\"]\npath =", "bad-client", 12),
    case(
        "path on a line of its own",
        "[\"/v1/**\"]",
        "[\n  \"/v1/**\",\n  \"v2\",\n]",
        "bad-path",
        14,
    ),
    case(
        "PATH as a placeholder",
        "path =",
        "env = { PATH = \"placeholder:opaque\" }\npath =",
        "reserved-variable",
        12,
    ),
    case(
        "a proxy variable",
        "path =",
        "env = { https_proxy = \"placeholder:opaque\" }\npath =",
        "reserved-variable",
        12,
    ),
    case(
        "a loader's variable",
        "path =",
        "env = { LD_PRELOAD = \"placeholder:opaque\" }\npath =",
        "reserved-variable",
        12,
    ),
    case(
        "a shell's variable",
        "path =",
        "env = { BASH_ENV = \"placeholder:opaque\" }\npath =",
        "reserved-variable",
        12,
    ),
    case(
        "an interpreter's variable",
        "path =",
        "env = { NODE_OPTIONS = \"placeholder:opaque\" }\npath =",
        "reserved-variable",
        12,
    ),
    case(
        "permit of a top-level domain",
        "",
        "[ca]\npermit = [\"com\"]\n",
        "permit-public-suffix",
        15,
    ),
    case(
        "permit of a registry",
        "",
        "[ca]\npermit = [\n\"example.com\",\n\"co.uk\"]\n",
        "permit-public-suffix",
        17,
    ),
    case(
        "a client that is no session",
        "path =",
        "clients = [\"session:typo\"]\npath =",
        "unknown-session",
        12,
    ),
    case(
        "roots that are not there",
        "",
        "[upstream]\nextra_roots = [\"none.pem\"]\n",
        "extra-root-unreadable",
        15,
    ),
    case(
        "roots that are a directory",
        "",
        "[upstream]\nextra_roots = [\".\"]\n",
        "extra-root-unreadable",
        15,
    ),
    case(
        "roots that are no PEM",
        "",
        "[upstream]\nextra_roots = [\"valetkey.toml\"]\n",
        "extra-root-invalid",
        15,
    ),
    case(
        "a parent that is us",
        "listen = \"127.0.0.1:0\"\n",
        "listen = \"127.0.0.1:8383\"\n[upstream]\nparent = { url = \"http://localhost:8383\" }\n",
        "parent-is-valetkey",
        5,
    ),
    case(
        "metrics where the proxy listens",
        "listen = \"127.0.0.1:0\"\n",
        "listen = \"127.0.0.1:8383\"\n[admin]\nmetrics = \"127.0.0.1:8383\"\n",
        "address-twice",
        5,
    ),
    case(
        "a certificate that is not there",
        "client_secret = { env = \"ORDERS_CLIENT_SECRET\" }",
        "auth = \"tls-client-auth\"\nclient_key = { env = \"ORDERS_CLIENT_SECRET\" }\nclient_cert = \"none.pem\"",
        "client-cert-unreadable",
        10,
    ),
    case("bad ttl", "[[routes]]", "ttl = \"soon\"\n[[routes]]", "bad-duration", 9),
    case("bad network", "", "[upstream]\nallow_private = [\"10.0.0.0/99\"]\n", "bad-network", 15),
    case(
        "bad resolve",
        "",
        "[upstream]\nresolve = { \"a.example\" = \"127.0.0.1:1\" }\n",
        "bad-resolve",
        15,
    ),
    case(
        "session with unknown route",
        "",
        "[[sessions]]\nname = \"ci\"\nsecret = { file = \"x\" }\nroutes = [\"none\"]\n",
        "unknown-route",
        0,
    ),
    case(
        "open proxy on the network",
        "listen = \"127.0.0.1:0\"",
        "listen = \"0.0.0.0:8383\"\nclient_auth = []",
        "open-proxy",
        0,
    ),
];

/// A mistake, and what has to be said of it.
const MEANT: &[(&str, &str, &[&str])] = &[
    ("path =", "pathh =", &["unknown key `pathh`", "did you mean `path`?", "valetkey schema"]),
    ("[proxy]", "[proxi]", &["unknown key `proxi`", "did you mean `proxy`?"]),
    ("client_id", "clientid", &["did you mean `client_id`?"]),
    (
        "\"client-credentials\"",
        "\"client-credentals\"",
        &["`client-credentals`", "did you mean `client-credentials`?"],
    ),
    ("credential = \"orders\"", "credential = \"ordrs\"", &["`ordrs`", "did you mean `orders`?"]),
    (
        "listen =",
        "unmatched = \"tunel\"\nlisten =",
        &["`unmatched`", "`tunel`", "did you mean `tunnel`?"],
    ),
    ("path =", "on_static_key = \"denny\"\npath =", &["`denny`", "did you mean `deny`?"]),
    (
        "path =",
        "env = { KEY = \"placeholder:githup\" }\npath =",
        &["`githup`", "did you mean `github`?"],
    ),
    ("127.0.0.1:0", "localhost:8383", &["`localhost:8383`", "127.0.0.1:8383"]),
    (
        "api.orders.example",
        "https://api.orders.example/v1",
        &[
            "`https://api.orders.example/v1`",
            "host = \"api.orders.example\"",
            "path = [\"/v1/**\"]",
        ],
    ),
    (
        "api.orders.example",
        "api.orders.example:8443",
        &["host = \"api.orders.example\", port = 8443"],
    ),
    ("path = [\"/v1/**\"]", "path = \"/v1/**\"", &["`path` takes a list; a text stands there"]),
    (
        "path =",
        "inject = \"authorization\"\npath =",
        &["`inject` takes a table; a text stands there"],
    ),
    (
        "path =",
        "inject = { basic = \"x\" }\npath =",
        &["`basic` takes a table; a text stands there"],
    ),
    (
        "path =",
        "port = \"443\"\npath =",
        &["`port` takes a whole number from 0 to 65535; a text stands there"],
    ),
    ("path =", "port = 70000\npath =", &["`port`", "`70000`"]),
    ("path =", "deny = \"yes\"\npath =", &["`deny` takes true or false; a text stands there"]),
    ("path =", "methods = [\"get\"]\npath =", &["`get`", "write \"GET\""]),
    ("host = \"api.orders.example\"\n", "", &["`host` is missing", "valetkey schema"]),
    (
        "listen =",
        "allow_uids = [-1]\nlisten =",
        &[
            "an entry of `allow_uids` takes a whole number, not negative; a number stands there: `-1`",
        ],
    ),
    (
        "\"127.0.0.1:0\"",
        "true",
        &["`listen` takes a text or a list of texts; true or false stands there: `true`"],
    ),
];

#[tokio::test]
async fn a_mistake_is_named_with_what_was_meant() {
    let mut wrong = Vec::new();
    for (replace, with, wanted) in MEANT {
        assert!(GOOD.contains(replace), "{replace}");
        let done = home_with(&GOOD.replacen(replace, with, 1)).run(&["check"]).await;
        let said = &done.stdout;
        // Words of the program's own making help nobody who writes TOML.
        let foreign = [
            "struct ",
            "enum ",
            "expected",
            "variant",
            "field",
            "sequence",
            "schema.json",
            "example.toml",
        ];
        let foreign = foreign.iter().filter(|word| said.contains(**word));
        let missing: Vec<_> = wanted.iter().filter(|text| !said.contains(**text)).collect();
        if done.code != Some(2) || foreign.count() > 0 || !missing.is_empty() {
            wrong.push(format!("{with}: wanted {missing:?}:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_schema_is_printed() {
    let done = home_with(GOOD).run(&["schema"]).await;
    let schema: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(schema["properties"]["routes"].is_object(), "{schema}");
}

fn home_with(text: &str) -> Home {
    let home = Valetkey::new().env("ORDERS_CLIENT_SECRET", "from-the-environment-5e").written();
    home.rewrite(|_| text.to_owned());
    home
}

#[tokio::test]
async fn each_bad_config_is_said_with_code_and_line() {
    let good = home_with(GOOD).run(&["check"]).await;
    assert_eq!(good.code, Some(0), "the good config: {good:?}");
    let mut wrong = Vec::new();
    for case in CASES {
        let text = if case.replace.is_empty() {
            format!("{GOOD}{}", case.with)
        } else {
            assert!(GOOD.contains(case.replace), "{}", case.name);
            GOOD.replacen(case.replace, case.with, 1)
        };
        let home = home_with(&text);
        let done = home.run(&["check"]).await;
        let said = format!("{}{}", done.stdout, done.stderr);
        let place = format!("valetkey.toml:{}: error[", case.line);
        let problem = if done.code != Some(2) {
            "exit code"
        } else if said.contains(LITERAL) || said.contains("from-the-environment-5e") {
            "a secret is repeated"
        } else if !said.contains(case.code) {
            "code"
        } else if case.line > 0 && !said.contains(&place) {
            "line"
        } else if !said.contains("hint") {
            "hint"
        } else {
            continue;
        };
        wrong.push(format!(
            "{} ({problem}, wanted {} at {}): {done:?}",
            case.name, case.code, case.line
        ));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

/// What this machine, and not the config, would make a start fail is said in the same words.
#[tokio::test]
async fn what_a_start_would_meet_here_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let listen = "\"127.0.0.1:0\"";
    for (replace, with, code) in [
        (listen, format!("\"{taken}\""), "port-in-use"),
        (listen, format!("[{listen}, \"192.0.2.7:8383\"]"), "listen-failed"),
        (
            "[[routes]]",
            "[audit]\npath = \"/dev/null/audit.jsonl\"\n[[routes]]".into(),
            "audit-unreadable",
        ),
        (
            "[[routes]]",
            "[admin]\nsocket = \"/dev/null/a/admin.sock\"\n[[routes]]".into(),
            "admin-socket-unavailable",
        ),
    ] {
        let home = home_with(&GOOD.replacen(replace, &with, 1));
        let checked = home.run(&["check"]).await;
        let said = format!("error[{code}]");
        assert!(checked.code == Some(2) && checked.stdout.contains(&said), "{code}: {checked:?}");
        let started = home.run(&["serve"]).await;
        assert!(started.code == Some(1) && started.stderr.contains(&said), "{started:?}");
    }
}

#[tokio::test]
async fn all_problems_are_said_at_once() {
    let text =
        GOOD.replace("path =", "pathh =").replace("\"magic\"", "").replace("127.0.0.1:0", "x");
    let done = home_with(&text).run(&["check"]).await;
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(said.contains("bad-address") && said.contains("unknown-key"), "{said}");
    let json = home_with(&text).run(&["check", "--json"]).await;
    assert_eq!(json.code, Some(2), "{json:?}");
    let parsed: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    assert!(parsed.to_string().contains("bad-address"), "{parsed}");
}

#[tokio::test]
async fn a_bad_config_serves_nothing() {
    let home = home_with(&GOOD.replace("[proxy]", "[proxy"));
    let done = home.run(&["serve"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(!home.state.join("audit.jsonl").exists(), "the state is untouched");
}

#[tokio::test]
async fn a_huge_config_is_refused_quickly() {
    let home = home_with(&format!("{GOOD}{}", "# filler filler filler filler\n".repeat(1_700_000)));
    let begun = std::time::Instant::now();
    let done = home.run(&["check"]).await;
    assert_eq!(done.code, Some(2), "{:?}", done.code);
    assert!((done.stdout + &done.stderr).contains("config-too-large"));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_missing_config_says_what_to_do() {
    let home = Valetkey::new().written();
    std::fs::remove_file(&home.config).unwrap();
    let named = home.run(&["check"]).await;
    assert_eq!(named.code, Some(2), "{named:?}");
    assert!(named.stderr.contains("hint"), "{named:?}");
    let none = finish(&mut home.bare_command(&["check"])).await;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("valetkey init"), "{none:?}");
}

/// A cloned repository must not run commands or spend secrets.
#[tokio::test]
async fn a_projects_own_config_is_used_only_when_trusted() {
    let home = home_with(GOOD);
    let done = finish(&mut home.bare_command(&["check"])).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!((done.stdout + &done.stderr).contains("config-untrusted"));
    let done = finish(&mut home.bare_command(&["trust"])).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = finish(&mut home.bare_command(&["check"])).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    home.rewrite(|text| text + "# changed\n");
    let done = finish(&mut home.bare_command(&["check"])).await;
    assert_eq!(done.code, Some(2), "changed since: {done:?}");
    // An explicit --config is the user's own word.
    assert_eq!(home.run(&["check"]).await.code, Some(0));
}

#[tokio::test]
async fn unreadable_and_empty_secret_files_are_said() {
    for (text, wanted) in [(None, "secret"), (Some(""), "secret"), (Some("\n"), "secret")] {
        let home =
            home_with(&GOOD.replace("{ env = \"ORDERS_CLIENT_SECRET\" }", "{ file = \"s.key\" }"));
        if let Some(text) = text {
            std::fs::write(home.path("s.key"), text).unwrap();
        }
        let done = home.run(&["check"]).await;
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(wanted) && said.contains("s.key"), "{text:?}: {done:?}");
    }
}
