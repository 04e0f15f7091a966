//! Codes of a config: where it was found, who trusts it, and what `check` says is wrong in it.

use super::{Code, codes};

codes! { CONFIG: "the config's";
    "address-twice": "two listeners have the same port" =>
        "give one of them another";
    "audit-optional": "`audit.on_failure` is \"continue\": what cannot be recorded is served all the same" =>
        "take it out unless that is meant";
    "aws-session-token": "an exec credential for AWS has keys that do not go together" =>
        "see the hint; the helper prints what the AWS tools call `credential_process`";
    "bad-address": "an address cannot be read" =>
        "write IP:PORT, as in \"127.0.0.1:8383\", or for `listen` also unix:PATH";
    "bad-algorithm": "an algorithm is not one that keys of this kind sign with" =>
        "take one that the hint lists";
    "bad-audience": "an entry of `audience` is malformed" =>
        "a name or URI of visible ASCII";
    "bad-body": "the body of an `http` credential is malformed" =>
        "give `json` or `form`, not both, and templates that can be read";
    "bad-client": "an entry of `clients` names nobody" =>
        "\"session:NAME\", \"uid:N\" or \"user:NAME\"";
    "bad-date": "a date cannot be read" =>
        "for example since = \"2026-01-31\"; it needs `max_age` beside it";
    "bad-duration": "a length of time cannot be read, or is out of bounds" =>
        "for example ttl = \"5m\"";
    "bad-endpoint": "a URL of an issuer cannot be used" =>
        "write it whole, with https; http is for loopback addresses alone";
    "bad-format": "keys of an exec credential do not go with its `format`" =>
        "`valetkey schema` says which belong together";
    "bad-header": "an `http` credential cannot set that header" =>
        "take it out: the proxy writes it by itself, or its value is not visible ASCII";
    "bad-helper": "the command of a helper cannot be used" =>
        "an absolute path and its arguments: [\"/usr/bin/pass\", \"show\", \"api\"]";
    "bad-policy-file": "`cedar` of [policy] names something that can be no file of policies" =>
        "a file's name ends in `.cedar`, and that name alone may hold one `*`: cedar = [\"policies/*.cedar\"]";
    "cedar-missing": "the config names Cedar policies, and this program was built without Cedar" =>
        "build it with its default features, or take `cedar` out of [policy]: then routes alone decide";
    "bad-host": "a host cannot be read" =>
        "a DNS name, as in \"example.com\", or where addresses are allowed an IP address";
    "bad-inject": "`inject` cannot be read" =>
        "{ header = \"authorization\", scheme = \"Bearer\" } is the usual one; `valetkey schema` lists the others";
    "bad-method": "this method is not one that is possible here" =>
        "GET, POST, PUT, PATCH and DELETE, in capitals";
    "bad-name": "a name has other characters than it may" =>
        "letters, digits and `._-`";
    "bad-network": "an entry of `allow_private` is no network" =>
        "CIDR, for example \"10.20.0.0/16\"";
    "bad-no-proxy": "an entry of `no_proxy` cannot be read" =>
        "for example \"*.corp.example\", \"10.0.0.0/8\" or \"host.example:8443\"";
    "bad-number": "a number is out of bounds" =>
        "the message names the bounds";
    "bad-parent": "`upstream.parent` cannot be read" =>
        "for example \"http://proxy.corp.example:3128\"";
    "bad-path": "a path pattern cannot be read" =>
        "for example \"/v1/orders/**\": it begins with a slash, without query";
    "bad-placeholder": "`placeholder` is not one of the kinds that there are" =>
        "`valetkey placeholder --help` lists them";
    "bad-placement": "parts of `inject` or `strip` do not go together" =>
        "the message names them";
    "bad-pointer": "this is no JSON pointer" =>
        "RFC 6901: for example \"/data/token\"";
    "bad-port": "a port is out of bounds" =>
        "from 1 to 65535; absent means 443";
    "bad-rate": "a rate cannot be read" =>
        "for example \"100/min\"";
    "bad-redirect": "`redirect_uri` is no http address on loopback" =>
        "\"http://127.0.0.1/callback\" takes a free port; [::1], localhost and a port will do";
    "bad-resolve": "an entry of `upstream.resolve` cannot be read" =>
        "\"NAME:PORT\" = \"IP:PORT\"";
    "bad-resource": "an entry of `resource` is malformed" =>
        "an absolute URI without fragment (RFC 8707)";
    "bad-scope": "an entry of `scope` is malformed" =>
        "one scope an entry, of the characters that RFC 6749 allows";
    "bad-secret-source": "the source of a secret cannot be read" =>
        "{ file = \"…\" }, { env = \"…\" } or another that `valetkey schema` lists";
    "bad-size": "a size cannot be read, or is out of bounds" =>
        "for example \"64 MiB\"";
    "bad-template": "a template cannot be read" =>
        "for example \"{user} by {session}\"; a literal brace is written twice";
    "bad-token-type": "a token of this type cannot be asked for" =>
        "a refresh token never goes to an API: ask for an access token";
    "bad-keep": "a field cannot be kept" =>
        "one of x-real-ip, x-envoy-*, x-forwarded-*, x-original-* and x-vault-* that names no method, host, port or path";
    "bad-upgrade": "a protocol cannot be upgraded to" =>
        "one name, as \"websocket\"; HTTP itself and TLS stay what they are";
    "bad-variable": "`env` holds what is no name of a variable" =>
        "letters, digits and `_`";
    "ca-unconstrained": "`ca.scope` is \"any\": the local CA may sign any name" =>
        "take it out unless it is meant, and name hosts in `ca.permit`";
    "claim-twice": "route and credential both set the same claim" =>
        "take it out of one of them";
    "config-changed": "the config has changed since it was read" =>
        "somebody is editing it: look at it, and try again";
    "config-exposed": "other users could put something else in the place of the config" =>
        "take write access away from them, the directories above included: it decides what is run";
    "config-invalid": "the config has errors" =>
        "`valetkey check` lists all of them";
    "config-missing": "no config was found" =>
        "`valetkey init` writes one; or name one with `--config` or VALETKEY_CONFIG";
    "config-passed-over": "a config above is not used, for others could have put it there" =>
        "where it is meant: `valetkey trust FILE`, or `--config`";
    "config-syntax": "the config is no TOML" =>
        "the message names line and column; save it as UTF-8";
    "config-too-large": "the config is larger than 32 MiB" =>
        "split it by purpose, one config for each";
    "config-unreadable": "the config cannot be read" =>
        "check its path, owner and permissions";
    "config-untrusted": "a project's own config is not trusted, or no longer what was trusted" =>
        "read it, then allow it: `valetkey trust FILE`; or name another one with `--config`";
    "config-version": "`config_version` is missing, or of another version" =>
        "config_version = 1";
    "denied-credential": "a route that denies names a credential" =>
        "take one of both out";
    "dpop-inject": "a token that is bound to a key goes into `authorization` and nowhere else (RFC 9449)" =>
        "take `inject` out of the route, or `dpop_bound_access_tokens` out of its credential";
    "dpop-public-client": "the refresh token of a public client is bound to the key of whoever got it" =>
        "log in here, by the grant `device` or `authorization-code`; or register a confidential client";
    "duplicate-name": "two entries have the same name" =>
        "rename one";
    "empty-list": "a list is empty" =>
        "take it out to ask as the credential says, or to match everything";
    "helper-unfenced": "this kernel has no Landlock, so a helper can open files of the project that nobody trusted" =>
        "read what the helper opens, or use a newer kernel";
    "helper-unheld": "a variable leads a helper into its project, beside what was trusted" =>
        "take it out of the helper's `env`, or set it to something outside of the project";
    "helper-writable": "others can write to the program that a credential runs" =>
        "take write access away from them";
    "listen-beyond-loopback": "`proxy.listen` is reachable from other machines" =>
        "listen on 127.0.0.1, unless tools elsewhere are meant to come";
    "literal-secret": "a secret stands in the config itself" =>
        "name its source: { file = \"…\" } or { env = \"…\" }";
    "metrics-beyond-loopback": "the metrics address is reachable from other machines" =>
        "choose one on loopback, unless a scraper elsewhere is meant to come";
    "missing-key": "a key that is needed is missing" =>
        "add it: the message names it, `valetkey schema` explains it";
    "no-credential": "a route has keys that mean nothing without a credential" =>
        "add `credential`, or take them out";
    "no-routes": "there are no routes, so no token goes anywhere" =>
        "add a [[routes]] entry";
    "not-askable": "this grant cannot ask for what the route names" =>
        "take it out, or use another grant";
    "not-trusted": "there is no trust to take back for this path" =>
        "`valetkey trust --list` shows what is trusted";
    "open-proxy": "`client_auth = []` lets every process of this machine have tokens" =>
        "name \"session\" or \"uid\"; beyond loopback it is refused";
    "output-elsewhere": "a project's own config names a place to write to that is not below the state directory" =>
        "leave it out, or name a place below the state directory without `..`";
    "parent-is-valetkey": "`upstream.parent` points to Valetkey's own listener" =>
        "name the proxy above, or take it out";
    "permit-public-suffix": "`ca.permit` names a suffix below which anybody can have a name" =>
        "name the domain that is yours below it";
    "pinned-name": "`upstream.resolve` fixes the address of a name" =>
        "take the entry out once it is no longer needed";
    "reserved-claim": "a claim has a name that Valetkey or the standard sets" =>
        "choose another name";
    "reserved-header": "a header of the assertion has a name of the verifier's own" =>
        "take it out: `kid`, `typ` and what the API defines go there";
    "reserved-param": "a parameter has a key of its own in the config, or is a secret" =>
        "use that key";
    "policy-approval": "a policy has `@approve`, which this version does not know" =>
        "take it out: without it, the policy would permit what nobody approved";
    "policy-doubtful": "a policy is valid, and Cedar doubts that it says what is meant" =>
        "read it again: it may never apply, or hold characters that look like others";
    "policy-exposed": "other users could put something else in the place of a file of policies" =>
        "take write access away from them: it decides who may do what";
    "policy-file-missing": "a file of policies is not there, or no file has a name that `*` allows" =>
        "correct the name, or take it out of `cedar`";
    "policy-file-unreadable": "a file of policies cannot be read, or is larger than 4 MiB" =>
        "it is a text in UTF-8 that the daemon's user can read";
    "policy-hint": "the `@hint` of a policy is longer than 300 bytes, or more than a line" =>
        "say what the client is to do, in one sentence";
    "policy-id": "the `@id` of a policy is no name, or two policies have one" =>
        "at most 64 letters, digits and `._-`, another for each";
    "policy-invalid": "a policy names or compares what there is not" =>
        "`valetkey policy schema` prints what there is; what may be missing is asked for first: context has exe && context.exe == \"…\"";
    "policy-permits-nothing": "no policy permits what a route does, so all of it is denied" =>
        "Cedar permits nothing by itself: add a permit for the route, or one for all: permit (principal, action, resource);";
    "policy-syntax": "a file of policies is not Cedar" =>
        "the message says where; the language: docs.cedarpolicy.com";
    "policy-template": "a policy is a template, which decides nothing by itself" =>
        "name whom and what it is about in place of `?principal` and `?resource`";
    "policy-too-large": "there is more than can be read of policies: 1000 files, 4 MiB in all, 10,000 policies, each of 16 KiB" =>
        "a long list is `[…].contains(…)`; what nobody needs can go";
    "policy-too-deep": "a policy is nested deeper than can be evaluated" =>
        "write a row of alternatives as [\"a\", \"b\"].contains(…), or as several policies";
    "reserved-variable": "`env` of a route sets a variable that would change how tools run" =>
        "choose the variable that the tool reads its key from";
    "roots-exposed": "other users could put something else in the place of a file of `extra_roots`" =>
        "take write access away from them: it decides whose certificates are believed";
    "socket-path-too-long": "the path of a unix socket is longer than the system takes" =>
        "choose a shorter one";
    "standing-credential": "a credential is a static key, which lives until somebody revokes it" =>
        "use a grant that mints short-lived tokens where the provider has one";
    "token-endpoint-routed": "a route leads to the place where a credential's tokens are made" =>
        "narrow `path` or `methods`, or say `allow_token_endpoint = true` where that is meant";
    "transparent-admits-nobody": "a redirected tool sends no proxy credentials, and `client_auth` asks for them" =>
        "add \"uid\" to `client_auth`";
    "trust-unreadable": "the records of trusted projects cannot be believed or read" =>
        "look at the file that is named, remove it, and trust the project again";
    "trust-unwritable": "trust cannot be recorded" =>
        "check the permissions and the disk of the state directory, or set XDG_STATE_HOME";
    "two-endpoints": "both `token_url` and `issuer` are given" =>
        "give one: `issuer` finds the endpoints by itself";
    "unknown-credential": "there is no credential of that name" =>
        "`valetkey check` and the config name them";
    "unknown-key": "the config has a key that there is not" =>
        "correct a slip; `valetkey schema` lists every key";
    "unknown-limit": "`limits` names what has no limit" =>
        "`valetkey schema` lists the limits";
    "unknown-route": "a session names a route that there is not" =>
        "take it out, or add the route";
    "unknown-secret": "a template names a secret that the credential does not have" =>
        "secrets = { NAME = { env = \"…\" } }";
    "unknown-value": "a key has a value that it cannot have" =>
        "take one that the hint lists";
    "unused-credential": "no route uses a credential" =>
        "name it in a route, or take it out";
    "unused-key": "a key means nothing here" =>
        "take it out: the issuer's document says it already, or the grant has no use for it";
    "unused-secret": "no template names a secret" =>
        "take it out, or write {secret.NAME}";
    "wider-than-credential": "a route asks for what its credential does not name" =>
        "a route narrows: name it in the credential as well";
    "wildcard-public-suffix": "a route's pattern ends in a suffix below which anybody can have a name" =>
        "name the hosts that are meant, one route each";
    "wrong-type": "a value is of another type than its key" =>
        "the message says which one is expected";
}
