//! Reads why a handshake failed from what the TLS library says of it.

use std::error::Error as _;
use std::io;

use rustls::{
    AlertDescription as Alert, CertificateError, Error, PeerIncompatible, PeerMisbehaved,
};

use crate::model::tls_fault::TlsFault;

/// Why, if it was TLS: `None` where the network may have done it.
pub fn tls_fault(error: &io::Error) -> Option<TlsFault> {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return (error.kind() == io::ErrorKind::UnexpectedEof).then_some(TlsFault::Closed);
    };
    Some(match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => TlsFault::Version,
        Error::PeerIncompatible(_)
        | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite) => {
            TlsFault::NoCommonCipher
        }
        Error::InvalidMessage(_) => TlsFault::Plain,
        Error::NoApplicationProtocol => TlsFault::NoProtocol,
        _ => TlsFault::Other,
    })
}

fn of_certificate(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYet
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::Name
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsFault::Usage
        }
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::Other(other) if is_ca(other) => TlsFault::SelfSigned,
        _ => TlsFault::Other,
    }
}

/// The library has no word of its own for it, only that of the one below.
fn is_ca(error: &rustls::OtherError) -> bool {
    let below = error.source().map(ToString::to_string);
    below.unwrap_or_else(|| error.to_string()).contains("CaUsedAsEndEntity")
}

fn of_alert(alert: Alert) -> TlsFault {
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => TlsFault::ClientCertificate,
        Alert::HandshakeFailure | Alert::InsufficientSecurity => TlsFault::NoCommonCipher,
        Alert::NoApplicationProtocol => TlsFault::NoProtocol,
        Alert::ProtocolVersion => TlsFault::Version,
        Alert::UnrecognisedName => TlsFault::ServerName,
        _ => TlsFault::Alert,
    }
}
