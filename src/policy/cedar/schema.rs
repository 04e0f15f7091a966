//! The Cedar schema that policies are validated by.

/// Methods that only read (RFC 9110 section 9.2.1, without TRACE, which is never let pass).
pub(super) const READ: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The others that are registered (IANA HTTP Method Registry). What is not is `write` as well.
pub(super) const WRITE: [&str; 34] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// What there is to say a policy about: the same for every config, and so is a policy's validity
/// but for the routes and credentials that it names.
pub(in crate::policy) fn schema() -> String {
    text(&READ, &WRITE)
}

/// The same with only these methods beside the most common: all have one type, and each would be
/// tried with every policy. With all of them where one of these is none.
pub(super) fn schema_of(named: &[&str]) -> String {
    let groups = ["read", "write"];
    let is_known =
        |name: &&str| [&READ[..], &WRITE, &groups].iter().any(|list| list.contains(name));
    if !named.iter().all(is_known) {
        return schema();
    }
    let some = |list: &[&'static str], first: &'static str| {
        let wanted = |name: &&'static str| *name == first || named.contains(name);
        list.iter().copied().filter(wanted).collect::<Vec<_>>()
    };
    text(&some(&READ, "GET"), &some(&WRITE, "POST"))
}

fn text(read: &[&str], write: &[&str]) -> String {
    let list = |methods: &[&str]| {
        methods.iter().map(|method| format!("\"{method}\"")).collect::<Vec<_>>().join(", ")
    };
    format!(
        r#"namespace Valetkey {{
  // A login name, or "uid:N" of a user without one.
  entity User;
  // A session by its name, as `valetkey session list` shows it.
  entity Session;
  entity Workload;
  // A credential of the config, by its name.
  entity Credential;

  // Who asks: "session:NAME", "uid:N" or "anyone".
  entity Client in [User, Session, Workload] = {{
    user?: String,
    session?: String,
    uid?: Long,
    workload?: String,
  }};

  // A route of the config, by its name, in the credential whose token it puts in.
  entity Route in [Credential] = {{
    // Of the request, in lower case.
    host: String,
    port: Long,
    // Whether its credential is a static key.
    standing: Bool,
  }};

  type Request = {{
    // As routes match it: escapes decoded but those of "/" and "%", without the query, and without a slash at its end.
    path: String,
    method: String,
    // The client's program, its words and its parent's program, where it is a process of this machine.
    exe?: String,
    command?: String,
    parent?: String,
    // The directory that the session was opened in, and what for.
    project?: String,
    reason?: String,
    // Seconds since the session was opened. Of a client without a session: as many as there are.
    session_age: Long,
    // UTC; Monday is 1, Sunday is 7.
    hour: Long,
    weekday: Long,
  }};

  action read, write;
  action {}
    in [read] appliesTo {{ principal: Client, resource: Route, context: Request }};
  action {}
    in [write] appliesTo {{ principal: Client, resource: Route, context: Request }};
}}
"#,
        list(read),
        list(write)
    )
}
