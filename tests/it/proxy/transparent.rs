//! Tools that know of no proxy at all: the kernel redirects their connections. In a network namespace of the
//! test's own, where names, addresses and rules are what it says.

use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::harness::api::Api;
use crate::harness::namespace::{entered, naming, sh};
use crate::harness::soon;
use crate::harness::stage::Stage;

const SELF: &str = "proxy::transparent::redirected_tools_get_their_tokens";
const ROUTED: &str = "api.redirected.example";
const UNROUTED: &str = "www.redirected.example";
/// Where both names live, and where an attacker does.
const HERE: &str = "10.99.0.7";
const THERE: &str = "10.99.0.66";
/// Who is admitted, and who is not.
const NOBODY: u32 = 65534;
const STRANGER: u32 = 65533;

/// curl as another user, without a word about proxies.
struct Curl {
    ca: tempfile::NamedTempFile,
}

impl Curl {
    fn new(stage: &Stage) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let ca = tempfile::NamedTempFile::new().unwrap();
        let trusted = format!("{}\n{}", stage.ca_pem(), stage.pki.pem());
        std::fs::write(ca.path(), trusted).unwrap();
        std::fs::set_permissions(ca.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        Self { ca }
    }

    async fn run(&self, uid: u32, arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        let uid = uid.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
        self.finish(command, arguments).await
    }

    async fn finish(&self, mut command: Command, arguments: &[&str]) -> Output {
        command.args(["curl", "-sS", "--max-time", "20", "--cacert"]).arg(self.ca.path());
        command.args(["-H", "x-api-key: placeholder", "-w", "%{http_code}", "-o", "/dev/null"]);
        command.args(arguments).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).output().await.unwrap()
    }
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn redirected_tools_get_their_tokens() {
    if !entered(SELF).await {
        return;
    }
    sh("ip link set lo up; ip addr add 10.99.0.1/24 dev lo; ip -6 addr add fd99::1/64 dev lo nodad").await;
    let hosts = format!("127.0.0.1 localhost\n{HERE} {ROUTED} {UNROUTED}\nfd99::7 {ROUTED}\n");
    let _names = naming(&hosts).await;

    let stage = Stage::valetkey_with(|v| {
        v.proxy(&format!("transparent = [\"0.0.0.0:0\", \"[::1]:0\"]\nallow_uids = [{NOBODY}]"))
            .upstream("allow_private = [\"10.99.0.0/24\", \"fd99::/64\"]")
            .route(&format!(
                "name = \"redirected\"\nhost = \"{ROUTED}\"\npath = [\"/v1/**\"]\n\
                 credential = \"orders\"\nstrip = [\"header:x-api-key\"]"
            ))
    })
    .await;
    let routed = Api::tls(&stage.pki.server(&[ROUTED, UNROUTED])).await;
    let evil = Api::tls(&stage.pki.server(&[ROUTED])).await;
    let ports = soon("the listeners", async {
        loop {
            let text = stage.running().unwrap().stderr_text();
            let found: Vec<u16> = text
                .lines()
                .filter_map(|line| line.split("redirected connections on ").nth(1))
                .filter_map(|address| address.rsplit(':').next()?.trim().parse().ok())
                .collect();
            if let [four, six] = found[..] {
                break (four, six);
            }
            stage.running().unwrap().says_more_than(text.len()).await;
        }
    })
    .await;
    // What the daemon itself dials goes where the addresses would be; what others dial goes to it.
    for (address, port) in [(HERE, routed.addr().port()), (THERE, evil.addr().port())] {
        sh(&format!(
            "iptables -t nat -A OUTPUT -p tcp -d {address} --dport 443 -m owner --uid-owner 0 \
             -j REDIRECT --to-ports {port}"
        ))
        .await;
    }
    for (table, network, port) in
        [("iptables", "10.99.0.0/24", ports.0), ("ip6tables", "fd99::/64", ports.1)]
    {
        sh(&format!(
            "{table} -t nat -A OUTPUT -p tcp -d {network} --dport 443 -m owner ! --uid-owner 0 \
             -j REDIRECT --to-ports {port}"
        ))
        .await;
    }
    let curl = Curl::new(&stage);
    let url = format!("https://{ROUTED}/v1/x");

    // A routed host at its own address, by IPv4 and IPv6.
    for (n, family) in ["-4", "-6"].into_iter().enumerate() {
        let done = curl.run(NOBODY, &[family, &url]).await;
        assert_eq!(said(&done).0, "200", "{family}: {done:?}");
        let seen = routed.request(n).await;
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
        assert!(seen.all("x-api-key").is_empty(), "{seen:?}");
    }
    let audit = stage.running().unwrap().audit();
    let injected: Vec<_> = audit.iter().filter(|r| r["decision"] == "inject").collect();
    assert_eq!(injected.len(), 2, "{audit:#?}");
    assert!(injected.iter().all(|r| r["client"]["uid"] == NOBODY), "{injected:#?}");

    // The same name at an attacker's address.
    let lured = format!("{ROUTED}:443:{THERE}");
    let done = curl.run(NOBODY, &["--resolve", &lured, &url]).await;
    assert_eq!((said(&done).0.as_str(), done.status.code()), ("000", Some(35)), "{done:?}");
    assert!(said(&done).1.contains("access denied"), "{done:?}");
    stage.audited("address-mismatch", 1).await;

    // Hosts that no route names, by name and by address alone: as they are.
    for (n, unrouted) in
        [format!("https://{UNROUTED}/x"), format!("https://{HERE}/x")].iter().enumerate()
    {
        let done = curl.run(NOBODY, &["-k", unrouted]).await;
        assert_eq!(said(&done).0, "200", "{done:?}");
        let seen = routed.request(2 + n).await;
        assert_eq!(
            (seen.one("x-api-key"), seen.all("authorization")),
            ("placeholder".into(), vec![])
        );
    }

    // Somebody else of this machine.
    let done = curl.run(STRANGER, &[&url]).await;
    assert_eq!(said(&done).0, "000", "{done:?}");
    stage.audited("proxy-auth-required", 1).await;

    // Nobody redirected this one.
    let straight = format!("{ROUTED}:{}:127.0.0.1", ports.0);
    let port = ports.0.to_string();
    let to_us = format!("https://{ROUTED}:{port}/v1/x");
    let done = curl.run(NOBODY, &["--resolve", &straight, &to_us]).await;
    assert_eq!(said(&done).0, "000", "{done:?}");

    // From another namespace, as a container's or a neighbour's: its owner is nobody that we know.
    sh(&format!(
        "mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip netns add other; \
         ip link add v0 type veth peer name v1 netns other; \
         ip addr add 10.98.0.1/24 dev v0; ip link set v0 up; \
         ip -n other addr add 10.98.0.2/24 dev v1; ip -n other link set v1 up; \
         ip -n other route add default via 10.98.0.1; \
         iptables -t nat -A PREROUTING -i v0 -p tcp --dport 443 -j REDIRECT --to-ports {}",
        ports.0
    ))
    .await;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "other"]);
    let here = format!("{ROUTED}:443:{HERE}");
    let done = curl.finish(command, &["--resolve", &here, &url]).await;
    assert_eq!(said(&done).0, "000", "{done:?}");
    stage.audited("owner-unknown", 1).await;

    assert_eq!(routed.requests().len(), 4);
    assert!(evil.requests().is_empty() && evil.connections() == 0, "the attacker got something");
}
