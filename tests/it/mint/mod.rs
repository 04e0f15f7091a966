//! Every grant from the outside: what it mints arrives in its slot, what goes wrong is said by a
//! code, and no secret turns up anywhere else.

mod exec;
mod http;
mod placement;

use std::path::Path;

use crate::harness::api::Api;
use crate::harness::client::{Trust, connect, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::pki::Pki;
use crate::harness::valetkey::{Running, Valetkey};

/// The host that every route here names.
pub const HOST: &str = "api.minted.example";

/// One API behind one Valetkey that says all it can say.
pub struct Rig {
    pub api: Api,
    pub running: Running,
    ca: String,
}

impl Rig {
    /// `more` adds the credential `minted`; `route`: further keys of its route.
    pub async fn with(route: &str, more: impl FnOnce(Valetkey) -> Valetkey) -> Self {
        let pki = Pki::new();
        let api = Api::tls(&pki.server(&[HOST])).await;
        let builder =
            Valetkey::new().trusting(&pki).reaching(&format!("{HOST}:443"), api.addr()).route(
                &format!("name = \"minted\"\nhost = \"{HOST}\"\ncredential = \"minted\"\n{route}"),
            );
        let home = more(builder).written();
        let mut running = home.spawn(home.command(&["-vv", "serve"]));
        running.listening().await;
        let ca = running.ca_pem().await;
        Self { api, running, ca }
    }

    /// One request with these header lines, in a tunnel of its own.
    pub async fn get(&self, target: &str, lines: &str) -> Message {
        let (answer, reader) = connect(self.running.proxy_addr(), &format!("{HOST}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(Trust::Roots(&self.ca), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, HOST, config).await.unwrap());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        exchange(&mut tunnel, request.as_bytes()).await.expect("an answer")
    }

    /// Everything that Valetkey said or wrote, to be searched for what must not be there.
    pub async fn everything(&self) -> String {
        let status = self.running.home.run(&["status", "--json"]).await;
        let plain = self.running.home.run(&["status"]).await;
        let check = self.running.home.run(&["check"]).await;
        let mut all = self.running.output();
        for done in [status, plain, check] {
            all += &done.stdout;
            all += &done.stderr;
        }
        files(&self.running.home.state, &mut all);
        all
    }
}

/// The content of every file below a directory.
fn files(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else if path.is_file() {
            *all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
        }
    }
}
