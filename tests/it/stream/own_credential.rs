//! `when = "placeholder"`: a token where our placeholder stands, and the tool's own credential anywhere else.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};

#[tokio::test]
async fn another_credential_of_the_tools_passes() {
    let keys = "when = \"placeholder\"\nstrip = [\"header:authorization\", \"header:x-api-key\"]\n\
                on_static_key = \"deny\"";
    for (client, upstream) in ALL {
        let mut pair = Pair::between_with(client, upstream, |v| v, keys).await;
        let second =
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvd24ifQ.c2Vjb25kLWJlYXJlci1vZi10aGUtYXBp";
        for (sent, own) in [
            ("Bearer vk-placeholder-orders", false),
            ("Basic dms6dmstcGxhY2Vob2xkZXItb3JkZXJz", false),
            (second, true),
        ] {
            let fields = [("authorization", sent), ("x-api-key", "vk-placeholder-orders")];
            let mut call = pair.caller().await.call("GET", "/x", &fields, Sending::Nothing).await;
            let up = pair.upstream.next().await;
            let token = format!("Bearer {}", pair.token());
            let expected = if own { sent } else { token.as_str() };
            assert_eq!(up.parts.all("authorization"), [expected], "{sent}");
            assert!(up.parts.all("x-api-key").is_empty(), "{:?}", up.parts);
            up.answer(200, "").await;
            assert_eq!(call.head().await.status, 200);
            let audit = pair.stage.running().unwrap().audit();
            let last = audit.iter().rev().find(|r| r["event"] == "decision").unwrap();
            let decision = if own { "pass" } else { "inject" };
            assert_eq!(last["decision"], decision, "{sent}: {last}");
            assert_eq!(last["client_credential"] == true, own, "{sent}: {last}");
            assert_eq!(last["token"].is_object(), !own, "{sent}: {last}");
        }
        // A real key where it does not belong is still refused.
        let fields = [("authorization", "Bearer own"), ("x-api-key", "glpat-0123456789abcdefghij")];
        let mut call = pair.caller().await.call("GET", "/x", &fields, Sending::Nothing).await;
        let head = call.head().await;
        assert_eq!((head.status, &*head.code()), (403, "static-key-refused"), "{head:?}");
        // Nothing at all is filled with nothing.
        let mut call = pair.caller().await.get("/x").await;
        let up = pair.upstream.next().await;
        assert!(up.parts.all("authorization").is_empty(), "{:?}", up.parts);
        up.answer(200, "").await;
        assert_eq!(call.head().await.status, 200);
        let audit = pair.stage.running().unwrap().audit();
        let last = audit.iter().rev().find(|record| record["event"] == "decision").unwrap();
        assert_eq!(last["client_credential"], serde_json::Value::Null, "{last}");
    }
}
