//! Fields by which some upstreams take another method, path, host or client than the request's own.

const NAMES: &[&str] = &["forwarded", "x-real-ip", "x-rewrite-url"];
const PREFIXES: &[&str] = &["x-envoy-", "x-forwarded-", "x-original-", "x-vault-"];

/// The method that the upstream should take instead of the request's own.
const METHODS: &[&str] = &["x-http-method", "x-http-method-override", "x-method-override"];

/// What policy judged by: fields with one of these in their names say it anew. `Forwarded` has a
/// parameter for it (RFC 7239 section 5.3).
const JUDGED: &[&str] =
    &["forwarded", "host", "method", "path", "port", "prefix", "server", "uri", "url"];

/// Whether a name begins like one of these. Nearly every other is told by that.
pub fn may_override(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'f' | b'x'))
}

/// Whether a field of this name, in lower case, could override something of a request.
pub fn overrides(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'f') => name == "forwarded",
        Some(b'x') => {
            NAMES.contains(&name)
                || names_method(name)
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        }
        _ => false,
    }
}

/// Whether its value is a method.
pub fn names_method(name: &str) -> bool {
    may_override(name) && METHODS.contains(&name)
}

/// Whether a route may keep such a field: policy has judged by nothing that it says.
pub fn may_be_kept(name: &str) -> bool {
    let rest = name.strip_prefix("x-forwarded-").unwrap_or(name);
    overrides(name) && !JUDGED.iter().any(|judged| rest.contains(judged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_judged_is_never_kept() {
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x-vault-namespace"] {
            assert!(may_be_kept(name), "{name}");
        }
        for name in [
            "forwarded",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-host",
            "x-original-method",
            "x-original-uri",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-server",
            "x-forwarded-prefix",
            "x-forwarded-uri",
            "x-envoy-original-path",
        ] {
            assert!(overrides(name) && !may_be_kept(name), "{name}");
        }
        for name in ["x-api-key", "from", "authorization", "x-forwarded", ""] {
            assert!(!overrides(name), "{name}");
        }
    }
}
