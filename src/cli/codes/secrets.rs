//! Codes of secrets, logins and issuers: why a token could not be minted, as `status`, the log and
//! `login` say it.

use super::{Code, codes};

codes! { SECRETS: "the secret's source";
    "client-cert-unreadable": "the client certificate of a credential cannot be used" =>
        "check path and permissions; certificate and key are PEM";
    "extra-root-invalid": "a file of `upstream.extra_roots` holds no CA certificate in PEM" =>
        "name PEM files of CA certificates";
    "extra-root-own-ca": "`upstream.extra_roots` names Valetkey's own CA, which is never an upstream root" =>
        "take it out";
    "extra-root-unreadable": "a file of `upstream.extra_roots` cannot be read" =>
        "check the path and its permissions";
    "helper-aws-credential-invalid": "what the helper printed is no AWS credential" =>
        "it prints what the AWS tools call `credential_process`, with all of its fields";
    "helper-client-certificate": "the helper gave a client certificate in place of a token" =>
        "let it print a token: certificates are not taken from helpers";
    "helper-exec-credential-invalid": "what the helper printed is no ExecCredential with a token" =>
        "it prints the JSON of client.authentication.k8s.io";
    "helper-failed": "the helper ended with an error; what it wrote on stderr is not logged" =>
        "run it by hand under `env -i` with PATH, HOME, LANG and what `env` lists";
    "helper-git-credential-invalid": "what the helper printed is no answer of a git credential helper" =>
        "it prints `password=…`, and the host that it was asked for";
    "helper-lost": "the helper's output cannot be read" =>
        "check the machine's limits of processes and files";
    "helper-not-started": "the helper cannot be started" =>
        "`command` starts with the absolute path of a program that this user may execute";
    "helper-output-too-long": "the helper printed more than a secret can be, and was killed" =>
        "it must print the secret and nothing else";
    "helper-timeout": "the helper took too long and was killed" =>
        "it must not ask anybody anything: its stdin is empty and it has no terminal";
    "kernel-keyring-failed": "the kernel's keyring does not answer as it should" =>
        "see keyctl(2) for the error's number; `cat /proc/keys` shows what is there";
    "kernel-keyring-full": "the kernel's keyring is full" =>
        "/proc/key-users shows what is used: take keys out, or let root raise kernel.keys.maxbytes";
    "kernel-keyring-too-long": "a login is longer than the kernel's keyring takes" =>
        "`protection = \"key-file\"` of `[logins]` takes longer tokens";
    "kernel-keyring-unavailable": "the kernel's keyring is not to be had here" =>
        "containers mostly forbid it: allow add_key and keyctl, or run this outside";
    "key-encrypted": "a private key is encrypted" =>
        "`openssl pkcs8 -topk8 -nocrypt` takes the passphrase off; keep the file at mode 0600";
    "key-not-pem": "a file holds no private key in PEM" =>
        "it begins with `-----BEGIN PRIVATE KEY-----`; a certificate or public key will not do";
    "key-unusable": "a private key is damaged, or too short" =>
        "RSA needs 2048 bits or more, HS256 a secret of 32 bytes, HS384 48, HS512 64";
    "key-wrong-kind": "a private key is of another kind than its algorithm needs" =>
        "RS and PS need RSA, ES256 P-256, ES384 P-384, EdDSA Ed25519, HS a bare secret";
    "keyring-failed": "the keyring does not answer as it should" =>
        "repeat it, and look at the log of the program that keeps the keyring";
    "keyring-foreign": "the session bus is not known to be this user's own, and nothing was sent to it" =>
        "set DBUS_SESSION_BUS_ADDRESS to the socket of your own session";
    "keyring-item-ambiguous": "the keyring has several items of that name" =>
        "delete all but one of them";
    "keyring-item-missing": "the keyring has no such item" =>
        "store it: `secret-tool store --label=NAME service valetkey username NAME`";
    "keyring-locked": "the keyring is locked" =>
        "unlock it, as by logging in to the desktop; nothing in it is lost";
    "keyring-timeout": "the keyring did not answer in time" =>
        "it may be asking somebody: look at the desktop, and repeat it";
    "keyring-unavailable": "there is no keyring in the daemon's session" =>
        "the daemon needs DBUS_SESSION_BUS_ADDRESS of a session with a keyring, or another source of the secret";
    "parent-secret-unusable": "the password of `upstream.parent` cannot be read" =>
        "see the code of its cause";
    "secret-credential-unset": "systemd hands no credential of that name over" =>
        "LoadCredential= in the unit that runs `valetkey serve`";
    "secret-empty": "a secret is empty" =>
        "write it where it is kept";
    "secret-file-empty": "the file of a secret is empty" =>
        "write the secret into it; one newline at its end is dropped";
    "secret-file-permissions": "others than its owner have access to the file of a secret" =>
        "`chmod 600` it";
    "secret-file-unreadable": "the file of a secret cannot be read" =>
        "check the path, which is relative to the config, and its permissions";
    "secret-helper-missing": "the program that should print a secret is not there" =>
        "install it, or correct the path";
    "secret-invalid": "a secret holds bytes other than printable ASCII" =>
        "store the bare value; one trailing newline is dropped, no other byte is";
    "secret-too-long": "a secret is longer than any is" =>
        "check that the source is the secret and not something else";
    "secret-unchanged": "the new key is the one that is there already" =>
        "make a new key at its provider first";
    "secret-unreadable": "a secret cannot be read" =>
        "check the path and its permissions";
    "secret-unset": "a variable or systemd credential that should hold a secret is not set" =>
        "set it in the environment that starts the daemon, then `valetkey restart`";
    "secret-unwritable": "a secret cannot be written" =>
        "the file and its directory must be there and writable";
    "secret-variable-unset": "the variable of a secret is not set in this shell" =>
        "set it where the daemon is started: before `valetkey serve`, or the first `run`";
    "session-secret-unusable": "the secret of a session of the config cannot be read, or is shorter than 16 bytes" =>
        "`openssl rand -hex 32` makes one that also fits into a URL";
    "tls-unavailable": "the TLS library has no version that we could use" =>
        "this is a fault of the build; please report it";
    "tokens-not-dropped": "the secret or login has changed, and the running daemon still has tokens of the old one" =>
        "`valetkey restart`, or wait until they end";
}

codes! { LOGINS: "of whoever logs in, or of the login's store";
    "callback-foreign": "another user of this machine called the login's address, and was not heard" =>
        "open the page in a browser that runs as you";
    "device-answer-invalid": "the issuer's answer holds no usable code" =>
        "check that `issuer` or `device_url` is the right one";
    "id-token-invalid": "the issuer's ID token is not good: its signature, claims or nonce" =>
        "check client_id, issuer and this machine's clock, and begin anew";
    "login-another-issuer": "the answer to a login is that of another issuer" =>
        "somebody may have tried to mix two logins up: begin anew";
    "login-busy": "another process has been using the login for too long" =>
        "repeat it; a stopped `valetkey` process holds the lock until it goes on";
    "login-code-expired": "the code of a login was not used in time" =>
        "begin anew: a code lives a few minutes";
    "login-damaged": "a stored login cannot be decrypted" =>
        "log in anew: `valetkey login CREDENTIAL` takes its place";
    "login-denied": "the login was denied at the issuer" =>
        "log in as somebody who may, and allow what is asked for";
    "login-elsewhere": "this login is made elsewhere: its grant is `refresh-token`" =>
        "put a new refresh token where `refresh_token` of the credential points";
    "login-ended": "the issuer no longer takes the login" =>
        "log in anew: `valetkey login CREDENTIAL`";
    "login-ends-soon": "a login ends before long" =>
        "log in anew before that: `valetkey login CREDENTIAL`";
    "login-key-gone": "the key to which a login was bound is gone, and the login with it" =>
        "log in anew: `valetkey login CREDENTIAL`";
    "login-key-unavailable": "the key of the stored login is gone" =>
        "bring its key back, or log in anew";
    "login-left-behind": "there are logins that were made with an earlier `issuer` or `client_id`" =>
        "end them as well: `valetkey logout CREDENTIAL --left-behind`";
    "login-narrower": "the issuer granted less than `scope` asks for" =>
        "log in again and allow all of it, or ask for less";
    "login-not-offered": "the issuer does not offer this kind of login" =>
        "use the other grant, `device` or `authorization-code`";
    "login-refused": "the issuer refused the login" =>
        "check client_id, scope and the redirect address that is registered there";
    "login-reuse-detected": "the issuer saw a refresh token twice and ended the login: an answer was lost on the way" =>
        "log in anew: `valetkey login CREDENTIAL`";
    "login-store-unreadable": "the store of logins cannot be read" =>
        "check its permissions and the disk";
    "login-store-unsafe": "the store of logins is not ours alone" =>
        "chmod 700 the directory and 600 what is in it, and see who else was there";
    "login-store-unwritable": "a login cannot be written down" =>
        "check disk space and permissions; nothing is spent that could not be stored";
    "login-without-refresh-token": "the issuer gave no refresh token" =>
        "most issuers want `offline_access` in `scope`, some a parameter in `login_params`";
    "logout-not-revoked": "a login is deleted here, but still lives at its issuer" =>
        "end it in your account at the issuer, where that matters";
    "no-login": "nobody logs in for this credential" =>
        "`login` is for the grants `device` and `authorization-code`";
    "redirect-unavailable": "the address to which the browser should come back cannot be listened on" =>
        "another login may be under way; or choose another port in `redirect_uri`";
    "step-up-required": "the API wants more of the person than the login gives" =>
        "the hint names the command: `valetkey login CREDENTIAL` with `--acr-values` or `--max-age`";
    "verification-foreign": "the issuer sends people to a page that is not https, or on an origin that config does not name" =>
        "if that page is meant, name its origin in `verification_origins`";
}

codes! { ISSUERS: "the issuer's, or of how the credential asks it";
    "answer-invalid": "whoever answers does not speak HTTP/1.1" =>
        "check host and port";
    "clock-skewed": "this machine's clock and the issuer's are apart" =>
        "set this machine's (`timedatectl` says whether it is kept), or assertions and tokens are refused";
    "discovery-foreign-endpoint": "the issuer's metadata names an endpoint on an origin that config does not" =>
        "if it is meant, name that origin in `endpoint_origins`";
    "discovery-invalid": "the issuer's metadata is missing or malformed" =>
        "open ISSUER/.well-known/openid-configuration; where there is none, use `token_url` in place of `issuer`";
    "discovery-other-issuer": "the metadata is that of another issuer" =>
        "`issuer` must be what the document says, to the letter, a final slash included";
    "issuer-access-token-invalid": "the issuer's answer has no access token, or one that fits in no header" =>
        "check token_url and the grant";
    "issuer-answer-too-long": "the issuer's answer is longer than 64 KiB" =>
        "check token_url: is it the token endpoint?";
    "issuer-busy": "the issuer said to come back later" =>
        "wait: it is asked again when its time is over";
    "issuer-content-type-invalid": "the issuer's answer is not JSON" =>
        "check token_url: is it the token endpoint, and no page?";
    "issuer-expiry-invalid": "the life of the token cannot be read, or is over already" =>
        "ask whoever keeps the issuer; check this machine's clock";
    "issuer-issued-token-type-invalid": "the issuer exchanged the token for one of another type" =>
        "check `requested_token_type`";
    "issuer-json-invalid": "the issuer's answer is not JSON with one reading" =>
        "check token_url; ask whoever keeps the issuer";
    "issuer-keys-invalid": "the issuer publishes no usable keys" =>
        "open its `jwks_uri`; without `openid` in `scope` there is no ID token";
    "issuer-redirect": "the issuer sends elsewhere, and secrets do not follow" =>
        "name the place that it sends to in token_url";
    "issuer-refused-access-denied": "the issuer, or the person, denied it" =>
        "log in as somebody who may, or let the client be allowed it";
    "issuer-refused-authorization-pending": "the person has not yet allowed the login" =>
        "open the page that `valetkey login` names";
    "issuer-refused-expired-token": "the code of the login has expired" =>
        "begin anew: `valetkey login CREDENTIAL`";
    "issuer-refused-invalid-client": "the issuer does not take the client's identity" =>
        "check client_id, client_secret or key, and how it is sent (`client_auth`)";
    "issuer-refused-invalid-dpop-proof": "the issuer does not take the proof of the key" =>
        "check this machine's clock";
    "issuer-refused-invalid-grant": "the issuer does not take the login, assertion or token that was sent" =>
        "log in anew, or check the assertion's claims, key and clock";
    "issuer-refused-invalid-request": "the issuer finds the request malformed" =>
        "check the parameters of the credential; `valetkey status` shows what the issuer says";
    "issuer-refused-invalid-scope": "the issuer does not give this scope" =>
        "correct `scope` of credential or route, or let the client be allowed it";
    "issuer-refused-invalid-target": "the issuer does not know this audience or resource" =>
        "correct `audience` or `resource`";
    "issuer-refused-server-error": "the issuer failed" =>
        "wait, and ask whoever keeps it";
    "issuer-refused-slow-down": "the issuer was asked too often" =>
        "wait: it is asked again, more slowly";
    "issuer-refused-temporarily-unavailable": "the issuer is not there for the moment" =>
        "wait, and ask whoever keeps it";
    "issuer-refused-unauthorized-client": "the client may not use this grant" =>
        "allow the grant for the client at the issuer";
    "issuer-refused-unsupported-grant-type": "the issuer does not know this grant" =>
        "use another grant, or check token_url";
    "issuer-refused-use-dpop-nonce": "the issuer wants a nonce, and refused the one it gave" =>
        "ask whoever keeps the issuer";
    "issuer-scope-invalid": "the scope that the issuer granted cannot be read" =>
        "ask whoever keeps the issuer";
    "issuer-scope-widened": "the issuer granted more than was asked for, and that is not used" =>
        "ask whoever keeps the issuer; name the scope in the credential if it is meant";
    "issuer-status-invalid": "the issuer answered with a status that means nothing here" =>
        "check token_url; ask whoever keeps the issuer";
    "issuer-timeout": "the issuer did not answer in time" =>
        "check token_url and the network";
    "issuer-token-type-invalid": "the token is not of the type that was asked for" =>
        "check `dpop_bound_access_tokens`, and what the client is registered for";
    "name-unresolved": "a name of the config has no address here" =>
        "check the name, and this machine's resolver";
    "revoke-failed": "a test token was minted, and could not be revoked" =>
        "check `revocation_url`, and that this client may revoke; unused, the token ends by itself";
    "timed-out": "nothing answered in time" =>
        "a firewall may drop it: a proxy above belongs in `upstream.parent`";
    "tls-invalid": "the certificate or TLS of the other side is not acceptable" =>
        "a private CA belongs in `upstream.extra_roots`; else look at the certificate's name and end, and at the clock";
    "url-unusable": "a URL of the config cannot be asked" =>
        "it must be https, or http to a loopback address";
}
