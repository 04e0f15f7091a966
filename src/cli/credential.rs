//! `credential rotate NAME`: puts a new key in the place of a standing one. The new one is on the
//! disk, whole, before the old one goes.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::args::Credential;
use super::failure::Failure;
use super::{context, logout, meant, printer, session};
use crate::admin::wire::Rotated;
use crate::config::index::Whereabouts;
use crate::config::{Config, Held, SecretSource};
use crate::model::id::CredentialName;
use crate::store;

pub(super) fn run(args: &Credential, explicit: Option<&Path>) -> Result<(), Failure> {
    let Credential::Rotate(args) = args;
    let config = context::config(explicit)?;
    let name = CredentialName::new(args.name.as_str());
    let Some(credential) = config.credentials.get(&name) else {
        return Err(Failure::usage(
            "unknown-credential",
            format!("there is no credential `{name}`"),
            "`valetkey check` and the config name them",
        ));
    };
    let secrets = credential.grant.secrets();
    let [SecretSource::File(path)] = secrets.as_slice() else {
        return Err(Failure::failed(
            "credential-not-in-file",
            format!("the secret of `{name}` is not one file that could be written"),
            "change it where it is kept; a reload or the end of `ttl` takes it up",
        ));
    };
    if std::io::stdin().is_terminal() {
        printer::note("paste the new key, then Enter and Ctrl-D");
    }
    // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(store::MAX_SECRET + 64));
    let most = store::MAX_SECRET as u64 + 3;
    std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(|error| {
        Failure::failed(
            "stdin-unreadable",
            format!("cannot read stdin: {error}"),
            "pipe the key in",
        )
    })?;
    store::replace(path, bytes).map_err(|error| {
        Failure::failed(error.code(), super::failure::chain(&error), error.hint())
    })?;
    let rotated = Rotated { credential: name, by: session::user() };
    context::runtime()?.block_on(tell(&config, &rotated));
    printer::note(&match held(&config, path) {
        false => format!(
            "stored: {}; requests get it from now on. Now revoke the old key at its provider",
            path.display()
        ),
        // What is sent is the copy of what was trusted.
        true => format!(
            "stored: {}; requests get the old one until the project is trusted as it is now: valetkey trust {}. Then \
             revoke the old key at its provider",
            path.display(),
            config.named.display()
        ),
    });
    Ok(())
}

fn held(config: &Config, path: &Path) -> bool {
    config.held.iter().flat_map(Held::files).any(|(held, _)| held == path)
}

/// Tells the daemon, which drops the old key and records it; where none runs, it is recorded here.
async fn tell(config: &Config, rotated: &Rotated) {
    let told = match meant::find(&Whereabouts::of(config)).await {
        Ok(None) => return logout::record(config, rotated.event()),
        Ok(Some(mut daemon)) => daemon.rotated(rotated).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    if let Err(Failure { message: error, .. }) = told {
        let hint = "it takes the new key within `ttl` (5m unless config says otherwise)";
        let message = format!("the daemon keeps the old key, and has not recorded this: {error}");
        printer::warn("tokens-not-dropped", &message, hint);
    }
}
