//! Codes of the commands themselves, of the daemon they talk to, and of places on this machine.

use super::{Code, codes};

codes! { COMMANDS: "the command line's, or this machine's";
    "bad-time": "a time of `--since` or `--until` cannot be read" =>
        "write it as people do: `20:00`, `yesterday`, `2h ago`, or as in RFC 3339";
    "bench-broken-off": "the bench was broken off in the middle" =>
        "run it again; where it stays so, report it with what it said";
    "bench-refused": "the proxy refused the request that was to be measured" =>
        "`valetkey explain GET URL` says why";
    "bench-remote": "the URL to measure is not on this machine, and its API would get many requests" =>
        "say `--yes-remote` where that is welcome; without URL an API of our own is measured";
    "bench-unreachable": "the API to measure does not answer without the proxy, and the bench compares with that" =>
        "make it reachable directly, over TLS that this machine's roots or `upstream.extra_roots` verify";
    "bench-url": "this is no URL that can be measured" =>
        "write it whole, as in https://api.example.com/v1/orders";
    "code-unknown": "there is no such code" =>
        "`valetkey explain --codes` lists all of them";
    "child-lost": "the command ran, but how it ended cannot be learnt from the system" =>
        "nothing: what it did is done";
    "command-missing": "`run` was given no command" =>
        "write it behind two dashes: `valetkey run -- CMD`";
    "command-not-executable": "the command is there and cannot be executed; `run` ends with 126" =>
        "check its permissions; a script needs `#!` and its interpreter on the first line";
    "command-not-found": "there is no such command; `run` ends with 127" =>
        "check its name and PATH; for a script, also the interpreter in its first line";
    "config-exists": "`init` found a config in that place and left it as it is" =>
        "edit that one, or name another place with `--path`";
    "config-home-missing": "neither `XDG_CONFIG_HOME` nor `HOME` says where `init` should put the config" =>
        "name the place: `valetkey init --path valetkey.toml`";
    "config-unwritable": "the config cannot be written there" =>
        "check the directory's permissions, or name another place with `--path`";
    "credential-not-in-file": "`credential rotate` writes files, and this secret is none" =>
        "change the secret where it is kept; a reload or the end of `ttl` takes it up";
    "demo-broken": "the demo could not set up what it shows" =>
        "it needs loopback and a temporary directory that can be written (TMPDIR)";
    "env-not-set": "this shell has no variables of `valetkey env`" =>
        "nothing to do; `valetkey session list` shows what is open";
    "explain-as": "`explain --as` was given something that it does not know" =>
        "keys are user, uid, session, exe, command, parent, project, reason, session_age, hour and weekday, as in user=ann,exe=/usr/bin/curl";
    "explain-incomplete": "`explain` was given half of what it takes" =>
        "give a method and a URL, as in `valetkey explain GET https://api.example.com/v1/orders`, or a code";
    "java-trust-store-replaced": "JAVA_TOOL_OPTIONS names a trust store, and ours takes its place" =>
        "export its certificates as PEM and name the file in SSL_CERT_FILE";
    "containers-not-reached": "the command starts containers: they cannot reach a proxy on loopback, and may be handed this session's secret" =>
        "give them a proxy of their own (config/container/README.md), and keep this one out of them";
    "host-by-address": "a kubeconfig names its server by an address, and routes take names" =>
        "set `server` to a name of the API server's certificate, and pin it in upstream.resolve";
    "key-in-environment": "a variable holds what looks like a real key; the tool gets a placeholder instead" =>
        "take the key out of the environment, and revoke it if it was at large";
    "log-unreadable": "the daemon's log cannot be read" =>
        "a daemon that `run` and `env` start writes one; `serve` says it in its terminal";
    "method-invalid": "this is no HTTP method" =>
        "as in `valetkey explain GET https://api.example.com/v1/orders`";
    "no-proxy-covers-route": "NO_PROXY would lead the tool past the proxy to a routed host; the entries were dropped" =>
        "take them out of NO_PROXY";
    "nothing-came": "the tool failed, and no request of it came to the proxy" =>
        "the warning says why that may be: a tool with a proxy setting of its own, a sandbox, another machine";
    "output-invalid": "what was to be printed cannot be written as JSON" =>
        "this is a mistake of ours: please report it";
    "output-unwritable": "stdout or the file to write to takes nothing" =>
        "check where it goes: is the disk full, is the directory there?";
    "path-invalid": "the path to take trust from cannot be read" =>
        "name the config as `valetkey trust --list` shows it";
    "secret-in-shell": "tools started in this shell can read a secret that only the daemon needs" =>
        "unset it here once the daemon runs, or keep it in a file: secret = { file = … }";
    "session-still-open": "a session of this shell could not be ended" =>
        "end it by name: the hint has the command";
    "signals-unavailable": "the system delivers no signals to this process" =>
        "try again; check `ulimit -a`";
    "stdin-unreadable": "stdin was to hold the secret or token, and cannot be read" =>
        "pipe it in, as the hint shows";
    "trust-io": "the trust bundles for tools cannot be written" =>
        "check that the disk has room and that the state directory is yours";
    "unknown-session": "no session has this name" =>
        "`valetkey session list` shows those that are open";
    "unknown-user": "nobody is known here by that name; it is revoked all the same" =>
        "correct a slip by `valetkey revoke --user NAME --undo`";
    "upstream-proxy-ignored": "a variable names a proxy that the running daemon does not go through" =>
        "name it in `upstream.parent`, or type `valetkey restart` here: a daemon takes the proxy of its own start";
    "url-invalid": "this is no URL with a host" =>
        "as in `valetkey explain GET https://api.example.com/v1/orders`";
    "usage": "the command line has an unknown word, or lacks one" =>
        "`valetkey --help` lists the commands, and each explains itself by `--help`";
}

codes! { DAEMON: "the daemon's, or this machine's";
    "adapter-parent": "the config has a parent proxy, and in another proxy the adapter cannot go through one" =>
        "take `upstream.parent` out, or let the other proxy go there";
    "admin-socket-occupied": "something lies where the admin socket should be" =>
        "look who put it there, and remove it";
    "admin-socket-unavailable": "the admin socket cannot be made" =>
        "check the directory and its permissions, or name another in `admin.socket`";
    "caller-unknown": "the process that asks the daemon has ended, or cannot be seen from it" =>
        "type it in a shell beside the daemon, in the same PID namespace";
    "config-not-reloaded": "the daemon runs another config and did not take this one up" =>
        "mend what it says; `valetkey check` lists all problems";
    "daemon-absent": "no daemon of this config runs" =>
        "`valetkey serve` starts one in the foreground, `run` and `env` in the background";
    "daemon-answer-invalid": "the daemon's answer cannot be read" =>
        "is the daemon of another version? stop it and try again";
    "daemon-answer-refused": "what the daemon answered is not believed, so tools get nothing of it" =>
        "is the daemon of another version? stop it and try again";
    "daemon-broke-off": "the daemon closed the connection before its answer" =>
        "try again; its log may say why";
    "daemon-elsewhere": "a daemon of this config runs, but nobody answers at its socket" =>
        "the hint names its process: end it, and keep its state where nobody else may write";
    "daemon-foreign": "another user answers at the admin socket" =>
        "look who put it there, and remove it; a state directory belongs to its user alone";
    "daemon-not-started": "the daemon could not be started, or did not come up" =>
        "its log says why: `valetkey logs`";
    "daemon-not-stopped": "the daemon is still busy with what was under way" =>
        "say it again: then it cuts that";
    "daemon-of-another-config": "another config's daemon answers there, and nothing was done" =>
        "name the config that is meant with `--config`; `valetkey ps` lists all";
    "daemon-refused": "the daemon said no without a code" =>
        "is the daemon of another version? stop it and try again";
    "daemon-running": "a daemon runs for this config already" =>
        "`valetkey status` shows it; `valetkey restart` starts it anew, `valetkey stop` ends it";
    "daemon-still-runs": "trust was taken back, and a daemon goes on with what it has read" =>
        "end it: `valetkey stop`";
    "daemon-stopping": "the daemon is about to end and begins nothing new" =>
        "try again when it has ended";
    "daemon-timeout": "the daemon did not answer in time" =>
        "its log may say why: `valetkey logs`";
    "daemon-unreachable": "the admin socket cannot be used" =>
        "it must belong to you: check the permissions of the state directory";
    "foreign-origin": "a page of another origin asked for the metrics" =>
        "ask for the address itself, or for localhost";
    "inside-session": "a tool of a session asked for what only its user may do" =>
        "type it in a shell that `run` did not start";
    "invalid-admin-call": "the daemon cannot read what the command asks" =>
        "daemon and command differ in version: `valetkey restart`";
    "listen-failed": "an address or socket cannot be listened on" =>
        "name an address of this machine, or a path that can be written, in `proxy.listen`";
    "method-not-allowed": "the metrics address takes nothing but GET" =>
        "GET /metrics, /healthz or /readyz";
    "no-proxy-address": "the daemon listens on unix sockets only, and proxy variables name an address" =>
        "name an address in `proxy.listen` as well";
    "not-revoked": "this is not revoked, so there is nothing to take back" =>
        "`valetkey status` lists what is revoked";
    "port-in-use": "another program listens on the port" =>
        "stop it, name another port in `proxy.listen`, or none: then a free one is taken";
    "port-of-another-config": "another config of yours names the same port" =>
        "give one of them another port, or none";
    "port-shared": "another program has the port of the other address family, and could take connections meant for us" =>
        "stop it (`ss -ltnp` shows it), or name another port or single addresses";
    "port-taken": "the port of last time is taken, so the daemon has another" =>
        "shells that evaluated `valetkey env` before hold the old one: evaluate it there again";
    "restart-needed": "the running daemon takes a change of the config up only when it starts" =>
        "type: `valetkey restart`";
    "revocation-not-saved": "a revocation holds now, and would end with this daemon: it could not be written down" =>
        "make room in the state directory or mend its permissions, and say it again";
    "revoked-unreadable": "the list of what was revoked cannot be read, so nobody is let in" =>
        "put the file back as it was; without it, everything that was revoked is let in again";
    "runtime-unavailable": "the system refused a thread, an event queue or signals" =>
        "check `ulimit -a`";
    "session-end-not-saved": "a session has ended in this daemon, and the next one would have it again" =>
        "make room in the state directory or mend its permissions, and end it again";
    "sessions-elsewhere": "open sessions were given another address than the daemon has now" =>
        "evaluate `valetkey env` in their shells again";
    "socket-in-use": "another program listens on that unix socket" =>
        "stop it, or name another path in `proxy.listen`";
    "text-too-long": "a user, a reason or a directory of a session is longer than it may be" =>
        "say it in fewer words";
    "too-many-revoked": "as many revocations are in force as can be kept" =>
        "take old ones back (`--undo`), or revoke everything: `valetkey revoke --all`";
    "too-many-sessions": "as many sessions are open as can be" =>
        "`valetkey session list` shows them: end some";
    "unknown-admin-call": "a daemon of an older version does not know what the command asks" =>
        "`valetkey restart` starts the one of this version";
    "unknown-path": "the metrics address has nothing by that path" =>
        "ask for /metrics, /healthz or /readyz";
}

codes! { PLACES: "of who made the file or directory";
    "place-absent": "there is nothing at a path that is needed" =>
        "check the path";
    "place-exposed": "other users could put something else in the place of a file" =>
        "take write access away from them, the directories above included, or choose another place";
    "place-foreign": "a file belongs to another user" =>
        "chown it where it is yours (a backup that root restored), or choose another place";
    "place-loose": "others have access to what only we may read" =>
        "`chmod go-rwx` it; a file system without permissions is no place for it";
    "place-not-plain": "something else lies where a plain file or directory should be" =>
        "look who put it there, and remove it";
    "place-too-large": "a file is larger than any of its kind" =>
        "check that it is the right file";
    "place-unusable": "the system refuses a file or directory" =>
        "check the path, its permissions and the disk";
    "state-dir-exposed": "other users could put something else in the place of the state directory" =>
        "set VALETKEY_STATE_DIR to a directory that only you can change, those above it included";
    "state-dir-missing": "nothing says where state goes" =>
        "set HOME, or VALETKEY_STATE_DIR to a directory of your own";
    "state-dir-unsafe": "the state directory must be ours alone (mode 0700)" =>
        "mend its owner and mode, or set VALETKEY_STATE_DIR";
    "state-dir-unwritable": "the state directory cannot be made or written" =>
        "check its permissions and the disk, or set VALETKEY_STATE_DIR";
    "uid-unmapped": "this user namespace does not know our own user, so nobody can be told from it" =>
        "run it as a user that the namespace maps: another one than the overflow uid";
}
