//! Certificate profiles: the files of `certs/`, parsed once. Root, intermediate and leaf are
//! compiled in; the test PKI parses the same files and the bad ones with [`Profile::parse`].

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use serde::Deserialize;

use super::error::CaError;
use super::scope::Scope;

/// What a kind of certificate may do, how long it lives and whom it names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in words.
    pub description: String,
    /// Why a verifier must refuse it; absent: it is good.
    pub refused: Option<String>,
    pub issuer: SignedBy,
    /// The common name, with `{host}` and `{label}`; empty: none.
    pub subject: String,
    /// Names and addresses, with `{host}`.
    #[serde(default)]
    pub san: Vec<String>,
    /// Begins this long before now.
    #[serde(default, deserialize_with = "duration")]
    pub backdate: Duration,
    /// Begins this long after now.
    #[serde(default, deserialize_with = "duration")]
    pub postdate: Duration,
    /// From the present, or from the beginning where that is stated otherwise by a bad profile.
    #[serde(deserialize_with = "duration")]
    pub lifetime: Duration,
    /// Present: a CA with so many CAs below it at most.
    pub path_len: Option<u8>,
    pub key_usage: Vec<KeyUsage>,
    #[serde(default)]
    pub ext_key_usage: Vec<ExtKeyUsage>,
    pub name_constraints: Option<Constraints>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignedBy {
    Intermediate,
    Root,
    /// Its own key: self-signed.
    #[serde(rename = "self")]
    Itself,
    /// An intermediate below a root that nobody trusts.
    Stranger,
}

/// The key usages in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUsage {
    CrlSign,
    DigitalSignature,
    KeyCertSign,
}

/// The extended key usages in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtKeyUsage {
    ClientAuth,
    ServerAuth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constraints {
    /// Those of the CA's scope.
    Scope,
}

/// What a profile leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Blanks<'a> {
    /// What stands for `{host}`.
    pub host: &'a str,
    /// What stands for `{label}`.
    pub label: &'a str,
    /// The names that `name_constraints = "scope"` allows.
    pub scope: &'a Scope,
    pub life: (SystemTime, SystemTime),
}

impl Profile {
    /// Parses one file of `certs/`.
    pub fn parse(text: &str) -> Result<Self, CaError> {
        toml::from_str(text).map_err(|error| CaError::Profile { what: error.to_string() })
    }

    /// notBefore and notAfter at `now`, with a lifetime in place of the profile's own. A life that
    /// is counted from the present where the beginning is only a margin for skewed clocks, else
    /// from the beginning.
    pub fn life(&self, now: SystemTime, lifetime: Duration) -> (SystemTime, SystemTime) {
        let begin = whole_seconds(now - self.backdate + self.postdate);
        let end =
            if self.refused.is_some() { begin + lifetime } else { whole_seconds(now) + lifetime };
        (begin, end)
    }

    /// The certificate to sign: serial of 16 random bytes, AKI and SKI present.
    pub fn params(&self, blanks: Blanks<'_>) -> Result<CertificateParams, CaError> {
        let mut params = CertificateParams::default();
        params.not_before = blanks.life.0.into();
        params.not_after = blanks.life.1.into();
        params.serial_number = Some(serial()?);
        params.distinguished_name = self.name(blanks);
        params.use_authority_key_identifier_extension = true;
        params.is_ca = match self.path_len {
            Some(depth) => IsCa::Ca(BasicConstraints::Constrained(depth)),
            // Says CA:FALSE, and makes rcgen write the subject key identifier.
            None => IsCa::ExplicitNoCa,
        };
        for san in &self.san {
            params.subject_alt_names.push(alternative(&san.replace("{host}", blanks.host))?);
        }
        params.key_usages = self.key_usage.iter().map(|&usage| usage.into()).collect();
        params.extended_key_usages = self.ext_key_usage.iter().map(|&usage| usage.into()).collect();
        if self.name_constraints.is_some() {
            params.name_constraints = blanks.scope.constraints();
        }
        Ok(params)
    }

    fn name(&self, blanks: Blanks<'_>) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        let text = self.subject.replace("{host}", blanks.host).replace("{label}", blanks.label);
        // ub-common-name is 64 (RFC 5280 appendix A.1); SAN is what counts.
        if !text.is_empty() && text.len() <= 64 {
            name.push(DnType::CommonName, text);
        }
        name
    }
}

impl From<KeyUsage> for KeyUsagePurpose {
    fn from(usage: KeyUsage) -> Self {
        match usage {
            KeyUsage::CrlSign => Self::CrlSign,
            KeyUsage::DigitalSignature => Self::DigitalSignature,
            KeyUsage::KeyCertSign => Self::KeyCertSign,
        }
    }
}

impl From<ExtKeyUsage> for ExtendedKeyUsagePurpose {
    fn from(usage: ExtKeyUsage) -> Self {
        match usage {
            ExtKeyUsage::ClientAuth => Self::ClientAuth,
            ExtKeyUsage::ServerAuth => Self::ServerAuth,
        }
    }
}

/// The three that `src/ca` signs by.
pub(super) struct Own {
    pub(super) root: Profile,
    pub(super) intermediate: Profile,
    pub(super) leaf: Profile,
}

/// Parsed at first use; a unit test parses them too, so a build with a broken file does not pass.
pub(super) fn own() -> Result<&'static Own, CaError> {
    static OWN: LazyLock<Result<Own, String>> = LazyLock::new(|| {
        let parse = |text| Profile::parse(text).map_err(|error| error.to_string());
        Ok(Own {
            root: parse(include_str!("../../certs/root.toml"))?,
            intermediate: parse(include_str!("../../certs/intermediate.toml"))?,
            leaf: parse(include_str!("../../certs/leaf.toml"))?,
        })
    });
    OWN.as_ref().map_err(|what| CaError::Profile { what: what.clone() })
}

/// Certificates know whole seconds only.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn alternative(text: &str) -> Result<SanType, CaError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    Ok(SanType::DnsName(text.try_into()?))
}

/// 16 random bytes, positive and without a leading zero (RFC 5280 section 4.1.2.2).
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Crypto { doing: "draw a serial" })?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses_and_only_the_own_ones_are_good() {
        let mut good = Vec::new();
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/certs");
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let profile = Profile::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
                if profile.refused.is_none() {
                    good.push(path.file_stem().unwrap().to_owned());
                }
            }
        }
        good.sort();
        assert_eq!(good, ["intermediate", "leaf", "root"]);
        assert!(own().is_ok());
    }
}
