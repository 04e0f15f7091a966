//! Commands of which `run` knows beforehand that the environment which it sets does not do for them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::printer;

/// They start containers, to which some of them hand on the proxy variables.
const CONTAINERS: &[&str] = &["buildah", "docker", "nerdctl", "podman"];
/// They find their server in a kubeconfig.
const KUBERNETES: &[&str] = &["helm", "k9s", "kubectl", "oc"];
/// A kubeconfig is smaller, in bytes.
const MAX_KUBECONFIG: u64 = 1 << 20;

/// Says so, if the command is one of them.
pub(super) fn say(command: &[OsString]) {
    let Some(name) = command.first().and_then(|program| Path::new(program).file_name()) else {
        return;
    };
    let is_one_of = |names: &[&str]| names.iter().any(|one| name == *one);
    let name = name.to_string_lossy();
    if is_one_of(CONTAINERS) {
        printer::warn(
            "containers-not-reached",
            &format!(
                "containers that {name} starts cannot reach a proxy on loopback, and may be handed this session's secret with HTTPS_PROXY"
            ),
            "give them a proxy of their own (config/container/README.md), and keep this one out: podman run --http-proxy=false, docker run -e HTTPS_PROXY= -e https_proxy=",
        );
    }
    if is_one_of(KUBERNETES)
        && let Some((path, server)) = server_by_address()
    {
        printer::warn(
            "host-by-address",
            &format!("{} names a server by its address, {server}", path.display()),
            "routes take names: set `server` to a name of the API server's certificate, and pin that to the address in upstream.resolve",
        );
    }
}

/// The first server that a kubeconfig names by an address, if one does.
fn server_by_address() -> Option<(PathBuf, IpAddr)> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    let paths: Vec<PathBuf> = match listed {
        Some(list) => std::env::split_paths(&list).collect(),
        None => vec![Path::new(&std::env::var_os("HOME")?).join(".kube/config")],
    };
    paths.into_iter().find_map(|path| {
        let small = std::fs::metadata(&path)
            .is_ok_and(|file| file.is_file() && file.len() <= MAX_KUBECONFIG);
        let text = small.then(|| std::fs::read_to_string(&path).ok()).flatten()?;
        text.lines().find_map(address).map(|address| (path, address))
    })
}

/// The address in a line `server: https://ADDRESS[:PORT]`.
fn address(line: &str) -> Option<IpAddr> {
    let value = line.trim().strip_prefix("server:")?;
    let value = value.split(" #").next().unwrap_or_default();
    let url = value.trim().trim_matches(['"', '\'']);
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    // A cluster on this machine needs no token of a route.
    host.parse().ok().filter(|address: &IpAddr| !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_by_its_address() {
        for (line, found) in [
            ("    server: https://192.0.2.1:6443", Some("192.0.2.1")),
            ("server: \"https://[2001:db8::1]:6443/x\"", Some("2001:db8::1")),
            ("server: https://192.0.2.1 # prod", Some("192.0.2.1")),
            ("server: https://127.0.0.1:35003", None),
            ("server: https://k8s.corp.example:6443", None),
            ("server: http://192.0.2.1", None),
            ("  # server: https://192.0.2.1", None),
            ("server:", None),
        ] {
            let found = found.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(address(line), found, "{line}");
        }
    }
}
