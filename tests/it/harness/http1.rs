//! HTTP/1.1 by hand, for both ends: it shows every byte as it was sent, which no library does.

use tokio::io::{AsyncRead, AsyncReadExt};

/// One parsed message: request or response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `GET /x HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub first_line: String,
    /// Names as spelled, values as bytes, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing announced.
    pub complete: bool,
}

impl Message {
    /// All values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The status code of a response; 0 where there was none.
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Everything that came, for a search.
    pub fn everything(&self) -> String {
        let mut all = self.first_line.clone();
        for (name, value) in &self.headers {
            all.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value)));
        }
        all + "\n\n" + &self.text()
    }
}

/// All values of a field in a list of fields, in order.
pub fn values(headers: &[(String, Vec<u8>)], name: &str) -> Vec<String> {
    let same = |n: &String| n.eq_ignore_ascii_case(name);
    let found = headers.iter().filter(|(n, _)| same(n));
    found.map(|(_, v)| String::from_utf8_lossy(v).into_owned()).collect()
}

/// Bytes read from a peer and not yet used.
pub struct Reader<S> {
    pub stream: S,
    pub left: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, left: Vec::new() }
    }

    pub async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.left.extend_from_slice(&buffer[..n]);
                true
            }
        }
    }

    /// Up to and including `end`; `None` when the peer closes first.
    pub async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.left.windows(end.len()).position(|w| w == end) {
                let rest = self.left.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.left, rest));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.left.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.left.split_off(length);
        Some(std::mem::replace(&mut self.left, rest))
    }

    /// All that comes until the peer closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.left)
    }

    /// The head of a message, without its body.
    pub async fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").await?;
        let mut lines = head.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let first_line = String::from_utf8_lossy(lines.next()?).into_owned();
        let mut headers = Vec::new();
        for line in lines.filter(|l| !l.is_empty()) {
            let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            let value = line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec();
            headers.push((name, value));
        }
        Some(Message { first_line, headers, body: Vec::new(), complete: false })
    }

    /// A whole request; `None` when the peer closes first.
    pub async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        let chunked = message.all("transfer-encoding").iter().any(|v| v.contains("chunked"));
        let length = message.all("content-length").first().and_then(|v| v.parse().ok());
        if chunked {
            self.chunks(&mut message).await;
        } else if let Some(length) = length {
            self.sized(&mut message, length).await;
        } else {
            message.complete = true;
        }
        Some(message)
    }

    /// A whole response to a request that was not HEAD; interim (1xx) answers are skipped.
    pub async fn response(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        while message.status() / 100 == 1 && message.status() != 101 {
            message = self.head().await?;
        }
        let chunked = message.all("transfer-encoding").iter().any(|v| v.contains("chunked"));
        let length = message.all("content-length").first().and_then(|v| v.parse().ok());
        if matches!(message.status(), 101 | 204 | 304) {
            message.complete = true;
        } else if chunked {
            self.chunks(&mut message).await;
        } else if let Some(length) = length {
            self.sized(&mut message, length).await;
        } else {
            message.body = self.rest().await;
            message.complete = true;
        }
        Some(message)
    }

    async fn sized(&mut self, message: &mut Message, length: usize) {
        match self.exactly(length).await {
            Some(body) => {
                message.body = body;
                message.complete = true;
            }
            None => message.body = std::mem::take(&mut self.left),
        }
    }

    async fn chunks(&mut self, message: &mut Message) {
        loop {
            let Some(line) = self.until(b"\r\n").await else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = line.trim().split(';').next().unwrap_or_default();
            let Ok(size) = usize::from_str_radix(size, 16) else { return };
            if size == 0 {
                break;
            }
            let Some(mut data) = self.exactly(size + 2).await else { return };
            data.truncate(size);
            message.body.extend_from_slice(&data);
        }
        // Trailers, if any, up to the empty line.
        while let Some(line) = self.until(b"\r\n").await {
            if line == b"\r\n" {
                message.complete = true;
                return;
            }
            message
                .headers
                .push((format!("trailer:{}", String::from_utf8_lossy(&line).trim()), Vec::new()));
        }
    }
}
