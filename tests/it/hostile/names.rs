//! B4: a name is resolved once for each dial, all of its addresses are judged, and a judged one is dialled, whatever the
//! resolver says before and after. The daemon has a resolver of the test's own: its `/etc/resolv.conf`, in a mount
//! namespace.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::harness::client::connect;
use crate::harness::not_run;
use crate::harness::stage::{Stage, own_answer};
use crate::harness::{Background, Log, accept_loop};

/// Allowed by `allow_private`, so that there is something on this machine to be reached.
const GOOD: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
/// Loopback as any other.
const BAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// What a name is answered with, by its first label.
enum Said {
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    Alias(&'static str),
    Nothing,
}

fn said(name: &str, before: usize) -> Said {
    let v4 = |list: &[Ipv4Addr]| Said::Addresses(list.to_vec(), vec![]);
    let mapped = |ip: Ipv4Addr| ip.to_ipv6_mapped();
    let many = |last: Ipv4Addr| {
        // Addresses nobody has here; none of them is dialled.
        let mut list = vec![GOOD; 200];
        list.push(last);
        list
    };
    match name.split('.').next().unwrap_or_default() {
        "good" => v4(&[GOOD]),
        "bad" => v4(&[BAD]),
        "good-bad" => v4(&[GOOD, BAD]),
        "bad-good" => v4(&[BAD, GOOD]),
        "good-and-v6" => Said::Addresses(vec![GOOD], vec![Ipv6Addr::LOCALHOST]),
        "mapped" => Said::Addresses(vec![], vec![mapped(BAD)]),
        "good-mapped" => Said::Addresses(vec![GOOD], vec![mapped(BAD)]),
        "nat64" => Said::Addresses(vec![], vec!["64:ff9b::7f00:1".parse().unwrap()]),
        "unspecified" => v4(&[Ipv4Addr::UNSPECIFIED]),
        "broadcast" => v4(&[Ipv4Addr::BROADCAST]),
        "metadata" => v4(&[GOOD, Ipv4Addr::new(169, 254, 169, 254)]),
        "metadata-v6" => Said::Addresses(vec![GOOD], vec!["fd00:ec2::254".parse().unwrap()]),
        "alias" => Said::Alias("bad.names.example"),
        "many" => v4(&many(BAD)),
        "many-good" => v4(&many(GOOD)),
        "flips" => v4(&[if before == 0 { GOOD } else { BAD }]),
        _ => Said::Nothing,
    }
}

/// The answer to one query (RFC 1035 section 4); `None` where there is none.
fn answer(query: &[u8], asked: &Log<(String, u16)>, whole: bool) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        name.push(
            String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase(),
        );
        at += 1 + length;
    }
    let (name, end) = (name.join("."), at + 5);
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let before = asked.all().iter().filter(|one| **one == (name.clone(), kind)).count();
    asked.push((name.clone(), kind));
    let record = |owner: &[u8], kind: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 0], &length, data].concat()
    };
    let pointer = [0xc0, 12];
    let mut records = Vec::new();
    let mut addresses = |owner: &[u8], name: &str| match (said(name, before), kind) {
        (Said::Addresses(list, _), 1) => {
            records.extend(list.iter().map(|ip| record(owner, 1, &ip.octets())));
        }
        (Said::Addresses(_, list), 28) => {
            records.extend(list.iter().map(|ip| record(owner, 28, &ip.octets())));
        }
        _ => {}
    };
    match said(&name, before) {
        Said::Nothing => return None,
        Said::Addresses(..) => addresses(&pointer, &name),
        Said::Alias(other) => {
            let mut target = Vec::new();
            for label in other.split('.') {
                target.push(u8::try_from(label.len()).unwrap());
                target.extend(label.as_bytes());
            }
            target.push(0);
            addresses(&target, other);
            records.insert(0, record(&pointer, 5, &target));
        }
    }
    let cut = !whole && records.len() > 25;
    let count = if cut { 0 } else { u16::try_from(records.len()).unwrap() };
    let mut bytes = query[..2].to_vec();
    bytes.extend([if cut { 0x83 } else { 0x81 }, 0x80, 0, 1]);
    bytes.extend(count.to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(&query[12..end]);
    if !cut {
        bytes.extend(records.concat());
    }
    Some(bytes)
}

/// A resolver on port 53 of an address of its own.
struct Resolver {
    ip: Ipv4Addr,
    asked: Arc<Log<(String, u16)>>,
    _tasks: [Background; 2],
}

impl Resolver {
    /// `None` where this user may not have the port.
    async fn start() -> Option<Self> {
        let [_, _, a, b] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 83, a, b.max(1));
        let udp = UdpSocket::bind((ip, 53)).await.ok()?;
        let tcp = TcpListener::bind((ip, 53)).await.ok()?;
        let asked = Log::new();
        let (log, other) = (Arc::clone(&asked), Arc::clone(&asked));
        let by_udp = Background::run(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut query).await {
                if let Some(answer) = answer(&query[..length], &log, false) {
                    let _ = udp.send_to(&answer, from).await;
                }
            }
        });
        let by_tcp = accept_loop(tcp, move |stream| {
            let log = Arc::clone(&other);
            async move {
                let mut stream = stream;
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; length.into()];
                    if stream.read_exact(&mut query).await.is_err() {
                        return;
                    }
                    let Some(answer) = answer(&query, &log, true) else { return };
                    let _ = stream.write_u16(u16::try_from(answer.len()).unwrap()).await;
                    let _ = stream.write_all(&answer).await;
                }
            }
        });
        Some(Self { ip, asked, _tasks: [by_udp, by_tcp] })
    }

    fn queries(&self, name: &str) -> usize {
        self.asked.all().iter().filter(|(asked, kind)| asked == name && *kind == 1).count()
    }
}

/// Greets whoever comes: a tunnel that is open.
async fn greeter(ip: Ipv4Addr, port: u16) -> (SocketAddr, Arc<Log<()>>, Background) {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let (addr, came) = (listener.local_addr().unwrap(), Log::new());
    let log = Arc::clone(&came);
    let task = accept_loop(listener, move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            log.push(());
            let _ = stream.write_all(b"hello").await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    (addr, came, task)
}

#[tokio::test]
async fn all_that_a_resolver_says_is_judged_and_one_answer_is_dialled() {
    let able = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    let able = able.is_ok_and(|done| done.status.success());
    let (true, Some(resolver)) = (able, Resolver::start().await) else {
        return not_run("this user may not have a resolver of its own");
    };
    let (good, came, _one) = greeter(GOOD, 0).await;
    let (_, trapped, _two) = greeter(BAD, good.port()).await;
    let conf = format!("nameserver {}\noptions timeout:1 attempts:1 ndots:0\n", resolver.ip);
    let stage = Stage::valetkey_with(|v| {
        v.file("resolv.conf", &conf)
            .file("nsswitch.conf", "hosts: dns\n")
            .upstream("allow_private = [\"127.77.0.0/16\"]")
            .apart(&[("resolv.conf", "/etc/resolv.conf"), ("nsswitch.conf", "/etc/nsswitch.conf")])
    })
    .await;
    let ask = async |name: &str| {
        let authority = format!("{name}.names.example:{}", good.port());
        let (answer, mut reader) = connect(stage.proxy_addr(), &authority).await;
        if answer.status() == 200 {
            let greeting = crate::harness::soon("a greeting", reader.exactly(5)).await;
            assert_eq!(greeting.as_deref(), Some(&b"hello"[..]), "{name}");
        }
        answer
    };
    for name in ["good", "many-good"] {
        let before = came.len();
        assert_eq!(ask(name).await.status(), 200, "{name}");
        assert_eq!(came.len(), before + 1, "{name}");
    }
    let refused = [
        "bad",
        "good-bad",
        "bad-good",
        "good-and-v6",
        "mapped",
        "good-mapped",
        "nat64",
        "unspecified",
        "broadcast",
        "metadata",
        "metadata-v6",
        "alias",
        "many",
    ];
    let before = came.len();
    for name in refused {
        let answer = ask(name).await;
        own_answer(&answer, &[403], &["address-refused"]).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(came.len(), before, "a good one of a bad name was dialled");
    // The first answer is the one that is judged and dialled; the next dial is judged anew.
    assert_eq!(ask("flips").await.status(), 200);
    assert_eq!(resolver.queries("flips.names.example"), 1, "asked once for a dial");
    own_answer(&ask("flips").await, &[403], &["address-refused"]).unwrap();
    let begun = std::time::Instant::now();
    own_answer(
        &ask("silent").await,
        &[502, 504],
        &["upstream-name-unresolved", "upstream-timeout"],
    )
    .unwrap();
    println!("a resolver that says nothing was waited for {:?}", begun.elapsed());
    assert_eq!(trapped.len(), 0, "loopback was dialled");
    stage.control().await.unwrap();
    println!("sent: {} names that resolve to something else", refused.len() + 4);
}
