//! git over smart HTTP under `valetkey run`: clone and push, the token as the password of Basic.

use super::git_peer::{git, password};
use super::scene::{GIT, Peers, Scene};
use valetkey::model::placeholder;

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn git_clones_and_pushes() {
    let scene = Scene::set().await;
    let home = scene.home();
    let (cloned, _) = scene.run(&format!("git clone --quiet https://{GIT}/team.git work")).await;
    assert_eq!(cloned.code(), Some(0), "{}", cloned.all());

    // Both larger than the post buffer they meet, so that the pushes are streamed. Beyond a window of
    // HTTP/2 Debian's libcurl-gnutls 7.88 stalls one time in ten, without a proxy too: there HTTP/1.1.
    let work = home.join("work");
    for (length, option) in
        [(512 << 10, "http.postBuffer=65536"), (3 << 20, "http.version=HTTP/1.1")]
    {
        std::fs::write(work.join("blob"), noise(length)).unwrap();
        git(&work, &["add", "blob"]);
        git(&work, &["commit", "--quiet", "-m", "more"]);
        let line = format!("cd work && git -c {option} push --quiet origin main");
        let (pushed, _) = scene.run(&line).await;
        assert_eq!(pushed.code(), Some(0), "{}", pushed.all());
        let here = git(&work, &["rev-parse", "HEAD"]);
        assert_eq!(
            git(scene.peers.git_root.path(), &["-C", "team.git", "rev-parse", "main"]),
            here
        );
    }
    assert!(scene.peers.git.requests().iter().any(|seen| seen.body.len() > 3 << 20));
    everything_carried_a_token(&scene);
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn git_with_a_placeholder_of_its_own_sends_none_upstream() {
    let scene = Scene::set().await;
    // As CI systems do it: a header from configuration, here with the placeholder as password.
    let line = format!(
        "key=$(printf 'x:%s' \"$GIT_KEY\" | base64 -w0); \
         git -c http.extraHeader=\"Authorization: Basic $key\" clone --quiet https://{GIT}/team.git work"
    );
    let (cloned, given) = scene.run_given("GIT_KEY", &line).await;
    assert_eq!(cloned.code(), Some(0), "{}", cloned.all());
    let line = format!("git clone --quiet \"https://x:$GIT_KEY@{GIT}/team.git\" too");
    let (cloned, given_too) = scene.run_given("GIT_KEY", &line).await;
    assert_eq!(cloned.code(), Some(0), "{}", cloned.all());
    for seen in scene.peers.git.requests() {
        assert_eq!(seen.count(&given) + seen.count(&given_too), 0, "{seen:#?}");
    }
    everything_carried_a_token(&scene);
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_git_server_alone_wants_a_token() {
    let peers = Peers::start().await;
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root.pem");
    std::fs::write(&root, peers.pki.pem()).unwrap();
    let direct = async |user: &str| {
        let port = peers.git.addr().port();
        let mut git = tokio::process::Command::new("git");
        git.args(["-c", &format!("http.curloptResolve={GIT}:{port}:127.0.0.1")])
            .args(["-c", "credential.helper=", "ls-remote"])
            .arg(format!("https://{user}@{GIT}:{port}/team.git"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home.path())
            .env("GIT_SSL_CAINFO", &root)
            .env("GIT_TERMINAL_PROMPT", "0");
        super::finish(&mut git, b"").await
    };
    let refused = direct("x-access-token:vk-placeholder-x").await;
    assert_eq!(refused.code(), Some(128), "{}", refused.all());

    let form = [
        "--silent",
        "--data",
        &format!(
            "grant_type=client_credentials&client_id=git-cli&client_secret={}",
            peers.secrets[1]
        ),
        &peers.provider.token_url,
    ];
    let answer = super::finish(tokio::process::Command::new("curl").args(form), b"").await;
    let answer: serde_json::Value = serde_json::from_str(&answer.stdout()).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let served = direct(&format!("x-access-token:{token}")).await;
    assert_eq!(served.code(), Some(0), "{}", served.all());
    assert!(served.stdout().contains("refs/heads/main"), "{}", served.all());
    // git sends no credentials on the first request, whatever the URL holds.
    assert!(peers.git.requests()[0].all("authorization").is_empty());
}

/// Basic, the right user, a good token, on every request; nothing else that looks like a key.
fn everything_carried_a_token(scene: &Scene) {
    let requests = scene.peers.git.requests();
    assert!(requests.len() >= 2, "{requests:#?}");
    for seen in requests {
        let token = password(&seen).unwrap_or_else(|why| panic!("{why}: {:?}", seen.headers));
        let claims =
            scene.peers.provider.verifier.verify(&token, super::git_peer::AUDIENCE).unwrap();
        assert_eq!(claims.sub, "git-cli");
        assert_eq!(seen.count(placeholder::PREFIX), 0, "{:?}", seen.headers);
    }
}

/// Bytes that don't compress (a linear congruential generator; nothing secret about them).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    next.take(length).collect()
}
