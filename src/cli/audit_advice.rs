//! What to do about a static key that tools still send: by the routes that saw it, its kind and its
//! tool. Pure.

use crate::audit::inventory::Seen;
use crate::config::problem::Located;
use crate::config::{Config, Grant, OnStaticKey, Route};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) text: String,
    /// The file of `config/recipes` that has it whole, without its ending.
    pub(super) recipe: Option<&'static str>,
    /// TOML, where something is to be written.
    pub(super) replace: Option<String>,
}

pub(super) fn of(seen: &Seen, config: &Config) -> Advice {
    if seen.given {
        return said(
            "was probably given to the tool by the API itself: it was first sent after a request with a token, and in \
             one session only. Nothing is to be done",
        );
    }
    let routes = || config.routes.iter().map(|route: &Located<Route>| &route.value);
    let with_token = |route: &&Route| route.credential.is_some() && !route.deny;
    let mut own = routes().filter(|route| seen.routes.contains(route.name.as_str()));
    if let Some(route) = own.find(with_token) {
        return covered(seen, route, config);
    }
    let mut host =
        routes().filter(|route| seen.routes.is_empty() && seen.hosts.contains(&route.host));
    if let Some(route) = host.find(with_token) {
        return beside(route);
    }
    if seen.kind == "aws" {
        return said(
            "signs requests, and signing them here comes later: until then let the tool get keys of a session \
             (AWS IAM Identity Center, `aws sso login`), and delete this one",
        );
    }
    let known = Known::of(&seen.kind);
    let variable = variable(seen, known);
    let text = format!(
        "is a standing key. Write what follows into the config, take the key out of its tool, where `run` then sets \
         {variable}, and revoke it at its provider; config/recipes/{}.toml has it whole",
        known.recipe
    );
    let replace = Some(replacement(seen, config, known, &variable));
    Advice { text, recipe: Some(known.recipe), replace }
}

fn said(text: &str) -> Advice {
    Advice { text: text.to_owned(), recipe: None, replace: None }
}

/// A route takes it out already, and puts a token in its place.
fn covered(seen: &Seen, route: &Route, config: &Config) -> Advice {
    let name = &route.name;
    let credential = route.credential.as_ref().and_then(|name| config.credentials.get(name));
    let does = match credential.map(|credential| &credential.grant) {
        Some(Grant::StaticKey(_)) => "puts in a key of its own",
        _ => "mints a token",
    };
    let mut text = format!("is of no use: the route `{name}` {does} in its place. Take it out of ");
    text.push_str(&match seen.tools.iter().next() {
        Some(tool) => program(tool).to_owned(),
        None => "its tool".to_owned(),
    });
    if let Some(variable) = route.env.keys().next() {
        text.push_str(&format!(", which has a placeholder in {variable} under `run`"));
    }
    text.push_str(", and revoke it at its provider");
    if route.on_static_key == OnStaticKey::Report {
        text.push_str("; until then, `on_static_key = \"deny\"` in that route refuses it");
    }
    said(&text)
}

/// A route of its host would, but for other requests than those it came with.
fn beside(route: &Route) -> Advice {
    said(&format!(
        "goes to {} as it is, in requests that no route is for: widen `path` or `methods` of the route `{}`, which \
         `valetkey explain METHOD URL` tries, take it out of its tool and revoke it at its provider",
        route.host, route.name
    ))
}

/// What is known of a kind of key.
#[derive(Clone, Copy)]
struct Known {
    kind: &'static str,
    variable: &'static str,
    placeholder: &'static str,
    recipe: &'static str,
    /// Further keys of the route.
    route: &'static str,
}

impl Known {
    fn of(kind: &str) -> Self {
        *KNOWN.iter().find(|known| known.kind == kind).unwrap_or(&OPAQUE)
    }
}

const fn known(
    kind: &'static str,
    variable: &'static str,
    placeholder: &'static str,
    recipe: &'static str,
    route: &'static str,
) -> Known {
    Known { kind, variable, placeholder, recipe, route }
}

const OPAQUE: Known = known("opaque", "", "opaque", "client-credentials", "");

const KNOWN: &[Known] = &[
    known(
        "anthropic",
        "ANTHROPIC_API_KEY",
        "anthropic",
        "static-key",
        "inject        = { header = \"x-api-key\" }\n",
    ),
    known("github", "GITHUB_TOKEN", "github", "static-key", ""),
    known(
        "gitlab",
        "GITLAB_TOKEN",
        "gitlab",
        "gitlab",
        "inject        = { header = \"private-token\" }\n",
    ),
    known(
        "google",
        "GOOGLE_API_KEY",
        "opaque",
        "static-key",
        "inject        = { header = \"x-goog-api-key\" }\n",
    ),
    known("hugging-face", "HF_TOKEN", "hugging-face", "static-key", ""),
    known("jwt", "", "jwt", "token-exchange", ""),
    known("npm", "NODE_AUTH_TOKEN", "npm", "trusted-publishing", ""),
    known("openai", "OPENAI_API_KEY", "openai", "openai-compatible", ""),
    known(
        "pypi",
        "TWINE_PASSWORD",
        "pypi",
        "trusted-publishing",
        "inject        = { basic = { user = \"__token__\" } }\n",
    ),
    known("slack", "SLACK_BOT_TOKEN", "slack", "static-key", ""),
    known("stripe", "STRIPE_API_KEY", "stripe", "static-key", ""),
];

/// What a program reads its key from, where that is another variable than its kind says.
const ADVISED_TOOLS: &[(&str, &str)] = &[
    ("cargo", "CARGO_REGISTRY_TOKEN"),
    ("doctl", "DIGITALOCEAN_ACCESS_TOKEN"),
    ("flyctl", "FLY_API_TOKEN"),
    ("gcloud", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
    ("gh", "GH_TOKEN"),
    ("heroku", "HEROKU_API_KEY"),
    ("sentry-cli", "SENTRY_AUTH_TOKEN"),
    ("snyk", "SNYK_TOKEN"),
    ("terraform", "TF_HTTP_PASSWORD"),
    ("vercel", "VERCEL_TOKEN"),
    ("wrangler", "CLOUDFLARE_API_TOKEN"),
];

/// By the program, then by the kind, then by the host: `api.orders.example` makes ORDERS_API_KEY.
fn variable(seen: &Seen, known: Known) -> String {
    let of_tool = |tool: &String| ADVISED_TOOLS.iter().find(|(name, _)| *name == program(tool));
    if let Some((_, variable)) = seen.tools.iter().find_map(of_tool) {
        return (*variable).to_owned();
    }
    if !known.variable.is_empty() {
        return known.variable.to_owned();
    }
    let host = seen.hosts.iter().next().map_or("tool", String::as_str);
    let label = host.rsplit('.').nth(1).unwrap_or(host);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!(
        "{}_API_KEY",
        label
            .chars()
            .map(plain)
            .collect::<String>()
            .trim_start_matches(|c: char| c.is_ascii_digit())
    )
}

fn program(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn replacement(seen: &Seen, config: &Config, known: Known, variable: &str) -> String {
    let host = seen.hosts.iter().next().map_or("api.example", String::as_str);
    let taken = |name: &str| {
        config.credentials.keys().any(|other| other.as_str() == name)
            || config.routes.iter().any(|route| route.value.name.as_str() == name)
    };
    let numbered = (2..).map(|number| format!("{}-{number}", seen.kind));
    let mut names = std::iter::once(seen.kind.clone()).chain(numbered);
    let name = names.find(|name| !taken(name)).unwrap_or_default();
    let grant = match (known.recipe, known.kind) {
        ("client-credentials", _) => {
            "grant         = \"client-credentials\"                  # where its API has an issuer; else \"static-key\"\n\
             token_url     = \"https://idp.example/oauth2/token\"\n\
             client_id     = \"CLIENT\"\n\
             client_secret = { file = \"client.secret\" }\n"
                .to_owned()
        }
        ("token-exchange", _) => "grant         = \"token-exchange\"\n\
             issuer        = \"https://idp.example\"\n\
             subject_token = { file = \"/var/run/secrets/tokens/idp\" }\n"
            .to_owned(),
        (_, "pypi") => "grant         = \"http\"                                # trusted publishing, in CI\n\
             url           = \"https://index.example/_/oidc/mint-token\"\n\
             secrets       = { identity = { env = \"PYPI_ID_TOKEN\" } }\n\
             json          = { token = \"{secret.identity}\" }\n\
             token         = \"/token\"\n"
            .to_owned(),
        (_, "npm") => "grant         = \"http\"                                # trusted publishing, in CI\n\
             url           = \"https://registry.example/-/npm/v1/oidc/token/exchange/package/PACKAGE\"\n\
             secrets       = { identity = { env = \"NPM_ID_TOKEN\" } }\n\
             headers       = { authorization = \"Bearer {secret.identity}\" }\n\
             token         = \"/token\"\n"
            .to_owned(),
        _ => format!(
            "grant         = \"static-key\"        # a new key: this one has been at large\n\
             secret        = {{ file = \"{name}.key\" }}\n\
             max_age       = \"90d\"\n"
        ),
    };
    let route = seen.routes.iter().next();
    let (route, note) = match route {
        Some(route) => (route.as_str(), "   # it is there: add what it lacks"),
        None => (name.as_str(), ""),
    };
    format!(
        "[credentials.{name}]\n{grant}\n\
         [[routes]]\n\
         name          = \"{route}\"{note}\n\
         host          = \"{host}\"\n\
         credential    = \"{name}\"\n\
         {}env           = {{ {variable} = \"placeholder:{}\" }}\n\
         on_static_key = \"deny\"\n",
        known.route, known.placeholder,
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config;

    const MINTS: &str = "[credentials.orders]\ngrant = \"client-credentials\"\ntoken_url = \"https://idp.example/t\"\n\
        client_id = \"c\"\nclient_secret = { env = \"S\" }\n\
        [[routes]]\nname = \"orders\"\nhost = \"api.orders.example\"\ncredential = \"orders\"\n\
        env = { ORDERS_KEY = \"placeholder:opaque\" }\n";

    fn config(text: &str) -> Config {
        let text = format!("config_version = 1\n{text}");
        config::parse(Path::new("/c/valetkey.toml"), text.as_bytes(), PathBuf::from("/s"))
            .unwrap()
            .0
    }

    fn seen(kind: &str, host: &str, routes: &[&str], tools: &[&str]) -> Seen {
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Seen {
            kind: kind.into(),
            fingerprint: "hmac-sha256:00".into(),
            hosts: set(&[host]),
            routes: set(routes),
            tools: set(tools),
            users: set(&[]),
            requests: 1,
            refused: 0,
            first: String::new(),
            last: String::new(),
            given: false,
        }
    }

    #[test]
    fn a_route_that_mints_gets_no_snippet() {
        let config = config(MINTS);
        let words: [(&[&str], &[&str]); 2] = [
            (&["orders"], &["`orders` mints", "out of curl", "ORDERS_KEY", "revoke it"]),
            // Where no route took it out, it went on.
            (&[], &["as it is", "widen `path`", "`orders`", "revoke it"]),
        ];
        for (routes, words) in words {
            let advice =
                of(&seen("opaque", "api.orders.example", routes, &["/usr/bin/curl"]), &config);
            assert_eq!((advice.replace, advice.recipe), (None, None));
            for words in words {
                assert!(advice.text.contains(words), "{words}: {}", advice.text);
            }
        }
    }

    #[test]
    fn what_the_api_gave_is_left_alone() {
        let mut given = seen("opaque", "api.orders.example", &["orders"], &[]);
        given.given = true;
        assert_eq!(of(&given, &config(MINTS)).replace, None);
    }

    #[test]
    fn each_kind_has_a_recipe_that_exists_and_a_config_that_loads() {
        for kind in KNOWN.iter().map(|known| known.kind).chain(["opaque"]) {
            let advice = of(&seen(kind, "api.shop.example", &[], &[]), &config(""));
            let recipe = format!("config/recipes/{}.toml", advice.recipe.unwrap());
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&recipe).is_file(), "{recipe}");
            assert!(advice.text.contains(&recipe), "{}", advice.text);
            config(&advice.replace.unwrap());
        }
        let aws = of(&seen("aws", "s3.amazonaws.com", &[], &[]), &config(""));
        assert!(aws.replace.is_none() && aws.text.contains("sso"), "{}", aws.text);
    }

    #[test]
    fn the_variable_is_the_tools_own() {
        let variable = |kind: &str, host: &str, tools: &[&str]| {
            variable(&seen(kind, host, &[], tools), Known::of(kind))
        };
        assert_eq!(variable("github", "api.github.com", &["/usr/bin/gh"]), "GH_TOKEN");
        assert_eq!(variable("github", "api.github.com", &["/usr/bin/curl"]), "GITHUB_TOKEN");
        assert_eq!(variable("opaque", "api.orders.example", &[]), "ORDERS_API_KEY");
        assert_eq!(variable("openai", "llm.corp.example", &["/usr/bin/python3"]), "OPENAI_API_KEY");
    }

    #[test]
    fn names_that_are_taken_are_not_taken_again() {
        let taken = "[credentials.github]\ngrant = \"static-key\"\nsecret = { env = \"G\" }\n\
                     [[routes]]\nname = \"plain\"\nhost = \"api.github.com\"\n";
        let advice = of(&seen("github", "api.github.com", &["plain"], &[]), &config(taken));
        let text = advice.replace.unwrap();
        assert!(text.contains("[credentials.github-2]") && text.contains("\"plain\""), "{text}");
    }
}
