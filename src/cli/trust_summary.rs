//! What a config allows, for whoever is asked to trust it: every program, every secret, and every
//! host that a secret or a token may go to.
//!
//! All types of config are taken apart by name, so that a new key does not compile until it is
//! shown here, or passed over (`_`) as what lets nothing in and nothing out.

mod words;

use std::fmt::Display;
use std::net::SocketAddr;

use words::{Spent, word};

use crate::config::parent::{Login, Parent};
use crate::config::{
    Admin, Audit, AuthorizationCode, Ca, ClientAuth, Config, Credential, Device, Endpoints, Exec,
    Grant, Helper, Http, HttpCall, Identity, Jwt, JwtBearer, KeyJwt, LoginProtection, Logins,
    Oauth, OnStaticKey, PresharedSession, Proxy, RefreshToken, Route, SecretSource, Signed,
    StaticKey, TokenExchange, TypedToken, Unmatched, Upstream,
};

/// So many are named of what is allowed of many things in the same way.
const NAMED: usize = 12;
/// The same of what is new.
const NAMED_OF_NEW: usize = 100;

/// How a line begins that names a program.
const RUNS: &str = "runs ";

/// What a config allows.
#[derive(Debug, Default)]
pub(super) struct TrustSummary(Vec<Allowed>);

/// One thing: what is done, and to what, where many are done the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Allowed(String, Option<String>);

impl TrustSummary {
    pub(super) fn of(config: &Config) -> Self {
        let mut summary = Self::default();
        summary.config(config);
        summary
    }

    /// What an earlier one allowed too, and what it did not.
    pub(super) fn split(self, before: &Self) -> (Self, Self) {
        let (old, new) = self.0.into_iter().partition(|it| before.0.contains(it));
        (Self(old), Self(new))
    }

    /// A line for each thing that is done. `all`: of many, all are named, else the first ones.
    pub(super) fn lines(&self, all: bool) -> Vec<String> {
        self.with_named(if all { usize::MAX } else { NAMED })
    }

    /// The same of what is new.
    pub(super) fn new_lines(&self, all: bool) -> Vec<String> {
        self.with_named(if all { usize::MAX } else { NAMED_OF_NEW })
    }

    fn with_named(&self, most: usize) -> Vec<String> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for Allowed(done, to) in &self.0 {
            let place = *places.entry(done.as_str()).or_insert(groups.len());
            if place == groups.len() {
                groups.push((done, Vec::new()));
            }
            if let (Some(to), Some((_, all))) = (to, groups.get_mut(place)) {
                all.push(to);
            }
        }
        let line = |(done, mut to): (&str, Vec<&str>)| {
            to.dedup();
            match to.len().checked_sub(most).filter(|more| *more > 0) {
                _ if to.is_empty() => done.to_owned(),
                None => format!("{done} {}", to.join(", ")),
                Some(more) => format!(
                    "{done} {}: {} and {more} more, which `trust -v` names",
                    to.len(),
                    to[..most].join(", ")
                ),
            }
        };
        let mut lines: Vec<_> = groups.into_iter().map(line).collect();
        // Programs last, however much there is.
        lines.sort_by_key(|line| line.starts_with(RUNS));
        lines
    }

    fn add(&mut self, done: impl Into<String>) {
        self.0.push(Allowed(done.into(), None));
    }

    fn add_of(&mut self, done: impl Display, to: impl Display) {
        self.0.push(Allowed(done.to_string(), Some(to.to_string())));
    }

    fn config(&mut self, config: &Config) {
        let Config {
            path: _,
            named: _,
            digest: _,
            unexposed: _,
            text_sha256: _,
            held: _,
            state_dir: _,
            state: _,
            proxy,
            sessions,
            ca,
            upstream,
            audit,
            admin,
            logins,
            policies: _, // they only narrow
            limits: _,
            credentials,
            routes,
            places: _,
        } = config;
        routes.iter().for_each(|route| self.route(&route.value));
        self.proxy(proxy);
        self.rest(ca, audit, admin, logins);
        sessions.iter().for_each(|session| self.session(session));
        self.upstream(upstream);
        credentials
            .iter()
            .for_each(|(name, credential)| self.credential(name.as_str(), credential));
    }

    fn route(&mut self, route: &Route) {
        let Route {
            name: _,
            host,
            port,
            // Where on the host, and in what place of a request.
            methods: _,
            path: _,
            inject: _,
            upgrade: _,
            keep,
            credential,
            // What is asked of the issuer for the same hosts, and placeholders.
            ask: _,
            strip: _,
            env: _,
            clients: _,
            rate_limit: _,
            timeouts: _,
            deny,
            redact,
            strips_cookies,
            // What the upstream says, and what the tool could send without us.
            refuses_unvouched: _,
            only_placeholders: _,
            on_static_key: OnStaticKey::Deny | OnStaticKey::Report,
            allow_token_endpoint,
        } = route;
        let host = format!("{host}:{port}");
        if let Some(credential) = credential.as_ref().filter(|_| !deny) {
            self.add_of(format!("sends tokens of `{credential}` to"), &host);
        }
        if !keep.is_empty() {
            self.add_of("passes on fields that may speak for the request to", &host);
        }
        if !redact {
            self.add_of("looks for no token in answers of", &host);
        }
        if !strips_cookies {
            self.add_of("hands on cookies of", &host);
        }
        if *allow_token_endpoint {
            self.add_of("lets tools ask for tokens at", &host);
        }
    }

    fn proxy(&mut self, proxy: &Proxy) {
        let Proxy {
            listen,
            sockets,
            transparent,
            unmatched,
            tunnel_ports,
            auth_session,
            auth_uid,
            allow_uids,
            any_port: _,
        } = proxy;
        self.beyond("listens, for other machines, on", listen);
        self.beyond("takes redirected connections, of other machines too, on", transparent);
        sockets.iter().for_each(|path| self.add_of("listens on the socket", path.display()));
        if *unmatched == Unmatched::Tunnel {
            self.add("lets through what no route names");
        }
        for port in tunnel_ports {
            self.add_of("lets through, to hosts that routes name, the port", port);
        }
        if !auth_session && !auth_uid {
            self.add("gives tokens to every process of this machine");
        }
        allow_uids.iter().for_each(|uid| self.add_of("lets in uid", uid));
    }

    fn beyond<'a>(&mut self, done: &str, addresses: impl IntoIterator<Item = &'a SocketAddr>) {
        let beyond = |address: &&SocketAddr| !address.ip().is_loopback();
        addresses.into_iter().filter(beyond).for_each(|address| self.add_of(done, address));
    }

    fn rest(&mut self, ca: &Ca, audit: &Audit, admin: &Admin, logins: &Logins) {
        let Ca { unconstrained, permit, lifetime: _, leaf_lifetime: _, publish } = ca;
        if *unconstrained {
            self.add("makes an authority that may sign for every name");
        }
        permit.iter().for_each(|name| self.add_of("may also sign for", name));
        if let Some(dir) = publish {
            self.add(format!("writes certificates to {}", dir.display()));
        }
        // Where it writes is below its own state directory.
        let Audit { path: _, continue_on_failure, max_size: _, keep: _ } = audit;
        if *continue_on_failure {
            self.add("serves what cannot be recorded too");
        }
        let Admin { socket: _, metrics } = admin;
        self.beyond("answers about itself, to other machines, on", metrics);
        let Logins { dir: _, protection } = logins;
        match protection {
            LoginProtection::Auto | LoginProtection::Keyring | LoginProtection::KernelKeyring => {}
            LoginProtection::KeyFile => self.add("keeps logins in files, their keys beside them"),
        }
    }

    fn session(&mut self, session: &PresharedSession) {
        // Routes and uid narrow it.
        let PresharedSession { name, secret, routes: _, uid: _, line: _ } = session;
        let secret = self.secret(secret);
        self.add(format!("lets in whoever has the secret of session `{name}`: {secret}"));
    }

    fn upstream(&mut self, upstream: &Upstream) {
        // What is not sent to the parent goes where it would go without one.
        let Upstream { extra_roots, allow_private, resolve, parent, no_proxy: _ } = upstream;
        for (target, address) in resolve {
            self.add_of("takes", format!("{address} for {target}"));
        }
        for network in allow_private {
            let network = format!("{}/{}", network.address, network.prefix);
            self.add_of("reaches private networks:", network);
        }
        for root in extra_roots {
            self.add_of("believes certificates of", root.display());
        }
        if let Some(Parent { origin, login }) = parent {
            self.add(format!("goes through the proxy {origin}"));
            if let Some(Login { user, password }) = login {
                let password = self.secret(password);
                self.add(format!("logs in to {origin} as `{user}`, spends {password}"));
            }
        }
    }

    fn credential(&mut self, name: &str, credential: &Credential) {
        let Credential { grant, ttl: _, line: _ } = credential;
        let mut spent = Spent { at: Vec::new(), secrets: Vec::new() };
        match grant {
            Grant::AuthorizationCode(grant) => {
                // The way back is to this machine.
                let AuthorizationCode { oauth, url, redirect: _, params: _ } = &**grant;
                self.oauth(name, oauth, &mut spent);
                if let Some(url) = url {
                    self.add_of(format!("has you log in for `{name}` at"), url);
                }
            }
            Grant::ClientCredentials(oauth) => self.oauth(name, oauth, &mut spent),
            Grant::Device(grant) => {
                let Device { oauth, url, verification, params: _ } = &**grant;
                self.oauth(name, oauth, &mut spent);
                spent.at.extend(url.iter().map(ToString::to_string));
                for origin in verification {
                    self.add_of(format!("has you log in for `{name}` at"), origin);
                }
            }
            Grant::Exec(Exec { helper, format: _ }) => {
                let helper = self.helper(helper);
                spent.at.push(format!("the program {helper}"));
            }
            Grant::Http(grant) => self.http(name, grant, &mut spent),
            Grant::Jwt(Jwt { signed, backdate: _ }) => self.signed(name, signed, &mut spent),
            Grant::JwtBearer(JwtBearer { oauth, assertion }) => {
                self.oauth(name, oauth, &mut spent);
                self.signed(name, assertion, &mut spent);
            }
            Grant::RefreshToken(RefreshToken { oauth, first }) => {
                self.oauth(name, oauth, &mut spent);
                spent.secrets.push(self.secret(first));
            }
            Grant::StaticKey(StaticKey { secret, max_age: _, since: _ }) => {
                spent.secrets.push(self.secret(secret));
            }
            Grant::TokenExchange(TokenExchange { oauth, subject, actor, requested: _ }) => {
                self.oauth(name, oauth, &mut spent);
                for TypedToken { token, kind: _ } in std::iter::once(subject).chain(actor) {
                    spent.secrets.push(self.secret(token));
                }
            }
        }
        self.add(format!("mints `{name}` by {}{spent}", grant.name()));
    }

    fn oauth(&mut self, name: &str, oauth: &Oauth, spent: &mut Spent) {
        let Oauth {
            endpoints,
            client_id: _,
            auth,
            // What is asked of that issuer.
            scope: _,
            audience: _,
            resource: _,
            params: _,
            dpop: _,
        } = oauth;
        match endpoints {
            Endpoints::Discovered { issuer, url: _, origins } => {
                spent.at.push(issuer.clone());
                for origin in origins {
                    self.add_of(format!("spends the secrets of `{name}` also at"), origin);
                }
            }
            Endpoints::Named { token, revocation } => {
                spent.at.push(token.to_string());
                if let Some(url) = revocation {
                    self.add_of(
                        format!("sends tokens and secrets of `{name}`, to revoke, to"),
                        url,
                    );
                }
            }
        }
        match auth {
            ClientAuth::None => {}
            ClientAuth::Basic(secret) | ClientAuth::Post(secret) => {
                spent.secrets.push(self.secret(secret));
            }
            ClientAuth::PrivateKeyJwt(KeyJwt { key, algorithm: _, key_id: _, audience }) => {
                spent.secrets.push(self.secret(key));
                if let Some(audience) = audience {
                    self.add_of(format!("signs, for `{name}`, what is meant for"), audience);
                }
            }
            ClientAuth::TlsClientAuth(Identity { chain, key }) => {
                spent.secrets.push(chain.display().to_string());
                spent.secrets.push(self.secret(key));
            }
        }
    }

    fn http(&mut self, name: &str, grant: &Http, spent: &mut Spent) {
        let Http { call, revoke, secrets, client_id: _, token: _, expires: _, error: _ } = grant;
        let HttpCall { method: _, url, headers: _, body: _ } = call;
        spent.at.push(url.to_string());
        if let Some(HttpCall { method: _, url, headers: _, body: _ }) = revoke {
            self.add_of(format!("sends tokens and secrets of `{name}`, to revoke, to"), url);
        }
        for secret in secrets.values() {
            spent.secrets.push(self.secret(secret));
        }
    }

    fn signed(&mut self, name: &str, signed: &Signed, spent: &mut Spent) {
        let Signed { key, algorithm: _, header: _, iss: _, sub: _, aud, claims: _ } = signed;
        spent.secrets.push(self.secret(key));
        for audience in aud {
            self.add_of(format!("signs, for `{name}`, what is meant for"), audience);
        }
    }

    /// A secret by its place.
    fn secret(&mut self, source: &SecretSource) -> String {
        match source {
            SecretSource::Env(name) => format!("${name}"),
            SecretSource::Exec(helper) => format!("what {} prints", self.helper(helper)),
            SecretSource::File(path) => path.display().to_string(),
            SecretSource::Keyring(name) => format!("`{name}` of the keyring"),
            SecretSource::Systemd(name) => format!("`{name}` of systemd"),
        }
    }

    /// A program, with all that it is told; how it is named where it is spoken of again.
    fn helper(&mut self, helper: &Helper) -> String {
        let Helper { program, arguments, env, timeout: _, fence: _ } = helper;
        let program = word(&program.display().to_string());
        let words: Vec<_> =
            std::iter::once(program.clone()).chain(arguments.iter().map(|it| word(it))).collect();
        let given =
            if env.is_empty() { String::new() } else { format!(", with ${}", env.join(" $")) };
        self.add(format!("{RUNS}{}{given}", words.join(" ")));
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn summary(text: &str) -> TrustSummary {
        let text = format!("config_version = 1\n{text}");
        let (config, _) = parse("/p/valetkey.toml".as_ref(), text.as_bytes(), "/s".into()).unwrap();
        TrustSummary::of(&config)
    }

    /// Each place that a secret or a token may go to, each program, and whom it lets in.
    #[test]
    fn nothing_that_leaves_is_passed_over() {
        let text = r#"
[proxy]
listen = ["127.0.0.1:1", "0.0.0.0:2", "unix:/run/x.sock"]
transparent = "0.0.0.0:3"
[admin]
metrics = "0.0.0.0:4"
[audit]
on_failure = "continue"
[upstream]
parent = { url = "http://parent.example:3128", user = "u", password = { env = "PARENT_PW" } }
[credentials.a]
grant = "client-credentials"
token_url = "https://token.example/t"
revocation_url = "https://revoke.example/r"
client_id = "x"
auth = "tls-client-auth"
client_cert = "c.crt"
client_key = { exec = { command = ["/bin/key", "two words"], env = ["K"] } }
[credentials.b]
grant = "client-credentials"
issuer = "https://issuer.example"
endpoint_origins = ["https://origin.example"]
client_id = "x"
client_secret = { env = "B" }
[[routes]]
name = "r"
host = "api.example"
credential = "a"
redact = false
"#;
        let said = summary(text).lines(false).join("\n");
        for part in [
            "0.0.0.0:2",
            "0.0.0.0:3",
            "0.0.0.0:4",
            "/run/x.sock",
            "cannot be recorded",
            "parent.example:3128",
            "$PARENT_PW",
            "at https://token.example/t",
            "https://revoke.example/r",
            "/p/c.crt",
            "runs /bin/key \"two words\", with $K",
            "at https://issuer.example",
            "also at https://origin.example",
            "spends $B",
            "sends tokens of `a` to api.example:443",
            "looks for no token in answers of api.example:443",
        ] {
            assert!(said.contains(part), "{part} in\n{said}");
        }
        assert!(!said.contains("127.0.0.1"), "{said}");
    }

    #[test]
    fn many_hosts_are_few_lines_and_a_new_one_stands_alone() {
        let key = "[credentials.a]\ngrant = \"static-key\"\nsecret = { env = \"K\" }\n";
        let route = |n: usize| {
            format!("[[routes]]\nname = \"r{n}\"\nhost = \"h{n}.example\"\ncredential = \"a\"\n")
        };
        let text = |routes: usize| format!("{key}{}", (0..routes).map(route).collect::<String>());
        let before = summary(&text(300));
        let lines = before.lines(false);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("to 300: h0.example:443, ") && lines[0].contains("288 more"));
        assert!(before.lines(true)[0].contains("h299.example"));
        let (known, new) = summary(&text(301)).split(&before);
        assert_eq!(known.lines(false), lines);
        assert_eq!(new.new_lines(false), ["sends tokens of `a` to h300.example:443"]);
        let (_, new) = summary(&text(301)).split(&summary(&text(301)));
        assert!(new.lines(true).is_empty());
    }
}
