//! What may go wrong with the desktop session's keyring, and what to do then.

use std::time::Duration;

use secret_service::Error;

/// Why the keyring does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It said no, or something that is not understood.
    #[error("the keyring does not answer as it should")]
    Failed,
    /// Who listens at the session bus's address is not known to be a process of our own user.
    #[error("the session bus is not known to be this user's own")]
    Foreign,
    /// It is there, and locked.
    #[error("the keyring is locked")]
    Locked,
    /// It has no such item.
    #[error("the keyring has no such item")]
    Missing,
    /// Which of them is meant cannot be told.
    #[error("the keyring has several such items")]
    Several,
    /// It did not answer in time.
    #[error("the keyring did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// There is no session bus here, or nobody on it who keeps secrets.
    #[error("there is no keyring in this session")]
    Unavailable,
}

impl KeyringError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Failed => "keyring-failed",
            Self::Foreign => "keyring-foreign",
            Self::Locked => "keyring-locked",
            Self::Missing => "keyring-item-missing",
            Self::Several => "keyring-item-ambiguous",
            Self::TimedOut => "keyring-timeout",
            Self::Unavailable => "keyring-unavailable",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Failed | Self::TimedOut => {
                "repeat it, and look at the log of the program that keeps the keyring"
            }
            Self::Foreign => {
                "nothing was sent to it; set DBUS_SESSION_BUS_ADDRESS to the socket of your own session, as `unix:path=/run/user/UID/bus`; look who listens at the one that is named"
            }
            Self::Locked => "unlock it, as by logging in to the desktop; nothing in it is lost",
            Self::Missing => {
                "store it: `secret-tool store --label=NAME service valetkey username NAME`; of a login: `valetkey login CREDENTIAL`"
            }
            Self::Several => "delete all but one of them",
            Self::Unavailable => {
                "the daemon needs DBUS_SESSION_BUS_ADDRESS of a session with a keyring; without one there are `file` and the other sources, and `protection = \"key-file\"` for logins"
            }
        }
    }
}

impl From<Error> for KeyringError {
    /// Nothing of what the other side says is kept but its kind.
    fn from(error: Error) -> Self {
        match error {
            Error::Locked | Error::Prompt => Self::Locked,
            Error::NoResult => Self::Missing,
            Error::Unavailable | Error::PromptDisconnected => Self::Unavailable,
            Error::Zbus(error) => Self::of_bus(&error),
            Error::ZbusFdo(error) => Self::of_standard(&error),
            _ => Self::Failed,
        }
    }
}

impl KeyringError {
    pub(super) fn of_bus(error: &zbus::Error) -> Self {
        match error {
            zbus::Error::Address(_) | zbus::Error::InputOutput(_) => Self::Unavailable,
            zbus::Error::FDO(error) => Self::of_standard(error),
            zbus::Error::MethodError(name, ..) => match name.as_str() {
                "org.freedesktop.Secret.Error.IsLocked" => Self::Locked,
                "org.freedesktop.Secret.Error.NoSuchObject" => Self::Missing,
                name if ABSENT.contains(&name) => Self::Unavailable,
                _ => Self::Failed,
            },
            _ => Self::Failed,
        }
    }

    fn of_standard(error: &zbus::fdo::Error) -> Self {
        use zbus::fdo::Error::{
            Disconnected, NameHasNoOwner, ServiceUnknown, SpawnServiceNotFound,
        };
        match error {
            Disconnected(_) | NameHasNoOwner(_) | ServiceUnknown(_) | SpawnServiceNotFound(_) => {
                Self::Unavailable
            }
            zbus::fdo::Error::ZBus(error) => Self::of_bus(error),
            _ => Self::Failed,
        }
    }
}

/// What a bus says of a service that nobody offers, or that could not be started.
const ABSENT: &[&str] = &[
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
];
/// Of one operation. A keyring that is started for it takes a second or two.
pub(super) const LIMIT: Duration = Duration::from_secs(8);
