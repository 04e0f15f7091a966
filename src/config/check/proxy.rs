//! `[proxy]`: where it listens, and who is asked what there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::Check;
use crate::config::problem::Problems;
use crate::config::wording::named;
use crate::config::{Proxy, Unmatched, file};

/// `sun_path` holds 108 bytes with its final NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

impl Check<'_> {
    pub(super) fn check_proxy(&self, table: file::ProxyTable, problems: &mut Problems) -> Proxy {
        let line = table.listen.as_ref().map_or(0, |value| self.line(value));
        let any_port = table.listen.is_none();
        let (listen, sockets) = self.check_listen(table.listen, line, problems);
        let auth =
            table.client_auth.as_ref().map(|value| (value.get_ref().clone(), self.line(value)));
        let (auth, auth_line) =
            auth.unwrap_or((vec![file::AdmittedBy::Session, file::AdmittedBy::Uid], 0));
        let transparent_line = table.transparent.as_ref().map_or(0, |value| self.line(value));
        let transparent = check_transparent(table.transparent, transparent_line, problems);
        if table.tunnel_ports.contains(&0) {
            let hint = "for example [22]";
            problems.error(0, "bad-port", "`tunnel_ports` holds 0, which is no port", hint);
        }
        let proxy = Proxy {
            listen,
            any_port,
            sockets,
            transparent,
            unmatched: table.unmatched.unwrap_or(Unmatched::Tunnel),
            tunnel_ports: table.tunnel_ports,
            auth_session: auth.contains(&file::AdmittedBy::Session),
            auth_uid: auth.contains(&file::AdmittedBy::Uid),
            allow_uids: table.allow_uids,
        };
        if !proxy.transparent.is_empty() && !proxy.auth_uid && !proxy.open_to_all() {
            problems.error(
                transparent_line,
                "transparent-admits-nobody",
                "a redirected tool sends no proxy credentials, and `client_auth` asks for them",
                "add \"uid\" to client_auth",
            );
        }
        let beyond = proxy.listen.iter().any(|a| !a.ip().is_loopback());
        if proxy.open_to_all() && beyond {
            let hint = "listen on 127.0.0.1, or name \"session\" in client_auth";
            problems.error(
                auth_line,
                "open-proxy",
                "`client_auth = []` is allowed on loopback only",
                hint,
            );
        } else if proxy.open_to_all() {
            let hint = "every process of this machine gets tokens; name \"session\" or \"uid\" unless that is meant";
            problems.warn(
                auth_line,
                "open-proxy",
                "nobody is asked who they are (`client_auth = []`)",
                hint,
            );
        } else if beyond {
            let hint = "proxy credentials travel in the clear there; prefer loopback inside the pod or host";
            problems.warn(
                line,
                "listen-beyond-loopback",
                "`listen` is reachable from other machines",
                hint,
            );
        }
        proxy
    }

    fn check_listen(
        &self,
        listen: Option<Spanned<file::OneOrMany>>,
        line: usize,
        problems: &mut Problems,
    ) -> (Vec<SocketAddr>, Vec<PathBuf>) {
        let Some(listen) = listen else {
            return (vec![SocketAddr::from(([127, 0, 0, 1], 8383))], vec![]);
        };
        let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
        for text in listen.into_inner().into_vec() {
            if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
                let path = self.beside_config(PathBuf::from(path));
                check_socket_path(&path, line, "name a shorter path in proxy.listen", problems);
                sockets.push(path);
            } else if let Ok(address) = text.parse::<SocketAddr>() {
                addresses.push(address);
            } else {
                problems.error(
                    line,
                    "bad-address",
                    format!("`listen` takes IP:PORT or unix:PATH{}", named(&text)),
                    "for example \"127.0.0.1:8383\"; port 0 takes a free one",
                );
            }
        }
        (addresses, sockets)
    }
}

fn check_transparent(
    transparent: Option<Spanned<file::OneOrMany>>,
    line: usize,
    problems: &mut Problems,
) -> Vec<SocketAddr> {
    let listed = transparent.map(|value| value.into_inner().into_vec()).unwrap_or_default();
    let mut addresses = Vec::with_capacity(listed.len());
    for text in listed {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => problems.error(
                line,
                "bad-address",
                format!("`transparent` takes IP:PORT{}", named(&text)),
                "for example \"127.0.0.1:8385\", the port that the REDIRECT rule names",
            ),
        }
    }
    addresses
}

/// A socket at a path that the system doesn't take is found before the start.
pub(super) fn check_socket_path(path: &Path, line: usize, hint: &str, problems: &mut Problems) {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let message = format!("the socket's path is longer than 107 bytes: {}", path.display());
        problems.error(line, "socket-path-too-long", message, hint);
    }
}
