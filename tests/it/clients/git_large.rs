//! A push that is large: git sends it in chunks, with `Expect` or without, and all of it arrives.

use super::finish;
use super::git_peer::git;
use super::scene::{GIT, Scene};
use super::shell;

/// 200 MiB where `VALETKEY_TEST_LARGE=1`.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_large_push_arrives_whole() {
    let mib = if crate::stream::is_large() { 200 } else { 6 };
    let scene = Scene::set().await;
    let work = scene.home().join("large");
    let clone = format!("git clone --quiet https://{GIT}/team.git '{}'", work.display());
    let eval = "eval \"$(\"$VALETKEY\" env --config \"$CONFIG\")\"";
    let cloned = finish(&mut shell(&scene.valetkey.home, &format!("{eval} && {clone}")), b"").await;
    assert_eq!(cloned.code(), Some(0), "{}", cloned.all());

    // What does not compress.
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), mib << 20);
    let mut file = std::fs::File::create(work.join("large.bin")).unwrap();
    std::io::copy(&mut random, &mut file).unwrap();
    git(&work, &["add", "large.bin"]);
    git(&work, &["commit", "--quiet", "-m", "large"]);
    let commit = git(&work, &["rev-parse", "HEAD"]);
    let push = format!(
        "{eval} && git -C '{}' -c http.version=HTTP/1.1 push --quiet origin HEAD:main",
        work.display()
    );
    let pushed = finish(&mut shell(&scene.valetkey.home, &push), b"").await;
    assert_eq!(pushed.code(), Some(0), "{}", pushed.all());
    let bare = scene.peers.git_root.path().join("team.git");
    let arrived = git(&bare, &["rev-parse", "refs/heads/main"]);
    assert_eq!(arrived, commit);
    git(&bare, &["fsck", "--full", "--strict"]);
    let posts = scene.peers.git.requests();
    let large = posts.iter().map(|seen| seen.body.len()).max().unwrap_or_default();
    println!("the push of {mib} MiB was {large} bytes in one request");
    assert!(large as u64 >= mib << 20);
}
