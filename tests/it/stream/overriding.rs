//! Fields by which some upstreams take another method, path or client than the request's own: kept where policy
//! has the same verdict or the route says so, dropped otherwise, and never in silence.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, HOST, Pair};

/// What went upstream of these fields, and what the audit says was dropped.
async fn sent(
    pair: &mut Pair,
    method: &str,
    fields: &[(&str, &str)],
) -> (Vec<String>, Vec<String>) {
    let mut call = pair.caller().await.call(method, "/x", fields, Sending::Nothing).await;
    let up = pair.upstream.next().await;
    let sent = fields.iter().filter(|(name, value)| up.parts.all(name) == [*value]);
    let sent = sent.map(|(name, _)| (*name).to_owned()).collect();
    up.answer(200, "").await;
    assert_eq!(call.head().await.status, 200);
    let records = pair.stage.running().unwrap().audit();
    let last = records.iter().rev().find(|record| record["event"] == "decision");
    let dropped = last.map(|record| record["dropped"].clone()).unwrap_or_default();
    let dropped = dropped.as_array().cloned().unwrap_or_default();
    (sent, dropped.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn a_method_in_a_field_is_judged_as_the_requests_own_is() {
    for (client, upstream) in ALL {
        let keys = "methods = [\"GET\", \"POST\"]";
        let mut pair = Pair::between_with(client, upstream, |v| v, keys).await;
        for (name, value, kept) in [
            // Google's clients send long queries that way.
            ("x-http-method-override", "GET", true),
            ("x-http-method", "DELETE", false),
            ("x-http-method", "get", false),
            ("x-http-method", "Get", false),
            ("x-method-override", "GET, DELETE", false),
            ("x-method-override", "", false),
        ] {
            let (sent, dropped) = sent(&mut pair, "POST", &[(name, value)]).await;
            let (one, none) = (vec![name.to_owned()], vec![]);
            let expected = if kept { (one, none) } else { (none, one) };
            assert_eq!((sent, dropped), expected, "{name}: {value}");
        }
        // What is safe to repeat may become nothing that is not.
        assert_eq!(sent(&mut pair, "GET", &[("x-http-method", "POST")]).await.0, [""; 0]);
        // All of them, or none: it is not known by which the upstream goes.
        let both = [("x-http-method", "GET"), ("x-method-override", "DELETE")];
        assert_eq!(sent(&mut pair, "POST", &both).await.0, [""; 0]);
    }
}

/// A deny that lists its methods is asked as well, in whatever case an upstream would read them.
#[tokio::test]
async fn a_method_in_a_field_goes_round_no_deny() {
    for (client, upstream) in ALL {
        let deny = format!("name = \"no\"\nhost = \"{HOST}\"\ndeny = true\nmethods = [\"DELETE\"]");
        let mut pair = Pair::between_with(client, upstream, |v| v.route(&deny), "").await;
        for value in ["DELETE", "delete", "Delete"] {
            let (sent, dropped) = sent(&mut pair, "POST", &[("x-http-method", value)]).await;
            assert_eq!((sent, dropped), (vec![], vec!["x-http-method".to_owned()]), "{value}");
        }
        let (sent, dropped) = sent(&mut pair, "POST", &[("x-http-method", "MERGE")]).await;
        assert_eq!((sent, dropped), (vec!["x-http-method".to_owned()], vec![]));
        let audit = pair.stage.running().unwrap().audit();
        let last = audit.iter().rev().find(|record| record["event"] == "decision").unwrap();
        assert_eq!(last["method_override"], "MERGE", "{last}");
    }
}

#[tokio::test]
async fn a_route_keeps_what_it_names_and_nothing_else() {
    for (client, upstream) in ALL {
        let keys = "keep = [\"x-vault-namespace\", \"x-forwarded-for\"]";
        let mut pair = Pair::between_with(client, upstream, |v| v, keys).await;
        let fields = [
            ("x-vault-namespace", "team"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-vault-request", "true"),
            ("x-forwarded-host", "other.example"),
            // Without `methods` any method has the same verdict.
            ("x-http-method", "MERGE"),
        ];
        let (sent, dropped) = sent(&mut pair, "POST", &fields).await;
        assert_eq!(sent, ["x-vault-namespace", "x-forwarded-for", "x-http-method"]);
        assert_eq!(dropped, ["x-vault-request", "x-forwarded-host"]);
    }
}
