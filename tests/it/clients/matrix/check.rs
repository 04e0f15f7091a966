//! What holds for every row: under `valetkey run` the client gets through, with all variables and with
//! one of each kind alone; the API sees one minted token in its slot and no placeholder; without our
//! CA the client refuses; and its key arrives in the form that the table says.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use valetkey::model::placeholder;

use super::report::{self, Found};
use super::tap::Tap;
use super::variables::{CA, JAVA, PROXY};
use super::{Client, Ends, Form, Needs, Slot};
use crate::clients::{Output, finish, peer, tests_file, under_run};
use crate::docs;
use crate::harness::api::{Api, Seen};
use crate::harness::issuer::Issuer;
use crate::harness::pki::Pki;
use crate::harness::until;
use crate::harness::valetkey::{Running, Valetkey};

/// Of a client that would try again for minutes: its end once the audit has its first refusal.
const UNTIL_REFUSED: &str = "timeout -k 1 60 sh line & \
    until grep -q client-tls-failed \"$VALETKEY_STATE_DIR/audit.jsonl\" || ! kill -0 $!; \
    do sleep 0.1; done; kill $!; wait $!";

/// Checks one row and reports it.
pub async fn row(client: &Client) {
    let stage = Stage::of(client).await;
    if let Some(why) = stage.missing().await {
        let result = format!("not tried: {why}");
        let none = || "–".to_owned();
        let found =
            Found { version: none(), alpn: none(), admitted: "–", untrusted: none(), result };
        return report::write(client, &found);
    }
    let version = stage.version().await;
    stage.prepare().await;
    let found = match client.ends {
        Ends::Cannot { says, remedy, told } => stage.cannot(says, remedy, told).await,
        Ends::Well(_) | Ends::Asked(_) => stage.works().await,
    };
    report::write(client, &Found { version, ..found });
}

/// The fakes, Valetkey, and the client's home.
struct Stage<'a> {
    client: &'a Client,
    pki: Pki,
    api: Api,
    issuer: Issuer,
    valetkey: Running,
    tap: Tap,
}

/// Which variables of `run` the client keeps.
#[derive(Clone, Copy, Debug)]
enum Kept {
    All,
    /// One proxy variable and one CA variable.
    Pair(&'static str, &'static str),
    /// The proxy without any CA.
    NoCa,
}

impl<'a> Stage<'a> {
    async fn of(client: &'a Client) -> Self {
        let pki = Pki::new();
        let api = Api::tls(&pki.server(&[client.host])).await;
        let issuer = Issuer::start().await;
        let valetkey = Valetkey::new()
            .trusting(&pki)
            .reaching(&format!("{}:443", client.host), api.addr())
            .proxy("unmatched = \"deny\"")
            .toml(&credential(client, &issuer))
            .file("matrix.secret", "matrix-client-secret")
            .route(&route(client))
            .start()
            .await;
        let home = valetkey.home.path("");
        let answer = client.answer;
        api.answer(move |seen| answer(seen, &home));
        let tap = Tap::before(valetkey.proxy_addr()).await;
        Self { client, pki, api, issuer, valetkey, tap }
    }

    fn home(&self) -> std::path::PathBuf {
        self.valetkey.home.path("")
    }

    /// Why the row can't be tried here.
    async fn missing(&self) -> Option<String> {
        let (condition, why) = match self.client.needs {
            Needs::Installed => return None,
            Needs::Program(program) => (
                format!("command -v {program}"),
                format!("no package has `{program}`, and it is not installed"),
            ),
            Needs::If(condition, why) => (condition.to_owned(), why.to_owned()),
        };
        let tried = self.plain(&condition).await;
        (tried.code() != Some(0)).then_some(why)
    }

    /// A shell line without the proxy.
    async fn plain(&self, line: &str) -> Output {
        let mut shell = crate::clients::shell(&self.valetkey.home, &filled(line, self.client));
        shell.envs(self.client.settings.iter().copied());
        finish(&mut shell, b"").await
    }

    async fn version(&self) -> String {
        let said = self.plain(self.client.version).await;
        let both = said.stdout() + &said.stderr();
        let first = both.lines().find(|l| l.contains(|c: char| c.is_ascii_digit()));
        let word = first.unwrap_or_default().split([' ', ',', '/', '"']).find(|word| {
            let word = word.trim_start_matches('v');
            word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
        });
        word.unwrap_or_else(|| panic!("{}: a version in {}", self.client.name, said.all()))
            .trim_start_matches('v')
            .trim_end_matches([';', ')'])
            .to_owned()
    }

    async fn prepare(&self) {
        if !self.client.prepare.is_empty() {
            let done = self.plain(self.client.prepare).await;
            assert_eq!(done.code(), Some(0), "{}: {}", self.client.name, done.all());
        }
    }

    fn is_java(&self) -> bool {
        self.client.proxy.contains(&JAVA)
    }

    /// A use under `run`, its way led past the tap.
    async fn run(&self, line: &str, kept: Kept) -> Output {
        let port = self.valetkey.proxy_addr().port();
        let mut script = String::new();
        for name in PROXY.into_iter().chain([JAVA]) {
            script.push_str(&format!(
                "export {name}=\"$(printf %s \"${name}\" | sed 's/\\b{port}\\b/{}/')\"\n",
                self.tap.port()
            ));
        }
        for name in PROXY.into_iter().chain(CA).chain([JAVA]) {
            let keep = match kept {
                Kept::All => true,
                Kept::Pair(proxy, ca) => name == proxy || name == ca,
                Kept::NoCa => PROXY.contains(&name) || self.is_java(),
            };
            if !keep {
                script.push_str(&format!("unset {name}\n"));
            }
        }
        if self.is_java() && matches!(kept, Kept::NoCa) {
            script.push_str(&format!(
                "export {JAVA}=\"$(printf %s \"${JAVA}\" | sed 's/-Djavax[^ ]*//g')\"\n"
            ));
        }
        let line = filled(line, self.client);
        if self.client.stubborn && matches!(kept, Kept::NoCa) {
            std::fs::write(self.home().join("line"), line).unwrap();
            script.push_str(UNTIL_REFUSED);
        } else {
            script.push_str(&line);
        }
        let mut command = under_run(&self.valetkey.home, &["sh", "-c", &script]);
        command.envs(self.client.settings.iter().copied());
        finish(&mut command, b"").await
    }

    async fn works(&self) -> Found {
        let seen = self.gets_through(Kept::All).await;
        let openings = self.tap.openings(0);
        let ours: Vec<_> = openings.iter().filter(|o| o.host == self.client.host).collect();
        let mut offered: Vec<String> = ours
            .iter()
            .map(|o| o.alpn.as_ref().map_or("no ALPN".into(), |alpn| alpn.join("+")))
            .collect();
        offered.sort();
        offered.dedup();
        assert!(!offered.is_empty(), "{}: a tunnel to {}", self.client.name, self.client.host);
        let admitted = if ours.iter().all(|o| o.authenticated) { "session" } else { "uid" };

        let pairs = self.client.proxy.len().max(self.client.ca.len());
        for at in 0..pairs {
            let last = |list: &[&'static str]| list[at.min(list.len() - 1)];
            self.gets_through(Kept::Pair(last(self.client.proxy), last(self.client.ca))).await;
        }
        let untrusted = self.refuses_without_our_ca().await;
        if self.client.slot != Slot::Pass {
            self.arrives(&seen).await;
        }
        Found {
            alpn: offered.join("; "),
            admitted,
            untrusted,
            result: report::good(self.client),
            version: String::new(),
        }
    }

    /// As [`Self::works`], for a remedy: the usual variables, once.
    async fn works_once(&self) -> String {
        self.prepare().await;
        self.gets_through(Kept::All).await;
        "–".into()
    }

    /// One use that must reach the API as the table says; the requests that did.
    async fn gets_through(&self, kept: Kept) -> Vec<Seen> {
        let (before, minted) = (self.api.requests().len(), self.issuer.minted().len());
        let output = self.run(self.client.line, kept).await;
        let name = self.client.name;
        let said = output.all();
        if let Ends::Well(says) = self.client.ends {
            assert_eq!(output.code(), Some(0), "{name}, {kept:?}: {said}");
            assert!(said.contains(says), "{name}, {kept:?}: `{says}` in {said}");
        }
        let seen = self.api.requests().split_off(before);
        assert!(!seen.is_empty(), "{name}, {kept:?}: nothing reached the API: {said}");
        let minted = self.issuer.minted().split_off(minted);
        let minted = match self.client.slot {
            Slot::Pass => {
                let signed = |s: &Seen| s.one("authorization").starts_with("AWS4-HMAC-SHA256 ");
                assert!(seen.iter().all(signed), "{name}, {kept:?}: the signature: {seen:#?}");
                minted
            }
            // Without proxy credentials its uses share their user's token.
            _ if self.is_java() && minted.is_empty() => vec![self.issuer.token()],
            _ => minted,
        };
        let wanted = usize::from(self.client.slot != Slot::Pass);
        assert_eq!(minted.len(), wanted, "{name}, {kept:?}: one token a session: {said}");
        for request in &seen {
            assert_eq!(request.count(placeholder::PREFIX), 0, "{name}: {request:#?}");
            assert!(request.all("proxy-authorization").is_empty(), "{name}: {request:#?}");
            assert_eq!(
                slot(self.client, request),
                wanted_slot(self.client, &minted),
                "{name}: {request:#?}"
            );
        }
        for token in &minted {
            assert!(!said.contains(token), "{name} saw the token: {said}");
        }
        seen
    }

    /// Without any CA variable it must refuse our leaf, or the pairs above would prove nothing. The
    /// audit says so, and what the client says is what a newcomer reads.
    async fn refuses_without_our_ca(&self) -> String {
        let before = self.api.requests().len();
        let output = self.run(self.client.line, Kept::NoCa).await;
        let name = self.client.name;
        assert_eq!(self.api.requests().len(), before, "{name} trusts anyone: {}", output.all());
        if matches!(self.client.ends, Ends::Well(_)) {
            assert_ne!(output.code(), Some(0), "{name} without our CA: {}", output.all());
        }
        if !self.client.silent {
            self.audited("client-tls-failed").await;
        }
        let endless = self.client.stubborn.then(|| "tries again and again".to_owned());
        let said = complaint(&output).or(endless);
        said.unwrap_or_else(|| panic!("{name} does not name the certificate: {}", output.all()))
    }

    async fn audited(&self, code: &str) {
        until(&format!("{}: {code} in the audit", self.client.name), || {
            self.valetkey.audit().iter().any(|record| record["code"] == code)
        })
        .await;
    }

    /// What a client sends when nobody touches it: its key, through a tunnel that is not opened.
    async fn arrives(&self, injected: &[Seen]) {
        let (client, host) = (self.client, self.client.host);
        let bare = Valetkey::new().reaching(&format!("{host}:443"), self.api.addr()).start().await;
        // The client's files from before; and the fake's CA as a person's own, which `run` keeps.
        let home = self.home();
        let ca = home.join("fake-ca.pem");
        std::fs::write(&ca, self.pki.pem()).unwrap();
        let key = format!("{}bare", placeholder::PREFIX);
        let line =
            format!("cd '{0}'; HOME='{0}'; {1}", home.display(), filled(client.line, client));
        let mut command = under_run(&bare.home, &["sh", "-c", &line]);
        command.envs(client.settings.iter().copied()).env(client.key, &key);
        command.env("SSL_CERT_FILE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
        let before = self.api.requests().len();
        let output = finish(&mut command, b"").await;
        let seen = self.api.requests().split_off(before);
        let name = client.name;
        assert!(!seen.is_empty(), "{name}, untouched: {}", output.all());
        // Some send several at once, in no order.
        let path = |seen: &Seen| seen.target.split('?').next().map(str::to_owned);
        let asked: Vec<_> = injected.iter().map(path).collect();
        assert!(seen.iter().any(|seen| asked.contains(&path(seen))), "{name}: {seen:#?}");
        let found = match client.sends {
            Form::Nothing => seen[..1].iter().find_map(|s| form(s, &key)),
            _ => seen.iter().find_map(|s| form(s, &key)),
        };
        let wanted = match client.sends {
            Form::Word(word) => Some(word.to_owned()),
            Form::Basic(user) => Some(format!("Basic {user}")),
            Form::Header(field) => Some(format!("{field}:")),
            Form::Nothing | Form::Signature => None,
        };
        assert_eq!(found, wanted, "{name} sends its key otherwise: {seen:#?}");
    }

    /// The documented failure, and that the documented remedy helps.
    async fn cannot(&self, says: &[&str], remedy: &'static str, told: &str) -> Found {
        let name = self.client.name;
        let output = self.run(self.client.line, Kept::All).await;
        let said = output.all();
        assert_ne!(output.code(), Some(0), "{name} works after all: {said}");
        assert!(says.iter().any(|words| said.contains(words)), "{name} says otherwise: {said}");
        assert!(self.api.requests().is_empty(), "{name} got there: {said}");
        assert!(self.issuer.minted().is_empty(), "{name}: nothing is minted for it");
        assert!(docs::section("Tools").contains(told), "{name}: the docs say `{told}`");

        let helped = Client { line: remedy, ends: Ends::Well("matrix-ok"), ..*self.client };
        let helped = Stage::of(&helped).await.works_once().await;
        Found {
            alpn: helped,
            admitted: "–",
            untrusted: "–".into(),
            version: String::new(),
            result: format!("cannot ({}); with `{told}` it works", says[0]),
        }
    }
}

/// The credential of a row, if it has one.
fn credential(client: &Client, issuer: &Issuer) -> String {
    if client.slot == Slot::Pass {
        return String::new();
    }
    format!(
        "[credentials.matrix]\ngrant = \"client-credentials\"\ntoken_url = {:?}\n\
         client_id = \"matrix-cli\"\nclient_secret = {{ file = \"matrix.secret\" }}",
        issuer.token_url()
    )
}

/// The route of a row.
fn route(client: &Client) -> String {
    let credential = match client.slot {
        Slot::Bearer => "credential = \"matrix\"".to_owned(),
        Slot::Basic(user) => {
            format!("credential = \"matrix\"\ninject = {{ basic = {{ user = \"{user}\" }} }}")
        }
        Slot::Header(name) => {
            format!("credential = \"matrix\"\ninject = {{ header = \"{name}\", scheme = \"\" }}")
        }
        // No placeholder without a credential.
        Slot::Pass => return format!("name = \"matrix\"\nhost = \"{}\"", client.host),
    };
    let strip = match client.sends {
        Form::Header(name) => format!("strip = [\"header:{name}\"]"),
        _ => String::new(),
    };
    format!(
        "name = \"matrix\"\nhost = \"{}\"\n{credential}\n{strip}\nenv = {{ {} = \"placeholder:opaque\" }}",
        client.host, client.key
    )
}

/// All that stands in the slot.
fn slot(client: &Client, seen: &Seen) -> Vec<String> {
    match client.slot {
        Slot::Header(name) => seen.all(name),
        Slot::Pass => Vec::new(),
        Slot::Basic(_) | Slot::Bearer => seen.all("authorization"),
    }
}

fn wanted_slot(client: &Client, minted: &[String]) -> Vec<String> {
    let write = |token: &String| match client.slot {
        Slot::Basic(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{token}"))),
        Slot::Bearer => format!("Bearer {token}"),
        Slot::Header(_) | Slot::Pass => token.clone(),
    };
    minted.iter().map(write).collect()
}

/// The line in which a client says what it has against a certificate.
fn complaint(output: &Output) -> Option<String> {
    let words = ["certificate", "x509", "CERT", "PKIX", "authority", "SSL"];
    let both = output.stderr() + "\n" + &output.stdout();
    let line = both.lines().rev().find(|line| words.iter().any(|word| line.contains(word)))?;
    Some(line.trim().chars().take(110).collect())
}

/// The words before the key, or the field it stands in.
fn form(seen: &Seen, key: &str) -> Option<String> {
    seen.headers.iter().find_map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        if let Some(encoded) = value.strip_prefix("Basic ") {
            let pair = STANDARD.decode(encoded).ok().and_then(|b| String::from_utf8(b).ok())?;
            let (user, password) = pair.split_once(':')?;
            return (password.contains(key)).then(|| format!("Basic {user}"));
        }
        let before = value.split_once(key)?.0.to_owned();
        let slot = name.to_ascii_lowercase();
        Some(if slot == "authorization" { before } else { format!("{slot}:{before}") })
    })
}

/// Fills in where the peers are.
fn filled(line: &str, client: &Client) -> String {
    let place = |path: &Path| path.display().to_string();
    let mut line = line.replace("{host}", client.host).replace("{cargo}", env!("CARGO"));
    for (word, file) in [
        ("{py}", "venv/bin/python"),
        ("{venv}", "venv/bin"),
        ("{node}", "npm/node"),
        ("{npm}", "npm/node_modules"),
    ] {
        if line.contains(word) {
            line = line.replace(word, &place(&peer(file)));
        }
    }
    line.replace("{scripts}", &place(&tests_file("clients")))
}
