//! [`TlsFault`]: why there is no TLS with a server, told apart as far as it changes what to do.

/// Why a handshake with an upstream or an issuer came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsFault {
    /// The server refused us by an alert that says no more.
    Alert,
    /// It asks for a certificate of the client.
    ClientCertificate,
    /// It closed the connection in the handshake.
    Closed,
    /// Its certificate has ended.
    Expired,
    /// None of the others.
    #[default]
    Other,
    /// Its certificate is for other names.
    Name,
    /// No cipher suite, key exchange or signature is in common.
    NoCommonCipher,
    /// It speaks none of the protocols that it was offered (RFC 7301).
    NoProtocol,
    /// Its certificate is not valid yet.
    NotYet,
    /// It does not speak TLS at all.
    Plain,
    /// It does not know the name that it was asked by.
    ServerName,
    /// Its own certificate is a CA's, which vouches for itself.
    SelfSigned,
    /// Nobody who is trusted here vouches for it.
    UnknownIssuer,
    /// Its certificate is not one of a server.
    Usage,
    /// It speaks only versions before TLS 1.2.
    Version,
}

impl TlsFault {
    /// What happened, as what follows "the upstream's" or "the issuer's".
    pub fn of_upstream(self) -> &'static str {
        match self {
            Self::Alert => "the upstream refused the TLS handshake by an alert",
            Self::ClientCertificate => "the upstream asks for a certificate of the client",
            Self::Closed => "the upstream took the connection and closed it in the TLS handshake",
            Self::Expired => "the upstream's certificate has expired",
            Self::Other => "the upstream's certificate or TLS is not acceptable",
            Self::Name => "the upstream's certificate is for other names than this host",
            Self::NoCommonCipher => "the upstream has no cipher suite in common with us",
            Self::NoProtocol => "the upstream speaks neither HTTP/1.1 nor HTTP/2 over TLS",
            Self::NotYet => "the upstream's certificate is not valid yet",
            Self::Plain => "the upstream does not speak TLS on this port",
            Self::ServerName => "the upstream does not know itself by the name of this host",
            Self::SelfSigned => "the upstream's own certificate is a CA's that nothing vouches for",
            Self::UnknownIssuer => "the upstream's certificate is of an issuer that is not trusted",
            Self::Usage => "the upstream's certificate is not one for servers",
            Self::Version => "the upstream speaks no TLS 1.2 or 1.3",
        }
    }

    /// The same of an issuer.
    pub fn of_issuer(self) -> &'static str {
        match self {
            Self::Alert => "the issuer refused the TLS handshake by an alert",
            Self::ClientCertificate => "the issuer asks for a certificate of the client",
            Self::Closed => "the issuer took the connection and closed it in the TLS handshake",
            Self::Expired => "the issuer's certificate has expired",
            Self::Other => "the issuer's certificate or TLS is not acceptable",
            Self::Name => "the issuer's certificate is for other names than its URL",
            Self::NoCommonCipher => "the issuer has no cipher suite in common with us",
            Self::NoProtocol => "the issuer does not speak HTTP/1.1 over TLS",
            Self::NotYet => "the issuer's certificate is not valid yet",
            Self::Plain => "the issuer does not speak TLS on this port",
            Self::ServerName => "the issuer does not know itself by the name in its URL",
            Self::SelfSigned => "the issuer's own certificate is a CA's that nothing vouches for",
            Self::UnknownIssuer => "the issuer's certificate is of a CA that is not trusted",
            Self::Usage => "the issuer's certificate is not one for servers",
            Self::Version => "the issuer speaks no TLS 1.2 or 1.3",
        }
    }

    /// What to do next, whichever of the two it is.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Alert => {
                "its own log says why; `openssl s_client -connect HOST:PORT` without the proxy shows the alert"
            }
            Self::ClientCertificate => {
                "an issuer's goes into the credential (RFC 8705: `certificate` and `key`); for an upstream it is not supported"
            }
            Self::Closed => {
                "something before it may end such connections: a firewall, a load balancer without a server behind it, or a port that is not for TLS"
            }
            Self::Expired => "renew it there; if it is in order, look at this machine's clock",
            Self::Other => {
                "look at it without the proxy: `openssl s_client -connect HOST:PORT -servername HOST`"
            }
            Self::Name => {
                "use a name that the certificate has, or have it issued for this one: names count in its subjectAltName alone (openssl: -addext); upstream.resolve dials another address under the same name"
            }
            Self::NoCommonCipher => {
                "it offers only what is weak today (RSA key exchange, CBC, small groups), or wants a certificate of the client: its own log says which"
            }
            Self::NoProtocol => "check the port: another protocol may be spoken there",
            Self::NotYet => "look at this machine's clock, and at the server's",
            Self::Plain => "check the port; a host that speaks http only can't be given a token",
            Self::ServerName => {
                "check the name; upstream.resolve dials another address under the same name"
            }
            Self::SelfSigned => {
                "name that very certificate in upstream.extra_roots, as a PEM file; its names must stand in its subjectAltName (openssl: -addext)"
            }
            Self::UnknownIssuer => {
                "name its CA in upstream.extra_roots, as a PEM file; one that is there already has not signed this certificate, or the server does not send the CAs between"
            }
            Self::Usage => "have it issued for servers (extended key usage serverAuth)",
            Self::Version => "have the server speak TLS 1.2 or 1.3; older versions are broken",
        }
    }
}
