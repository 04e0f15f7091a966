//! The variables that lead an unmodified tool through the proxy. Pure: what `run` sets and `env`
//! prints is computed here from a session, the trust bundles and the user's own environment.
//!
//! Which client listens to what was tried one variable at a time (`config/tools.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::no_proxy;
use crate::config::parent::parse_url;
use crate::model::placeholder::Placeholder;

/// The proxy for https, in every spelling that some tool prefers over the common two. Plain http
/// (`HTTP_PROXY`, `ALL_PROXY`) is left as the user has it: no token ever goes there, and cloud
/// metadata and other local services must stay within reach.
const PROXY: [&str; 5] =
    ["HTTPS_PROXY", "https_proxy", "npm_config_https_proxy", "CARGO_HTTP_PROXY", "grpc_proxy"];
/// Set only in place of a value of the user's, which would lead past us.
const PROXY_IF_SET: [&str; 4] = ["PIP_PROXY", "WSS_PROXY", "npm_config_proxy", "wss_proxy"];
/// Variables whose file takes the place of the tool's roots: they get the combined bundle.
/// `SSL_CERT_DIR` stays the user's: OpenSSL, Go and rustls read it beside `SSL_CERT_FILE`.
const REPLACING: [&str; 14] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CODEX_CA_CERTIFICATE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "TWINE_CERT",
    "npm_config_cafile",
];
/// Variables whose file is read beside the tool's roots: they get our CA alone, or the combined
/// bundle where the user had a file there already.
const ADDING: [&str; 2] = ["DENO_CERT", "NODE_EXTRA_CA_CERTS"];
const JAVA: &str = "JAVA_TOOL_OPTIONS";
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
const GIT_PROXY_AUTH: &str = "GIT_HTTP_PROXY_AUTHMETHOD";
const NODE_USE_ENV_PROXY: &str = "NODE_USE_ENV_PROXY";
const WGETRC: &str = "WGETRC";

/// What the environment is computed from.
pub(super) struct Inputs<'a> {
    /// The proxy, as `http://127.0.0.1:8383`.
    pub(super) proxy: &'a str,
    /// The proxy that the daemon goes through, as `host:port`.
    pub(super) parent: Option<&'a str>,
    /// The session's name and secret: both are free of characters that a URL would need escaped.
    pub(super) session: (&'a str, &'a str),
    /// The tool's variables and the placeholders they get.
    pub(super) placeholders: &'a BTreeMap<String, String>,
    /// Host patterns of routes.
    pub(super) routed_hosts: &'a [String],
    /// Variables that hold secrets of ours.
    pub(super) remove: &'a [String],
    /// Where the trust bundles are.
    pub(super) bundles: &'a BundlePaths,
    pub(super) users: &'a dyn Fn(&str) -> Option<OsString>,
}

/// The trust bundles on disk.
#[derive(Clone, Debug)]
pub(super) struct BundlePaths {
    /// Our CA alone, PEM.
    pub(super) ca: PathBuf,
    /// Platform, user's and ours, PEM.
    pub(super) combined: PathBuf,
    /// The same as a PKCS12 trust store, password `changeit`.
    pub(super) java: PathBuf,
    /// The user's wgetrc with `ca_certificate` set.
    pub(super) wgetrc: PathBuf,
}

/// What to set, what to remove, and what a person should know of it.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// By name, so that the order is stable.
    pub(super) set: BTreeMap<String, OsString>,
    /// Removed from the child's environment.
    pub(super) remove: BTreeSet<String>,
    pub(super) warnings: Vec<Warning>,
}

/// Something the user had set that the command will not see as it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// A stable kebab-case word.
    pub(super) code: &'static str,
    /// Names variables and hosts, never a value that may be a key.
    pub(super) text: String,
    /// What to do about it.
    pub(super) hint: &'static str,
}

pub(super) fn compute(inputs: &Inputs<'_>) -> Environment {
    let mut env = Environment::default();
    set_proxy(inputs, &mut env);
    let no_proxy = set_no_proxy(inputs, &mut env);
    set_trust(inputs, &mut env);
    set_java(inputs, &no_proxy, &mut env);
    set_placeholders(inputs, &mut env);
    env.remove = inputs.remove.iter().filter(|n| !env.set.contains_key(*n)).cloned().collect();
    env
}

/// Variables that may name CA files of the user's own.
pub(super) fn ca_variables() -> impl Iterator<Item = &'static str> {
    REPLACING.into_iter().chain(ADDING)
}

fn set_proxy(inputs: &Inputs<'_>, env: &mut Environment) {
    let (name, secret) = inputs.session;
    let url = proxy_url(inputs.proxy, name, secret);
    let instead = PROXY_IF_SET.into_iter().filter(|name| users(inputs, name).is_some());
    for name in PROXY.into_iter().chain(instead) {
        env.set.insert(name.to_owned(), url.clone().into());
    }
    let passed_over = |name: &&str| {
        users(inputs, name).is_some_and(|value| {
            !is_valetkeys(&value, inputs.proxy) && target_of(&value).as_deref() != inputs.parent
        })
    };
    if let Some(name) = PROXY.into_iter().find(passed_over) {
        env.warnings.push(Warning {
            code: "upstream-proxy-ignored",
            text: format!("{name} names a proxy that the running daemon does not go through"),
            hint: "name it in upstream.parent, or type `valetkey restart` here and run this again: a daemon takes the proxy of its own start",
        });
    }
    // git asks without credentials first, and would be admitted as its user instead of this
    // session.
    env.set.insert(GIT_PROXY_AUTH.to_owned(), "basic".into());
    // Node 24 looks at proxy variables only when told to.
    env.set.insert(NODE_USE_ENV_PROXY.to_owned(), "1".into());
}

/// The proxy with a session's credentials.
pub(super) fn proxy_url(proxy: &str, name: &str, secret: &str) -> String {
    match proxy.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{name}:{secret}@{rest}"),
        None => format!("http://{name}:{secret}@{proxy}"),
    }
}

/// `host:port` of a proxy URL.
fn target_of(value: &OsStr) -> Option<String> {
    let value = value.to_str()?;
    let full = if value.contains("://") { value.into() } else { format!("http://{value}") };
    parse_url(&full).ok().map(|(origin, _)| origin.target.to_string())
}

/// A proxy URL of an outer `run` or `env`.
fn is_valetkeys(value: &OsStr, proxy: &str) -> bool {
    let address = |url: &str| url.rsplit(['@', '/']).next().unwrap_or_default().to_owned();
    let value = value.to_string_lossy();
    address(value.trim_end_matches('/')) == address(proxy)
        || value.contains("//run-")
        || value.contains("//env-")
        || value.contains("//open-")
}

fn set_no_proxy(inputs: &Inputs<'_>, env: &mut Environment) -> no_proxy::Merged {
    let lists: Vec<String> = NO_PROXY
        .iter()
        .filter_map(|name| users(inputs, name))
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    let merged = no_proxy::merge(lists.iter().map(String::as_str), inputs.routed_hosts);
    if !merged.dropped.is_empty() {
        env.warnings.push(Warning {
            code: "no-proxy-covers-route",
            text: format!(
                "NO_PROXY would lead past the proxy to a routed host; dropped: {}",
                merged.dropped.join(", ")
            ),
            hint: "name narrower hosts in NO_PROXY, or leave it as it is",
        });
    }
    for name in NO_PROXY {
        env.set.insert(name.to_owned(), merged.value().into());
    }
    merged
}

fn set_trust(inputs: &Inputs<'_>, env: &mut Environment) {
    let bundles = inputs.bundles;
    for name in REPLACING {
        env.set.insert(name.to_owned(), bundles.combined.clone().into());
    }
    for name in ADDING {
        let file = if users(inputs, name).is_some() { &bundles.combined } else { &bundles.ca };
        env.set.insert(name.to_owned(), file.clone().into());
    }
    env.set.insert(WGETRC.to_owned(), bundles.wgetrc.clone().into());
}

/// Java takes its proxy and its roots as system properties only, and no proxy credentials with
/// them: there the uid of the socket's owner admits. It says `Picked up JAVA_TOOL_OPTIONS` on
/// stderr.
fn set_java(inputs: &Inputs<'_>, no_proxy: &no_proxy::Merged, env: &mut Environment) {
    let address = inputs.proxy.rsplit('/').next().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "8383"));
    let host = host.trim_matches(['[', ']']);
    let ours = [
        ("https.proxyHost", host.to_owned()),
        ("https.proxyPort", port.to_owned()),
        ("http.nonProxyHosts", java_no_proxy(&no_proxy.entries)),
        ("javax.net.ssl.trustStore", java_quoted(&inputs.bundles.java.to_string_lossy())),
        ("javax.net.ssl.trustStorePassword", "changeit".to_owned()),
        ("javax.net.ssl.trustStoreType", "PKCS12".to_owned()),
    ];
    let theirs = users(inputs, JAVA).unwrap_or_default().to_string_lossy().into_owned();
    // Of two settings the last counts; ours of an outer `env` would only pile up.
    let store =
        inputs.bundles.java.ancestors().nth(2).map(|dir| dir.to_string_lossy().into_owned());
    let inner = store.is_some_and(|dir| {
        theirs.contains(&format!(
            "-Djavax.net.ssl.trustStore={}",
            java_quoted(&dir).trim_end_matches('"')
        ))
    });
    let is_ours =
        |token: &str| inner && ours.iter().any(|(key, _)| token.starts_with(&format!("-D{key}=")));
    let mut options: Vec<String> = if theirs.contains(['"', '\'']) {
        vec![theirs]
    } else {
        theirs.split_ascii_whitespace().filter(|t| !is_ours(t)).map(str::to_owned).collect()
    };
    if !inner && options.iter().any(|token| token.contains("-Djavax.net.ssl.trustStore=")) {
        env.warnings.push(Warning {
            code: "java-trust-store-replaced",
            text: "JAVA_TOOL_OPTIONS names a trust store, which ours replaces".into(),
            hint: "export its certificates as PEM and name the file in SSL_CERT_FILE",
        });
    }
    options.extend(ours.iter().map(|(key, value)| format!("-D{key}={value}")));
    env.set.insert(JAVA.to_owned(), options.join(" ").into());
}

fn java_no_proxy(entries: &[String]) -> String {
    let pattern = |entry: &String| match entry.as_str() {
        "127.0.0.1" => "127.*".to_owned(),
        "::1" => "[::1]".to_owned(),
        name if name.starts_with('.') => format!("*{name}"),
        name => name.to_owned(),
    };
    entries.iter().map(pattern).collect::<Vec<_>>().join("|")
}

fn java_quoted(text: &str) -> String {
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text.to_owned() }
}

fn set_placeholders(inputs: &Inputs<'_>, env: &mut Environment) {
    for (name, placeholder) in inputs.placeholders {
        let real = users(inputs, name)
            .is_some_and(|value| !Placeholder::found_in(value.as_encoded_bytes()));
        if real {
            env.warnings.push(Warning {
                code: "key-in-environment",
                text: format!(
                    "{name} is set in your environment: the command gets a placeholder instead"
                ),
                hint: "if it is a real key, remove it from your shell's start-up files",
            });
        }
        env.set.insert(name.clone(), OsStr::new(placeholder).to_owned());
    }
}

/// A variable of the user's, unless empty.
fn users(inputs: &Inputs<'_>, name: &str) -> Option<OsString> {
    (inputs.users)(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(users: &[(&str, &str)]) -> Environment {
        let users: BTreeMap<String, OsString> =
            users.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        let placeholders = [("ORDERS_API_KEY".to_owned(), "vk-placeholder-x".to_owned())].into();
        let bundles = BundlePaths {
            ca: "/s/trust/plain/ca.pem".into(),
            combined: "/s/trust/plain/all.pem".into(),
            java: "/s/trust/plain/java.p12".into(),
            wgetrc: "/s/trust/plain/wgetrc".into(),
        };
        compute(&Inputs {
            proxy: "http://127.0.0.1:8383",
            parent: Some("corp.example:3128"),
            session: ("run-1", "sss"),
            placeholders: &placeholders,
            routed_hosts: &["api.orders.example".to_owned()],
            remove: &["ORDERS_CLIENT_SECRET".to_owned()],
            bundles: &bundles,
            users: &|name| users.get(name).cloned(),
        })
    }

    fn value(env: &Environment, name: &str) -> String {
        env.set
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not set"))
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn no_route_can_give_what_we_set() {
        let set = with(&[]).set;
        let own = |name: &&str| *name != "ORDERS_API_KEY";
        let all = set.keys().map(String::as_str).filter(own).chain(PROXY_IF_SET);
        let free: Vec<_> =
            all.filter(|name| crate::config::env::reserved(name).is_none()).collect();
        assert!(free.is_empty(), "{free:?}");
    }

    #[test]
    fn proxy_in_both_cases_with_the_session() {
        let env = with(&[]);
        for name in ["HTTPS_PROXY", "https_proxy", "grpc_proxy", "npm_config_https_proxy"] {
            assert_eq!(value(&env, name), "http://run-1:sss@127.0.0.1:8383");
        }
        assert!(!env.set.contains_key("HTTP_PROXY") && !env.set.contains_key("PIP_PROXY"));
        assert_eq!(value(&env, "no_proxy"), "localhost,127.0.0.1,::1");
        assert!(env.warnings.is_empty());
    }

    #[test]
    fn a_users_proxy_becomes_the_daemons_or_is_said() {
        for url in
            ["http://u:p@corp.example:3128", "corp.example:3128", "http://Corp.example:3128/"]
        {
            assert!(with(&[("HTTPS_PROXY", url)]).warnings.is_empty(), "{url}");
        }
        let env = with(&[("https_proxy", "http://u:secret@other.example:3128")]);
        assert_eq!(env.warnings[0].code, "upstream-proxy-ignored");
        assert!(!format!("{:?}", env.warnings).contains("secret"));
    }

    #[test]
    fn a_users_proxy_for_one_tool_does_not_lead_past_us() {
        let env = with(&[("PIP_PROXY", "http://corp:3128")]);
        assert_eq!(value(&env, "PIP_PROXY"), value(&env, "HTTPS_PROXY"));
    }

    #[test]
    fn trust_replaces_or_adds() {
        let env = with(&[]);
        assert_eq!(value(&env, "SSL_CERT_FILE"), "/s/trust/plain/all.pem");
        assert_eq!(value(&env, "NODE_EXTRA_CA_CERTS"), "/s/trust/plain/ca.pem");
        assert_eq!(value(&env, "WGETRC"), "/s/trust/plain/wgetrc");
        assert!(!env.set.contains_key("SSL_CERT_DIR"));
        let env = with(&[("NODE_EXTRA_CA_CERTS", "/corp.pem")]);
        assert_eq!(value(&env, "NODE_EXTRA_CA_CERTS"), "/s/trust/plain/all.pem");
    }

    #[test]
    fn secrets_go_and_placeholders_come() {
        let env = with(&[("ORDERS_API_KEY", "real-key-0123"), ("ORDERS_CLIENT_SECRET", "s")]);
        assert_eq!(value(&env, "ORDERS_API_KEY"), "vk-placeholder-x");
        assert!(env.remove.contains("ORDERS_CLIENT_SECRET"));
        assert_eq!(env.warnings.len(), 1);
        assert!(!format!("{:?}", env.warnings).contains("real-key"));
        assert!(with(&[("ORDERS_API_KEY", "vk-placeholder-old")]).warnings.is_empty());
    }

    #[test]
    fn java_keeps_the_users_options_and_does_not_pile_up() {
        let env = with(&[("JAVA_TOOL_OPTIONS", "-Xmx1g"), ("NO_PROXY", ".corp.example")]);
        let once = value(&env, JAVA);
        assert_eq!(
            once,
            "-Xmx1g -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8383 \
             -Dhttp.nonProxyHosts=*.corp.example|localhost|127.*|[::1] \
             -Djavax.net.ssl.trustStore=/s/trust/plain/java.p12 -Djavax.net.ssl.trustStorePassword=changeit \
             -Djavax.net.ssl.trustStoreType=PKCS12"
        );
        let again = with(&[("JAVA_TOOL_OPTIONS", &once), ("NO_PROXY", ".corp.example")]);
        assert_eq!(value(&again, JAVA), once);
        assert!(again.warnings.is_empty());
    }

    #[test]
    fn no_proxy_for_a_routed_host_is_dropped_aloud() {
        let env = with(&[("no_proxy", "orders.example,keep.example")]);
        assert_eq!(value(&env, "NO_PROXY"), "keep.example,localhost,127.0.0.1,::1");
        assert_eq!(env.warnings[0].code, "no-proxy-covers-route");
    }
}
