//! `grant = "refresh-token"` (RFC 6749 section 6): a refresh token that was got elsewhere and is
//! renewed here.

use std::sync::Arc;

use super::issuer::Issuer;
use super::login::Refresher;
use crate::config::SecretSource;
use crate::model::id::CredentialName;
use crate::store::logins::Logins;

pub(super) fn minter(
    issuer: Issuer,
    first: &SecretSource,
    name: &CredentialName,
    logins: &Arc<Logins>,
) -> Refresher {
    let entry = logins.entry(issuer.whose(name));
    Refresher::new(issuer, logins, entry, Some(first.clone()))
}
