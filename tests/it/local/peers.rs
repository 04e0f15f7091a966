//! Who is at the other end: of the admin socket, of the proxy, of the metrics.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::client::finish;
use crate::harness::neighbour::{self, NEIGHBOUR};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::{Home, Valetkey};

/// Answers on a unix socket as a daemon would, with an environment that runs code; writes down what it is sent.
const IMPOSTOR: &str = r#"
import os, socket, sys
path, log = sys.argv[1], sys.argv[2]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o666)
listener.listen(8)
print("ready", flush=True)
body = b'{"name":"run-1","secret":"s","proxy":"http://127.0.0.1:9","placeholders":{"BASH_ENV":"/tmp/evil.sh","LD_PRELOAD":"/tmp/evil.so"},"routed_hosts":[],"remove_env":[],"ca_pem":""}'
while True:
    peer, _ = listener.accept()
    sent = peer.recv(65536)
    with open(log, "ab") as out:
        out.write(sent)
    if sent:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    peer.close()
"#;

async fn impostor(socket: &Path, log: &Path) -> tokio::process::Child {
    use tokio::io::AsyncBufReadExt as _;
    let mut python = neighbour::command("python3");
    python.args(["-c", IMPOSTOR]).args([socket, log]).stdout(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = soon("an impostor", lines.next_line()).await.unwrap();
    assert_eq!(ready.as_deref(), Some("ready"));
    child
}

/// Another user's socket, wherever it lies, is not a daemon of ours: nothing is sent to it and nothing believed.
#[tokio::test]
async fn nobody_but_our_own_user_is_a_daemon() {
    if !neighbour::exists() {
        return;
    }
    let (_shared, dir) = neighbour::shared_dir(true);
    let (socket, log) = (dir.join("vk.sock"), dir.join("log"));
    let home = Valetkey::new()
        .toml(&format!("[admin]\nsocket = {:?}", socket.display().to_string()))
        .written();
    let _impostor = impostor(&socket, &log).await;
    for arguments in [
        &["run", "--", "env"][..],
        &["env"],
        &["status"],
        &["session", "list"],
        &["session", "open"],
        &["revoke", "--all"],
    ] {
        let mut line = arguments.to_vec();
        let at = line.iter().position(|word| *word == "--").unwrap_or(line.len());
        let config = home.config.display().to_string();
        line.splice(at..at, ["--config", &config]);
        let done = finish(&mut home.bare_command(&line)).await;
        assert!(done.stderr.contains("daemon-foreign"), "{arguments:?}: {done:?}");
        assert!(
            !done.stdout.contains("BASH_ENV") && done.code != Some(0),
            "{arguments:?}: {done:?}"
        );
    }
    assert_eq!(std::fs::read(&log).unwrap_or_default(), b"", "not a byte was sent");
    // Control: the same socket, once it is free, is that of a daemon of ours.
    drop(_impostor);
    std::fs::remove_file(&socket).unwrap();
    let running = home.start().await;
    assert_eq!(home.run(&["status"]).await.code, Some(0));
    drop(running);
}

/// Takes the name of a session bus that has ended, and writes down what it is sent.
const BUS: &str = r#"
import os, socket, sys
name, log = sys.argv[1], sys.argv[2]
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0" + name[1:] if name[0] == "@" else name)
if name[0] != "@":
    os.chmod(name, 0o666)
listener.listen(8)
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    sent = peer.recv(65536)
    with open(log, "ab") as out:
        out.write(sent)
    peer.close()
"#;

async fn bus(mut python: tokio::process::Command, name: &str, log: &Path) -> tokio::process::Child {
    use tokio::io::AsyncBufReadExt as _;
    python.args(["-c", BUS, name]).arg(log).stdout(std::process::Stdio::piped());
    let mut child = python.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = soon("a bus", lines.next_line()).await.unwrap();
    assert_eq!(ready.as_deref(), Some("ready"));
    child
}

/// A session bus is believed by who listens, and not by its name: nothing is sent to another user's.
#[tokio::test]
async fn another_users_session_bus_is_not_ours() {
    if !neighbour::exists() {
        return;
    }
    let (_shared, dir) = neighbour::shared_dir(true);
    let secret = "[[sessions]]\nname = \"x\"\nsecret = { keyring = \"x\" }";
    let home = Valetkey::new().toml(secret).written();
    let config = home.config.display().to_string();
    let (path, log) = (dir.join("bus").display().to_string(), dir.join("log"));
    let name = format!("vk-bus-{}", dir.file_name().unwrap().display());
    for (listens, address) in [
        (format!("@{name}"), format!("unix:abstract={name}")),
        (path.clone(), format!("unix:path={path}")),
    ] {
        let mut serve = home.bare_command(&["serve", "--config", &config]);
        serve.env("DBUS_SESSION_BUS_ADDRESS", &address);
        let his = bus(neighbour::command("python3"), &listens, &log).await;
        let done = finish(&mut serve).await;
        assert!(done.stderr.contains("known to be this user's own"), "{address}: {done:?}");
        assert_eq!(std::fs::read(&log).unwrap_or_default(), b"", "not a byte was sent");
        drop(his);
        // Control: one of our own is spoken to.
        let _ = std::fs::remove_file(&path);
        let own_log = home.path("own-log");
        let listens = listens.replace('@', "@own-");
        serve.env("DBUS_SESSION_BUS_ADDRESS", address.replace("abstract=", "abstract=own-"));
        let _own = bus(tokio::process::Command::new("python3"), &listens, &own_log).await;
        let done = finish(&mut serve).await;
        assert!(!done.stderr.contains("this user's own") && done.code != Some(0), "{done:?}");
        assert!(!std::fs::read(&own_log).unwrap().is_empty(), "{address}");
        std::fs::remove_file(&own_log).unwrap();
    }
}

/// A state directory is ours alone, with all that is above it.
#[tokio::test]
async fn a_foreign_state_directory_is_not_used() {
    if !neighbour::exists() {
        return;
    }
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let ways: [(&str, &str, Make<'_>); 6] = [
        ("his own", "state-dir-unsafe", &|dir| {
            std::fs::create_dir(dir.join("state")).unwrap();
            mode(&dir.join("state"), 0o700);
            neighbour::give(&dir.join("state"));
        }),
        ("open to all", "state-dir-unsafe", &|dir| {
            std::fs::create_dir(dir.join("state")).unwrap();
            mode(&dir.join("state"), 0o777);
        }),
        ("below one of his", "state-dir-exposed", &|dir| {
            std::fs::create_dir_all(dir.join("his/state")).unwrap();
            mode(&dir.join("his/state"), 0o700);
            std::os::unix::fs::chown(dir.join("his"), Some(NEIGHBOUR), None).unwrap();
            std::os::unix::fs::symlink("his/state", dir.join("state")).unwrap();
        }),
        ("by a link of his", "state-dir-exposed", &|dir| {
            std::fs::create_dir(dir.join("real")).unwrap();
            mode(&dir.join("real"), 0o700);
            std::os::unix::fs::symlink("real", dir.join("state")).unwrap();
            std::os::unix::fs::lchown(dir.join("state"), Some(NEIGHBOUR), None).unwrap();
        }),
        ("a file", "state-dir-unsafe", &|dir| std::fs::write(dir.join("state"), "").unwrap()),
        ("below one that all may write to", "state-dir-exposed", &|dir| mode(dir, 0o777)),
    ];
    for (way, code, make) in ways {
        let (_shared, dir) = neighbour::shared_dir(true);
        make(&dir);
        let mut home = Valetkey::new().written();
        home.state = dir.join("state");
        let run = finish(&mut {
            let mut command = home.bare_command(&["run", "--config"]);
            command.arg(&home.config).args(["--", "env"]);
            command
        })
        .await;
        assert_eq!(run.code, Some(125), "{way}: {run:?}");
        assert!(run.stderr.contains(code) && run.stderr.contains("hint"), "{way}: {run:?}");
        assert!(!run.stdout.contains("HTTPS_PROXY"), "{way}: {run:?}");
    }
    // Control: a sticky directory that all may write to is what /tmp is.
    let (_shared, dir) = neighbour::shared_dir(true);
    let mut home = Valetkey::new().written();
    home.state = dir.join("state");
    let _running = home.start().await;
    assert_eq!(home.run(&["status"]).await.code, Some(0));
}

async fn status_by(home: &Home, url: &str, proxy_credentials: &str, uid: Option<u32>) -> String {
    let proxy = url.replacen("http://", &format!("http://{proxy_credentials}@"), 1);
    let line = format!(
        "curl -s -o /dev/null -w '%{{http_code}} %{{http_connect}}' --max-time 10 -x {proxy} --cacert {ca} https://{ORDERS}/v1/x",
        ca = home.path("ca.pem").display()
    );
    let done = match uid {
        Some(_) => neighbour::sh(&format!("{line} || true")).await,
        None => finish(tokio::process::Command::new("sh").args(["-c", &line])).await,
    };
    done.stdout
}

/// A session's secret that another user came by, from a port that ours had left for instance, is worth nothing.
#[tokio::test]
async fn a_session_is_bound_to_its_user() {
    if !neighbour::exists() {
        return;
    }
    let stage = Stage::valetkey_with(|v| {
        v.file("ci.key", "0123456789abcdef-0123456789abcdef")
            .file("free.key", "fedcba9876543210-0123456789abcdef")
            .toml(&format!(
                "[[sessions]]\nname = \"bound\"\nsecret = {{ file = \"ci.key\" }}\nuid = {NEIGHBOUR}\n\
                 [[sessions]]\nname = \"free\"\nsecret = {{ file = \"free.key\" }}\n"
            ))
    })
    .await;
    let home = stage.running().unwrap().home.clone();
    // So that he can read the CA.
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(home.path("ca.pem"), stage.running().unwrap().ca_pem().await).unwrap();
    let proxy = format!("http://{}", stage.running().unwrap().proxy_addr());
    let opened = home.run(&["session", "open"]).await.stdout;
    let ours = opened.trim().strip_prefix("http://").unwrap().split('@').next().unwrap().to_owned();
    let asked = format!("{NEIGHBOUR}");
    let opened = home.run(&["session", "open", "--uid", &asked]).await.stdout;
    let his = opened.trim().strip_prefix("http://").unwrap().split('@').next().unwrap().to_owned();
    let by = async |credentials: &str, uid| status_by(&home, &proxy, credentials, uid).await;
    assert_eq!(by(&ours, Some(NEIGHBOUR)).await, "000 407", "ours, from another uid");
    assert_eq!(by(&ours, None).await, "200 200", "control");
    assert_eq!(by(&his, Some(NEIGHBOUR)).await, "200 200", "one that was opened for him");
    assert_eq!(by(&his, None).await, "200 200", "root could be him anyway");
    let bound = "bound:0123456789abcdef-0123456789abcdef";
    assert_eq!(by(bound, Some(NEIGHBOUR)).await, "200 200");
    assert_eq!(by("free:fedcba9876543210-0123456789abcdef", Some(NEIGHBOUR)).await, "200 200");
    // It outlives the daemon bound.
    let mut stage = stage;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    stage.restart(&home).await;
    let proxy = format!("http://{}", stage.running().unwrap().proxy_addr());
    assert_eq!(status_by(&home, &proxy, &ours, Some(NEIGHBOUR)).await, "000 407");
    assert_eq!(status_by(&home, &proxy, &ours, None).await, "200 200");
    let audit = home.audit();
    let refused = audit.iter().filter(|record| record["code"] == "session-of-another-user");
    let uids: Vec<_> = refused.map(|record| record["client"]["uid"].as_u64()).collect();
    assert_eq!(uids, [Some(u64::from(NEIGHBOUR)); 2], "each try is recorded");
}

/// By whatever address of this machine he comes: the kernel is asked, and who has no name here is nobody.
#[tokio::test]
async fn a_session_is_bound_by_any_address() {
    if !neighbour::exists() {
        return;
    }
    let addresses = neighbour::sh("hostname -I").await.stdout;
    let outer =
        addresses.split_whitespace().find(|address| address.contains('.')).map(str::to_owned);
    for (listen, to, from) in [
        ("127.0.0.1:0", "127.0.0.1", outer),
        ("[::]:0", "127.0.0.2", None),
        ("[::]:0", "[::1]", None),
    ] {
        let stage = Stage::valetkey_with(|v| v.proxy(&format!("listen = \"{listen}\""))).await;
        let home = stage.running().unwrap().home.clone();
        std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(home.path("ca.pem"), stage.running().unwrap().ca_pem().await).unwrap();
        let port = stage.running().unwrap().proxy_addr().port();
        let opened = home.run(&["session", "open"]).await.stdout;
        let ours =
            opened.trim().strip_prefix("http://").unwrap().split('@').next().unwrap().to_owned();
        let source = from.map(|address| format!(" --interface {address}")).unwrap_or_default();
        let proxy = format!("http://{to}:{port}");
        let his = status_by(&home, &format!("{proxy}{source}"), &ours, Some(NEIGHBOUR)).await;
        assert_eq!(his, "000 407", "{listen} by {to}{source}");
        let own = status_by(&home, &format!("{proxy}{source}"), &ours, None).await;
        assert_eq!(own, "200 200", "{listen} by {to}{source}: control");
    }
}

/// Connections that say nothing cost whoever keeps them, and nobody else.
#[tokio::test]
async fn stuck_connections_hold_up_no_probe() {
    if !neighbour::exists() {
        return;
    }
    let (stage, metrics) = crate::proxy::observe::observed().await;
    let stuck = format!(
        "import socket, sys\nheld = [socket.create_connection(({:?}, {})) for _ in range(300)]\nprint('ready', flush=True)\nsys.stdin.read()",
        metrics.ip().to_string(),
        metrics.port()
    );
    let mut python = neighbour::command("python3");
    python.args(["-c", &stuck]).stdin(std::process::Stdio::piped());
    let mut child = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
    use tokio::io::AsyncBufReadExt as _;
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon("300 connections", lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    for _ in 0..20 {
        let asked = std::time::Instant::now();
        let answer = crate::proxy::observe::get(metrics, "/healthz").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    stage.control().await.unwrap();
}

/// Copies what comes to a port of his to ours, by a socket that is bound to a device, by which it has no name at first.
const BY_DEVICE: &str = r#"
import socket, sys, threading
ip, port, device = sys.argv[1], int(sys.argv[2]), sys.argv[3]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client, _ = listener.accept()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    server.connect((ip, port))
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
"#;

/// Nor does a socket that is bound to a device make him one of another machine.
#[tokio::test]
async fn a_session_is_bound_by_any_device() {
    if !neighbour::exists() {
        return;
    }
    use tokio::io::AsyncBufReadExt as _;
    let addresses = neighbour::sh("hostname -I").await.stdout;
    let outer = addresses.split_whitespace().find(|address| address.contains('.'));
    let route = neighbour::sh("ip -o route show default | sed 's/.* dev //; s/ .*//'").await.stdout;
    let mut ways = vec![("127.0.0.1".to_owned(), "lo".to_owned())];
    if let (Some(address), device @ 1..) = (outer, route.trim().len()) {
        ways.push((address.to_owned(), route.trim()[..device].to_owned()));
    }
    let stage = Stage::valetkey_with(|v| v.proxy("listen = \"0.0.0.0:0\"")).await;
    let home = stage.running().unwrap().home.clone();
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(home.path("ca.pem"), stage.running().unwrap().ca_pem().await).unwrap();
    let port = stage.running().unwrap().proxy_addr().port();
    let opened = home.run(&["session", "open"]).await.stdout;
    let ours = opened.trim().strip_prefix("http://").unwrap().split('@').next().unwrap().to_owned();
    for (ip, device) in ways {
        let mut python = neighbour::command("python3");
        python.args(["-c", BY_DEVICE, &ip, &port.to_string(), &device]);
        let mut relay = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = tokio::io::BufReader::new(relay.stdout.take().unwrap()).lines();
        let his = soon("a relay", lines.next_line()).await.unwrap().unwrap();
        let proxy = format!("http://127.0.0.1:{his}");
        let by = status_by(&home, &proxy, &ours, Some(NEIGHBOUR)).await;
        assert_eq!(by, "000 407", "{ip} by {device}");
    }
    let own = status_by(&home, &format!("http://127.0.0.1:{port}"), &ours, None).await;
    assert_eq!(own, "200 200", "control");
}

/// Takes all addresses of a port in both families, as far as it can.
const BOTH_FAMILIES: &str = r#"
import socket, sys
def listen(only_v6):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
    s.bind(("::", int(sys.argv[1])))
    s.listen()
    return s
try:
    held = listen(1)
    print(held.getsockname()[1], flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
"#;

/// Where we listen on all addresses of one family, nobody else has the port in the other, by which he could take both.
#[tokio::test]
async fn a_port_is_ours_in_both_families() {
    if !neighbour::exists() {
        return;
    }
    use tokio::io::AsyncBufReadExt as _;
    let his = async |port: u16| {
        let mut python = neighbour::command("python3");
        python.args(["-c", BOTH_FAMILIES, &port.to_string()]);
        python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let said = soon("his socket", lines.next_line()).await.unwrap().unwrap();
        (child, said)
    };
    let running = Valetkey::new().proxy("listen = \"0.0.0.0:0\"").start().await;
    let (_child, said) = his(running.proxy_addr().port()).await;
    assert!(said.contains("in use"), "{said}");
    // He was there first: we do not come up beside him.
    let (_child, port) = his(0).await;
    let listen = format!("listen = \"0.0.0.0:{port}\"");
    let done = Valetkey::new().proxy(&listen).written().run(&["serve"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("port-shared") && done.stderr.contains("hint"), "{done:?}");
    // Control: one address of ours is nobody else's.
    let listen = format!("listen = \"127.0.0.1:{port}\"");
    let running = Valetkey::new().proxy(&listen).start().await;
    assert_eq!(running.proxy_addr().port().to_string(), port);
}
