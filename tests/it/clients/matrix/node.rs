//! The rows of JavaScript: Node itself, libraries under Node 24, and agents that come by npm.

use super::{CLIENT, Client, Ends, Form, Needs, Slot, answers, rows};

const NODE: Client = Client {
    version: "{node} --version",
    ca: &["NODE_EXTRA_CA_CERTS"],
    key: "ORDERS_API_KEY",
    ..CLIENT
};
/// Why the agents' own end does not count.
const REFUSED: &str = "the fake refuses the request, so that no session begins";

rows! {
    node_24_fetch: Client {
        name: "Node 24 fetch",
        line: "{node} {scripts}/fetch.mjs https://{host}/v1",
        ..NODE
    };
    node_20_fetch: Client {
        name: "Node 20 fetch",
        needs: Needs::If(
            "node -e 'process.exit(parseInt(process.versions.node) < 24 ? 0 : 1)'",
            "needs a Node before 24 in PATH",
        ),
        version: "node --version",
        proxy: &[],
        ca: &[],
        line: "node {scripts}/fetch.mjs https://{host}/v1",
        ends: Ends::Cannot {
            says: &["ENOTFOUND", "EAI_AGAIN"],
            remedy: "{node} {scripts}/fetch.mjs https://{host}/v1",
            told: "Node 24",
        },
        ..NODE
    };
    openai: Client {
        name: "openai (npm, Node 24)",
        version: "{node} -p 'require(\"{npm}/openai/package.json\").version'",
        host: "api.openai.com",
        key: "OPENAI_API_KEY",
        line: "{node} {scripts}/sdk.mjs {npm}/openai/index.mjs",
        answer: answers::models,
        ..NODE
    };
    anthropic: Client {
        name: "anthropic (npm, Node 24)",
        version: "{node} -p 'require(\"{npm}/@anthropic-ai/sdk/package.json\").version'",
        host: "api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        line: "{node} {scripts}/sdk.mjs {npm}/@anthropic-ai/sdk/index.mjs",
        answer: answers::models,
        ..NODE
    };
    axios: Client {
        name: "axios",
        version: "{node} -p 'require(\"{npm}/axios/package.json\").version'",
        line: "{node} {scripts}/axios.mjs {npm}/axios/index.js https://{host}/v1",
        ..NODE
    };
    npm_view: Client {
        name: "npm view",
        version: "{node} {npm}/npm/bin/npm-cli.js --version",
        host: "npm.matrix.example",
        key: "NPM_TOKEN",
        settings: &[("npm_config_fetch_retries", "0"), ("npm_config_update_notifier", "false")],
        proxy: &["HTTPS_PROXY", "https_proxy", "npm_config_https_proxy"],
        ca: &["npm_config_cafile"],
        prepare: "printf 'registry=https://{host}/\\n//{host}/:_authToken=${NPM_TOKEN}\\n' >.npmrc",
        line: "rm -rf .npm && {node} {npm}/npm/bin/npm-cli.js view matrixpkg description",
        answer: answers::npm,
        ..CLIENT
    };
    npm_publish: Client {
        name: "npm publish",
        version: "{node} {npm}/npm/bin/npm-cli.js --version",
        host: "npm.matrix.example",
        key: "NPM_TOKEN",
        settings: &[("npm_config_fetch_retries", "0"), ("npm_config_update_notifier", "false")],
        ca: &["npm_config_cafile"],
        prepare: "printf 'registry=https://{host}/\\n//{host}/:_authToken=${NPM_TOKEN}\\n' >.npmrc && \
            mkdir p && printf '{\"name\":\"matrixpkg\",\"version\":\"1.0.1\"}' >p/package.json",
        line: "{node} {npm}/npm/bin/npm-cli.js publish ./p",
        answer: answers::npm,
        ends: Ends::Well("+ matrixpkg@1.0.1"),
        ..CLIENT
    };
    claude_code: Client {
        name: "claude-code",
        version: "{npm}/@anthropic-ai/claude-code-linux-*/claude --version",
        host: "api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        settings: &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("CLAUDE_CODE_MAX_RETRIES", "0"),
            ("DISABLE_AUTOUPDATER", "1"),
        ],
        ca: &["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"],
        sends: Form::Header("x-api-key"),
        slot: Slot::Header("x-api-key"),
        line: "{npm}/@anthropic-ai/claude-code-linux-*/claude -p hi </dev/null",
        answer: answers::invalid,
        ends: Ends::Asked(REFUSED),
        ..CLIENT
    };
    codex: Client {
        name: "codex",
        version: "{npm}/@openai/codex-linux-*/vendor/*/bin/codex --version",
        host: "api.openai.com",
        key: "CODEX_API_KEY",
        ca: &["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"],
        // A provider of our own: the built-in one tries six WebSockets first.
        line: "{npm}/@openai/codex-linux-*/vendor/*/bin/codex exec --skip-git-repo-check \
               --sandbox read-only -c model=m -c model_provider=o -c model_providers.o.name=o \
               -c model_providers.o.base_url=https://{host}/v1 \
               -c model_providers.o.env_key=CODEX_API_KEY \
               -c model_providers.o.wire_api=responses \
               -c model_providers.o.request_max_retries=0 \
               -c model_providers.o.stream_max_retries=0 hi </dev/null",
        answer: answers::invalid,
        ends: Ends::Asked(REFUSED),
        stubborn: true,
        ..CLIENT
    };
}
