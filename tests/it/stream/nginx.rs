//! A stock nginx over HTTP/2, which ends a connection after so many requests and says of those behind them that
//! it has not begun: none of them is lost, and no POST is sent twice.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use super::peers::in_files;
use crate::harness::client::finish;
use crate::harness::pki::{Identity, Pki};
use crate::harness::stage::Stage;
use crate::harness::{look_again, soon};

/// nginx's own default of requests on a connection.
const MANY: &str = "many.nginx.example";
/// The least that can be set.
const ONE: &str = "one.nginx.example";

/// The server; it ends with this value.
pub struct Nginx {
    pub many: SocketAddr,
    one: SocketAddr,
    files: tempfile::TempDir,
    _child: Child,
    /// Nobody else gets these ports.
    _held: [TcpSocket; 2],
}

impl Nginx {
    pub async fn start(identity: &Identity) -> Self {
        let files = in_files(identity);
        let held = [held(), held()];
        let [many, one] = held.each_ref().map(|socket| socket.local_addr().unwrap());
        let dir = files.path().display().to_string();
        let server = |addr: SocketAddr, requests: usize| {
            format!(
                "server {{ listen {addr} ssl http2 backlog=4096; keepalive_requests {requests};\n\
                 location / {{ return 200 ok; }} location = /large {{ root {dir}; }} }}\n"
            )
        };
        let config = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ log_format one '$request_method $host$uri $status'; access_log {dir}/access.log one;\n\
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
             fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
             ssl_certificate {dir}/chain.pem; ssl_certificate_key {dir}/key.pem;\n{}{} }}\n",
            server(many, 1000),
            server(one, 1)
        );
        std::fs::write(files.path().join("nginx.conf"), config).unwrap();
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].map(Path::new);
        let program = program.into_iter().find(|path| path.exists());
        let mut command = Command::new(program.expect("nginx is missing: run tests/run"));
        command.args(["-p", &dir, "-e", &format!("{dir}/error.log"), "-c"]);
        command.arg(files.path().join("nginx.conf")).env_clear().stdin(Stdio::null());
        let child = command.kill_on_drop(true).spawn().unwrap();
        soon("nginx to listen", async {
            for addr in [many, one] {
                while TcpStream::connect(addr).await.is_err() {
                    look_again().await;
                }
            }
        })
        .await;
        Self { many, one, files, _child: child, _held: held }
    }

    /// Serves a file of `size` zeros as `/name`.
    pub fn holds(&self, name: &str, size: u64) {
        let file = std::fs::File::create(self.files.path().join(name)).unwrap();
        file.set_len(size).unwrap();
    }

    /// How often it served each request.
    fn served(&self) -> HashMap<String, usize> {
        let log = std::fs::read_to_string(self.files.path().join("access.log")).unwrap();
        let mut served = HashMap::new();
        for line in log.lines() {
            *served.entry(line.to_owned()).or_default() += 1;
        }
        served
    }
}

/// An address that nobody listens on.
/// A port that nobody listens at yet: who binds it with the same option may.
fn held() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn nginx_ends_connections_and_nothing_is_lost() {
    let pki = Pki::new();
    let nginx = Nginx::start(&pki.server(&[MANY, ONE])).await;
    let stage = Stage::valetkey_with(|v| {
        let route = |host: &str| {
            format!("name = \"{}\"\nhost = \"{host}\"\ncredential = \"orders\"", &host[..3])
        };
        v.trusting(&pki)
            .reaching(&format!("{MANY}:443"), nginx.many)
            .reaching(&format!("{ONE}:443"), nginx.one)
            .route(&route(MANY))
            .route(&route(ONE))
    })
    .await;
    for (host, gets, posts) in [(MANY, 6000, 600), (ONE, 600, 600)] {
        for (method, count) in [("GET", gets), ("POST", posts)] {
            let url = format!("https://{host}/{method}/[1-{count}]");
            let mut curl = Command::new("curl");
            curl.env_clear().env("PATH", "/usr/bin:/bin").env("CURL_CA_BUNDLE", stage.ca_file());
            curl.env("HTTPS_PROXY", format!("http://{}", stage.proxy_addr()));
            curl.args(["-Z", "--parallel-max", "40", "--http2", "-s", "-S", "-o", "/dev/null"]);
            curl.args(["-w", "%{http_code} %{http_version}\n", &url]);
            if method == "POST" {
                curl.args(["-d", "some body"]);
            }
            let done = finish(&mut curl).await;
            let ok = done.stdout.lines().filter(|line| *line == "200 2").count();
            println!("{host} {method}: {ok} of {count} answered with 200");
            let others: HashSet<_> = done.stdout.lines().filter(|line| *line != "200 2").collect();
            assert!(ok == count && others.is_empty(), "{others:?}");
        }
    }
    let served = nginx.served();
    let posts: Vec<_> = served.iter().filter(|(what, _)| what.starts_with("POST ")).collect();
    assert_eq!(posts.len(), 1200);
    let twice: Vec<_> = posts.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
