//! Codes of what is kept on this machine: the audit and the local CA.

use super::{Code, codes};

codes! { AUDIT: "this machine's, or of who changed the audit";
    "audit-checkpoint-too-old": "the record that a checkpoint names is no longer kept" =>
        "give a newer one: `keep` and `max_size` of [audit] say how much is kept";
    "audit-damaged": "the end of the audit holds lines that are not what was written" =>
        "`valetkey audit verify` names them; find out who can write to the state directory";
    "audit-empty": "there is no record to name yet" =>
        "start the daemon first: `valetkey run -- true`";
    "audit-file-changed": "the audit's file was changed under the daemon, which went on in it" =>
        "`valetkey audit verify` says what is wrong; find out who can write there";
    "audit-file-replaced": "another file lies where the audit was, and the daemon went on in it" =>
        "rotate by `max_size` of [audit], not by moving the file; find out who moved it";
    "audit-head-invalid": "the audit's head is not signed by our key, so records may be missing at the end" =>
        "head or key were changed; the next start of the daemon notes this for good";
    "audit-head-missing": "the audit had a head, and it is gone" =>
        "find out who removed it; the next start of the daemon notes this for good";
    "audit-index-invalid": "the index beside the key is not signed by it" =>
        "index or key were changed; the next start of the daemon notes this for good";
    "audit-key-missing": "without audit.key the end of the audit cannot be checked" =>
        "give the state directory that holds it";
    "audit-key-unreadable": "the audit's key cannot be read or made" =>
        "check owner, permissions and free space of the state directory";
    "audit-key-unsafe": "others can read the audit's key, or it is none" =>
        "make it a file of 32 bytes with mode 0600 that this user owns";
    "audit-locked": "another process writes this audit" =>
        "one daemon serves a state directory: stop the other, or set VALETKEY_STATE_DIR";
    "audit-not-intact": "the audit is not as it was written" =>
        "`valetkey audit verify` says what is wrong with it";
    "audit-record-changed": "a record is not what was written" =>
        "look for a backup, and find out who can write to the state directory";
    "audit-record-misplaced": "a record stands in another place than it was written to" =>
        "look for a backup, and find out who can write to the state directory";
    "audit-record-missing": "records are missing in the middle of the audit" =>
        "look for a backup, and find out who can write to the state directory";
    "audit-resumed": "the audit can be written again; the record says how many were lost" =>
        "find out why it could not: the disk, most often";
    "audit-rewritten": "a record is not the one that head, index or checkpoint name: it was written anew" =>
        "look for a backup, and find out who can write to the state directory";
    "audit-rotation-failed": "the audit could not be rotated, and grows" =>
        "check disk and permissions of the state directory";
    "audit-tail-missing": "records are missing at the end of the audit" =>
        "look for a backup; the chain goes on behind the gap, and `verify` will always name it";
    "audit-torn-tail": "the last line was cut off, as by a crash, and was dropped" =>
        "nothing, where the machine had gone down";
    "audit-unflushed": "the audit's head, index or file could not be written to the disk" =>
        "check disk and permissions of the state directory";
    "audit-unreadable": "the audit cannot be opened or read" =>
        "check owner, permissions and free space of the state directory; it must be a regular file";
    "audit-unwritable": "something was done that is not in the audit" =>
        "free space on the disk or make the state directory writable";
    "bad-checkpoint": "this is no line of `audit checkpoint`" =>
        "give it whole, as it was printed";
}

codes! { CA: "this machine's";
    "ca-absent": "there is no local CA yet" =>
        "`valetkey init`, `run` and `serve` create it";
    "ca-corrupt": "the local CA is damaged" =>
        "restore its directory from a copy, or remove it to begin anew (clients then have to trust the new root)";
    "ca-crypto": "the crypto library failed" =>
        "this is a bug: please report it";
    "ca-expired": "the local CA has expired" =>
        "`valetkey ca rotate`, or `valetkey restart`";
    "ca-file-skipped": "a CA file that your environment names was left out of the bundle for tools" =>
        "tools behind the proxy will not trust what it holds: check the file";
    "ca-gone": "the files of the local CA have gone away under the daemon" =>
        "restore them from a copy, or `valetkey restart` to begin anew";
    "ca-io": "the system refused a file of the local CA" =>
        "check that the disk has room and that the directory is ours";
    "ca-name": "a certificate cannot carry this name" =>
        "routes and `ca.permit` take DNS names, not addresses or patterns";
    "ca-not-plain": "a link or something else lies where a file of the local CA should be" =>
        "put a real directory with plain files there";
    "ca-not-yet-valid": "the machine's clock stands before the CA's beginning" =>
        "set the clock, or `valetkey ca rotate`";
    "ca-out-of-scope": "the local CA may not sign for this host" =>
        "name the host in a route, or its domain in `ca.permit`";
    "ca-owner": "the local CA belongs to another user" =>
        "run valetkey as the owner, or give it a state directory of its own";
    "ca-permissions": "others have access to the local CA" =>
        "chmod 700 the directory and 600 the key; where others could read it: `valetkey ca rotate --compromised`";
    "ca-profile": "a certificate profile does not parse" =>
        "this is a bug: please report it";
    "ca-sign": "a certificate could not be signed" =>
        "this is a bug: please report it";
    "ca-tls": "the TLS library does not take the local CA" =>
        "this is a bug: please report it";
}
