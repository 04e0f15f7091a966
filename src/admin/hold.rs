//! Who asks on the admin socket, and what a session's own processes may not.

use http::Method;

use super::AdminError;
use crate::model::id::SessionName;

/// A process of our own user at the other end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its number when it connected; `None`: it lives where the kernel has none for us.
    pub pid: Option<u32>,
}

/// Why a caller may look and end its own session, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It comes from the process that this session was opened for.
    Inside(SessionName),
    /// There are such sessions, and it cannot be told whether it comes from one.
    Unknown,
}

impl Hold {
    pub(super) fn allows(&self, method: &Method, path: &str) -> bool {
        let own = match self {
            Self::Inside(name) => path.strip_prefix(SESSION) == Some(name.as_str()),
            Self::Unknown => false,
        };
        method == Method::GET || (method == Method::DELETE && own)
    }
}

impl From<Hold> for AdminError {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Inside(name) => Self {
                status: 403,
                code: INSIDE_SESSION.into(),
                detail: format!("this process runs in the session {name}, and is held to it"),
                hint: format!(
                    "type it in a shell that `valetkey run` did not start; `valetkey session end {name}` may be said here"
                ),
            },
            Hold::Unknown => Self {
                status: 403,
                code: "caller-unknown".into(),
                detail: "the process that asks has ended, or cannot be seen from the daemon".into(),
                hint: "type it in a shell beside the daemon, in the same PID namespace".into(),
            },
        }
    }
}

/// The code of what a session's own processes are refused.
pub const INSIDE_SESSION: &str = "inside-session";

/// The path of a call about one session, before its name.
pub(super) const SESSION: &str = "/v1/sessions/";
