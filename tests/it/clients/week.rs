//! A laptop's week: three shells that stay open, a config of the person's own and one of a project, and all that
//! happens to them from Monday to Sunday. No request fails that should work, and none works that should fail.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{peer, tests_file};
use crate::harness::api::{Answer, Api, Seen};
use crate::harness::client::finish;
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::issuer::Issuer;
use crate::harness::laptop::{Laptop, OWN};
use crate::harness::pki::Pki;
use crate::harness::valetkey::program;
use crate::harness::{Background, accept_loop, look_again, soon, until};
use crate::mint::clock;

const ORDERS: &str = "api.orders.example";
const SHOP: &str = "api.shop.example";
const STOCK: &str = "api.stock.example";
const GIT: &str = "git.example";
/// The project's config, and a directory far below it.
const PROJECT: &str = "work/shop/valetkey.toml";
const DEEP: &str = "work/shop/src/deep";

/// A shell that stays open: it has what was evaluated in it, and nothing else.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    /// Its tool's one request, which ends with 0 where it was served.
    tool: String,
}

impl Shell {
    fn open(laptop: &Laptop, here: &str, tool: String) -> Self {
        use std::process::Stdio;
        let mut bash = laptop.program("bash", here);
        bash.args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = bash.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines, tool }
    }

    /// Types a line: its exit code, and what it printed.
    async fn types(&mut self, line: &str) -> (String, String) {
        let all = format!("{{ {line}\n}} 2>&1 </dev/null; printf '\\n=done= %s\\n' $?\n");
        self.stdin.write_all(all.as_bytes()).await.unwrap();
        let mut said = String::new();
        soon(line, async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the shell is open");
                if let Some(code) = line.strip_prefix("=done= ") {
                    return (code.to_owned(), said.trim().to_owned());
                }
                said += &line;
                said.push('\n');
            }
        })
        .await
    }

    /// The same, which must end well.
    async fn well(&mut self, line: &str) -> String {
        let (code, said) = self.types(line).await;
        assert_eq!(code, "0", "{line}: {said}");
        said
    }

    async fn evaluates_env(&mut self) {
        self.well("eval \"$($VALETKEY env)\"").await;
    }
}

/// All of it.
struct Week {
    laptop: Laptop,
    api: Api,
    issuer: Arc<Issuer>,
    idp: Arc<Idp>,
    clock: PathBuf,
    /// In the person's home, by his own config.
    curl: Shell,
    git: Shell,
    /// Deep in the project, by its config.
    python: Shell,
}

/// Whose request has a token that one of the issuers minted.
fn token_of(seen: &Seen) -> Option<String> {
    use base64::Engine as _;
    let value = seen.all("authorization").concat();
    let basic = |pair: &str| {
        let pair = base64::engine::general_purpose::STANDARD.decode(pair).ok()?;
        Some(String::from_utf8(pair).ok()?.strip_prefix("x-access-token:")?.to_owned())
    };
    match value.split_once(' ')? {
        ("Basic", pair) => basic(pair),
        (_, token) => Some(token.to_owned()),
    }
}

/// A git server with one branch (gitprotocol-http(5)), and an API that says yes.
fn answer(seen: &Seen) -> Answer {
    if seen.authority != GIT {
        return Answer::ok("yes");
    }
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let branch = format!("{} refs/heads/main\0agent=week\n", "1".repeat(40));
    let body = format!("{}0000{}0000", line("# service=git-upload-pack\n"), line(&branch));
    Answer::ok(body).header("content-type", "application/x-git-upload-pack-advertisement")
}

impl Week {
    async fn begins() -> Self {
        let pki = Pki::new();
        let api = Api::tls(&pki.server(&[ORDERS, SHOP, STOCK, GIT])).await;
        let (issuer, idp) = (Arc::new(Issuer::start().await), Arc::new(Idp::start().await));
        let (first, second) = (Arc::clone(&issuer), Arc::clone(&idp));
        api.answer(move |seen| match token_of(seen) {
            Some(token) if first.minted().contains(&token) => answer(seen),
            Some(token) if second.minted().contains(&token) => answer(seen),
            _ => Answer::ok("no").status(401).header("www-authenticate", "Basic realm=\"week\""),
        });
        let mut laptop = Laptop::new();
        let clock = laptop.at("clock");
        laptop.write("clock", "+0\n");
        for (name, value) in [
            ("LD_PRELOAD", clock::library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ] {
            laptop.env(name, &value);
        }
        configs(&laptop, &pki, &api, &issuer, &idp);
        let curl = Shell::open(&laptop, "", curl(ORDERS));
        let git = format!(
            "GIT_TERMINAL_PROMPT=0 git ls-remote https://x-access-token:$GIT_KEY@{GIT}/team.git | grep refs/heads/main"
        );
        let git = Shell::open(&laptop, "", git);
        let (python, script) = (peer("venv/bin/python"), tests_file("clients/urllib_get.py"));
        let python = format!(
            "'{}' '{}' https://{SHOP}/v1/x | grep '^200 '",
            python.display(),
            script.display()
        );
        let python = Shell::open(&laptop, DEEP, python);
        Self { laptop, api, issuer, idp, clock, curl, git, python }
    }

    /// How many requests have had a token so far.
    fn served(&self) -> usize {
        let minted = [self.issuer.minted(), self.idp.minted()].concat();
        let requests = self.api.requests();
        requests.iter().filter_map(token_of).filter(|token| minted.contains(token)).count()
    }

    /// Each of the three gets what it asks for, with a token.
    async fn all_work(&mut self, when: &str) {
        for which in [Self::curl, Self::git, Self::python] {
            self.works(when, which).await;
        }
    }

    async fn works(&mut self, when: &str, which: fn(&mut Self) -> &mut Shell) {
        let before = self.served();
        let shell = which(self);
        let line = shell.tool.clone();
        let (code, said) = shell.types(&line).await;
        assert_eq!(code, "0", "{when}: {line}: {said}");
        assert!(self.served() > before, "{when}: {line}: without a token: {said}");
    }

    /// It fails, and nobody's token went anywhere.
    async fn fails(&mut self, when: &str, which: fn(&mut Self) -> &mut Shell) {
        let before = self.served();
        let shell = which(self);
        let line = shell.tool.clone();
        let (code, said) = shell.types(&line).await;
        assert_ne!(code, "0", "{when}: {line}: {said}");
        assert_eq!(self.served(), before, "{when}: {line}: a token left: {said}");
    }

    fn curl(&mut self) -> &mut Shell {
        &mut self.curl
    }

    fn git(&mut self) -> &mut Shell {
        &mut self.git
    }

    fn python(&mut self) -> &mut Shell {
        &mut self.python
    }

    /// A person logs in, in the project.
    async fn logs_in(&self) -> String {
        let before = self.idp.calls_of("/device").len();
        let mut login = self.laptop.program(program(), DEEP);
        login.args(["login", "shop"]);
        let login = tokio::spawn(async move { finish(&mut login).await });
        until("the code", || self.idp.calls_of("/device").len() > before).await;
        self.idp.approve();
        let done = login.await.unwrap();
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stderr
    }
}

/// One request of curl's, with the key that it was given.
fn curl(host: &str) -> String {
    format!(
        "curl -sSf --max-time 10 -H \"Authorization: Bearer $ORDERS_API_KEY\" https://{host}/v1/x"
    )
}

/// His own, with two routes, and the project's, with a login.
fn configs(laptop: &Laptop, pki: &Pki, api: &Api, issuer: &Issuer, idp: &Idp) {
    let upstream = |hosts: &[&str]| {
        let pins = hosts.iter().map(|host| format!("\"{host}:443\" = \"{}\"", api.addr()));
        let pins = pins.collect::<Vec<_>>().join(", ");
        format!("[upstream]\nextra_roots = [\"root.pem\"]\nresolve = {{ {pins} }}\n")
    };
    for place in [OWN, PROJECT] {
        let root = laptop.at(place).with_file_name("root.pem");
        laptop.write(root.to_str().unwrap(), pki.pem());
    }
    let head = "config_version = 1\n[proxy]\nunmatched = \"deny\"\n";
    laptop.write(".config/valetkey/orders.secret", "test-client-secret\n");
    laptop.write(
        OWN,
        &format!(
            "{head}{}[credentials.orders]\ngrant = \"client-credentials\"\ntoken_url = {:?}\n\
             client_id = \"orders-cli\"\nclient_secret = {{ file = \"orders.secret\" }}\n\
             [[routes]]\nname = \"orders\"\nhost = \"{ORDERS}\"\ncredential = \"orders\"\n\
             env = {{ ORDERS_API_KEY = \"placeholder:opaque\" }}\n\
             [[routes]]\nname = \"git\"\nhost = \"{GIT}\"\ncredential = \"orders\"\n\
             inject = {{ basic = {{ user = \"x-access-token\" }} }}\n\
             env = {{ GIT_KEY = \"placeholder:opaque\" }}\n",
            upstream(&[ORDERS, GIT, STOCK]),
            issuer.token_url(),
        ),
    );
    laptop.write(
        PROJECT,
        &format!(
            "{head}{}[credentials.shop]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
             scope = [\"openid\", \"orders:read\", \"orders:write\"]\n\
             [[routes]]\nname = \"shop\"\nhost = \"{SHOP}\"\ncredential = \"shop\"\n\
             env = {{ ORDERS_API_KEY = \"placeholder:opaque\" }}\n",
            upstream(&[SHOP]),
            idp.issuer(),
        ),
    );
    std::fs::create_dir_all(laptop.at(DEEP)).unwrap();
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_laptops_week() {
    let mut week = Week::begins().await;
    monday_he_begins(&mut week).await;
    tuesday_routes_come_and_go(&mut week).await;
    wednesday_the_login_narrows_and_ends(&mut week).await;
    thursday_daemons_die(&mut week).await;
    friday_a_port_is_lost_and_a_config_broken(&mut week).await;
    saturday_he_sleeps(&mut week).await;
    sunday_he_puts_all_away(&mut week).await;
}

/// Two configs, three shells; the project is cloned, so it is not used before it was read.
async fn monday_he_begins(week: &mut Week) {
    let (code, said) = week.python.types("$VALETKEY env").await;
    assert!(code == "2" && said.contains("config-untrusted"), "{code}: {said}");
    week.laptop.fine("work/shop", &["trust"]).await;
    // Ports of their own, which no other test of this machine has.
    for (here, config) in [("", OWN), (DEEP, PROJECT)] {
        week.laptop.listened_last_at(here, config, free()).await;
    }
    let said = week.python.well("eval \"$($VALETKEY env)\"").await;
    let chosen = format!("config: {} (the nearest)", week.laptop.at(PROJECT).display());
    assert!(said.contains(&chosen), "it says which: {said}");
    week.curl.evaluates_env().await;
    week.git.evaluates_env().await;
    week.works("on Monday", Week::curl).await;
    week.works("on Monday", Week::git).await;
    week.fails("before the login", Week::python).await;
    // He is given less than he asked for, and it is enough.
    week.idp.with(|idp| idp.token_answer = json!({ "scope": "openid orders:read" }));
    let said = week.logs_in().await;
    assert!(said.contains("login-narrower"), "{said}");
    week.idp.with(|idp| idp.token_answer = json!({}));
    week.all_work("on Monday").await;
    let refresh = week.idp.calls_of("/token").pop().unwrap();
    assert_eq!(refresh.one("scope"), "openid orders:read", "what was granted, no more");
}

/// A port that nobody has at this moment.
fn free() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A route for a new host takes trust from nobody; a route that is gone serves nobody; nor does a rotation of the CA
/// disturb anyone.
async fn tuesday_routes_come_and_go(week: &mut Week) {
    let stock =
        format!("[[routes]]\nname = \"stock\"\nhost = \"{STOCK}\"\ncredential = \"orders\"\n");
    let before = std::fs::read_to_string(week.laptop.at(OWN)).unwrap();
    let orders =
        std::mem::replace(&mut week.curl.tool, curl(STOCK).replace("$ORDERS_API_KEY", "x"));
    week.fails("without a route", Week::curl).await;
    week.laptop.rewrite(OWN, |text| text + &stock);
    let line = week.curl.tool.clone();
    soon("the new route", async { while week.curl.types(&line).await.0 != "0" {} }).await;
    week.all_work("with a route more").await;
    week.laptop.write(OWN, &before);
    soon("its end", async { while week.curl.types(&line).await.0 == "0" {} }).await;
    week.fails("without it again", Week::curl).await;
    week.curl.tool = orders;
    week.all_work("with a route less").await;
    for here in ["", DEEP] {
        week.laptop.fine(here, &["ca", "rotate"]).await;
        week.all_work("after a rotation").await;
    }
}

/// The issuer ends the login; a new one serves the shell that was open all the time.
async fn wednesday_the_login_narrows_and_ends(week: &mut Week) {
    week.idp.end_logins();
    week.laptop.fine(DEEP, &["restart"]).await;
    week.fails("after the login's end", Week::python).await;
    week.works("beside it", Week::curl).await;
    week.works("beside it", Week::git).await;
    week.logs_in().await;
    week.all_work("with a new login").await;
}

/// Killed at once, and started by whoever comes next, where the shells look for them.
async fn thursday_daemons_die(week: &mut Week) {
    for (here, config) in [("", OWN), (DEEP, PROJECT)] {
        let daemon = week.laptop.daemon(config).await.expect("it runs");
        let pid = Pid::from_raw(i32::try_from(daemon["pid"].as_i64().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        soon("its end", async { while week.laptop.daemon(config).await.is_some() {} }).await;
        week.laptop.fine(here, &["run", "--", "true"]).await;
        let next = week.laptop.daemon(config).await.expect("the next one runs");
        assert_eq!(next["listen"], daemon["listen"], "{here}");
        week.all_work("with the next daemon").await;
    }
}

/// Somebody takes the port while the daemon is down; then a typo, and the key must be turned all the same.
async fn friday_a_port_is_lost_and_a_config_broken(week: &mut Week) {
    let daemon = week.laptop.daemon(OWN).await.unwrap();
    week.laptop.fine("", &["stop"]).await;
    let somebody = somebody_at(daemon["listen"][0].as_str().unwrap()).await;
    week.laptop.fine("", &["restart"]).await;
    week.fails("at somebody else's port", Week::curl).await;
    let status = week.laptop.fine("", &["status"]).await.stdout;
    assert_eq!(status.matches("which is not ours any more").count(), 2, "{status}");
    week.curl.evaluates_env().await;
    week.git.evaluates_env().await;
    week.all_work("at the new port").await;
    drop(somebody);

    let good = std::fs::read_to_string(week.laptop.at(OWN)).unwrap();
    week.laptop
        .rewrite(OWN, |text| text.replace("credential = \"orders\"", "credential = \"ordrs\""));
    week.all_work("with a typo").await;
    week.laptop.fine("", &["revoke", "--all"]).await;
    week.fails("when all is revoked", Week::curl).await;
    week.fails("when all is revoked", Week::git).await;
    week.works("where it is not", Week::python).await;
    week.laptop.write(OWN, &good);
    week.laptop.fine("", &["revoke", "--all", "--undo"]).await;
    week.curl.evaluates_env().await;
    week.git.evaluates_env().await;
    week.all_work("when it is taken back").await;
}

/// Somebody who takes connections and says nothing.
async fn somebody_at(address: &str) -> Background {
    let listener = soon("the port", async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => look_again().await,
            }
        }
    })
    .await;
    accept_loop(listener, |stream| async move { drop(stream) })
}

/// The lid is down for nine hours: the sessions of eight are over, the logins are not.
async fn saturday_he_sleeps(week: &mut Week) {
    week.laptop.write(week.clock.to_str().unwrap(), "+32400\n");
    for which in [Week::curl, Week::git, Week::python] {
        week.fails("after the night", which).await;
        which(week).evaluates_env().await;
    }
    week.all_work("in the morning").await;
}

/// After `--unset` no session lives, nothing is left in the shells, and what they had is worth nothing.
async fn sunday_he_puts_all_away(week: &mut Week) {
    for which in [Week::curl, Week::git, Week::python] {
        let shell = which(week);
        let before = "had=$HTTPS_PROXY; key=$ORDERS_API_KEY$GIT_KEY";
        shell.well(&format!("{before}; cd /; eval \"$($VALETKEY env --unset)\"")).await;
        shell
            .well("[ -z \"$HTTPS_PROXY$CURL_CA_BUNDLE$ORDERS_API_KEY$GIT_KEY$VALETKEY_ENV\" ]")
            .await;
        shell.tool = format!(
            "HTTPS_PROXY=$had curl -sSfk --max-time 10 -H \"Authorization: Bearer $key\" https://{ORDERS}/v1/x"
        );
        week.fails("after --unset", which).await;
    }
    for here in ["", DEEP] {
        let sessions = week.laptop.json(here, &["session", "list", "--json"]).await;
        assert_eq!(sessions, json!([]), "{here}");
        week.laptop.fine(here, &["audit", "verify"]).await;
        week.laptop.fine(here, &["stop"]).await;
    }
}
