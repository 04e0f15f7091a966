//! A hudsucker proxy with Valetkey's decisions, tokens and CA inside: `cargo run --features hudsucker
//! --example hudsucker -- valetkey.toml`. It listens where the config says, writes the roots to trust to
//! stdout, and stops on Ctrl-C. `valetkey::adapter::hudsucker` says what it cannot enforce.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hudsucker::Proxy;
use tokio::net::TcpListener;
use valetkey::adapter::hudsucker::{Connector, Handler, Leaves, Parts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1);
    let (config, _) = valetkey::config::load(path.as_deref().map(Path::new))?;
    let listener = TcpListener::bind(&config.proxy.listen[..]).await?;
    // Accepted connections inherit it; without, a fresh one costs 40 ms.
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let local = listener.local_addr()?;
    let parts = Parts::open(&config, &[local])?;
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(Leaves::new(&parts)?)
        .with_http_connector(Connector::new(Arc::clone(&parts)))
        .with_http_handler(Handler::new(Arc::clone(&parts), local))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .build()?;
    let mut out = std::io::stdout();
    write!(out, "{}", parts.roots_pem())?;
    writeln!(std::io::stderr(), "listening on {local}")?;
    // The audit's head is renewed twice a second, as the daemon does.
    let flushed = Arc::clone(&parts);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            let parts = Arc::clone(&flushed);
            let _ = tokio::task::spawn_blocking(move || parts.flush()).await;
        }
    });
    proxy.start().await?;
    parts.flush()?;
    Ok(())
}
