//! What of a config takes effect at a start only: a daemon that runs keeps what it began with.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, LoginProtection};

/// By its name in the config, as a text that tells one value from another.
pub type AtStart = BTreeMap<String, String>;

/// The name of what clients connect to.
pub const LISTEN: &str = "proxy.listen";

/// Of a config. Paths are by name: a descriptor of ours says nothing to another process.
pub fn of(config: &Config) -> AtStart {
    let (proxy, audit, admin) = (&config.proxy, &config.audit, &config.admin);
    let path = |path: &Path| config.by_name(path).display().to_string();
    let transparent: Vec<_> = proxy.transparent.iter().map(ToString::to_string).collect();
    let protection = match config.logins.protection {
        LoginProtection::Auto => "auto",
        LoginProtection::KernelKeyring => "kernel-keyring",
        LoginProtection::Keyring => "keyring",
        LoginProtection::KeyFile => "key-file",
    };
    let all = [
        (LISTEN, listen(config).join(" ")),
        ("proxy.transparent", transparent.join(" ")),
        ("ca.publish", config.ca.publish.as_deref().map(path).unwrap_or_default()),
        (
            "audit",
            format!(
                "{} {} {} {}",
                path(&audit.path),
                audit.continue_on_failure,
                audit.max_size,
                audit.keep
            ),
        ),
        (
            "admin",
            format!(
                "{} {}",
                path(&admin.socket),
                admin.metrics.map(|address| address.to_string()).unwrap_or_default()
            ),
        ),
        ("logins", format!("{} {protection}", path(&config.logins.dir))),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is listened on, as `ps` and `status` name it; nothing where any port will do.
pub fn listen(config: &Config) -> Vec<String> {
    let proxy = &config.proxy;
    if proxy.any_port {
        return Vec::new();
    }
    let sockets = proxy.sockets.iter().map(|path| format!("unix:{}", path.display()));
    proxy.listen.iter().map(ToString::to_string).chain(sockets).collect()
}
