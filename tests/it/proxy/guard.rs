//! The guard: no client reaches loopback, link-local or metadata addresses through the proxy, however it
//! spells them. (Only addresses that are refused without dialling appear here.)

use crate::harness::api::Api;
use crate::harness::client::{connect, dial, exchange};
use crate::harness::stage::{Stage, own_answer};

/// Case 57 of the hostile cases, in the spellings that name an always-refused address or none.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "foo.localhost",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[::1%25lo]",
    "[::1%lo]",
    "2130706433",
    "0177.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "127.1",
    "127.0.0.1.",
    "127.255.255.254",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::5efe:7f00:1]",
    "[fec0::1]",
    "[fe80::1]",
    "169.254.169.254",
    "169.254.170.2",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    "metadata.google.internal",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "255.255.255.255",
    "224.0.0.1",
    "[ff02::1]",
];

#[tokio::test]
async fn refused_addresses_are_refused_in_every_spelling() {
    let stage = Stage::valetkey().await;
    let trap = Api::capture().await;
    let port = trap.addr().port();
    let codes = ["address-refused", "malformed-request", "upstream-name-unresolved"];
    let mut wrong = Vec::new();
    for host in HOSTS {
        for port in [port, 80] {
            let (answer, _) = connect(stage.proxy_addr(), &format!("{host}:{port}")).await;
            if let Err(error) = own_answer(&answer, &[400, 403, 502], &codes) {
                wrong.push(format!("CONNECT {host}:{port}: {error}"));
            }
        }
        let mut reader = dial(stage.proxy_addr()).await;
        let request = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        let answer = exchange(&mut reader, request.as_bytes()).await.unwrap_or_default();
        if let Err(error) = own_answer(&answer, &[400, 403, 502], &codes) {
            wrong.push(format!("GET http://{host}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(trap.connections(), 0, "something was dialled");
    stage.control().await.unwrap();
}

#[tokio::test]
async fn its_own_listener_is_refused() {
    let stage = Stage::valetkey().await;
    let own = stage.proxy_addr();
    let (answer, _) = connect(own, &own.to_string()).await;
    own_answer(&answer, &[403], &["address-refused", "proxy-loop"]).unwrap();
    stage.control().await.unwrap();
}

/// A name that is routed but not pinned, and resolves to loopback.
#[tokio::test]
async fn a_routed_name_on_loopback_is_refused_unless_pinned() {
    let stage = Stage::valetkey_with(|v| {
        v.route("name = \"local\"\nhost = \"localhost\"\ncredential = \"orders\"")
    })
    .await;
    let answer = match stage.get("localhost", "/v1/x", "").await {
        Ok(answer) => answer,
        Err(refused) => return assert!(refused.contains("403"), "{refused}"),
    };
    own_answer(&answer, &[403, 502], &["address-refused"]).unwrap();
    stage.control().await.unwrap();
}
