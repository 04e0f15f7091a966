//! What the fake APIs say: as little as each client takes for an answer.

use std::path::Path;

use crate::harness::api::{Answer, Seen};

/// The package that the fake registries have; its wheel is made by `prepare` of the row.
pub const WHEEL: &str = "matrixpkg-1.0-py3-none-any.whl";

fn json_of(body: &str) -> Answer {
    Answer::ok(body).header("content-type", "application/json")
}

/// For clients that print what they get.
pub fn json(_: &Seen, _: &Path) -> Answer {
    json_of("{\"ok\":\"matrix-ok\"}")
}

/// A list, as the model APIs of OpenAI and Anthropic give one.
pub fn models(_: &Seen, _: &Path) -> Answer {
    json_of(
        "{\"object\":\"list\",\"has_more\":false,\"first_id\":\"matrix-ok\",\"last_id\":\"matrix-ok\",\
         \"data\":[{\"id\":\"matrix-ok\",\"object\":\"model\",\"type\":\"model\",\"created\":1,\
         \"created_at\":\"2026-01-01T00:00:00Z\",\"display_name\":\"matrix-ok\",\"owned_by\":\"x\"}]}",
    )
}

/// A refusal that no client repeats.
pub fn invalid(_: &Seen, _: &Path) -> Answer {
    let error = "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"matrix-ok\"}}";
    json_of(error).status(400)
}

/// git's smart protocol: one branch (gitprotocol-http).
pub fn git(_: &Seen, _: &Path) -> Answer {
    let line = format!("{} refs/heads/matrix-ok\0agent=fake\n", "1".repeat(40));
    let body = format!("001e# service=git-upload-pack\n0000{:04x}{line}0000", line.len() + 4);
    Answer::ok(body).header("content-type", "application/x-git-upload-pack-advertisement")
}

/// A page with one file, for rclone.
pub fn listing(_: &Seen, _: &Path) -> Answer {
    Answer::ok("<html><a href=\"matrix-ok\">matrix-ok</a></html>")
        .header("content-type", "text/html")
}

/// Terraform's state.
pub fn state(_: &Seen, _: &Path) -> Answer {
    json_of(
        "{\"version\":4,\"terraform_version\":\"1.0.0\",\"serial\":1,\"lineage\":\"matrix-ok\",\
         \"outputs\":{},\"resources\":[]}",
    )
}

/// Sentry's list of projects.
pub fn sentry_projects(_: &Seen, _: &Path) -> Answer {
    json_of("[{\"id\":\"1\",\"slug\":\"matrix-ok\",\"name\":\"m\",\"team\":null}]")
}

/// gcloud's list of projects.
pub fn projects(_: &Seen, _: &Path) -> Answer {
    json_of("{\"projects\":[{\"projectId\":\"matrix-ok\",\"name\":\"m\",\"projectNumber\":\"1\"}]}")
}

/// The answer of AWS STS to GetCallerIdentity.
pub fn sts(_: &Seen, _: &Path) -> Answer {
    let xml = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <GetCallerIdentityResult><Arn>arn:aws:iam::1:user/matrix-ok</Arn><UserId>u</UserId>\
        <Account>1</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId>\
        </ResponseMetadata></GetCallerIdentityResponse>";
    Answer::ok(xml).header("content-type", "text/xml")
}

/// A package index (PEP 503) with one wheel; and uploads are welcome.
pub fn index(seen: &Seen, home: &Path) -> Answer {
    if seen.target.ends_with(WHEEL) {
        let wheel = std::fs::read(home.join(WHEEL)).unwrap();
        return Answer::ok(wheel).header("content-type", "application/octet-stream");
    }
    Answer::ok(format!("<html><body><a href=\"/files/{WHEEL}\">{WHEEL}</a></body></html>"))
        .header("content-type", "text/html")
}

/// An npm registry with one package.
pub fn npm(seen: &Seen, _: &Path) -> Answer {
    if seen.method == "PUT" {
        return json_of("{\"ok\":true}");
    }
    json_of(
        "{\"name\":\"matrixpkg\",\"dist-tags\":{\"latest\":\"1.0.0\"},\"versions\":{\"1.0.0\":\
         {\"name\":\"matrixpkg\",\"version\":\"1.0.0\",\"description\":\"matrix-ok\",\
         \"dist\":{\"tarball\":\"https://npm.matrix.example/x.tgz\",\"shasum\":\"00\"}}}}",
    )
}

/// A sparse cargo registry with one crate.
pub fn crates(seen: &Seen, _: &Path) -> Answer {
    if seen.target.ends_with("/config.json") {
        return json_of("{\"dl\":\"https://crates.matrix.example/dl\"}");
    }
    json_of(&format!(
        "{{\"name\":\"matrixpkg\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{}\",\"features\":{{}},\"yanked\":false}}\n",
        "0".repeat(64)
    ))
}

/// The user of the Hugging Face hub.
pub fn whoami(_: &Seen, _: &Path) -> Answer {
    json_of("{\"type\":\"user\",\"name\":\"matrix-ok\",\"auth\":{\"type\":\"access_token\"}}")
}

/// One empty gRPC message (gRPC over HTTP/2, Length-Prefixed-Message), and `OK`.
pub fn grpc(_: &Seen, _: &Path) -> Answer {
    let message = b"matrix-ok";
    let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    body.extend_from_slice(message);
    Answer::ok(body).header("content-type", "application/grpc").trailer("grpc-status", "0")
}
