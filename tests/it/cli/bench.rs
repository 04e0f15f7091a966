//! `bench`: bounded, honest about what it asked, and asks no other machine unless told to.

use crate::harness::api::Answer;
use crate::harness::client::finish;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::Valetkey;

#[tokio::test]
async fn alone_it_measures_an_api_of_its_own() {
    let home = Valetkey::new().written();
    let picture = home.path("bench.svg");
    let mut command = home.bare_command(&["bench", "--json", "-n", "20", "--rounds", "2"]);
    let done = finish(command.arg("--svg").arg(&picture)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON document");
    for (mode, requests) in [("warm", 40), ("cold", 4)] {
        for road in ["direct", "proxied"] {
            let figures = &report[mode][road];
            assert_eq!(figures["requests"], requests, "{report:#}");
            // Nobody answered but the API itself, and only with a token.
            assert_eq!(figures["statuses"], serde_json::json!({ "200": requests }), "{report:#}");
            assert!(figures["p50_us"].as_f64() > Some(0.0), "{report:#}");
        }
    }
    assert_eq!(report["rounds"], 2);
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.matches("<polyline").count() == 4, "{drawn}");
    assert!(done.stderr.contains("round 2 of 2"), "progress on stderr: {done:?}");
}

#[tokio::test]
async fn a_url_goes_through_the_users_daemon() {
    let stage = Stage::valetkey().await;
    stage.orders.answer(|_| Answer::ok("{}"));
    let home = stage.running().unwrap().home();
    let url = format!("https://{ORDERS}/v1/orders");
    let done = home.run(&["bench", &url, "-n", "10", "--rounds", "1"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("warm proxied") && done.stdout.contains('#'), "{done:?}");
    let token = stage.orders_issuer.token();
    let requests = stage.orders.requests();
    let proxied = requests.iter().filter(|seen| seen.count(&token) == 1).count();
    // 5 to warm up, 10 warm, 1 cold, on each road; nothing but GET, and never more than was said.
    assert_eq!((proxied, requests.len()), (16, 32), "{done:?}");
    assert!(requests.iter().all(|seen| seen.method == "GET" && seen.target == "/v1/orders"));
    assert!(!done.stdout.contains(&token) && !done.stderr.contains(&token));
}

#[tokio::test]
async fn what_policy_refuses_is_no_figure() {
    let stage = Stage::valetkey_with(|builder| builder.proxy("unmatched = \"deny\"")).await;
    let home = stage.running().unwrap().home();
    let done = home.run(&["bench", &format!("https://{ORDERS}/other")]).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stderr.contains("error[bench-refused]"), "{done:?}");
    assert!(done.stderr.contains("no-route"), "{done:?}");
}

#[tokio::test]
async fn other_machines_and_other_schemes_are_refused() {
    let home = Valetkey::new().written();
    for (url, code) in [
        ("https://192.0.2.1/", "bench-remote"),
        ("http://127.0.0.1/", "bench-url"),
        ("https://", "bench-url"),
    ] {
        let done = home.run(&["bench", url]).await;
        assert_eq!(done.code, Some(2), "{url}: {done:?}");
        assert!(done.stderr.contains(&format!("error[{code}]")), "{url}: {done:?}");
        assert!(done.stderr.contains("hint:"), "{url}: {done:?}");
    }
    for flags in [["-n", "10001"], ["-j", "65"], ["--rounds", "21"], ["--time", "6m"]] {
        let done = home.run(&["bench", flags[0], flags[1]]).await;
        assert_eq!(done.code, Some(2), "{flags:?}: {done:?}");
    }
}
