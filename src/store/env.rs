//! Secrets in environment variables of the daemon. `run` takes them out of the child's.

use std::ffi::OsString;

use zeroize::Zeroizing;

use super::{Place, StoreError, checked};
use crate::model::secret::Secret;

/// The value as it is: a shell has already dropped what isn't meant.
pub(super) fn read(name: &str, value: Option<OsString>) -> Result<Secret, StoreError> {
    let place = Place::Env(name.to_owned());
    match value {
        Some(value) => checked(Zeroizing::new(value.into_encoded_bytes()), place),
        None => Err(StoreError::Unset(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::one_line;

    #[test]
    fn variables_are_checked_and_never_quoted() {
        let code = |value: Option<&str>| {
            let read = read("VK_TEST", value.map(OsString::from));
            let place = Place::Env("VK_TEST".into());
            let error = read.and_then(|secret| one_line(secret, place)).unwrap_err();
            assert!(error.to_string().contains("VK_TEST"));
            assert!(!format!("{error} {error:?}").contains("canary"));
            error.code()
        };
        assert_eq!(code(None), "secret-unset");
        assert_eq!(code(Some("")), "secret-empty");
        assert_eq!(code(Some("canary\n")), "secret-invalid");
        assert_eq!(code(Some("canary\0")), "secret-invalid");
        assert_eq!(code(Some("canaryé")), "secret-invalid");
        assert!(read("VK_TEST", Some("a b%/../".into())).unwrap().matches(b"a b%/../"));
    }
}
