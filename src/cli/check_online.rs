//! `check --online`: what a config names, tried as the daemon would meet it: with its roots, pins,
//! parent proxy and guard.
//!
//! Servers are asked for the head of `/`, with nothing of anybody's in the request. Of each
//! credential a test token is minted as for a route, shown to nobody, and revoked where its issuer
//! can.

mod finding;
mod mints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AGE, DATE};
use http::{HeaderMap, Uri};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failure::{Failure, chain};
use crate::config::Config;
use crate::config::oauth::origin_of;
use crate::daemon;
use crate::model::clock::{Clock, SystemClock};
use crate::net::client::{Client, ClientError};
use crate::net::guard::Reach;
use crate::store::logins::Logins;

pub(super) use finding::Finding;

/// For one of them, from the first lookup to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
/// Under way at once.
const AT_ONCE: usize = 16;
/// A login that is being renewed is not left alone before it is stored.
const RENEW: Duration = Duration::from_secs(12);
/// Beyond this, signed assertions and tokens are refused by many: `iat` and `exp` are read by the
/// other side's clock.
const SKEW: Duration = Duration::from_secs(30);

/// A server, and what it is here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Server {
    /// An origin that secrets of ours go to.
    Issuer(String),
    /// `host:port` of routes.
    Upstream(String),
}

impl Server {
    fn url(&self) -> Option<Uri> {
        let origin = match self {
            Self::Issuer(origin) => origin.clone(),
            Self::Upstream(authority) => format!("https://{authority}"),
        };
        format!("{origin}/").parse().ok()
    }

    /// Issuers are dialled as config names them; what clients ask for is guarded.
    fn reach(&self) -> Reach {
        match self {
            Self::Issuer(_) => Reach::Anywhere,
            Self::Upstream(_) => Reach::Public,
        }
    }

    fn check(&self) -> (&'static str, &str) {
        match self {
            Self::Issuer(name) => ("issuer", name),
            Self::Upstream(name) => ("upstream", name),
        }
    }
}

/// Looks at all of it, in the order in which it is to be said.
pub(super) async fn look(config: &Config) -> Result<Vec<Finding>, Failure> {
    let client = daemon::issuers(config)
        .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()))?;
    let logins = Arc::new(Logins::new(&config.logins));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for server in servers(config) {
        let (client, turns) = (Arc::clone(&client), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            let (finding, skew) = visit(&client, &server).await;
            (server.check().0, vec![finding], skew.map(|skew| (server.check().1.to_owned(), skew)))
        });
    }
    for mint in mints::Test::all(config, &client, &logins, &clock) {
        let turns = Arc::clone(&turns);
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            ("mint", mint.run().await, None)
        });
    }
    let (mut found, mut skews) = (BTreeMap::<_, Vec<Finding>>::new(), BTreeMap::new());
    while let Some(done) = tasks.join_next().await {
        // A panic of one leaves the others as they are; the hook has said it.
        let Ok((check, findings, skew)) = done else { continue };
        found.entry(check).or_default().extend(findings);
        skews.extend(skew);
    }
    timeout(RENEW, logins.settled()).await.ok();
    found.values_mut().for_each(|findings| findings.sort());
    let mut all: Vec<_> = ["issuer", "mint", "upstream"]
        .iter()
        .flat_map(|check| found.remove(check).unwrap_or_default())
        .collect();
    all.extend(wildcards(config));
    all.extend(clocks(&skews));
    Ok(all)
}

/// Each once, however many name it.
fn servers(config: &Config) -> BTreeSet<Server> {
    let endpoints = config.credentials.values().flat_map(|credential| credential.grant.endpoints());
    let issuers = endpoints
        .filter_map(|url| Some(Server::Issuer(origin_of(&url.parse().ok()?)?.to_string())));
    let routes = config.routes.iter().map(|route| &route.value);
    let named = routes.filter(|route| !route.deny && !route.host.starts_with('*'));
    issuers
        .chain(named.map(|route| Server::Upstream(format!("{}:{}", route.host, route.port))))
        .collect()
}

/// Hosts that nobody can be asked for.
fn wildcards(config: &Config) -> Vec<Finding> {
    let routes = config.routes.iter().map(|route| &route.value);
    let wild: BTreeSet<_> =
        routes.filter(|route| route.host.starts_with('*')).map(|route| &route.host).collect();
    let skipped =
        |host: &&String| Finding::skipped("upstream", host, "a pattern names no one server");
    wild.iter().map(skipped).collect()
}

/// What came of one, and how far its clock is from ours.
async fn visit(client: &Client, server: &Server) -> (Finding, Option<Skew>) {
    let (check, name) = server.check();
    let Some(url) = server.url() else {
        return (Finding::skipped(check, name, "it is no URL"), None);
    };
    let (began, asked) = (Instant::now(), SystemTime::now());
    let answer = timeout(LIMIT, client.look(server.reach(), &url)).await;
    let took = began.elapsed();
    let fine = |how: &str| Finding::fine(check, name, &format!("{how} ({} ms)", took.as_millis()));
    match answer.unwrap_or(Err(ClientError::Deadline)) {
        Ok(answer) => {
            let skew = Skew::of(&answer.headers, asked, took);
            (
                fine(if url.scheme_str() == Some("https") {
                    "answers over TLS"
                } else {
                    "answers"
                }),
                skew,
            )
        }
        Err(error) if speaks_http2_alone(&error) => {
            (fine("its TLS is fine; it speaks HTTP/2 alone"), None)
        }
        // TLS was accepted before that: what it says of `/` is not our business.
        Err(ClientError::Http(_) | ClientError::TooLong) if url.scheme_str() == Some("https") => {
            (fine("its TLS is fine; it gives no answer for `/`"), None)
        }
        Err(error) => (Finding::unreached(check, name, &error), None),
    }
}

/// Whether all that was wrong is that we offered HTTP/1.1 (RFC 7301 section 3.2). The daemon offers
/// both.
fn speaks_http2_alone(error: &ClientError) -> bool {
    let ClientError::Tls(error) = error else { return false };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol))
    )
}

/// How far another clock is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skew {
    ahead: bool,
    by: Duration,
}

impl Skew {
    /// By `Date` (and `Age`, where a cache answered), in whose second the answer was made.
    fn of(headers: &HeaderMap, asked: SystemTime, took: Duration) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        let age = text(AGE).and_then(|age| age.parse().ok()).unwrap_or_default();
        let then =
            httpdate::parse_http_date(text(DATE)?).ok()?.checked_add(Duration::from_secs(age))?;
        let (first, last) = (asked, asked.checked_add(took)?);
        // Whatever of its second it was, and of the time under way.
        let (early, late) = (then, then.checked_add(Duration::from_secs(1))?);
        Some(match (early.duration_since(last), first.duration_since(late)) {
            (Ok(by), _) => Self { ahead: true, by },
            (_, Ok(by)) => Self { ahead: false, by },
            _ => Self { ahead: false, by: Duration::ZERO },
        })
    }
}

/// One line for all that agree, and one for each that does not.
fn clocks(skews: &BTreeMap<String, Skew>) -> Vec<Finding> {
    let (near, far): (Vec<_>, Vec<_>) = skews.iter().partition(|(_, skew)| skew.by <= SKEW);
    let mut all: Vec<_> = far
        .iter()
        .map(|(name, skew)| {
            let side = if skew.ahead { "behind" } else { "ahead of" };
            Finding::failed(
                "clock",
                name,
                "clock-skewed",
                &format!("our clock is {} s {side} its", skew.by.as_secs()),
                "one of the two is wrong: set this machine's (`timedatectl` says whether it is kept), or assertions and tokens are refused",
            )
        })
        .collect();
    let most = near.iter().map(|(_, skew)| skew.by.as_secs_f64().ceil()).fold(0.0, f64::max);
    all.push(match near.len() {
        0 if far.is_empty() => Finding::skipped("clock", "ours", "nobody has said what time it is"),
        0 => return all,
        count => Finding::fine("clock", "ours", &format!("within {most} s of {count} of them")),
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn clocks_are_compared_by_the_second() {
        let noon = httpdate::parse_http_date("Sun, 06 Nov 1994 12:00:00 GMT").unwrap();
        let skew = |date: &'static str, asked: SystemTime| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            Skew::of(&headers, asked, Duration::from_millis(400))
        };
        let near = "Sun, 06 Nov 1994 12:00:00 GMT";
        let late = noon + Duration::from_millis(900);
        assert_eq!(skew(near, late).unwrap().by, Duration::ZERO, "within its second");
        let hour = skew("Sun, 06 Nov 1994 13:00:00 GMT", noon).unwrap();
        assert!(hour.ahead && hour.by > Duration::from_secs(3599), "{hour:?}");
        let behind = skew("Sun, 06 Nov 1994 11:59:00 GMT", noon).unwrap();
        assert_eq!(behind, Skew { ahead: false, by: Duration::from_secs(59) });
        assert_eq!(skew("yesterday", noon), None);
        let skews = [("a".to_owned(), hour), ("b".to_owned(), Skew { ahead: true, by: SKEW })];
        let said = clocks(&skews.into());
        assert!(said[0].has_failed() && !said[1].has_failed() && said.len() == 2, "{said:?}");
        let mut cached = HeaderMap::new();
        cached.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 11:00:00 GMT"));
        cached.insert(AGE, HeaderValue::from_static("3600"));
        assert_eq!(Skew::of(&cached, noon, Duration::ZERO).unwrap().by, Duration::ZERO);
    }
}
