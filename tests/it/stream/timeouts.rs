//! How long requests may take where nothing moves is the config's to say, for all or for a route.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};

/// Without a piece of its body or of its answer; each key alone is short.
#[tokio::test]
async fn each_wait_has_a_key_of_its_own() {
    for (client, upstream) in ALL {
        for by_route in [true, false] {
            let timeouts = |key: &str| format!("timeouts = {{ {key} = \"1s\" }}");
            for (key, sending, status, code) in [
                ("head", Sending::Nothing, 504, "upstream-timeout"),
                ("stall", Sending::Sized(10), 408, "client-timeout"),
            ] {
                let (route, limits) = if by_route {
                    (timeouts(key), String::new())
                } else {
                    (String::new(), format!("[limits]\n{}", timeouts(key)))
                };
                let more = |v: crate::harness::valetkey::Valetkey| v.toml(&limits);
                let pair = Pair::between_with(client, upstream, more, &route).await;
                let mut call = pair.caller().await.call("POST", "/x", &[], sending).await;
                let head = call.head().await;
                let what = format!("{client:?} {upstream:?} {key} {by_route}");
                assert_eq!((head.status, &*head.code()), (status, code), "{what}: {head:?}");
                pair.stage.control().await.unwrap();
            }
        }
    }
}
