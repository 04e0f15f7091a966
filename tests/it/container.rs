//! config/container: every file is checked as far as this machine can without an engine or a cluster. What
//! its config does is in `proxy/sidecar.rs`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use crate::harness::client::{Finished, finish};
use crate::harness::not_run;
use crate::harness::valetkey::program;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(project("config/container").join(name)).unwrap()
}

fn config() -> toml::Table {
    text("valetkey.toml").parse().unwrap()
}

/// What tools of the manifests are pointed to.
const PUBLISHED: [&str; 3] = ["combined.pem", "truststore.p12", "valetkey-ca.pem"];

/// The image is the program and what it links to, not root; and its build has all that the program is made of.
#[test]
fn the_image_is_the_program_alone() {
    let file = text("Containerfile");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let stages: Vec<usize> = (0..lines.len()).filter(|n| lines[*n].starts_with("FROM ")).collect();
    let (build, last) = lines.split_at(*stages.last().unwrap());
    assert!(last[0].starts_with("FROM gcr.io/distroless/cc-"), "{last:?}");
    for line in ["USER 65532:65532", "ENTRYPOINT [\"/valetkey\"]", "CMD [\"serve\"]"] {
        assert!(last.contains(&line), "{line}");
    }
    assert!(!last.iter().any(|line| line.starts_with("RUN") || line.starts_with("ADD")));

    let copied: Vec<&str> = build
        .iter()
        .filter_map(|line| line.strip_prefix("COPY "))
        .flat_map(str::split_whitespace)
        .collect();
    let manifest = std::fs::read_to_string(project("Cargo.toml")).unwrap();
    let named =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.split('/').next());
    let mut needed: Vec<String> = named.map(str::to_owned).collect();
    needed.extend(["Cargo.toml", "Cargo.lock", "src", "benches", "examples"].map(str::to_owned));
    needed.extend(included(&project("src")));
    for name in needed {
        assert!(copied.contains(&name.as_str()), "the build needs {name}: {copied:?}");
    }
}

/// The top directories of files that the source includes from outside of `src`.
fn included(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(included(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            for name in text.split(concat!("include_", "str!(\"")).skip(1) {
                let named = path.parent().unwrap().join(name.split('"').next().unwrap());
                let Ok(named) = named.canonicalize() else { continue };
                let top = named.strip_prefix(project("").canonicalize().unwrap()).unwrap();
                found.push(
                    top.components().next().unwrap().as_os_str().to_string_lossy().into_owned(),
                );
            }
        }
    }
    found
}

/// The image's base has these libraries.
#[tokio::test]
async fn the_program_needs_no_library_that_the_image_lacks() {
    let needed = finish(Command::new("ldd").arg(program())).await;
    assert_eq!(needed.code, Some(0), "{needed:?}");
    for line in needed.stdout.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let known =
            ["linux-vdso", "libgcc_s.so", "libm.so", "libc.so", "/lib64/ld-linux", "/lib/ld-linux"];
        assert!(known.iter().any(|known| name.starts_with(known)), "{name} is not in the image");
    }
}

/// systemd reads the unit without a complaint, where there is systemd.
#[tokio::test]
async fn the_unit_is_one_that_systemd_takes() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join(".cargo/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(program(), bin.join("valetkey")).unwrap();
    let verify = async |unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--user"]).arg(unit).env("HOME", home.path());
        finish(command.env("XDG_RUNTIME_DIR", home.path())).await
    };
    if Command::new("systemd-analyze").arg("--version").output().await.is_err() {
        return not_run("no systemd-analyze here");
    }
    let done = verify(&project("config/container/valetkey.service")).await;
    assert!(done.code == Some(0) && !done.stderr.contains("valetkey.service"), "{done:?}");
    // And it would say so.
    let bad = home.path().join("bad.service");
    std::fs::write(&bad, text("valetkey.service").replace("NoNewPrivileges", "NoMorePrivileges"))
        .unwrap();
    let done = verify(&bad).await;
    assert!(done.stderr.contains("NoMorePrivileges"), "{done:?}");
}

/// kubectl without a cluster.
async fn kubectl(arguments: &[&str]) -> Finished {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("kubectl");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    finish(command.env("HOME", home.path()).args(arguments)).await
}

/// Every document of a YAML file, as it is written.
async fn documents(path: &Path) -> Vec<Value> {
    let path = path.to_str().unwrap();
    let done = kubectl(&["label", "--local", "-f", path, "read-by=test", "-o", "json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::Deserializer::from_str(&done.stdout).into_iter().map(Result::unwrap).collect()
}

/// Where the second lacks something of the first.
fn lost(written: &Value, kept: &Value, at: &str, all: &mut Vec<String>) {
    match written {
        Value::Object(fields) => {
            for (name, value) in fields {
                lost(value, &kept[name], &format!("{at}.{name}"), all);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                lost(item, &kept[n], &format!("{at}.{n}"), all);
            }
        }
        // An empty value may be left out.
        _ if written == kept || (kept.is_null() && written == false) => {}
        _ => all.push(at.to_owned()),
    }
}

/// The values of `key` in all objects of a list.
fn named<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|item| item[key].as_str()).collect()
}

fn with<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().into_iter().flatten().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {list}"))
}

/// What `kubectl apply -k` would send.
async fn manifests() -> Vec<Value> {
    let built = kubectl(&["kustomize", project("config/container").to_str().unwrap()]).await;
    assert_eq!(built.code, Some(0), "{built:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.yaml");
    std::fs::write(&path, &built.stdout).unwrap();
    documents(&path).await
}

fn of<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    all.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("a {kind}"))
}

/// The fields of a workload that kubectl's own types do not know: after them these are gone.
async fn unknown_fields(mut document: Value) -> Vec<String> {
    document["metadata"]["labels"].as_object_mut().unwrap().remove("read-by");
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let done =
        kubectl(&["set", "image", "--local", "-f", path, "valetkey=other", "-o", "json"]).await;
    let kept: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    let mut unknown = Vec::new();
    lost(&document, &kept, "", &mut unknown);
    // The one that was set; and Debian's own kubectl is older than sidecars are.
    let expected = ["initContainers.0.image", "initContainers.0.restartPolicy"];
    unknown.retain(|field| !expected.iter().any(|known| field.ends_with(known)));
    unknown
}

/// A server would check more; `--dry-run=client` asks one.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_manifests_fields_are_known() {
    let all = manifests().await;
    assert_eq!(all.len(), 3, "{all:?}");
    let deployment = of(&all, "Deployment");
    assert_eq!(unknown_fields(deployment.clone()).await, Vec::<String>::new());
    let misspelt = deployment.to_string().replace("failureThreshold", "failureThresold");
    let unknown = unknown_fields(serde_json::from_str(&misspelt).unwrap()).await;
    assert!(unknown.len() == 1 && unknown[0].ends_with(".failureThresold"), "{unknown:?}");
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_manifest_is_a_sidecar_that_keeps_its_secrets() {
    let all = manifests().await;
    assert_eq!(of(&all, "ConfigMap")["data"]["valetkey.toml"], text("valetkey.toml"));
    let deployment = of(&all, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let (sidecar, app) =
        (with(&pod["initContainers"], "valetkey"), with(&pod["containers"], "app"));
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(
        sidecar["startupProbe"]["exec"]["command"],
        serde_json::json!(["/valetkey", "status"])
    );
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(28 + 1));
    assert_eq!(
        (&pod["automountServiceAccountToken"], &pod["shareProcessNamespace"]),
        (&false.into(), &false.into())
    );
    for container in [sidecar, app] {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{security}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{security}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{security}");
    }
    assert_ne!(sidecar["securityContext"]["runAsUser"], app["securityContext"]["runAsUser"]);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);

    // What only the sidecar has, and what both have.
    assert_eq!(named(&app["volumeMounts"], "name"), ["trust"]);
    assert_eq!(app["volumeMounts"][0]["readOnly"], true);
    assert_eq!(
        named(&sidecar["volumeMounts"], "name"),
        ["config", "session", "identity", "state", "trust"]
    );
    for memory in ["state", "trust"] {
        assert_eq!(with(&pod["volumes"], memory)["emptyDir"]["medium"], "Memory");
    }
    let at = |volume: &str| {
        with(&sidecar["volumeMounts"], volume)["mountPath"].as_str().unwrap().to_owned()
    };
    let identity =
        &with(&pod["volumes"], "identity")["projected"]["sources"][0]["serviceAccountToken"];
    let session = with(&app["env"], "VALETKEY_SESSION")["valueFrom"]["secretKeyRef"].clone();
    assert_eq!(session["name"], with(&pod["volumes"], "session")["secret"]["secretName"]);
    let config = config();
    let workload = &config["credentials"]["workload"];
    let path = |value: &toml::Value| value["file"].as_str().unwrap().to_owned();
    assert_eq!(
        path(&workload["subject_token"]),
        format!("{}/{}", at("identity"), identity["path"].as_str().unwrap())
    );
    assert_eq!(workload["issuer"].as_str(), identity["audience"].as_str());
    let secret = path(&config["sessions"][0]["secret"]);
    assert_eq!(secret, format!("{}/{}", at("session"), session["key"].as_str().unwrap()));
    assert_eq!(config["ca"]["publish"].as_str(), Some(at("trust").as_str()));
    let image = text("Containerfile");
    assert!(image.contains(&format!("VALETKEY_STATE_DIR={}/", at("state"))));
    assert!(image.contains(&format!("VALETKEY_CONFIG={}/valetkey.toml", at("config"))));
    let proxy = with(&app["env"], "HTTPS_PROXY")["value"].as_str().unwrap();
    let (name, listen) = (&config["sessions"][0]["name"], &config["proxy"]["listen"]);
    let wanted = format!(
        "http://{}:$(VALETKEY_SESSION)@{}",
        name.as_str().unwrap(),
        listen.as_str().unwrap()
    );
    assert_eq!(proxy, wanted);
    points_to_what_is_published(named(&app["env"], "value"));
}

/// Every path in there is a file that the daemon publishes.
fn points_to_what_is_published<'a>(values: impl IntoIterator<Item = &'a str>) {
    let config = config();
    let dir = config["ca"]["publish"].as_str().unwrap();
    let paths: Vec<_> = values.into_iter().filter(|value| value.starts_with('/')).collect();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let name = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/'));
        assert!(name.is_some_and(|name| PUBLISHED.contains(&name)), "{path}");
    }
}

/// There is no compose here to ask; the file is YAML, and says what the manifest says.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_compose_file_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.yaml");
    let head = "apiVersion: v1\nkind: Compose\nmetadata: {name: x}\n";
    std::fs::write(&path, head.to_owned() + &text("compose.yaml")).unwrap();
    let compose = documents(&path).await.remove(0);
    let (sidecar, app) = (&compose["services"]["valetkey"], &compose["services"]["app"]);
    assert_eq!(app["network_mode"], "service:valetkey");
    assert_eq!(app["depends_on"]["valetkey"]["condition"], "service_healthy");
    assert_eq!(sidecar["healthcheck"]["test"], serde_json::json!(["CMD", "/valetkey", "status"]));
    for service in [sidecar, app] {
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]));
    }
    assert_ne!(sidecar["user"], app["user"]);
    assert_eq!(app["volumes"], serde_json::json!(["trust:/run/valetkey/trust:ro"]));
    assert!(app["secrets"].is_null() && app["tmpfs"].is_null());
    // All paths of the config are mounted, each from one place.
    let mounted = sidecar.to_string();
    let config = config();
    let files = [
        &config["sessions"][0]["secret"]["file"],
        &config["credentials"]["workload"]["subject_token"]["file"],
        &config["ca"]["publish"],
    ];
    for file in files {
        assert_eq!(mounted.matches(file.as_str().unwrap()).count(), 1, "{file:?}");
    }
    assert!(mounted.contains("/var/lib/valetkey:mode=0700"), "{mounted}");
    let listen = config["proxy"]["listen"].as_str().unwrap();
    for name in ["HTTPS_PROXY", "https_proxy"] {
        assert!(app["environment"][name].as_str().unwrap().ends_with(&format!("@{listen}")));
    }
    let values = app["environment"].as_object().unwrap().values();
    points_to_what_is_published(values.filter_map(Value::as_str));
}
