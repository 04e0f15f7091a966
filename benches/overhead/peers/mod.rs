//! The rows of the table, each a process of its own. One that is not here, does not start or answers wrongly
//! stays in the table, and says so.

pub mod connector;
pub mod foreign;
pub mod hudsucker;
pub mod hyper;
pub mod pki;
pub mod tunnel;

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::kit::api::Api;
use super::kit::client::{Road, connector};
use super::kit::valetkey::Home;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Tunnel,
    Hyper,
    Hudsucker,
    Adapter,
    Valetkey,
    Mitmproxy,
    Squid,
    Envoy,
}

pub const ALL: [Kind; 9] = [
    Kind::Direct,
    Kind::Tunnel,
    Kind::Hyper,
    Kind::Hudsucker,
    Kind::Adapter,
    Kind::Valetkey,
    Kind::Mitmproxy,
    Kind::Squid,
    Kind::Envoy,
];

impl Kind {
    /// As `--only` and the table name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tunnel => "tunnel",
            Self::Hyper => "hyper",
            Self::Hudsucker => "hudsucker",
            Self::Adapter => "hudsucker-adapter",
            Self::Valetkey => "valetkey",
            Self::Mitmproxy => "mitmproxy",
            Self::Squid => "squid",
            Self::Envoy => "envoy",
        }
    }

    /// What the row is, in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tunnel => "plain CONNECT tunnel, no TLS",
            Self::Hyper => "hyper, plain: upgrade, pool, header set",
            Self::Hudsucker => "hudsucker 0.25, TCP_NODELAY, header set",
            Self::Adapter => "hudsucker with our adapter",
            Self::Valetkey => "**Valetkey**, policy, strip, inject, audit",
            Self::Mitmproxy => "mitmproxy, header set",
            Self::Squid => "squid, TLS bump, header set",
            Self::Envoy => "Envoy, static certificate, header set",
        }
    }

    /// Whether it ends the TLS and puts the key in; else the client sends the key itself.
    pub fn intercepts(self) -> bool {
        !matches!(self, Self::Direct | Self::Tunnel)
    }
}

/// What all proxies are given.
pub struct Stage {
    pub api: Api,
    pub home: Home,
    /// Where programs that were installed for the bench are.
    pub installed: PathBuf,
    /// How many rounds there will be: each has hosts of its own.
    pub rounds: usize,
}

impl Stage {
    pub fn new(api: Api, installed: &Path, rounds: usize) -> Self {
        let home = Home::with_sessions(&api);
        pki::write(home.path());
        Self { api, home, installed: installed.to_owned(), rounds }
    }

    /// The same API, with a folder of its own.
    pub fn again(&self) -> Self {
        Self::new(self.api.clone(), &self.installed, self.rounds)
    }
}

/// A running row.
pub struct Peer {
    pub kind: Kind,
    pub address: SocketAddr,
    /// From its start until it listened.
    pub started: Duration,
    /// PEM of what its clients must trust.
    roots: String,
    /// The port that its CONNECT names.
    port: u16,
    child: Option<Child>,
}

impl Peer {
    /// Starts it, under `wrapper` where that is not empty.
    pub fn start(kind: Kind, stage: &Stage, wrapper: &[String]) -> Result<Self, String> {
        let begun = Instant::now();
        let api = stage.api.address;
        let (child, address) = match kind {
            Kind::Direct => (None, api),
            Kind::Valetkey => {
                let (child, address) = stage.home.serve(wrapper);
                (Some(child), address)
            }
            Kind::Tunnel | Kind::Hyper | Kind::Hudsucker | Kind::Adapter => {
                let (child, address) = ourselves(kind, stage, wrapper)?;
                (Some(child), address)
            }
            Kind::Mitmproxy | Kind::Squid | Kind::Envoy => {
                let (child, address) = foreign::start(kind, stage)?;
                (Some(child), address)
            }
        };
        let started = begun.elapsed();
        let roots = match kind {
            Kind::Direct | Kind::Tunnel => stage.api.root.clone(),
            Kind::Valetkey => stage.home.ca(),
            Kind::Adapter => std::fs::read_to_string(stage.home.path().join("adapter.pem"))
                .map_err(|error| error.to_string())?,
            _ => pki::root(stage.home.path()),
        };
        // squid takes its origin's port from CONNECT; all others are told where the API is.
        let port = if kind == Kind::Squid { api.port() } else { 443 };
        Ok(Self { kind, address, started, roots, port, child })
    }

    /// The way through it.
    pub fn road(&self, alpn: &[&str], resume: bool) -> Road {
        Road {
            to: self.address,
            connect: (self.kind != Kind::Direct).then_some(self.port),
            own_key: !self.kind.intercepts(),
            tls: connector(&self.roots, alpn, resume),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Hands its process over.
    pub fn into_child(mut self) -> Option<Child> {
        self.child.take()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // In good order: squid's helpers go with it.
            let pid = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            let patience = Instant::now() + Duration::from_secs(5);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// This very program, as a proxy.
fn ourselves(kind: Kind, stage: &Stage, wrapper: &[String]) -> Result<(Child, SocketAddr), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut line: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
    line.push(program.into());
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .args(["--peer", kind.name()])
        .arg(stage.api.address.to_string())
        .arg(stage.home.path());
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let found = child.stdout.take().and_then(listening);
    match found {
        Some(address) => Ok((child, address)),
        None => {
            child.kill().ok();
            child.wait().ok();
            Err("it did not start".to_owned())
        }
    }
}

/// The address in a line `listening on ADDRESS`.
fn listening(output: impl Read) -> Option<SocketAddr> {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    lines.find_map(|line| line.strip_prefix("listening on ")?.trim().parse().ok())
}

/// Serves as the peer that the command line names.
pub fn serve(name: &str, api: &str, folder: &Path) {
    let api: SocketAddr = api.parse().unwrap();
    let kind = ALL.into_iter().find(|kind| kind.name() == name).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Accepted connections inherit it.
        socket2::SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
        match kind {
            Kind::Tunnel => tunnel::serve(listener, api).await,
            Kind::Hyper => hyper::serve(listener, api, folder).await,
            Kind::Hudsucker => hudsucker::serve(listener, api, folder).await,
            Kind::Adapter => hudsucker::serve_adapter(listener, folder).await,
            other => panic!("{} is not this program", other.name()),
        }
    });
}

/// Tells whoever started this peer.
pub fn say_listening(listener: &tokio::net::TcpListener) {
    println!("listening on {}", listener.local_addr().unwrap());
}
