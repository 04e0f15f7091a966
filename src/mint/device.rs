//! `grant = "device"` (RFC 8628): the person types a code on any device that has a browser.

use std::time::Duration;

use super::answer::Expect;
use super::door::{Door, FlowError, LoggedIn, Way};
use super::endpoint::Form;
use super::{MintError, OauthError};
use crate::model::clock::Deadline;
use crate::model::secret::Secret;
use crate::net::client::ClientError;

/// What a person is shown, and what we ask with meanwhile.
#[derive(Debug)]
pub struct DeviceCode {
    /// What the person types at the page.
    pub user_code: String,
    /// Where. Of an origin that config names, and https.
    pub page: String,
    /// The same with the code in it, for a QR code.
    pub page_with_code: Option<String>,
    /// How long the code lives.
    pub life: Duration,
    device_code: Secret,
    interval: Duration,
    end: Deadline,
}

impl Door {
    /// Whether people log in here by a code.
    pub fn takes_device_codes(&self) -> bool {
        matches!(self.way, Way::Device(_))
    }

    /// Asks for a code (RFC 8628 section 3.1).
    pub async fn device_code(&self) -> Result<DeviceCode, FlowError> {
        let Way::Device(grant) = &self.way else { return Err(FlowError::NotOffered) };
        let found = self.issuer.endpoints().await?;
        let url = match (&grant.url, found.device) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url.map_err(MintError::from)?,
            (None, None) => return Err(FlowError::NotOffered),
        };
        let asked = self.issuer.clock().now();
        let said = self.issuer.device(&url, &grant.params).await?;
        let (Some(device_code), Some(user_code), Some(page)) =
            (said.device_code, said.user_code, said.page)
        else {
            return Err(FlowError::DeviceAnswer);
        };
        // It is shown in a terminal: nothing that could move the cursor or look like another word.
        let typed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'.' | b'_');
        if user_code.is_empty() || user_code.len() > 64 || !user_code.bytes().all(typed) {
            return Err(FlowError::DeviceAnswer);
        }
        for page in [Some(&page), said.page_with_code.as_ref()].into_iter().flatten() {
            self.may_send_to(page, &url, &grant.verification)?;
        }
        let life = said.life.unwrap_or(LIFE).min(MAX_LIFE);
        Ok(DeviceCode {
            user_code,
            page,
            page_with_code: said.page_with_code,
            life,
            device_code,
            interval: said.interval.unwrap_or(INTERVAL).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            end: Deadline::after(asked, life),
        })
    }

    /// Waits until the person has said yes or no, or the code has ended.
    pub async fn wait(&self, mut code: DeviceCode) -> Result<LoggedIn, FlowError> {
        loop {
            tokio::time::sleep(code.interval).await;
            if code.end.passed(self.issuer.clock().now()) {
                return Err(FlowError::Expired);
            }
            let form = Form::new("urn:ietf:params:oauth:grant-type:device_code")
                .secret("device_code", &code.device_code);
            let error = match self.issuer.ask_bare(form, Expect::Bearer).await {
                Ok(given) => return self.keep(given, None).await,
                Err(error) => error,
            };
            match error {
                MintError::Refused { error: Some(word), .. } => match word {
                    OauthError::AuthorizationPending => {}
                    OauthError::SlowDown => code.interval += SLOWER,
                    OauthError::AccessDenied => return Err(FlowError::Denied),
                    OauthError::ExpiredToken => return Err(FlowError::Expired),
                    _ => return Err(error.into()),
                },
                // Section 3.5: on a time-out half as often.
                MintError::Busy { retry_after, .. } => {
                    code.interval = (code.interval * 2)
                        .max(retry_after.unwrap_or_default())
                        .min(LONGEST_INTERVAL);
                }
                MintError::Unreachable(
                    ClientError::Deadline | ClientError::Dial(_) | ClientError::Http(_),
                ) => code.interval = (code.interval * 2).min(LONGEST_INTERVAL),
                error => return Err(error.into()),
            }
        }
    }
}

/// Where the issuer names no interval (section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds (section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// Where the issuer names no life, which it must.
const LIFE: Duration = Duration::from_secs(600);
/// Nobody waits longer for a person.
const MAX_LIFE: Duration = Duration::from_secs(3600);
