//! The limit: CONNECT, and bytes copied both ways.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub async fn serve(listener: TcpListener, api: SocketAddr) {
    super::say_listening(&listener);
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(tunnel(client, api));
    }
}

async fn tunnel(mut client: TcpStream, api: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let mut upstream = TcpStream::connect(api).await?;
    upstream.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
