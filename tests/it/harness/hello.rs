//! The first message of a TLS handshake (RFC 8446 section 4.1.2), read and written by hand: what a library offers,
//! and offers that no library makes.

/// Protocol versions.
pub const TLS12: u16 = 0x0303;
pub const TLS13: u16 = 0x0304;
/// The key exchange of X25519 with ML-KEM-768 (draft-ietf-tls-ecdhe-mlkem).
pub const X25519MLKEM768: u16 = 0x11ec;
pub const X25519: u16 = 29;
pub const SECP256R1: u16 = 23;

/// Extensions.
const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SCHEMES: u16 = 13;
const MASTER_SECRET: u16 = 23;
pub const SESSION_TICKET: u16 = 35;
pub const PRE_SHARED_KEY: u16 = 41;
pub const EARLY_DATA: u16 = 42;
const VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// One ClientHello.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    pub version: u16,
    pub suites: Vec<u16>,
    pub compressions: Vec<u8>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// One for `host` that says no more than TLS 1.2 needs.
    pub fn tls12(host: &str, suites: &[u16]) -> Self {
        let name = [&[0][..], &sized16(host.as_bytes())].concat();
        let extensions = vec![
            (SERVER_NAME, sized16(&name)),
            (GROUPS, list16(&[X25519, SECP256R1])),
            (POINT_FORMATS, vec![1, 0]),
            (SCHEMES, list16(&[0x0403, 0x0804, 0x0401])),
            (MASTER_SECRET, vec![]),
        ];
        Self { version: TLS12, suites: suites.to_vec(), compressions: vec![0], extensions }
    }

    /// One for `host` that speaks TLS 1.3 alone.
    pub fn tls13(host: &str, suites: &[u16]) -> Self {
        let share = [&X25519.to_be_bytes()[..], &sized16(&[9; 32])].concat();
        Self::tls12(host, suites).speaking(&[TLS13]).with(KEY_SHARE, sized16(&share))
    }

    /// With other versions in the extension that counts.
    pub fn speaking(self, versions: &[u16]) -> Self {
        let bytes: Vec<u8> = versions.iter().flat_map(|v| v.to_be_bytes()).collect();
        self.with(VERSIONS, sized8(&bytes))
    }

    pub fn in_groups(self, groups: &[u16]) -> Self {
        self.with(GROUPS, list16(groups))
    }

    pub fn signed_by(self, schemes: &[u16]) -> Self {
        self.with(SCHEMES, list16(schemes))
    }

    fn with(mut self, kind: u16, data: Vec<u8>) -> Self {
        self.extensions.retain(|(known, _)| *known != kind);
        self.extensions.push((kind, data));
        self
    }

    /// As one record.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(list16(&self.suites));
        body.extend(sized8(&self.compressions));
        let each =
            |(kind, data): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &sized16(data)].concat();
        body.extend(sized16(&self.extensions.iter().flat_map(each).collect::<Vec<u8>>()));
        record(1, &body)
    }

    /// Reads a whole record.
    pub fn parse(record: &[u8]) -> Self {
        assert_eq!((record[0], record[5]), (22, 1), "a ClientHello");
        let mut rest = Rest(&record[9..]);
        let version = rest.u16();
        rest.take(32);
        rest.sized8();
        let suites = u16s(rest.sized16());
        let compressions = rest.sized8().to_vec();
        let mut all = Rest(rest.sized16());
        let mut extensions = Vec::new();
        while !all.0.is_empty() {
            extensions.push((all.u16(), all.sized16().to_vec()));
        }
        Self { version, suites, compressions, extensions }
    }

    pub fn has(&self, kind: u16) -> bool {
        self.extension(kind).is_some()
    }

    fn extension(&self, kind: u16) -> Option<&[u8]> {
        self.extensions.iter().find(|(known, _)| *known == kind).map(|(_, data)| &data[..])
    }

    pub fn versions(&self) -> Vec<u16> {
        self.extension(VERSIONS).map_or(vec![self.version], |data| u16s(&data[1..]))
    }

    pub fn groups(&self) -> Vec<u16> {
        self.extension(GROUPS).map_or(vec![], |data| u16s(&data[2..]))
    }

    pub fn schemes(&self) -> Vec<u16> {
        self.extension(SCHEMES).map_or(vec![], |data| u16s(&data[2..]))
    }

    /// The groups of the key shares that are sent at once.
    pub fn shares(&self) -> Vec<u16> {
        let mut rest = Rest(self.extension(KEY_SHARE).map_or(&[], |data| &data[2..]));
        let mut groups = Vec::new();
        while !rest.0.is_empty() {
            groups.push(rest.u16());
            rest.sized16();
        }
        groups
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The handshake goes on, by this version and suite.
    Hello(u16, u16),
    Alert(u8),
    /// The end, without a word.
    Closed,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        match bytes {
            [21, _, _, _, 2, _, alert, ..] => Self::Alert(*alert),
            [22, _, _, _, _, 2, _, _, _, rest @ ..] => {
                let mut rest = Rest(rest);
                let version = rest.u16();
                rest.take(32);
                rest.sized8();
                let suite = rest.u16();
                rest.take(1);
                let mut all = Rest(if rest.0.is_empty() { &[] } else { rest.sized16() });
                let mut chosen = version;
                while !all.0.is_empty() {
                    let (kind, data) = (all.u16(), all.sized16());
                    if kind == VERSIONS {
                        chosen = u16s(data)[0];
                    }
                }
                Self::Hello(chosen, suite)
            }
            _ => Self::Closed,
        }
    }
}

/// A ServerHello that chooses these.
pub fn server_hello(version: u16, suite: u16) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([8; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    body.extend(sized16(&[]));
    let mut bytes = record(2, &body);
    bytes[1..3].copy_from_slice(&version.to_be_bytes());
    bytes
}

/// A handshake message in a record.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[kind][..], &length[1..], body].concat();
    [&[22, 3, 1][..], &sized16(&message)].concat()
}

fn sized8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn sized16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn list16(values: &[u16]) -> Vec<u8> {
    sized16(&values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>())
}

fn u16s(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16s(self.take(2))[0]
    }

    fn sized8(&mut self) -> &'a [u8] {
        let length = self.take(1)[0];
        self.take(length.into())
    }

    fn sized16(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }
}
