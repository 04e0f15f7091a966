//! The rows of Python libraries and of command lines in Python.

use super::{CLIENT, Client, Ends, Form, Slot, answers, rows};

const REQUESTS: Client = Client { ca: &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"], ..CLIENT };

/// Asks what is installed: to import some of them takes three seconds.
macro_rules! version {
    ($package:literal) => {
        concat!(
            "{py} -c 'from importlib.metadata import version as v; print(v(\"",
            $package,
            "\"))'"
        )
    };
}

rows! {
    requests: Client {
        name: "requests",
        version: version!("requests"),
        key: "ORDERS_API_KEY",
        line: "{py} {scripts}/requests_get.py https://{host}/v1",
        ..REQUESTS
    };
    httpx: Client {
        name: "httpx",
        version: version!("httpx"),
        key: "ORDERS_API_KEY",
        line: "{py} {scripts}/httpx_get.py https://{host}/v1",
        ..CLIENT
    };
    urllib: Client {
        name: "urllib",
        version: "{py} --version",
        key: "ORDERS_API_KEY",
        line: "{py} {scripts}/urllib_get.py https://{host}/v1",
        ..CLIENT
    };
    aiohttp: Client {
        name: "aiohttp (trust_env)",
        version: version!("aiohttp"),
        key: "ORDERS_API_KEY",
        line: "{py} {scripts}/aiohttp_get.py https://{host}/v1",
        ..CLIENT
    };
    huggingface_hub: Client {
        name: "huggingface-hub",
        version: version!("huggingface-hub"),
        host: "huggingface.co",
        key: "HF_TOKEN",
        settings: &[("HF_HUB_DISABLE_TELEMETRY", "1")],
        line: "{py} -c 'import huggingface_hub as h; print(h.HfApi().whoami()[\"name\"])'",
        answer: answers::whoami,
        ..CLIENT
    };
    openai: Client {
        name: "openai (Python)",
        version: version!("openai"),
        host: "api.openai.com",
        key: "OPENAI_API_KEY",
        line: "{py} -c 'import openai; print(openai.OpenAI(max_retries=0).models.list())'",
        answer: answers::models,
        ..CLIENT
    };
    anthropic: Client {
        name: "anthropic (Python)",
        version: version!("anthropic"),
        host: "api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        line: "{py} -c 'import anthropic; print(anthropic.Anthropic(max_retries=0).models.list())'",
        answer: answers::models,
        ..CLIENT
    };
    boto3: Client {
        name: "boto3",
        version: version!("boto3"),
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
        line: "{py} -c 'import boto3; print(boto3.client(\"sts\", region_name=\"us-east-1\", \
               endpoint_url=\"https://{host}\").get_caller_identity()[\"Arn\"])'",
        answer: answers::sts,
        ..CLIENT
    };
    httpie: Client {
        name: "httpie",
        version: "{venv}/http --version",
        ca: &["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
        line: "{venv}/http --ignore-stdin --check-status GET https://{host}/v1 \
               \"Authorization:Bearer $MATRIX_KEY\"",
        ..CLIENT
    };
    pip: Client {
        name: "pip",
        version: "{venv}/pip --version",
        host: "pypi.matrix.example",
        settings: &[("PIP_CONFIG_FILE", "/dev/null"), ("PIP_RETRIES", "0"), ("PIP_NO_CACHE_DIR", "1")],
        ca: &["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
        sends: Form::Basic("__token__"),
        slot: Slot::Basic("__token__"),
        prepare: "{py} {scripts}/wheel.py .",
        line: "rm -rf site && {venv}/pip install --disable-pip-version-check --no-deps --target site \
               --index-url \"https://__token__:$MATRIX_KEY@{host}/simple/\" matrixpkg && \
               PYTHONPATH=site {py} -c 'import matrixpkg'",
        answer: answers::index,
        ..CLIENT
    };
    twine: Client {
        name: "twine",
        version: "{venv}/twine --version",
        host: "pypi.matrix.example",
        key: "TWINE_PASSWORD",
        settings: &[("TWINE_USERNAME", "__token__"), ("TWINE_NON_INTERACTIVE", "1")],
        ca: &["TWINE_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
        sends: Form::Basic("__token__"),
        slot: Slot::Basic("__token__"),
        prepare: "{py} {scripts}/wheel.py .",
        line: "{venv}/twine upload --disable-progress-bar --repository-url https://{host}/legacy/ *.whl",
        answer: answers::index,
        ends: Ends::Well("Uploading matrixpkg"),
        ..CLIENT
    };
    grpcio: Client {
        name: "grpcio (unary)",
        version: version!("grpcio"),
        proxy: &["https_proxy", "grpc_proxy"],
        ca: &["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"],
        key: "ORDERS_API_KEY",
        line: "{py} {scripts}/grpc_unary.py {host}:443",
        answer: answers::grpc,
        ..CLIENT
    };
    stripe: Client {
        name: "stripe-py",
        version: version!("stripe"),
        host: "api.stripe.com",
        key: "STRIPE_API_KEY",
        ca: &[],
        line: "{py} {scripts}/stripe_get.py",
        ends: Ends::Cannot {
            says: &["certificate verify failed"],
            remedy: "{py} {scripts}/stripe_get.py --ca-bundle-from-environment",
            told: "stripe.ca_bundle_path = os.environ[\"SSL_CERT_FILE\"]",
        },
        ..CLIENT
    };
    urllib3: Client {
        name: "urllib3 (bare)",
        version: version!("urllib3"),
        key: "ORDERS_API_KEY",
        proxy: &[],
        ca: &[],
        line: "{py} {scripts}/urllib3_get.py https://{host}/v1",
        ends: Ends::Cannot {
            says: &["NameResolutionError"],
            remedy: "{py} {scripts}/urllib3_get.py --proxy-from-environment https://{host}/v1",
            told: "urllib3.ProxyManager(",
        },
        ..CLIENT
    };
}
