//! `[logins]`, and the grants in which a person logs in.

use super::Check;
use super::oauth::Notes;
use crate::config::problem::Problems;
use crate::config::{Logins, Oauth, RefreshToken, file};

impl Check<'_> {
    pub(super) fn check_logins(&self, table: file::Logins) -> Logins {
        let dir = table.dir.unwrap_or_else(|| "logins".into());
        Logins { dir: self.state_dir.join(dir) }
    }

    pub(super) fn refresh_token(
        &self,
        mut table: file::oauth::RefreshToken,
        line: usize,
        problems: &mut Problems,
    ) -> Option<RefreshToken> {
        let oauth = self.login_oauth(table.oauth(), line, problems);
        let first = self.secret(table.refresh_token, line, problems)?;
        Some(RefreshToken { oauth: oauth?, first })
    }

    /// A login belongs to a client: without its name two of them would be one.
    fn login_oauth(
        &self,
        table: file::oauth::Oauth,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Oauth> {
        let oauth = self.oauth(table, line, problems)?;
        if oauth.client_id.is_none() {
            Notes::new(line, problems).missing("client_id", "a login is one of a client");
            return None;
        }
        Some(oauth)
    }
}
