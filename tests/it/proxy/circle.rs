//! Two daemons that are each other's parent: what one sends round is known when it comes back, at the first hop.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::client::{connect, connect_with, dial, exchange};
use crate::harness::parent::{Manner, Parent};
use crate::harness::stage::{ORDERS, Stage, own_answer};
use crate::harness::valetkey::{Running, Valetkey};
use crate::harness::{Background, Log, accept_loop, until};

/// A routed host that neither of them pins.
const FAR: &str = "far.example";

/// Carries connections to where it is told to, once it is told: neither daemon knows the other's port before its start.
struct Between {
    addr: SocketAddr,
    to: watch::Sender<Option<SocketAddr>>,
    carried: Arc<Log<()>>,
    _task: Background,
}

impl Between {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (to, told) = watch::channel(None);
        let carried = Log::new();
        let count = Arc::clone(&carried);
        let task = accept_loop(listener, move |mut stream| {
            let (mut told, count) = (told.clone(), Arc::clone(&count));
            async move {
                count.push(());
                let to: SocketAddr = told.wait_for(Option::is_some).await.unwrap().unwrap();
                let mut other = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
            }
        });
        Self { addr, to, carried, _task: task }
    }
}

struct Circle {
    stage: Stage,
    other: Running,
    between: Between,
}

impl Circle {
    async fn closed() -> Self {
        let between = Between::start().await;
        let parent = |at: SocketAddr| format!("parent = {{ url = \"http://{at}\" }}");
        let above = parent(between.addr);
        let stage = Stage::valetkey_with(|v| {
            v.upstream(&above)
                .route(&format!("name = \"far\"\nhost = \"{FAR}\"\ncredential = \"orders\""))
        })
        .await;
        let other = Valetkey::new().upstream(&parent(stage.proxy_addr())).start().await;
        between.to.send_replace(Some(other.proxy_addr()));
        Self { stage, other, between }
    }

    /// It went to the other one and back, and no further, `times` times.
    async fn ended(&self, times: usize) {
        self.stage.audited("proxy-loop", times).await;
        assert_eq!(self.between.carried.len(), times);
        let there = self.other.audit();
        assert_eq!(there.iter().filter(|r| r["code"] == "parent-refused").count(), times);
    }
}

#[tokio::test]
async fn circles_end_where_they_began() {
    let circle = Circle::closed().await;
    let proxy = circle.stage.proxy_addr();
    let refused = |answer| own_answer(&answer, &[502], &["parent-refused"]).unwrap();
    refused(connect(proxy, "nowhere.example:443").await.0);
    circle.ended(1).await;
    let mut reader = dial(proxy).await;
    let request = b"GET http://plain.example/x HTTP/1.1\r\nHost: plain.example\r\n\r\n";
    refused(exchange(&mut reader, request).await.unwrap());
    circle.ended(2).await;
    // Inside a tunnel that is intercepted.
    refused(circle.stage.get(FAR, "/v1/x", "").await.unwrap());
    circle.ended(3).await;
    // The other one began, so it is the other one that knows.
    refused(connect(circle.other.proxy_addr(), "nowhere.example:443").await.0);
    until("the other one's record", || {
        circle.other.audit().iter().any(|r| r["code"] == "proxy-loop")
    })
    .await;
    assert_eq!(circle.between.carried.len(), 4);
    circle.stage.control().await.unwrap();
}

/// What has our name in it is refused with a code of its own, in both forms; nobody else's name is ours.
#[tokio::test]
async fn our_name_is_ours_alone_and_outlives_a_reload() {
    let parent = Parent::start(Manner::Honest(None), &[]).await;
    let url = format!("parent = {{ url = \"http://{}\" }}", parent.addr());
    let stage = Stage::valetkey_with(|v| v.upstream(&url)).await;
    let ask =
        async |via: &str| connect_with(stage.proxy_addr(), "nowhere.example:443", via).await.0;
    own_answer(&ask("").await, &[502], &["parent-refused"]).unwrap();
    let ours = parent.asked()[0].all("via").concat();
    let name = ours.strip_prefix("1.1 valetkey-").unwrap_or_else(|| panic!("{ours}"));
    assert!(name.len() >= 43, "{name}");
    // Who was there before us is told to the parent, and in one line with us.
    let answer = ask("Via: 1.0 fred\r\nvia: 1.1 valetkey-of-another (x)\r\n").await;
    own_answer(&answer, &[502], &["parent-refused"]).unwrap();
    let via = format!("1.0 fred, 1.1 valetkey-of-another (x), {ours}");
    assert_eq!(parent.asked()[1].all("via"), [via]);
    let running = stage.running().unwrap();
    running.home.rewrite(|text| text.replace("name = \"billing\"", "name = \"bills\""));
    running.sighup();
    assert!(running.says("config reloaded").await.is_some());
    for field in [format!("Via: {ours}\r\n"), format!("Via: 1.1 a\r\nVia: {ours}, 1.1 b\r\n")] {
        own_answer(&ask(&field).await, &[403], &["proxy-loop"]).unwrap();
        let request = format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{field}\r\n");
        let mut reader = dial(stage.proxy_addr()).await;
        let answer = exchange(&mut reader, request.as_bytes()).await.unwrap();
        own_answer(&answer, &[403], &["proxy-loop"]).unwrap();
    }
    let long = format!("Via: {}\r\n", "1.1 a, ".repeat(400));
    own_answer(&ask(&long).await, &[431], &["headers-too-large"]).unwrap();
    assert_eq!(parent.asked().len(), 2);
    // Origins get nothing of it.
    assert_eq!(stage.get(ORDERS, "/v1/x", "").await.unwrap().status(), 200);
    assert!(stage.orders.request(0).await.all("via").is_empty());
    stage.control().await.unwrap();
}
