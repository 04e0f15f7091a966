use super::*;
use crate::model::secret::Secret;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

fn whose(credential: &str) -> Whose {
    Whose {
        issuer: "https://idp.example".into(),
        client: "cli".into(),
        credential: CredentialName::new(credential),
    }
}

fn store() -> (tempfile::TempDir, Logins) {
    let dir = tempfile::tempdir().unwrap();
    let logins =
        config::Logins { dir: dir.path().join("logins"), protection: LoginProtection::KeyFile };
    let logins = Logins::new(&logins);
    (dir, logins)
}

fn login(token: &str) -> Login {
    let mut login = Login::new(Secret::new(token), UNIX_EPOCH + Duration::from_secs(7));
    login.user = Some("ada".into());
    login.until = Some(UNIX_EPOCH + Duration::from_secs(9));
    login
}

#[test]
fn what_is_stored_is_read_back_and_never_stands_in_the_clear() {
    let (dir, logins) = store();
    let entry = logins.entry(whose("orders"));
    assert!(entry.look().unwrap().is_none());
    let mut locked = entry.try_lock().unwrap().unwrap();
    locked.write(&login("canary-one")).unwrap();
    locked.write(&login("canary-two")).unwrap();
    let (read, protection) = entry.look().unwrap().unwrap();
    assert!(read.refresh.unwrap().matches(b"canary-two"));
    assert_eq!((read.user.as_deref(), read.since), (Some("ada"), login("").since));
    assert_eq!(read.until, login("").until);
    assert_eq!(protection, Protection::KeyFile);
    let mut files = 0;
    for file in fs::read_dir(dir.path().join("logins")).unwrap().flatten() {
        let text = String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
        assert!(!text.contains("canary"), "{}", file.path().display());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        files += 1;
        if file.path() == entry.path {
            let head: serde_json::Value =
                serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!(head["protected_by"], "key-file");
            assert!(head["note"].as_str().unwrap().contains("whoever reads both"));
        }
    }
    assert_eq!(files, 3, "the login, its lock and the key");
    locked.delete().unwrap();
    assert!(entry.look().unwrap().is_none());
}

#[test]
fn each_issuer_client_and_credential_has_its_own() {
    let (_dir, logins) = store();
    let path = |issuer: &str, client: &str, credential: &str| {
        let credential = CredentialName::new(credential);
        logins.entry(Whose { issuer: issuer.into(), client: client.into(), credential }).path
    };
    let one = path("a", "b", "c");
    assert_eq!(one, path("a", "b", "c"));
    for other in
        [path("ab", "", "c"), path("a", "bc", ""), path("x", "b", "c"), path("a", "b", "d")]
    {
        assert_ne!(one, other);
    }
}

#[test]
fn one_holds_the_lock() {
    let (_dir, logins) = store();
    let entry = logins.entry(whose("orders"));
    let held = entry.try_lock().unwrap().unwrap();
    assert!(logins.entry(whose("orders")).try_lock().unwrap().is_none());
    assert!(logins.entry(whose("billing")).try_lock().unwrap().is_some(), "a lock each");
    drop(held);
    assert!(entry.try_lock().unwrap().is_some());
}

#[test]
fn what_was_touched_is_not_believed() {
    let (_dir, logins) = store();
    let entry = logins.entry(whose("orders"));
    entry.try_lock().unwrap().unwrap().write(&login("canary")).unwrap();
    let good = fs::read_to_string(&entry.path).unwrap();
    let (head, sealed) = good.split_once('\n').unwrap();
    let other = logins.entry(whose("billing"));
    for (place, text) in [
        (&entry, format!("{}\n{sealed}", head.replace("whoever", "nobody "))),
        (&entry, format!("{head}\n{}", sealed.replacen(['A', 'a', '1'], "B", 1))),
        (&entry, head.to_owned()),
        (&entry, String::new()),
        // Another's login in this one's place.
        (&other, good.clone()),
        (&other, format!("{}\n{sealed}", head.replace("orders", "billing"))),
    ] {
        fs::write(&place.path, &text).unwrap();
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = place.look().unwrap_err();
        assert_eq!(error.code(), "login-damaged", "{text}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    fs::write(&entry.path, &good).unwrap();
    assert!(entry.look().unwrap().is_some());
    fs::set_permissions(&entry.path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(entry.look().unwrap_err().code(), "login-store-unsafe");
    fs::set_permissions(&entry.path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(entry.dir.join("key")).unwrap();
    assert_eq!(entry.look().unwrap_err().code(), "login-key-unavailable");
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let (dir, logins) = store();
    fs::create_dir(dir.path().join("logins")).unwrap();
    fs::set_permissions(dir.path().join("logins"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(logins.entry(whose("orders")).try_lock().unwrap_err().code(), "login-store-unsafe");
}

#[test]
fn room_is_asked_for_and_given_back() {
    let (dir, logins) = store();
    let mut locked = logins.entry(whose("orders")).try_lock().unwrap().unwrap();
    let room = locked.room();
    locked.reserve().unwrap();
    assert_eq!(fs::metadata(&room).unwrap().len(), ROOM);
    locked.write(&login("canary")).unwrap();
    assert!(!room.exists());
    locked.reserve().unwrap();
    drop(locked);
    assert_eq!(fs::read_dir(dir.path().join("logins")).unwrap().count(), 3, "login, lock and key");
}

#[test]
fn what_the_kernel_does_not_take_waits_in_the_file() {
    if kernel_keyring::ready().is_err() {
        return;
    }
    let (dir, _) = store();
    let protection = LoginProtection::KernelKeyring;
    let logins = Logins::new(&config::Logins { dir: dir.path().join("logins"), protection });
    let entry = logins.entry(whose("orders"));
    let login = |token: &str| {
        let mut login = login(token);
        login.until = None;
        login
    };
    let mut locked = entry.try_lock().unwrap().unwrap();
    let long = format!("canary{}", "x".repeat(40_000));
    assert_eq!(locked.write(&login(&long)).unwrap_err().code(), "kernel-keyring-too-long");
    assert!(entry.look().unwrap().is_none(), "before an exchange there is nothing to lose");
    locked.write(&login("canary-one")).unwrap();
    assert!(!fs::read_to_string(&entry.path).unwrap().contains("\n\n"));
    assert_eq!(fs::read_to_string(&entry.path).unwrap().lines().count(), 1, "only where it is");
    locked.reserve().unwrap();
    locked.write(&login(&long)).unwrap();
    assert!(!fs::read_to_string(&entry.path).unwrap().contains("canary"));
    assert!(entry.look().unwrap().unwrap().0.refresh.unwrap().matches(long.as_bytes()));
    // With its key gone from the kernel nobody reads it any more.
    item::delete(&entry, Ring::Kernel).unwrap();
    assert!(entry.look().unwrap().is_none());
    locked.delete().unwrap();
}
