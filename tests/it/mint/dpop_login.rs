//! People at a public client that binds tokens (RFC 9449 section 5): the refresh token is bound as well, and its key
//! lasts as long as the login, in the kernel's keyring and on no disk.

use std::collections::BTreeMap;

use linux_keyutils::{Key, KeyRing, KeyRingIdentifier};
use serde_json::{Value, json};
use tokio::process::Command;
use valetkey::config::oauth::origin_of;
use valetkey::config::{LoginProtection, Logins as Config};
use valetkey::model::dpop::ProofKey;
use valetkey::model::id::CredentialName;
use valetkey::store::logins::{Logins, Whose};

use super::dpop::{API, judged, sent};
use super::kernel_keyring::{FORBID, keys_of, refused};
use super::people::log_in;
use crate::clients::provider::Launched;
use crate::clients::{finish, tests_file};
use crate::harness::leak::{Canary, Sinks};
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::Home;

const GRANTS: [&str; 2] = ["device", "authorization-code"];

async fn scene() -> (Launched, Stage) {
    let person = json!({
        "application_type": "native",
        "dpop_bound_access_tokens": true,
        "grant_types": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "response_types": ["code"],
        "redirect_uris": ["http://127.0.0.1/callback"],
        "scope": "openid offline_access orders:read",
    });
    let provider = Launched::start(&json!({
        "ttl": 300, "people": true, "dpop": true,
        "clients": [{ "id": "person", "auth": "none", "audience": API, "more": person }],
    }))
    .await;
    let stage = Stage::valetkey_with(|builder| {
        GRANTS.iter().fold(builder, |builder, grant| {
            builder
                .toml(&format!(
                    "[credentials.{grant}]\ngrant = {grant:?}\nissuer = {:?}\nclient_id = \"person\"\n\
                     dpop_bound_access_tokens = true\nscope = [\"openid\", \"offline_access\", \"orders:read\"]\n\
                     login_params = {{ prompt = \"consent\" }}",
                    provider.issuer
                ))
                .route(&format!(
                    "name = {grant:?}\nhost = {EVIL:?}\npath = [\"/{grant}\"]\ncredential = {grant:?}"
                ))
        })
    })
    .await;
    (provider, stage)
}

/// The thumbprint of the key that a request's token is bound to, by jose's judgement of both.
async fn key_of(stage: &Stage, grant: &str) -> String {
    let one = sent(stage, &format!("/{grant}")).await;
    let url = format!("https://{EVIL}/{grant}");
    let good = judged(&one.seen, (&one.proof, &one.token, "GET", &url)).await;
    good["jkt"].as_str().unwrap_or_else(|| panic!("{grant}: {good}")).to_owned()
}

/// What a thief has who read the files and their key.
fn stolen(home: &Home, issuer: &str, grant: &str) -> String {
    let dir = home.state.join("logins");
    let logins = Logins::new(&Config { dir, protection: LoginProtection::KeyFile });
    let credential = CredentialName::new(grant);
    let whose = Whose { issuer: issuer.into(), client: "person".into(), credential };
    let (login, _) = logins.entry(whose).look().unwrap().unwrap();
    String::from_utf8(login.refresh.unwrap().expose().to_vec()).unwrap()
}

/// The token endpoint's answer to a refresh token, with a proof by this key.
async fn refreshed(issuer: &str, refresh: &str, key: Option<&ProofKey>) -> String {
    let url = format!("{issuer}/token");
    let origin = origin_of(&url.parse().unwrap()).unwrap();
    let mut said = String::new();
    // The first answer says which nonce it wants.
    for _ in 0..2 {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-d", "grant_type=refresh_token", "-d", "client_id=person"]);
        curl.arg("--data-urlencode").arg(format!("refresh_token={refresh}"));
        if let Some(key) = key {
            let proof = key.prove("POST", &origin, "/token", None).unwrap();
            let proof = String::from_utf8(proof.expose().to_vec()).unwrap();
            curl.arg("-H").arg(format!("DPoP: {proof}"));
        }
        said = finish(curl.arg(&url), b"").await.stdout();
        let nonce = said.lines().find_map(|line| line.strip_prefix("dpop-nonce: "));
        if let (Some(key), Some(nonce)) = (key, nonce) {
            key.learn(&origin, [nonce.trim().as_bytes()]);
        }
    }
    said
}

/// Our keys in the kernel, by their description.
fn kept(home: &Home) -> BTreeMap<String, Key> {
    let ring = KeyRing::from_special_id(KeyRingIdentifier::User, true).unwrap();
    let own = KeyRing::from_special_id(KeyRingIdentifier::Thread, true).unwrap();
    own.link_keyring(ring).unwrap();
    let names = keys_of(home).into_iter().map(|line| {
        let name = line.split_whitespace().find(|word| word.starts_with("valetkey:"));
        name.unwrap().trim_end_matches(':').to_owned()
    });
    names.map(|name| (name.clone(), ring.search(&name).unwrap())).collect()
}

fn states(status: &str) -> Vec<String> {
    let status: Value = serde_json::from_str(status).unwrap();
    let logins = status["logins"].as_array().unwrap().iter();
    logins.map(|login| format!("{} {}", login["state"], login["code"])).collect()
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_login_of_a_public_client_lasts_as_long_as_its_key() {
    if refused().await {
        return;
    }
    let (provider, mut stage) = scene().await;
    let home = stage.running().unwrap().home().clone();
    let mut keys = Vec::new();
    for grant in GRANTS {
        // Twice: the key of the first is forgotten.
        log_in(&home, grant).await;
        log_in(&home, grant).await;
        keys.push(key_of(&stage, grant).await);
    }
    assert_ne!(keys[0], keys[1]);
    let names: Vec<_> = kept(&home).into_keys().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for key in &keys {
        assert!(names.iter().any(|name| name.ends_with(&**key)), "{key} in {names:?}");
    }
    stage.running_mut().sigkill().await;
    stage.restart(&home).await;
    for (grant, key) in GRANTS.iter().zip(&keys) {
        assert_eq!(key_of(&stage, grant).await, *key, "the same key, for the issuer and the API");
    }
    // A thief of files has the refresh token, and no key: neither a bare call nor one with another key is heard.
    let refresh = stolen(&home, &provider.issuer, "device");
    for key in [None, Some(&ProofKey::new())] {
        let said = refreshed(&provider.issuer, &refresh, key).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
        assert!(!said.contains("access_token"), "{said}");
    }
    assert_eq!(stolen(&home, &provider.issuer, "device"), refresh);

    let canaries: Vec<_> = (kept(&home).values())
        .map(|key| {
            let mut kept = vec![0; 512];
            let length = key.read(&mut kept).unwrap();
            // PKCS #8 of P-256: the private number stands there, in 32 bytes.
            assert_eq!(kept[34..36], [4, 32], "{length}");
            Canary::whole("the private key", &kept[36..68])
        })
        .collect();
    let mut sinks = Sinks::of(stage.running().unwrap()).await;
    sinks.directory(home.config.parent().unwrap());
    sinks.must_not_hold(&canaries);

    // As when the machine goes down: the files stay, the keys do not.
    let out = home.run(&["logout", "authorization-code"]).await;
    assert!(out.stderr.contains("revoked at its issuer"), "{}", out.stderr);
    let left = kept(&home);
    assert_eq!(left.len(), 1, "{left:?}");
    left.values().for_each(|key| key.revoke().unwrap());
    stage.running_mut().sigkill().await;
    stage.restart(&home).await;
    let answer = stage.get(EVIL, "/device", "").await.unwrap();
    own_answer(&answer, &[403], &["login-required"]).unwrap();
    let status = home.run(&["status", "--json"]).await.stdout;
    assert!(states(&status).contains(&"\"ended\" \"login-key-gone\"".to_owned()), "{status}");
    log_in(&home, "device").await;
    let again = key_of(&stage, "device").await;
    assert!(!keys.contains(&again));
    assert_eq!(home.run(&["logout", "device"]).await.code, Some(0));
    assert_eq!(keys_of(&home), Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn without_a_kernel_keyring_nobody_is_sent_off_in_vain() {
    let (_provider, stage) = scene().await;
    let home = stage.running().unwrap().home().clone();
    let plain = home.command(&["login", "device"]);
    let plain = plain.as_std();
    let mut forbidden = Command::new("/usr/bin/python3");
    forbidden.args(["-c", FORBID]).arg(plain.get_program()).args(plain.get_args()).env_clear();
    forbidden.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = finish(forbidden.current_dir(tests_file(".")), b"").await;
    let said = done.stderr();
    assert_eq!(done.code(), Some(1), "{said}");
    assert!(said.contains("error[kernel-keyring-unavailable]: the refresh token of this client is bound to a key (DPoP)"), "{said}");
    assert!(said.contains("register the client as a confidential one"), "{said}");
    assert!(!said.contains("type the code"), "{said}");
}
