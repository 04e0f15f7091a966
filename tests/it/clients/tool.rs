//! How each unmodified client is called: a shell line for one GET with its API key from
//! `$ORDERS_API_KEY`. Nothing in a line names a proxy or a CA: that is what `run` is for.

use std::path::Path;

use super::{finish, peer, tests_file};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Curl,
    /// curl with its key in `x-api-key`.
    CurlApiKey,
    Fetch,
    Go,
    Httpx,
    Java,
    Requests,
    Urllib,
    Wget,
}

impl Tool {
    pub const ALL: [Self; 9] = [
        Self::Curl,
        Self::CurlApiKey,
        Self::Fetch,
        Self::Go,
        Self::Httpx,
        Self::Java,
        Self::Requests,
        Self::Urllib,
        Self::Wget,
    ];

    /// What must happen before it can run; `home` is where it may leave files.
    pub async fn prepare(self, home: &Path) {
        if self != Self::Go {
            return;
        }
        let mut build = tokio::process::Command::new("go");
        build
            .args(["build", "-o"])
            .arg(home.join("get"))
            .arg(tests_file("clients/get.go"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("GOCACHE", peer("").join("go"))
            .env("GOPROXY", "off")
            .env("GO111MODULE", "off");
        let built = finish(&mut build, b"").await;
        assert_eq!(built.code(), Some(0), "go build: {}", built.all());
    }

    /// The shell line for one GET.
    pub fn line(self, url: &str, home: &Path) -> String {
        let python = peer("venv/bin/python");
        let script = |name: &str| tests_file("clients").join(name);
        let python = |name: &str| quoted(&[&python, &script(name)]);
        match self {
            Self::Curl => format!(
                "curl -sS -w '%{{http_code}}' -H \"Authorization: Bearer $ORDERS_API_KEY\" {url}"
            ),
            Self::CurlApiKey => {
                format!("curl -sS -w '%{{http_code}}' -H \"X-API-Key: $ORDERS_API_KEY\" {url}")
            }
            Self::Fetch => format!("{} {url}", quoted(&[&peer("npm/node"), &script("fetch.mjs")])),
            Self::Go => format!("{} {url}", quoted(&[&home.join("get")])),
            Self::Httpx => format!("{} {url}", python("httpx_get.py")),
            Self::Java => format!("java $JAVA_MORE {} {url}", quoted(&[&script("Get.java")])),
            Self::Requests => format!("{} {url}", python("requests_get.py")),
            Self::Urllib => format!("{} {url}", python("urllib_get.py")),
            Self::Wget => format!(
                "wget -S -nv -O- --header=\"Authorization: Bearer $ORDERS_API_KEY\" {url} 2>&1"
            ),
        }
    }
}

fn quoted(words: &[&Path]) -> String {
    let words = words.iter().map(|word| format!("'{}'", word.display()));
    words.collect::<Vec<_>>().join(" ")
}
