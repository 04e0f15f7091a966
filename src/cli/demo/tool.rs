//! The unmodified tool: curl, or where there is none a small client of our own that does as curl
//! would. Straight to the API or through the proxy, the command is the same; only the variables
//! around it differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::net::broken;
use super::own_client;
use super::pki::HOST;
use super::road::{DemoRoad, ToolAnswer};
use super::world::World;
use crate::cli::failure::Failure;

pub(super) enum DemoTool {
    /// The machine's own, with its version.
    Curl(String),
    Own,
}

impl DemoTool {
    /// The curl that is on the PATH, if any.
    pub(super) async fn find() -> Self {
        let version = Command::new("curl").arg("--version").output().await;
        let text = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let words: Vec<&str> = text.as_deref().unwrap_or_default().split(' ').take(2).collect();
        match words[..] {
            ["curl", version] => Self::Curl(format!("curl {version}, unmodified")),
            _ => Self::Own,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Curl(version) => version,
            Self::Own => "a client of our own, because there is no curl here",
        }
    }

    /// Sends one request with the placeholder as its key.
    pub(super) async fn send(
        &self,
        world: &World,
        road: DemoRoad,
        method: &str,
        path: &str,
    ) -> Result<ToolAnswer, Failure> {
        let key = world.placeholder()?;
        match self {
            Self::Curl(_) => curl(world, road, method, path, &key).await,
            Self::Own => Ok(own_client::send(world, road, method, path, &key).await),
        }
    }
}

async fn curl(
    world: &World,
    road: DemoRoad,
    method: &str,
    path: &str,
    key: &str,
) -> Result<ToolAnswer, Failure> {
    let home = home(world, road).map_err(|error| broken("write its files", &error))?;
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(["-X", method, "-H", &format!("x-api-key: {key}")])
        .arg(format!("https://{HOST}{path}"))
        .env_clear()
        .env("HOME", &home)
        .env("CURL_HOME", &home);
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    match road {
        DemoRoad::Straight => command.env("CURL_CA_BUNDLE", &world.api_ca),
        DemoRoad::Proxied => command.envs(&world.session.environment.set),
    };
    let output = command.output().await.map_err(|error| broken("run curl", &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    Ok(status.parse().map(|status| (status, body.to_owned())).map_err(|_| text))
}

/// A home without settings; for the straight road with the one line that stands in for DNS.
fn home(world: &World, road: DemoRoad) -> io::Result<PathBuf> {
    let (name, settings) = match road {
        DemoRoad::Straight => {
            ("straight", format!("connect-to = \"{HOST}:443:{}\"\n", world.api.address))
        }
        DemoRoad::Proxied => ("proxied", String::new()),
    };
    let home: PathBuf = Path::new(world.dir()).join(name);
    fs::create_dir_all(&home)?;
    fs::write(home.join(".curlrc"), settings)?;
    Ok(home)
}
