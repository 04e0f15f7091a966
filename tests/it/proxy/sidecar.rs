//! config/container for real, as far as one kernel without a container engine goes: the config of that directory
//! in a root of its own, read-only, as the image's user; and an app, an unmodified curl under the environment
//! of kubernetes.yaml, that shares loopback and the bundle volume with it.
//!
//! The app sees the whole machine's files and processes, which a container would not: what keeps it out here is
//! its uid alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::api::{Answer, Api, Seen};
use crate::harness::client::{Finished, finish};
use crate::harness::leak::below;
use crate::harness::namespace::{entered, naming, sh};
use crate::harness::pki::Pki;
use crate::harness::valetkey::{Home, Running, Valetkey, program};
use crate::harness::{Gate, canary, until};

const SELF: &str = "proxy::sidecar::an_app_shares_loopback_and_the_bundle_and_nothing_else";
const API: &str = "api.orders.example";
const IDP: &str = "idp.example";
/// Neither private nor reserved: the guard is as it always is.
const API_AT: &str = "45.99.0.7";
const IDP_AT: &str = "45.99.0.8";
/// As in the manifests.
const VALETKEY: u32 = 65532;
const APP: u32 = 10001;
/// What the image holds, and where the volumes go.
const DIRECTORIES: &str = "etc/valetkey etc/ssl/certs run/valetkey/secrets run/valetkey/identity \
                           run/valetkey/trust var/lib/valetkey proc";

fn container(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/container").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// `NAME=value` of the image.
fn image_env() -> Vec<String> {
    let file = container("Containerfile");
    let words = file.split_whitespace().filter(|word| word.starts_with("VALETKEY_"));
    words.map(str::to_owned).collect()
}

/// What the manifest gives the app.
fn app_env(secret: &str) -> Vec<(String, String)> {
    let given = |line: &str| {
        let (name, value) = line.trim().strip_prefix("- {name: ")?.split_once(", value: ")?;
        let value = value.strip_suffix('}')?.trim_matches('"');
        Some((name.to_owned(), value.replace("$(VALETKEY_SESSION)", secret)))
    };
    let all: Vec<_> = container("kubernetes.yaml").lines().filter_map(given).collect();
    assert!(all.iter().any(|(name, _)| name == "HTTPS_PROXY"), "{all:?}");
    all
}

/// The pod.
struct Pod {
    root: PathBuf,
    secret: String,
    identity: String,
    home: Home,
    api: Api,
    _idp: Api,
    _names: tempfile::NamedTempFile,
}

impl Pod {
    /// Volumes mounted, names resolved, nothing started.
    async fn made() -> Self {
        let mut home = Valetkey::new().written();
        let root = home.path("root");
        let at = root.display();
        home.state = root.join("var/lib/valetkey/state");
        let [secret, identity] = ["session", "identity"].map(canary);
        let pki = Pki::new();
        sh(&format!(
            "chmod 755 {home}; mkdir -p {at}; cd {at}; mkdir -p {DIRECTORIES}
             touch valetkey; mount --bind {program} valetkey
             ldd {program} | grep -o '/[^ ]*' | while read lib; do mkdir -p .$(dirname $lib); cp $lib .$lib; done
             echo 'hosts: files dns' > etc/nsswitch.conf; cp /etc/hosts etc/hosts
             mount -t tmpfs -o mode=0777,size=64m none var/lib/valetkey
             mount -t tmpfs -o mode=0777,size=8m none run/valetkey/trust",
            home = home.path("").display(),
            program = program().display(),
        ))
        .await;
        std::fs::write(root.join("etc/valetkey/valetkey.toml"), container("valetkey.toml"))
            .unwrap();
        std::fs::write(root.join("etc/ssl/certs/ca-certificates.crt"), pki.pem()).unwrap();
        std::fs::write(root.join("run/valetkey/secrets/app"), &secret).unwrap();
        std::fs::write(root.join("run/valetkey/identity/token"), &identity).unwrap();
        let hosts = format!("127.0.0.1 localhost\n{API_AT} {API}\n{IDP_AT} {IDP}\n");
        std::fs::write(root.join("etc/hosts"), &hosts).unwrap();
        sh(&format!(
            "cd {at}/run/valetkey; chgrp {VALETKEY} secrets/app identity/token; chmod 440 secrets/app identity/token"
        ))
        .await;
        let names = naming(&hosts).await;
        let api = Api::tls(&pki.server(&[API])).await;
        // It sends back whatever it got.
        api.answer(|seen| Answer::ok(seen.all("authorization").join(" ")));
        let idp = Api::tls(&pki.server(&[IDP])).await;
        idp.answer(issuer(&identity));
        for (address, port) in [(API_AT, api.addr().port()), (IDP_AT, idp.addr().port())] {
            sh(&format!(
                "ip link set lo up; ip addr add {address}/32 dev lo; iptables -t nat -A OUTPUT -p tcp -d {address} \
                 --dport 443 -m owner --uid-owner {VALETKEY} -j REDIRECT --to-ports {port}"
            ))
            .await;
        }
        Self { root, secret, identity, home, api, _idp: idp, _names: names }
    }

    /// The sidecar: a root that nobody can write to, processes of its own, no privileges to be had.
    fn sidecar(&self) -> Running {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-ec"]);
        command.arg(format!(
            "mount --rbind {0} {0}; mount -o remount,bind,ro {0}; mount -t proc none {0}/proc; cd {0}
             exec env -i {1} setpriv --no-new-privs -- /usr/sbin/chroot --userspec={VALETKEY}:{VALETKEY} --groups={VALETKEY} . \
             /valetkey serve",
            self.root.display(),
            image_env().join(" "),
        ));
        self.home.spawn(command)
    }

    /// `kubectl exec`: a command of the image, in the sidecar.
    async fn exec(&self, pid: u32, arguments: &[&str]) -> Finished {
        let id = VALETKEY.to_string();
        let mut command = Command::new("env");
        command.arg("-i").args(image_env());
        command.args([
            "nsenter",
            "--target",
            &pid.to_string(),
            "--mount",
            "--pid",
            "--root",
            "--wd",
        ]);
        command.args(["--setuid", &id, "--setgid", &id, "--", "/valetkey"]).args(arguments);
        finish(&mut command).await
    }

    /// A command of the app's.
    fn app(&self, uid: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-ec"]);
        command.arg(format!(
            "mount -t tmpfs none /run; mkdir -p /run/valetkey/trust; mount --bind {} /run/valetkey/trust
             exec setpriv --reuid {uid} --regid {uid} --clear-groups --no-new-privs -- \"$@\"",
            self.root.join("run/valetkey/trust").display()
        ));
        command.arg("sh").args(arguments).env_clear().envs(app_env(&self.secret));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn app_shell(&self, line: &str) -> Finished {
        finish(&mut self.app(APP, &["sh", "-c", line])).await
    }

    /// The app asks the API; its key is the placeholder of the manifest.
    async fn asks(&self, more: &str) -> Finished {
        self.app_shell(&format!(
            "curl -sS --max-time 20 -w '\\n%{{http_code}}' -H \"x-api-key: $ORDERS_API_KEY\" {more}"
        ))
        .await
    }

    /// A request of the app's arrives with a token, which nobody but the API sees.
    async fn reaches(&self, more: &str) -> String {
        let before = self.api.requests().len();
        let done = self.asks(&format!("{more} https://{API}/v1/orders")).await;
        assert!(done.code == Some(0) && done.stdout.ends_with("\n200"), "{done:?}");
        let seen = self.api.request(before).await;
        let token = token(&seen);
        assert!(!done.stdout.contains(&token), "the token came back: {}", done.stdout);
        assert!(seen.all("x-api-key").is_empty(), "{seen:?}");
        token
    }

    fn trust(&self, name: &str) -> PathBuf {
        self.root.join("run/valetkey/trust").join(name)
    }
}

/// curl as another session, whatever the environment says.
fn by(name: &str, secret: &str) -> String {
    format!("-x http://{name}:{secret}@127.0.0.1:8383")
}

fn token(seen: &Seen) -> String {
    seen.one("authorization").strip_prefix("Bearer vkt-").expect("a minted token").to_owned()
}

/// Tokens for the workload's identity and for no other.
fn issuer(identity: &str) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let identity = identity.to_owned();
    move |seen| {
        let (status, said) = if seen.target.starts_with("/.well-known/") {
            let endpoint = format!("https://{IDP}/token");
            (200, json!({ "issuer": format!("https://{IDP}"), "token_endpoint": endpoint }))
        } else if seen.count(&identity) == 1 {
            let kind = "urn:ietf:params:oauth:token-type:access_token";
            let token = canary("vkt");
            let answer = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 300, "issued_token_type": kind });
            (200, answer)
        } else {
            (400, json!({ "error": "invalid_request" }))
        };
        Answer::ok(said.to_string()).status(status).header("content-type", "application/json")
    }
}

/// The daemon's number out here.
fn inner(running: &Running) -> u32 {
    *below(running.pid().unwrap()).last().expect("a child of unshare")
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn an_app_shares_loopback_and_the_bundle_and_nothing_else() {
    if !entered(SELF).await {
        return;
    }
    let pod = Pod::made().await;
    let mut sidecar = pod.sidecar();
    sidecar.listening().await;
    let pid = inner(&sidecar);
    // The startup probe lets the app start, and all that it needs is there.
    assert_eq!(pod.exec(pid, &["status"]).await.code, Some(0));
    let names = pod.app_shell("ls /run/valetkey/trust").await.stdout;
    assert_eq!(names, "combined.pem\ntruststore.p12\nvaletkey-ca.pem\n");
    let bundle = std::fs::read_to_string(pod.trust("combined.pem")).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2, "ours and the image's");

    let read = pod.reaches("").await;
    let written = pod.reaches("-d x=1").await;
    assert_ne!(read, written, "what reads cannot write");
    let wrong = pod.asks(&format!("{} https://{API}/", by("app", "wrong-wrong-wrong"))).await;
    assert!(wrong.stderr.contains("407"), "{wrong:?}");
    let none = pod.asks(&format!("-x http://127.0.0.1:8383 https://{API}/")).await;
    assert!(none.stderr.contains("407"), "{none:?}");

    others_secrets(&pod, &sidecar, pid, &[read, written]).await;
    hostile_volume(&pod, &sidecar).await;
    drained(&pod, &mut sidecar, pid).await;
    let root = pod.root.display();
    sh(&format!("cd {root}; umount valetkey var/lib/valetkey run/valetkey/trust")).await;
}

/// Each is tried as the app, and as root, who can: what is tried would work.
async fn others_secrets(pod: &Pod, sidecar: &Running, pid: u32, tokens: &[String]) {
    let (root, state) = (pod.root.display(), pod.home.state.display());
    let key = sh(&format!("ls {state}/ca/*/intermediate.key")).await;
    let key = key.trim();
    for what in [
        format!("cat {key}"),
        format!("ls {state}"),
        format!("cat {state}/audit.jsonl"),
        format!("cat {root}/run/valetkey/secrets/app"),
        format!("cat {root}/run/valetkey/identity/token"),
        format!("cat /proc/{pid}/environ"),
        format!("cat /proc/{pid}/maps"),
        format!("ls -l /proc/{pid}/fd/ | grep ."),
        format!("ls /proc/{pid}/root/"),
        format!("kill -0 {pid}"),
        format!("curl -sS --unix-socket {state}/admin.sock http://valetkey/v1/status"),
    ] {
        let tried = pod.app_shell(&what).await;
        assert!(tried.code != Some(0) && tried.stdout.is_empty(), "the app: {what}: {tried:?}");
        if what.starts_with("curl") {
            // The socket asks for its own user's uid.
            assert_eq!(pod.exec(pid, &["status"]).await.code, Some(0));
            continue;
        }
        let control = finish(&mut pod.app(0, &["sh", "-c", &what])).await;
        assert_eq!(control.code, Some(0), "root: {what}: {control:?}");
    }

    // Another session has another token, and neither its name nor its secret can be had.
    let opened = pod.exec(pid, &["session", "open", "--json", "--uid", &APP.to_string()]).await;
    let opened: Value = serde_json::from_str(&opened.stdout).expect("JSON");
    let (name, secret) = (opened["name"].as_str().unwrap(), opened["secret"].as_str().unwrap());
    let theirs = pod.reaches(&by(name, secret)).await;
    assert!(!tokens.contains(&theirs), "another session's token");
    let stolen = pod.asks(&format!("{} https://{API}/", by(name, &pod.secret))).await;
    assert!(stolen.stderr.contains("407"), "{stolen:?}");

    // Nothing of it is in what is shared, nor in what is told.
    let key = std::fs::read_to_string(key).unwrap();
    let mut kept: Vec<&str> = key.lines().filter(|line| !line.starts_with("---")).collect();
    kept.extend([pod.secret.as_str(), &pod.identity, secret, &theirs]);
    kept.extend(tokens.iter().map(String::as_str));
    let told = sidecar.output();
    for entry in std::fs::read_dir(pod.trust("")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes) + told.as_str();
        assert!(!text.contains("PRIVATE"), "{text}");
        for value in &kept {
            assert!(!text.contains(value), "{value} in {text}");
        }
    }
}

/// The app writes to the volume, which its manifest would not let it: only its own trust suffers.
async fn hostile_volume(pod: &Pod, sidecar: &Running) {
    let (state, bundle) = (pod.home.state.display(), pod.trust("combined.pem"));
    let key = sh(&format!("ls {state}/ca/*/intermediate.key")).await;
    let key = Path::new(key.trim());
    let inside = Path::new("/").join(key.strip_prefix(&pod.root).unwrap());
    let right = std::fs::read(&bundle).unwrap();
    let before = (std::fs::read(key).unwrap(), std::fs::metadata(key).unwrap().modified().unwrap());
    let mended = |what: String| {
        let (bundle, right) = (bundle.clone(), right.clone());
        async move {
            until(&format!("the bundle after: {what}"), || {
                let is_right = || {
                    let plain = |found: std::fs::Metadata| {
                        found.is_file() && found.len() == right.len() as u64
                    };
                    bundle.symlink_metadata().is_ok_and(plain)
                        && std::fs::read(&bundle).is_ok_and(|found| found == right)
                };
                is_right()
            })
            .await;
        }
    };
    let link = format!("ln -sf {}", inside.display());
    for what in [
        "rm -f combined.pem".to_owned(),
        format!("{link} combined.pem"),
        format!("{link} .combined.pem.new; rm combined.pem"),
        "ln -sf /etc/valetkey/valetkey.toml combined.pem".to_owned(),
        "ln -sf /var/lib/valetkey/state/audit.jsonl combined.pem".to_owned(),
        "mkfifo x; mv -f x combined.pem".to_owned(),
        "echo mine > x; mv -f x combined.pem".to_owned(),
        "truncate -s 1T x; mv -f x combined.pem".to_owned(),
    ] {
        let done = pod.app_shell(&format!("set -e; cd /run/valetkey/trust; {what}")).await;
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        mended(what).await;
    }
    // What cannot be mended is said, and harms whoever did it. Somebody with a bundle of his own does not notice.
    let own = pod.home.path("own.pem");
    std::fs::write(&own, &right).unwrap();
    sh(&format!("chmod 644 {}", own.display())).await;
    for (what, undo) in [
        (
            "mkdir -p d/x; until rm -f combined.pem; mv -T d combined.pem; do :; done",
            "rm -r combined.pem",
        ),
        ("cat /dev/zero > huge; rm combined.pem; cat /dev/zero >> huge", "rm huge"),
    ] {
        pod.app_shell(&format!("cd /run/valetkey/trust; {what}")).await;
        let own = format!("--cacert {}", own.display());
        for _ in 0..3 {
            pod.reaches(&own).await;
        }
        let undone = pod.app_shell(&format!("cd /run/valetkey/trust; {undo}")).await;
        assert_eq!(undone.code, Some(0), "{what}: {undone:?}");
        mended(what.to_owned()).await;
    }
    pod.reaches("").await;
    sidecar.says("somebody changes what we put into /run/valetkey/trust").await;
    let after = (std::fs::read(key).unwrap(), std::fs::metadata(key).unwrap().modified().unwrap());
    assert!(before == after, "nobody wrote through a link");
    let audit = pod.home.audit();
    assert!(audit.iter().all(|r| r["code"] != "audit-unavailable"), "{audit:#?}");
    let injected = audit.iter().filter(|r| r["decision"] == "inject");
    let by_app = injected.filter(|r| r["client"]["session"] == "app").count();
    assert!(by_app >= 9, "the audit says who it was: {by_app}");
}

/// Stopped, as after the app: what is under way ends well, and then it goes.
async fn drained(pod: &Pod, sidecar: &mut Running, pid: u32) {
    let gate = Gate::closed();
    let held = gate.clone();
    pod.api.answer(move |_| Answer::ok("at last").after(&held));
    let before = pod.api.requests().len();
    let url = format!("https://{API}/v1/orders");
    let last = pod.asks(&url);
    let stopping = async {
        pod.api.request(before).await;
        sh(&format!("kill -TERM {pid}")).await;
        sidecar.says("stopping").await;
        gate.open();
    };
    let (done, ()) = tokio::join!(last, stopping);
    assert_eq!(done.stdout, "at last\n200", "{done:?}");
    assert_eq!(sidecar.ended().await, Some(0));
}
