//! What is counted, and that labels stay few.

use super::*;

fn metrics() -> (Arc<Metrics>, RouteName) {
    let (metrics, route) = (Arc::new(Metrics::default()), RouteName::new("orders"));
    metrics.loaded([&route], [&CredentialName::new("orders")]);
    (metrics, route)
}

fn has(metrics: &Arc<Metrics>, line: &str) {
    let text = metrics.text(None);
    assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
}

#[test]
fn requests_are_counted_by_route_decision_and_code() {
    let (metrics, route) = metrics();
    metrics.request(Some(&route), Decision::Inject, None);
    metrics.request(Some(&route), Decision::Inject, None);
    metrics.request(Some(&route), Decision::Deny, Some(Reason::RouteDenied));
    metrics.request(None, Decision::Tunnel, None);
    metrics.request(Some(&RouteName::new("gone")), Decision::Pass, Some(Reason::UriTooLong));
    metrics.turned_away(Reason::TooManyConnections);
    let line = |labels: &str, count| {
        has(&metrics, &format!("valetkey_requests_total{{{labels}}} {count}"))
    };
    line("route=\"orders\",decision=\"inject\",code=\"ok\"", 2);
    line("route=\"orders\",decision=\"deny\",code=\"route-denied\"", 1);
    line("route=\"(none)\",decision=\"tunnel\",code=\"ok\"", 1);
    line("route=\"(none)\",decision=\"deny\",code=\"too-many-connections\"", 1);
    // The last of all reasons: an index too far would panic.
    line("route=\"(removed)\",decision=\"pass\",code=\"uri-too-long\"", 1);
}

/// Each code stands at its own number.
#[test]
fn every_reason_has_its_own_place() {
    let (metrics, _) = metrics();
    for reason in Reason::ALL {
        metrics.turned_away(*reason);
    }
    for reason in Reason::ALL {
        let labels = format!("route=\"(none)\",decision=\"deny\",code=\"{}\"", reason.code());
        has(&metrics, &format!("valetkey_requests_total{{{labels}}} 1"));
    }
}

#[test]
fn a_reload_keeps_the_counts_of_what_stays() {
    let (metrics, route) = metrics();
    let (credential, other) = (CredentialName::new("orders"), RouteName::new("other"));
    metrics.request(Some(&route), Decision::Inject, None);
    metrics.minted(&credential, None);
    metrics.minted(&credential, Some("issuer-refused"));
    metrics.minted(&CredentialName::new("unknown"), None);
    metrics.loaded([&route, &other], [&credential]);
    metrics.not_loaded();
    has(&metrics, "valetkey_requests_total{route=\"orders\",decision=\"inject\",code=\"ok\"} 1");
    has(&metrics, "valetkey_mints_total{credential=\"orders\",code=\"ok\"} 1");
    has(&metrics, "valetkey_mints_total{credential=\"orders\",code=\"issuer-refused\"} 1");
    has(&metrics, "valetkey_reloads_total{result=\"loaded\"} 2");
    has(&metrics, "valetkey_reloads_total{result=\"refused\"} 1");
    assert!(!metrics.text(None).contains("unknown"));
    metrics.loaded([&other], []);
    let text = metrics.text(None);
    assert!(!text.contains("orders"), "routes and credentials that are gone leave: {text}");
}

#[test]
fn what_is_held_is_counted_until_it_is_dropped() {
    let (metrics, _) = metrics();
    let held = [metrics.tunnels.hold(), metrics.tunnels.hold()];
    has(&metrics, "valetkey_tunnels 2");
    drop(held);
    has(&metrics, "valetkey_tunnels 0");
}

#[test]
fn parts_of_a_request_are_counted_where_there_are_any() {
    let (metrics, _) = metrics();
    let ms = Duration::from_millis;
    metrics.took(Parts { proxy: ms(1), mint: None, upstream: Some(ms(3)) });
    metrics.took(Parts { proxy: ms(1), mint: Some(ms(40)), upstream: None });
    has(&metrics, "valetkey_request_seconds_count{part=\"proxy\"} 2");
    has(&metrics, "valetkey_request_seconds_bucket{part=\"proxy\",le=\"0.0005\"} 0");
    has(&metrics, "valetkey_request_seconds_bucket{part=\"proxy\",le=\"0.001\"} 2");
    has(&metrics, "valetkey_request_seconds_bucket{part=\"proxy\",le=\"+Inf\"} 2");
    has(&metrics, "valetkey_request_seconds_count{part=\"upstream\"} 1");
    has(&metrics, "valetkey_request_seconds_sum{part=\"mint\"} 0.04");
}

/// What a request pays, whatever profile this is built with; the figure of an optimised build is
/// far below.
#[test]
fn recording_a_request_costs_little() {
    let (metrics, route) = metrics();
    let parts =
        Parts { proxy: Duration::from_micros(40), mint: None, upstream: Some(Duration::ZERO) };
    let rounds = 100_000;
    let started = std::time::Instant::now();
    for _ in 0..rounds {
        metrics.request(Some(&route), Decision::Inject, None);
        metrics.took(parts);
    }
    let each = started.elapsed() / rounds;
    println!("recording a request: {each:?}");
    assert!(each < Duration::from_micros(20), "{each:?}");
    let line = "valetkey_requests_total{route=\"orders\",decision=\"inject\",code=\"ok\"}";
    has(&metrics, &format!("{line} {rounds}"));
}

/// Every name stands in `config/metrics.md`.
#[test]
fn the_docs_name_every_metric() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/config/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let text = Arc::new(Metrics::default()).text(None);
    let names: Vec<_> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 15, "{text}");
    let missing: Vec<_> = names.iter().filter(|n| !docs.contains(&format!("`{n}"))).collect();
    assert!(missing.is_empty(), "not in config/metrics.md: {missing:?}");
}
