//! The hash that names a policy in the audit.

use std::os::unix::ffi::OsStrExt as _;

use aws_lc_rs::digest;

use crate::config::Config;
use crate::model::hex::hex;
use crate::model::id::PolicyHash;

/// Over everything that decides, in an order of its own: routes, credentials and who is admitted.
/// Sources of secrets are in it, never a secret.
pub(super) fn of(config: &Config) -> PolicyHash {
    let mut routes: Vec<_> = config.routes.iter().map(|located| &located.value).collect();
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    let minting: Vec<_> =
        config.credentials.iter().map(|(name, c)| (name, &c.grant, c.ttl)).collect();
    let sessions: Vec<_> =
        config.sessions.iter().map(|s| (&s.name, &s.secret, &s.routes)).collect();
    let proxy = &config.proxy;
    let admission = (proxy.auth_session, proxy.auth_uid, &proxy.allow_uids, sessions);
    let (unmatched, limits) = ((proxy.unmatched, &proxy.tunnel_ports), &config.limits);
    let text = format!("{routes:?} {unmatched:?} {minting:?} {admission:?} {limits:?}");
    let mut digest = digest::Context::new(&digest::SHA256);
    digest.update(text.as_bytes());
    for file in &config.policies.files {
        // The path says which, the length where the next begins.
        digest.update(file.path.as_os_str().as_bytes());
        digest.update(&(file.text.len() as u64).to_be_bytes());
        digest.update(file.text.as_bytes());
    }
    let digest = digest.finish();
    PolicyHash::new(format!("sha256:{}", hex(&digest.as_ref()[..8])))
}
