//! Real tools under the recipes that are made for them, against small fakes that check what the real service
//! would: the minted token arrives in its slot, what was to be published arrives whole, and neither the
//! placeholder nor the identity that it was minted for is seen where it does not belong.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Output, finish, peer, tests_file, under_run};
use crate::harness::api::{Answer, Api, Seen};
use crate::harness::canary;
use crate::harness::issuer::Issuer;
use crate::harness::leak::Canary;
use crate::harness::pki::Pki;
use crate::harness::valetkey::{Running, Valetkey};
use valetkey::model::placeholder;

/// A recipe as it stands, but for its version and `[upstream]`, which the harness writes itself.
fn recipe(name: &str) -> String {
    let path = tests_file("../config/recipes").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let own = |line: &&str| {
        !["config_version", "[upstream]", "extra_roots"].iter().any(|word| line.starts_with(word))
    };
    text.lines().filter(own).collect::<Vec<_>>().join("\n")
}

/// The values of every `key = "…"` line, in order.
fn values(text: &str, key: &str) -> Vec<String> {
    let of_key = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.split('"').nth(1).map(str::to_owned))?
    };
    text.lines().filter_map(of_key).collect()
}

/// The service, and Valetkey before it.
struct Scene {
    api: Api,
    valetkey: Running,
}

impl Scene {
    /// `hosts` are all one server.
    async fn set(
        hosts: &[String],
        port: u16,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        more: impl FnOnce(Valetkey) -> Valetkey,
    ) -> Self {
        let pki = Pki::new();
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let api = Api::tls(&pki.server(&names)).await;
        api.answer(answer);
        let mut builder = Valetkey::new().trusting(&pki);
        for host in hosts {
            builder = builder.reaching(&format!("{host}:{port}"), api.addr());
        }
        Self { api, valetkey: more(builder).start().await }
    }

    async fn run(&self, line: &str) -> Output {
        let home = self.valetkey.home.path("");
        let line = format!("cd '{}' && {line}", home.display());
        finish(&mut under_run(&self.valetkey.home, &["sh", "-c", &line]), b"").await
    }

    /// The requests that carry the token, of which each has it once; and no request a placeholder.
    fn with_token(&self, token: &str, as_sent: &str) -> Vec<Seen> {
        let all = self.api.requests();
        for seen in &all {
            assert_eq!(seen.count(placeholder::PREFIX), 0, "{seen:#?}");
            let slots = seen.headers.iter().flat_map(|(_, value)| basic(value));
            assert!(!slots.into_iter().any(|pair| pair.contains(placeholder::PREFIX)), "{seen:#?}");
            assert!(seen.all("proxy-authorization").is_empty(), "{seen:#?}");
        }
        let with: Vec<_> =
            all.into_iter().filter(|seen| seen.all("authorization") == [as_sent]).collect();
        assert!(with.iter().all(|seen| seen.count(token) <= 1), "{with:#?}");
        with
    }

    /// The tool printed none of these, nor does any record hold one.
    fn secret(&self, output: &Output, canaries: &[(&str, &str)]) {
        for (name, value) in canaries {
            let canary = Canary::of(name, value);
            let audit = std::fs::read(self.valetkey.home.state.join("audit.jsonl")).unwrap();
            for text in [output.all().into_bytes(), audit, self.valetkey.output().into_bytes()] {
                assert_eq!(canary.found_in(&text), None, "{name}");
            }
        }
    }
}

/// The pair of a Basic value.
fn basic(value: &[u8]) -> Option<String> {
    let encoded = value.strip_prefix(b"Basic ")?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

fn reply(status: u16, body: &Value) -> Answer {
    Answer::ok(body.to_string()).status(status).header("content-type", "application/json")
}

/// The parts of a form (RFC 7578): name and content.
fn parts(seen: &Seen) -> Vec<(String, Vec<u8>)> {
    let kind = seen.one("content-type");
    let boundary = format!("--{}", kind.split("boundary=").nth(1).unwrap_or_default());
    let body = &seen.body;
    let finder = memchr::memmem::Finder::new(boundary.as_bytes());
    let cuts: Vec<usize> = finder.find_iter(body).collect();
    let between = cuts.windows(2).map(|cut| &body[cut[0] + boundary.len()..cut[1]]);
    let read = |part: &[u8]| {
        let end = memchr::memmem::find(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&part[..end]).into_owned();
        let name = head.split(" name=\"").nth(1)?.split('"').next()?.to_owned();
        Some((name, part[end + 4..].strip_suffix(b"\r\n")?.to_vec()))
    };
    between.filter_map(read).collect()
}

fn hex(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An upload as the index takes it: by its token, with the digest of what comes.
fn upload(seen: &Seen, token: &str) -> Answer {
    let wanted = format!("__token__:{token}");
    if seen.all("authorization").iter().find_map(|v| basic(v.as_bytes())) != Some(wanted) {
        return Answer::ok("Invalid or non-existent authentication information").status(403);
    }
    let parts = parts(seen);
    let part = |name: &str| parts.iter().find(|(n, _)| n == name).map(|(_, content)| content);
    let content = part("content").map_or(&[][..], Vec::as_slice);
    let digest = hex(&digest::digest(&digest::SHA256, content));
    let whole = part(":action").is_some_and(|action| action == b"file_upload")
        && part("sha256_digest").is_some_and(|named| *named == digest.as_bytes());
    if whole { Answer::ok("") } else { Answer::ok("400 Bad Request").status(400) }
}

/// A publication as the registry takes it: by its token, with the digest of what comes.
fn publication(seen: &Seen, token: &str) -> Answer {
    if seen.method != "PUT" {
        return reply(404, &json!({ "error": "Not found" }));
    }
    if seen.all("authorization") != [format!("Bearer {token}")] {
        return reply(401, &json!({ "error": "you must be logged in" }));
    }
    let document: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let attached = document["_attachments"].as_object().and_then(|all| all.values().next());
    let data = attached.and_then(|one| one["data"].as_str()).unwrap_or_default();
    let content = STANDARD.decode(data).unwrap_or_default();
    let digest = digest::digest(&digest::SHA512, &content);
    let named = document["versions"]["1.0.1"]["dist"]["integrity"].as_str();
    let whole = named == Some(&format!("sha512-{}", STANDARD.encode(digest)));
    if whole {
        reply(200, &json!({ "ok": true }))
    } else {
        reply(400, &json!({ "error": "digest" }))
    }
}

/// Without a stored token: the identity of the job for a token of minutes, which the tool never holds.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn twine_and_npm_publish_by_their_identity() {
    let recipe = recipe("trusted-publishing.toml").replace("PACKAGE", "matrixpkg");
    let urls = values(&recipe, "url");
    let [mint_upload, mint_publish] = [&urls[0], &urls[1]].map(|url| {
        let (host, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
        (host.to_owned(), format!("/{path}"))
    });
    let hosts = values(&recipe, "host");
    let mut all = vec![mint_upload.0.clone()];
    all.extend(hosts.clone());
    let [identity, other] = [canary("identity"), canary("identity")];
    let [token, npm_token] = [canary("pypi"), canary("npm")];
    let answer = {
        let (identity, other) = (identity.clone(), other.clone());
        let (token, npm_token) = (token.clone(), npm_token.clone());
        let (hosts, mint_publish) = (hosts.clone(), mint_publish.clone());
        move |seen: &Seen| {
            let at = (seen.authority.as_str(), seen.target.as_str());
            if at == (mint_upload.0.as_str(), mint_upload.1.as_str()) {
                let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
                let right = asked == json!({ "token": identity });
                let errors = json!({ "errors": [{ "code": "invalid-token" }] });
                let granted = json!({ "success": true, "token": token });
                return if right { reply(200, &granted) } else { reply(422, &errors) };
            }
            if at == (mint_publish.0.as_str(), mint_publish.1.as_str()) {
                let right = seen.all("authorization") == [format!("Bearer {other}")];
                let granted = json!({ "token": npm_token });
                return if right { reply(201, &granted) } else { reply(401, &json!({})) };
            }
            if seen.authority == hosts[0] {
                upload(seen, &token)
            } else {
                publication(seen, &npm_token)
            }
        }
    };
    let npmrc = format!(
        "registry=https://{0}/\n//{0}/:_authToken=${{NODE_AUTH_TOKEN}}\nfetch-retries=0\nupdate-notifier=false\n",
        hosts[1]
    );
    let scene = Scene::set(&all, 443, answer, |builder| {
        std::fs::create_dir(builder.home().join("p")).unwrap();
        let package = "{\"name\":\"matrixpkg\",\"version\":\"1.0.1\"}";
        std::fs::write(builder.home().join("p/package.json"), package).unwrap();
        builder
            .file(".npmrc", &npmrc)
            .env("PYPI_ID_TOKEN", &identity)
            .env("NPM_ID_TOKEN", &other)
            .toml(&recipe)
    })
    .await;

    let (venv, node) = (peer("venv/bin"), peer("npm/node"));
    let line = format!(
        "'{0}/python' '{1}' . && TWINE_NON_INTERACTIVE=1 '{0}/twine' upload --disable-progress-bar -u __token__ \
         --repository-url https://{2}/legacy/ *.whl; status=$?; env; exit $status",
        venv.display(),
        tests_file("clients/wheel.py").display(),
        hosts[0],
    );
    let twine = scene.run(&line).await;
    assert_eq!(twine.code(), Some(0), "{}", twine.all());
    let slot = format!("Basic {}", STANDARD.encode(format!("__token__:{token}")));
    assert_eq!(scene.with_token(&token, &slot).len(), 1, "{}", twine.all());
    scene.secret(&twine, &[("the identity", &identity), ("the token", &token)]);

    let npm = peer("npm/node_modules/npm/bin/npm-cli.js");
    let line = format!(
        "'{}' '{}' publish ./p; status=$?; env; exit $status",
        node.display(),
        npm.display()
    );
    let npm = scene.run(&line).await;
    assert_eq!(npm.code(), Some(0), "{}", npm.all());
    assert!(npm.stdout().contains("+ matrixpkg@1.0.1"), "{}", npm.all());
    assert_eq!(scene.with_token(&npm_token, &format!("Bearer {npm_token}")).len(), 1);
    scene.secret(&npm, &[("the identity", &other), ("the token", &npm_token)]);
}

/// An API server that knows pods, for whoever has its token.
fn api_server(seen: &Seen, token: &str) -> Answer {
    if seen.all("authorization") != [format!("Bearer {token}")] {
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401,
            "reason": "Unauthorized", "message": "Unauthorized" });
        return reply(401, &status);
    }
    let path = seen.target.split('?').next().unwrap_or_default();
    reply(
        200,
        &match path {
            "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
            "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
            "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [{
            "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
            "verbs": ["get", "list"], "shortNames": ["po"] }] }),
            "/api/v1/namespaces/default/pods" => json!({ "kind": "PodList", "apiVersion": "v1",
            "metadata": { "resourceVersion": "1" }, "items": [{ "metadata": { "name": "matrix-ok",
            "namespace": "default" }, "spec": { "containers": [] }, "status": { "phase": "Running" } }] }),
            _ => return reply(404, &json!({ "kind": "Status", "code": 404, "status": "Failure" })),
        },
    )
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn kubectl_by_what_its_exec_plugin_prints() {
    let token = canary("k8s");
    let plugin = format!(
        "#!/bin/sh\ntest \"$1\" = get-token && test -n \"$KUBERNETES_EXEC_INFO\" || exit 9\n\
         echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":\
         {{\"token\":\"{token}\",\"expirationTimestamp\":\"2999-01-01T00:00:00Z\"}}}}'\n"
    );
    let recipe = recipe("kubernetes-api.toml");
    let (command, host) = (&values(&recipe, "command")[0], &values(&recipe, "host")[0]);
    assert!(recipe.contains("port       = 6443"), "{recipe}");
    let key = format!("{}kubectl", placeholder::PREFIX);
    let kubeconfig = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": format!("https://{host}:6443") } }],
        "users": [{ "name": "u", "user": { "token": key } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }] });
    let answer = {
        let token = token.clone();
        move |seen: &Seen| api_server(seen, &token)
    };
    let scene = Scene::set(std::slice::from_ref(host), 6443, answer, |builder| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = builder.home().join("plugin");
        let recipe = recipe.replace(command, path.to_str().unwrap());
        let builder = builder.file("plugin", &plugin).file("kubeconfig", &kubeconfig.to_string());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        builder.toml(&recipe)
    })
    .await;
    let kubectl = scene.run("KUBECONFIG=kubeconfig kubectl get pods -o name").await;
    assert_eq!(kubectl.code(), Some(0), "{}", kubectl.all());
    assert_eq!(kubectl.stdout().trim(), "pod/matrix-ok", "{}", kubectl.all());
    let with = scene.with_token(&token, &format!("Bearer {token}"));
    assert_eq!(with.len(), scene.api.requests().len(), "every request has it");
    assert!(with.iter().any(|seen| seen.target.starts_with("/api/v1/namespaces/default/pods")));
    scene.secret(&kubectl, &[("the token", &token)]);
    // What the recipe does not list goes without it.
    let before = scene.api.requests().len();
    let refused =
        scene.run("KUBECONFIG=kubeconfig kubectl delete pod matrix-ok --wait=false").await;
    assert_ne!(refused.code(), Some(0), "{}", refused.all());
    let later = scene.api.requests().split_off(before);
    let deleted: Vec<_> = later.iter().filter(|seen| seen.method == "DELETE").collect();
    assert!(!deleted.is_empty(), "{}", refused.all());
    assert!(deleted.iter().all(|seen| seen.all("authorization").is_empty()), "{deleted:#?}");
}

/// GitHub's GraphQL, as far as a list of pull requests goes.
fn github(seen: &Seen, token: &str) -> Answer {
    if seen.all("authorization") != [format!("Bearer {token}")] {
        return reply(401, &json!({ "message": "Bad credentials" }));
    }
    let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let query = asked["query"].as_str().unwrap_or_default();
    let list = json!({ "data": { "repository": { "pullRequests": { "totalCount": 1, "pageInfo":
        { "hasNextPage": false, "endCursor": "" }, "nodes": [{ "number": 7, "title": "matrix-ok" }] } } } });
    reply(200, &if query.contains("PullRequestList") { list } else { json!({ "data": {} }) })
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn gh_lists_pull_requests() {
    let issuer = Issuer::start().await;
    let host = "api.github.com".to_owned();
    let token = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let minted = std::sync::Arc::clone(&token);
    // The first token that comes is the one that was minted: the issuer says so below.
    let answer = move |seen: &Seen| {
        let slot = seen.all("authorization").join(" ");
        github(seen, minted.get_or_init(|| slot.trim_start_matches("Bearer ").to_owned()))
    };
    let scene = Scene::set(std::slice::from_ref(&host), 443, answer, |builder| {
        builder.minting("github", &issuer).route(&format!(
            "name = \"github\"\nhost = {host:?}\nmethods = [\"GET\", \"POST\"]\npath = [\"/graphql\", \"/user\"]\n\
             credential = \"github\"\nenv = {{ GH_TOKEN = \"placeholder:opaque\" }}"
        ))
    })
    .await;
    let line = "GH_NO_UPDATE_NOTIFIER=1 gh pr list -R o/r --json number,title";
    let gh = scene.run(line).await;
    assert_eq!(gh.code(), Some(0), "{}", gh.all());
    let listed: Value = serde_json::from_str(&gh.stdout()).unwrap_or_default();
    assert_eq!(listed, json!([{ "number": 7, "title": "matrix-ok" }]), "{}", gh.all());
    assert_eq!(issuer.minted().len(), 1);
    assert_eq!(token.get(), Some(&issuer.token()));
    let with = scene.with_token(&issuer.token(), &format!("Bearer {}", issuer.token()));
    assert_eq!(with.len(), scene.api.requests().len(), "every request has it");
    scene.secret(&gh, &[("the token", &issuer.token())]);
}
