//! What logins read beside an access token: refresh and ID tokens, and the codes that a person
//! types.

use std::time::Duration;

use super::AnswerError;
use super::answer::life;
use super::members::Members;
use crate::model::secret::Secret;

/// What else a token answer may hold.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub refresh: Option<Secret>,
    /// How long that lives, where the issuer says so: in no standard, but several do.
    pub refresh_life: Option<Duration>,
    pub id_token: Option<Secret>,
}

/// Reads what stands beside the token, whatever is wrong with that: a refresh token that took the
/// place of another must not be lost over it.
pub(super) fn beside(body: &[u8]) -> Beside {
    let Ok(members) = Members::read(body) else { return Beside::default() };
    let refresh = members.refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
    let life_of = members.refresh_expires_in.or(members.refresh_token_expires_in);
    // Keycloak says 0 of one that does not end.
    let refresh_life = life_of.and_then(|seconds| life(seconds).ok());
    Beside { refresh, refresh_life, id_token: members.id_token.map(Secret::new) }
}

/// The answer to a device authorization request (RFC 8628 section 3.2), as far as it holds what it
/// must.
pub(super) struct DeviceAnswer {
    pub device_code: Option<Secret>,
    pub user_code: Option<String>,
    pub page: Option<String>,
    pub page_with_code: Option<String>,
    pub life: Option<Duration>,
    pub interval: Option<Duration>,
}

/// Reads an answer of the device authorization endpoint (RFC 8628 section 3.2).
pub(super) fn device(body: &[u8]) -> Result<DeviceAnswer, AnswerError> {
    let members = Members::read(body)?;
    Ok(DeviceAnswer {
        device_code: members.device_code.filter(|code| !code.is_empty()).map(Secret::new),
        user_code: members.user_code,
        // Google's name for it is older than the RFC.
        page: members.verification_uri.or(members.verification_url),
        page_with_code: members.verification_uri_complete,
        life: members.expires_in.map(life).transpose()?,
        // 0 is met, and means as fast as we may.
        interval: members.interval.map(|seconds| life(seconds).unwrap_or_default()),
    })
}
