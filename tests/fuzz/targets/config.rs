//! Configs: what loads is compiled, and what is compiled decides. A long time is a crash (`-timeout`).

#![no_main]

use std::path::Path;
use std::time::SystemTime;

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use valetkey::model::client::Client;
use valetkey::policy::{Context, Policy};

fuzz_target!(|text: &[u8]| {
    let path = Path::new("/nowhere/valetkey.toml");
    let Ok((config, _)) = valetkey::config::parse(path, text, "/nowhere/state".into()) else {
        return;
    };
    let _ = format!("{config:?}");
    let Ok((policy, _)) = Policy::compile(&config) else { return };
    let unknown = Context::unknown(SystemTime::UNIX_EPOCH);
    for host in config.routes.iter().map(|route| route.value.host.as_str()).chain(["good.example"])
    {
        let Ok(url) = format!("https://{host}/v1/orders").parse::<Uri>() else { continue };
        let _ = policy.explain(&Client::default(), unknown, &Method::GET, &url);
    }
});
