//! Where clients connect: several addresses at once, and unix sockets, whose peers the kernel names.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::harness::client::{connect, connect_with, exchange, finish, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::not_run;
use crate::harness::soon;
use crate::harness::stage::{EVIL, ORDERS, Stage, own_answer};
use crate::harness::valetkey::Valetkey;

const SECRET: &str = "session-secret-0123456789-abcdefghijkl";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// A GET of the routed API through a unix socket.
async fn get(stage: &Stage, socket: &Path) {
    let stream = soon("the socket", UnixStream::connect(socket)).await.unwrap();
    let mut reader = Reader::new(stream);
    let request = format!("CONNECT {ORDERS}:443 HTTP/1.1\r\nHost: {ORDERS}:443\r\n\r\n");
    reader.stream.write_all(request.as_bytes()).await.unwrap();
    let answer = soon("an answer to CONNECT", reader.head()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let config = tls_config(stage.trust(), &["http/1.1"]);
    let mut tunnel = Reader::new(tls(reader.stream, ORDERS, config).await.unwrap());
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut tunnel, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
}

#[tokio::test]
async fn addresses_and_sockets_serve_side_by_side() {
    let listen = "listen = [\"unix:a.sock\", \"127.0.0.1:0\", \"127.0.0.1:0\", \"unix:b.sock\"]";
    let mut stage = Stage::valetkey_with(|v| v.proxy(listen)).await;
    let home = stage.running().unwrap().home.clone();
    for (n, name) in ["a.sock", "b.sock"].into_iter().enumerate() {
        let socket = home.path(name);
        assert_eq!(mode(&socket), 0o600, "ours alone");
        get(&stage, &socket).await;
        let seen = stage.orders.request(n).await;
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    }
    let status = home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let listening: Vec<String> = serde_json::from_value(status["listen"].clone()).unwrap();
    assert_eq!(listening.len(), 4, "{listening:?}");
    for address in &listening[..2] {
        let (answer, _) = connect(address.parse().unwrap(), &format!("{EVIL}:443")).await;
        assert_eq!(answer.status(), 200, "{address}: {}", answer.everything());
    }
    let uid = rustix::process::geteuid().as_raw();
    let audit = stage.running().unwrap().audit();
    let injected = audit.iter().filter(|r| r["decision"] == "inject");
    let uids: Vec<_> = injected.map(|r| r["client"]["uid"].as_u64()).collect();
    assert_eq!(uids, [Some(u64::from(uid)); 2], "the kernel names the peer");
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    assert!(!home.path("a.sock").exists() && !home.path("b.sock").exists(), "gone with the daemon");
}

/// Whoever could be admitted can connect, and is then judged by the uid that the kernel names.
#[tokio::test]
async fn another_user_is_judged_by_its_uid() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can act as another user");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let entry = "[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }\n";
    for (name, keys, more, expected, code) in [
        ("own", "", "", 0o600, "000"),
        ("allowed", "allow_uids = [65534]", "", 0o666, "403"),
        ("session", "", entry, 0o666, "407"),
    ] {
        let socket = dir.path().join(name);
        let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\n{keys}", socket.display());
        let stage =
            Stage::valetkey_with(|v| v.file("ci.key", SECRET).proxy(&listen).toml(more)).await;
        assert_eq!(mode(&socket), expected, "{name}");
        let mut command = tokio::process::Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "--noproxy", "*"])
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"])
            .arg("--unix-socket")
            .arg(&socket)
            .args(["--request-target", &format!("http://{ORDERS}/v1/x")])
            .arg(format!("http://{ORDERS}/v1/x"))
            .current_dir("/");
        let done = finish(&mut command).await;
        assert_eq!(done.stdout, code, "{name}: {done:?}");
        stage.control().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_killed_daemon_left_is_replaced() {
    let listen = "listen = [\"127.0.0.1:0\", \"unix:proxy.sock\"]";
    let mut stage = Stage::valetkey_with(|v| v.proxy(listen)).await;
    let home = stage.running().unwrap().home.clone();
    stage.running_mut().sigkill().await;
    assert!(is_socket(&home.path("proxy.sock")), "left behind");
    stage.restart(&home).await;
    get(&stage, &home.path("proxy.sock")).await;
}

/// Nobody's socket is taken over and no file is lost.
#[tokio::test]
async fn what_others_use_is_left_alone() {
    let listen = "listen = [\"127.0.0.1:0\", \"unix:proxy.sock\"]";
    let stage = Stage::valetkey_with(|v| v.proxy(listen)).await;
    let socket = stage.running().unwrap().home.path("proxy.sock");
    let refused = |path: PathBuf| async move {
        let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
        let done = Valetkey::new().proxy(&listen).written().run(&["serve"]).await;
        assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
        assert!(done.stderr.contains("proxy.sock") && done.stderr.contains("hint"), "{done:?}");
        done.stderr
    };
    let said = refused(socket.clone()).await;
    assert!(said.contains("socket-in-use"), "{said}");
    get(&stage, &socket).await;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxy.sock");
    std::fs::write(&file, "mine").unwrap();
    refused(file.clone()).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let link = dir.path().join("link-to-proxy.sock");
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    refused(link.clone()).await;
    assert!(link.is_symlink());
    stage.control().await.unwrap();
}

/// Some tools name the proxy in `Host` of a CONNECT: the target decides, and nothing else reads that field. Any other
/// name is a disagreement, recorded with who it was and what for.
#[tokio::test]
async fn a_host_that_names_us_means_the_target() {
    let stage = Stage::valetkey().await;
    let (proxy, target) = (stage.proxy_addr(), format!("{ORDERS}:443"));
    for host in [proxy.to_string(), format!("localhost:{}", proxy.port())] {
        let (answer, _) = connect_with(proxy, &target, &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status(), 200, "{host}: {}", answer.everything());
    }
    let others =
        [EVIL.to_owned(), "127.0.0.1:1".into(), "127.0.0.1".into(), format!("{ORDERS}:80")];
    for host in &others {
        let (answer, _) = connect_with(proxy, &target, &format!("Host: {host}\r\n")).await;
        own_answer(&answer, &[421], &["authority-mismatch"]).unwrap();
    }
    let home = &stage.running().unwrap().home;
    let refused = |record: &serde_json::Value| record["code"] == "authority-mismatch";
    let records: Vec<_> = home.audit().into_iter().filter(refused).collect();
    assert_eq!(records.len(), others.len(), "{records:#?}");
    assert!(records.iter().all(|r| r["target"]["host"] == ORDERS && r["client"]["uid"].is_u64()));
}
