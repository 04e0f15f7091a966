//! The rows of programs in C, Go, Rust and Java, and of Google's and Amazon's command lines.

use super::{CLIENT, Client, Form, Needs, Slot, answers, rows};

rows! {
    curl: Client {
        name: "curl",
        version: "curl --version",
        ca: &["CURL_CA_BUNDLE", "SSL_CERT_FILE"],
        line: "curl -sSf -H \"Authorization: Bearer $MATRIX_KEY\" https://{host}/v1",
        ..CLIENT
    };
    wget: Client {
        name: "wget",
        version: "wget --version",
        proxy: &["https_proxy"],
        ca: &["WGETRC"],
        sends: Form::Header("x-api-key"),
        silent: true,
        line: "wget -nv -O- --tries=1 --header=\"X-API-Key: $MATRIX_KEY\" https://{host}/v1",
        ..CLIENT
    };
    git: Client {
        name: "git",
        version: "git --version",
        ca: &["GIT_SSL_CAINFO"],
        sends: Form::Nothing,
        slot: Slot::Basic("x-access-token"),
        silent: true,
        line: "GIT_TERMINAL_PROMPT=0 git ls-remote https://{host}/team.git",
        answer: answers::git,
        ..CLIENT
    };
    gh: Client {
        name: "gh",
        version: "gh --version",
        host: "api.github.com",
        key: "GH_TOKEN",
        settings: &[("GH_NO_UPDATE_NOTIFIER", "1")],
        sends: Form::Word("token "),
        line: "gh api user",
        ..CLIENT
    };
    kubectl: Client {
        name: "kubectl",
        version: "kubectl version --client",
        line: "kubectl --server=https://{host} --token=\"$MATRIX_KEY\" get --raw /version",
        ..CLIENT
    };
    terraform: Client {
        name: "terraform (http backend)",
        needs: Needs::Program("terraform"),
        version: "terraform version",
        key: "TF_HTTP_PASSWORD",
        settings: &[
            ("CHECKPOINT_DISABLE", "1"),
            ("TF_HTTP_USERNAME", "ci"),
            ("TF_HTTP_RETRY_MAX", "0"),
        ],
        sends: Form::Basic("ci"),
        slot: Slot::Basic("ci"),
        prepare: "mkdir tf && printf 'terraform {\\n backend \"http\" {\\n address = \"https://{host}/state\"\\n }\\n}\\n' >tf/main.tf",
        line: "cd tf && terraform init -input=false -no-color >/dev/null && terraform state pull",
        answer: answers::state,
        ..CLIENT
    };
    rclone: Client {
        name: "rclone",
        version: "rclone version",
        line: "rclone --config '' --retries 1 --low-level-retries 1 lsf \
               --http-no-head --http-headers \"Authorization,Bearer $MATRIX_KEY\" --http-url https://{host}/ :http:",
        answer: answers::listing,
        ..CLIENT
    };
    go_program: Client {
        name: "Go net/http",
        version: "go version | sed 's/go1/1/'",
        key: "ORDERS_API_KEY",
        prepare: "GOCACHE=$PWD/go GOPROXY=off GO111MODULE=off go build -o get {scripts}/get.go",
        line: "./get https://{host}/v1",
        ..CLIENT
    };
    stripe_cli: Client {
        name: "stripe CLI",
        needs: Needs::If(
            "ls {npm}/@stripe/cli-linux-*/bin/stripe",
            "no npm package holds it for this processor",
        ),
        version: "{npm}/@stripe/cli-linux-*/bin/stripe version",
        host: "api.stripe.com",
        settings: &[("STRIPE_CLI_TELEMETRY_OPTOUT", "1")],
        // It wants `sk_` before its keys; a placeholder may stand inside a longer value.
        line: "STRIPE_API_KEY=\"sk_test_$MATRIX_KEY\" {npm}/@stripe/cli-linux-*/bin/stripe get /v1/charges",
        sends: Form::Word("Bearer sk_test_"),
        ..CLIENT
    };
    sentry_cli: Client {
        name: "sentry-cli",
        version: "{npm}/@sentry/cli-linux-*/bin/sentry-cli --version",
        key: "SENTRY_AUTH_TOKEN",
        settings: &[("SENTRY_DISABLE_UPDATE_CHECK", "1"), ("SENTRY_HTTP_MAX_RETRIES", "0")],
        ca: &["SSL_CERT_FILE", "CURL_CA_BUNDLE"],
        line: "{npm}/@sentry/cli-linux-*/bin/sentry-cli --url https://{host} projects list --org o",
        answer: answers::sentry_projects,
        silent: true,
        ..CLIENT
    };
    java: Client {
        name: "Java HttpClient",
        version: "java -version 2>&1",
        key: "ORDERS_API_KEY",
        proxy: &["JAVA_TOOL_OPTIONS"],
        ca: &["JAVA_TOOL_OPTIONS"],
        line: "java {scripts}/Get.java https://{host}/v1",
        ..CLIENT
    };
    cargo: Client {
        name: "cargo (sparse index)",
        version: "{cargo} --version",
        host: "crates.matrix.example",
        proxy: &["HTTPS_PROXY", "https_proxy", "CARGO_HTTP_PROXY"],
        ca: &["CARGO_HTTP_CAINFO", "SSL_CERT_FILE"],
        settings: &[("CARGO_NET_RETRY", "0")],
        sends: Form::Nothing,
        prepare: "mkdir -p .cargo c/src && >c/src/lib.rs && \
            printf '[registries.fake]\\nindex = \"sparse+https://{host}/index/\"\\n' >.cargo/config.toml && \
            printf '[package]\\nname = \"c\"\\nversion = \"0.1.0\"\\n[dependencies]\\nmatrixpkg = { version = \"1\", registry = \"fake\" }\\n' >c/Cargo.toml",
        line: "cd c && rm -rf Cargo.lock ../.cargo/registry && {cargo} generate-lockfile && \
            grep -q matrixpkg Cargo.lock && echo matrix-ok",
        answer: answers::crates,
        ..CLIENT
    };
    gcloud: Client {
        name: "gcloud",
        needs: Needs::Program("gcloud"),
        version: "gcloud --version",
        host: "cloudresourcemanager.googleapis.com",
        settings: &[
            ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1"),
            ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1"),
            ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1"),
        ],
        proxy: &["HTTPS_PROXY"],
        ca: &["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"],
        line: "printf %s \"$MATRIX_KEY\" >token && gcloud --access-token-file=token projects list",
        answer: answers::projects,
        stubborn: true,
        ..CLIENT
    };
    aws_cli: Client {
        name: "aws CLI",
        needs: Needs::Program("aws"),
        version: "aws --version | tr / ' '",
        host: "sts.amazonaws.com",
        settings: &[
            ("AWS_ACCESS_KEY_ID", "vk"),
            ("AWS_SECRET_ACCESS_KEY", "vk"),
            ("AWS_MAX_ATTEMPTS", "1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ],
        ca: &["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"],
        sends: Form::Signature,
        slot: Slot::Pass,
        line: "aws --region us-east-1 --endpoint-url https://{host} sts get-caller-identity",
        answer: answers::sts,
        ..CLIENT
    };
}
