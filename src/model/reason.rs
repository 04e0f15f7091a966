//! [`Reason`]: every way in which Valetkey itself says no, each with its stable code.
//!
//! One word per reason, the same in `Proxy-Status`, the problem document, the audit record, the
//! metric label and `config/errors.md`. `passage/refused.rs` maps each to its HTTP answer.

use super::tls_fault::TlsFault;

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's: its request, its credentials, or what it may do.
    Client,
    /// The token issuer's.
    Issuer,
    /// The API's that the client wanted to reach.
    Upstream,
    /// Ours, or this machine's.
    Valetkey,
}

/// What is odd about an address that may not be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFault {
    /// Its kind: loopback, private and their like.
    #[default]
    Other,
    /// No server has it: a program on the way here stands for all names by addresses of its own.
    Synthetic,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $(($more:ident))? = $code:literal, $fault:ident, $detail:literal, $hint:literal;)*) => {
        /// Why a request or connection was refused. The codes are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant $(($more))?,)* }

        impl Reason {
            /// All of them, for the documentation's test.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant $(($more::Other))?,)*];

            /// The stable kebab-case word.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant { .. } => $code,)* }
            }

            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$variant { .. } => Fault::$fault,)* }
            }

            /// Where it stands in [`Reason::ALL`].
            pub fn ordinal(self) -> usize {
                enum Ordinal { $($variant,)* }
                match self { $(Self::$variant { .. } => Ordinal::$variant as usize,)* }
            }

            fn usual_detail(self) -> &'static str {
                match self { $(Self::$variant { .. } => $detail,)* }
            }

            fn usual_hint(self) -> &'static str {
                match self { $(Self::$variant { .. } => $hint,)* }
            }
        }
    };
}

impl Reason {
    /// What happened, in one sentence without foreign text.
    pub fn detail(self) -> &'static str {
        match self {
            Self::AddressRefused(AddressFault::Synthetic) => {
                "the name resolves to 198.18.0.0/15: an address that a VPN or proxy on this machine made up for it (fake-IP)"
            }
            Self::IssuerTlsInvalid(fault) => fault.of_issuer(),
            Self::UpstreamTlsInvalid(fault) => fault.of_upstream(),
            other => other.usual_detail(),
        }
    }

    /// What to do next.
    pub fn hint(self) -> &'static str {
        match self {
            Self::AddressRefused(AddressFault::Synthetic) => {
                "set upstream.parent to that program's own HTTP proxy, take this host out of its fake-IP, or pin the name in upstream.resolve"
            }
            Self::IssuerTlsInvalid(fault) | Self::UpstreamTlsInvalid(fault) => fault.hint(),
            other => other.usual_hint(),
        }
    }
}

reasons! {
    /// The dialled address is loopback, link-local, metadata, private or our own.
    AddressRefused(AddressFault) = "address-refused", Client,
        "the name resolves to an address that the guard refuses",
        "if it is meant, name the network in upstream.allow_private or pin the name in upstream.resolve";
    /// A redirected connection whose address is not one that we know the name by.
    AddressMismatch = "address-mismatch", Client,
        "the connection was on its way to an address that its host does not have",
        "check how this tool resolves the name: the proxy must find the same address";
    /// The path has two readings.
    AmbiguousPath = "ambiguous-path", Client,
        "the path has dot segments, a backslash or an encoded form of them",
        "send the path in its plain form";
    /// Two routes with different credentials match.
    AmbiguousRoute = "ambiguous-route", Client,
        "two routes with different credentials match this request",
        "`valetkey explain METHOD URL` names them; make one of them narrower";
    /// The audit record could not be written.
    AuditUnavailable = "audit-unavailable", Valetkey,
        "the audit record could not be written, so no token was used",
        "check disk space and permissions of the state directory (`valetkey status`)";
    /// `Host` or `:authority` is not what CONNECT named.
    AuthorityMismatch = "authority-mismatch", Client,
        "the request names another host than its tunnel",
        "open a tunnel for each host";
    /// More body than the config allows.
    BodyTooLarge = "body-too-large", Client,
        "the request's body is larger than the config allows",
        "send it in parts, or raise `body` of [limits] in the config";
    /// Whoever asks was revoked, or everybody was.
    ClientRevoked = "client-revoked", Client,
        "this user, or everybody, was revoked",
        "whoever revoked it can take that back: `valetkey revoke --user NAME --undo`, or `--all --undo`";
    /// The client's TLS handshake failed.
    ClientTlsFailed = "client-tls-failed", Client,
        "the client broke off the TLS handshake",
        "it may not trust the local CA: `valetkey env` prints the variables to set";
    /// The client went away before an answer.
    ClientGone = "client-gone", Client,
        "the client closed the connection before the answer was complete",
        "nothing to do";
    /// CONNECT inside a tunnel.
    ConnectInTunnel = "connect-in-tunnel", Client,
        "CONNECT inside an intercepted tunnel is not possible",
        "connect to the other host through the proxy itself";
    /// The credential was revoked.
    CredentialRevoked = "credential-revoked", Client,
        "the credential for this request was revoked",
        "whoever revoked it can take that back: `valetkey revoke --credential NAME --undo`";
    /// No request head, handshake or body within the time.
    ClientTimeout = "client-timeout", Client,
        "the client took too long to send its request",
        "check the network between the tool and the proxy";
    /// One of our placeholders on its way to a host that no route names.
    ForeignPlaceholder = "foreign-placeholder", Client,
        "a placeholder was about to go to a host that no route names",
        "check the tool's base URL, or add a route for this host";
    /// Too many header fields or bytes.
    HeadersTooLarge = "headers-too-large", Client,
        "the request's header is larger than 64 KiB or has more than 128 fields",
        "send fewer or smaller fields";
    /// Absolute-form https over the plain listener.
    HttpsOverPlainProxy = "https-over-plain-proxy", Client,
        "an https URL was sent to the proxy in the clear instead of through CONNECT",
        "make the tool use CONNECT for https (its setting is often called `HTTPS_PROXY`)";
    /// A bug or a panic of ours.
    InternalError = "internal-error", Valetkey,
        "something failed inside the proxy",
        "the daemon's log has the request id; please report it";
    /// The issuer's answer is not a usable token.
    IssuerAnswerInvalid = "issuer-answer-invalid", Issuer,
        "the issuer's answer is not a usable token",
        "check token_url and the grant of this credential (`valetkey status` shows its last error)";
    /// The issuer said no.
    IssuerRefused = "issuer-refused", Issuer,
        "the issuer refused to mint a token",
        "check client_id, client_secret and scope of this credential (`valetkey status` shows its last error)";
    /// The issuer's certificate or TLS is not acceptable.
    IssuerTlsInvalid(TlsFault) = "issuer-tls-invalid", Issuer,
        "the issuer's certificate or TLS is not acceptable",
        "look at it without the proxy";
    /// The issuer cannot be reached, or said to come back later.
    IssuerUnreachable = "issuer-unreachable", Issuer,
        "the issuer could not be reached",
        "check token_url and the network; the request may be repeated after Retry-After";
    /// The credential is a person's, and nobody has logged in, or the login has ended.
    LoginRequired = "login-required", Client,
        "this needs a person's login, and there is none, or it has ended",
        "type: valetkey login CREDENTIAL";
    /// The login was granted less than the route asks for.
    LoginScopeMissing = "login-scope-missing", Client,
        "the login was granted nothing of the scope that this route asks for",
        "type: valetkey login CREDENTIAL, and allow all that is asked for; or ask for less in `scope` of the route";
    /// Malformed or ambiguous bytes.
    MalformedRequest = "malformed-request", Client,
        "the request is malformed or has more than one reading",
        "send a request that follows RFC 9112";
    /// TRACE, TRACK.
    MethodRefused = "method-refused", Client,
        "this method would send the request back to the client",
        "use another method";
    /// A reload took back what a running request or tunnel was permitted by.
    NoLongerPermitted = "no-longer-permitted", Client,
        "the config changed, and no longer permits this request",
        "`valetkey explain METHOD URL` says what holds now";
    /// No route matches, and `unmatched` is `deny`.
    NoRoute = "no-route", Client,
        "no route names this host or request, and unmatched is \"deny\"",
        "add a route, or set proxy.unmatched = \"tunnel\"";
    /// A request that is meant for a web server.
    NotAProxyRequest = "not-a-proxy-request", Client,
        "this is a proxy; it answers CONNECT and absolute-form requests only",
        "set it as HTTPS_PROXY, do not open it as a page";
    /// A redirected connection of nobody on this machine.
    OwnerUnknown = "owner-unknown", Client,
        "nobody on this machine, as the proxy sees it, owns the redirected connection",
        "redirect connections only where they begin: on the proxy's own machine and in its network namespace";
    /// The parent proxy's answer to CONNECT is not HTTP, or breaks its limits.
    ParentAnswerInvalid = "parent-answer-invalid", Upstream,
        "the parent proxy's answer is not valid HTTP",
        "check that upstream.parent (or HTTPS_PROXY where the daemon was started) names an HTTP proxy";
    /// The parent proxy answered 407.
    ParentAuthFailed = "parent-auth-failed", Upstream,
        "the parent proxy does not accept our credentials",
        "check user and password of upstream.parent; only Basic is spoken";
    /// The parent proxy answered CONNECT with another error.
    ParentRefused = "parent-refused", Upstream,
        "the parent proxy refused to connect, or could not",
        "ask whoever keeps it whether it allows CONNECT to this host and port; `upstream.no_proxy` goes around it";
    /// The parent proxy said nothing in time.
    ParentTimeout = "parent-timeout", Upstream,
        "the parent proxy did not answer in time",
        "repeat the request later, or check the parent proxy";
    /// No connection to the parent proxy, or it broke off.
    ParentUnreachable = "parent-unreachable", Upstream,
        "the parent proxy could not be reached",
        "check upstream.parent (or HTTPS_PROXY where the daemon was started), the network and, for https, its certificate";
    /// Several routes give a placeholder each, and none of them came.
    PlaceholderMissing = "placeholder-missing", Client,
        "several routes match, the tool's placeholder decides among them, and none was sent",
        "start the tool by `valetkey run`, which sets the variables of these routes, and make it use one of them";
    /// A bound placeholder of another session or route, or of none; or several of different routes.
    PlaceholderRefused = "placeholder-refused", Client,
        "the placeholder is not one of this session and route, or there are several and no route takes all of them",
        "a placeholder that the tool kept from an earlier session is worthless: give it the variable that `valetkey run` sets";
    /// A policy forbids it, or none permits it.
    PolicyDenied = "policy-denied", Client,
        "a policy forbids this request, or none permits it",
        "`valetkey explain METHOD URL` names the policies, and with `--as KEY=VALUE` whom they mean; whoever keeps them can change them";
    /// A routed host on a port without a route.
    PortNotRouted = "port-not-routed", Client,
        "this host is routed, but not on this port",
        "use the routed port, add a route for this one, or let it through undecrypted and without a token, as SSH needs: tunnel_ports = [PORT] under [proxy]";
    /// Right credentials once: of a session that has ended.
    ProxyAuthEnded = "proxy-auth-ended", Client,
        "this session has ended; a background process kept its environment",
        "end that process (a build daemon, a watcher), or start it anew by `valetkey run` or in a shell after `eval \"$(valetkey env)\"`";
    /// Proxy credentials are wrong.
    ProxyAuthFailed = "proxy-auth-failed", Client,
        "the proxy credentials are not those of a live session",
        "`eval \"$(valetkey env)\"` or `valetkey run` opens a new session";
    /// Proxy credentials are missing, and the uid does not admit.
    ProxyAuthRequired = "proxy-auth-required", Client,
        "this proxy admits sessions and processes of its own user only",
        "start the tool by `valetkey run`, or set the variables of `valetkey env`";
    /// Wrong credentials too often.
    ProxyAuthThrottled = "proxy-auth-throttled", Client,
        "too many wrong proxy credentials from this peer",
        "wait for Retry-After and use the credentials of a live session";
    /// What we sent to a parent came back to us.
    ProxyLoop = "proxy-loop", Client,
        "the request has come back to this proxy, by way of the proxy above it",
        "two proxies that are each other's parent go in circles: change `upstream.parent` of one of them, or name the host in `upstream.no_proxy`";
    /// More requests than a limit allows.
    RateLimited = "rate-limited", Client,
        "more requests than a limit of the config allows",
        "wait for Retry-After; `limits` and `rate_limit` in the config say how many there may be";
    /// The platform's roots never end being read.
    RootsUnread = "roots-unread", Valetkey,
        "the roots that this machine trusts are still being read, so no server's certificate can be verified",
        "mend SSL_CERT_FILE, SSL_CERT_DIR or the file system, as the daemon's log says, and start it again after `valetkey stop`";
    /// The route says `deny = true`.
    RouteDenied = "route-denied", Client,
        "a route denies this request",
        "the config means it; `valetkey explain METHOD URL` names the route, whoever keeps the config can change it";
    /// The route serves other clients.
    RouteNotForClient = "route-not-for-client", Client,
        "the routes for this request serve other clients",
        "ask whoever keeps the config to name this session or user in `clients`";
    /// The session is limited to other routes.
    RouteNotInSession = "route-not-in-session", Client,
        "this session was opened for other routes alone (`--only`, or `routes` of its entry in [[sessions]])",
        "`valetkey session list` shows the routes of session SESSION; open one without `--only`, or with one `--only ROUTE` more: `valetkey run --only ROUTE -- CMD`";
    /// A real key came where a placeholder should stand, and the route says
    /// `on_static_key = "deny"`.
    StaticKeyRefused = "static-key-refused", Client,
        "the tool sent what looks like a real API key, and the route refuses those",
        "take the key out of the tool's settings: `valetkey run` gives it a placeholder; and revoke the key, it has been at large";
    /// A static key beyond its `max_age`.
    StaticKeyOutdated = "static-key-outdated", Valetkey,
        "the static key of this route is older than its max_age, or its age cannot be told",
        "make a new key at its provider, then `valetkey credential rotate CREDENTIAL`; where `since` is set, set it anew";
    /// The credential's secret cannot be had.
    SecretUnavailable = "secret-unavailable", Valetkey,
        "the credential's secret could not be read",
        "`valetkey check` looks at its file; a variable must be set where the daemon is started: set it, then `valetkey restart`";
    /// Right credentials of a session that is bound to another uid.
    SessionOfAnotherUser = "session-of-another-user", Client,
        "these are the credentials of a session that another user of this machine opened",
        "open one as this user, or for it: `valetkey session open --uid N`, or `uid = N` in [[sessions]]";
    /// The session ended while the tunnel was open.
    SessionEnded = "session-ended", Client,
        "the session has ended",
        "open a new one with `valetkey run` or `valetkey env`";
    /// The daemon is stopping.
    ShuttingDown = "shutting-down", Valetkey,
        "the proxy is shutting down",
        "repeat the request when it is back";
    /// The ClientHello names another host than CONNECT.
    SniMismatch = "sni-mismatch", Client,
        "the TLS server name is not the host of the tunnel",
        "open a tunnel for each host";
    /// A template of the route or its credential names what the client has not.
    TemplateUnfilled = "template-unfilled", Client,
        "the token for this request names its session, user or uid, and this client has none",
        "`{session}` needs a session: start the tool by `valetkey run`, or in a shell with the variables of `valetkey env`; every client has `{client}`";
    /// The token stands in a coded answer that was begun as it came.
    TokenEchoed = "token-echoed", Upstream,
        "the upstream's answer holds the token, in a coding in which it cannot be masked",
        "ask without compression (`Accept-Encoding: identity`): the token is masked then; and keep the upstream from saying it";
    /// A tunnel to a routed host that does not speak TLS.
    TlsRequired = "tls-required", Client,
        "a tunnel to a routed host must speak TLS",
        "use https for this host";
    /// Connections or streams over the limit.
    TooManyConnections = "too-many-connections", Valetkey,
        "the proxy holds as many connections as it may",
        "repeat the request later";
    /// A WebSocket where the route does not allow one, or that is none.
    UpgradeRefused = "upgrade-refused", Client,
        "the route does not allow this protocol upgrade",
        "use HTTP without a WebSocket, or add upgrade = [\"websocket\"] to the route in the config";
    /// The upstream's answer is not HTTP, or breaks its limits.
    UpstreamAnswerInvalid = "upstream-answer-invalid", Upstream,
        "the upstream's answer is not valid HTTP",
        "check the upstream without the proxy";
    /// The end of an answer without a length that TLS does not vouch for.
    UpstreamCutShort = "upstream-cut-short", Upstream,
        "the connection ended without TLS's close_notify, and nothing else says where the answer ends",
        "repeat the request; for an old server that always ends so, set truncation = \"pass\" on its route";
    /// The body of the upstream's answer is not in the coding that it names, or not all of it.
    UpstreamEncodingInvalid = "upstream-encoding-invalid", Upstream,
        "the body of the upstream's answer is not what its Content-Encoding says, or breaks off",
        "repeat the request; where the tool takes the same answer directly, redact = false on the route lets it pass unsearched";
    /// The upstream's answer is in a coding that cannot be searched for the token, or is part of an
    /// encoded one.
    UpstreamEncodingRefused = "upstream-encoding-refused", Upstream,
        "the upstream's answer is encoded in a way that cannot be searched for the token",
        "where the tool asks for that encoding, turn it off; for large stored files set `redact = false` on the route";
    /// The upstream's name has no address.
    UpstreamNameUnresolved = "upstream-name-unresolved", Upstream,
        "the upstream's name could not be resolved",
        "check the name and the resolver of this machine";
    /// It has begun nothing, on the first connection and on another of its own.
    UpstreamRefused = "upstream-refused", Upstream,
        "the upstream refused the request twice before it began anything of it",
        "repeat the request later: nothing was done, and the upstream is overloaded or restarting";
    /// It has begun nothing, and we no longer have all that was sent.
    UpstreamRefusedUpload = "upstream-refused-upload", Upstream,
        "the upstream refused the request before it began anything of it, and too much of the body was sent to send it again",
        "repeat the request: nothing was done; of a body, 64 KiB are kept for a second try";
    /// Nothing from the upstream in time.
    UpstreamTimeout = "upstream-timeout", Upstream,
        "the upstream did not answer in time",
        "repeat the request later, or check the upstream";
    /// The upstream's certificate or protocol is not acceptable.
    UpstreamTlsInvalid(TlsFault) = "upstream-tls-invalid", Upstream,
        "the upstream's certificate or TLS is not acceptable",
        "look at it without the proxy";
    /// Connection refused, reset or unreachable.
    UpstreamUnreachable = "upstream-unreachable", Upstream,
        "the upstream could not be reached",
        "check the upstream and the network";
    /// The URI is longer than the limit.
    UriTooLong = "uri-too-long", Client,
        "the request's URI is longer than 8 KiB",
        "send a shorter URI";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_kebab_case() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(
                reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                reason.code()
            );
            assert!(!reason.detail().ends_with('.') && !reason.hint().is_empty());
        }
    }
}
