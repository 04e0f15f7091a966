//! `grant = "http"`: where it asks, what it sends, and that its templates name what is there.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, Method};
use serde_json::Value;

use super::Check;
use super::credentials::parse_endpoint;
use super::exec::pointer;
use crate::config::problem::Problems;
use crate::config::{Http, HttpBody, HttpCall, HttpTemplate, JsonTemplate, file};

/// Fields that the client sets itself, or that frame the message.
const OWN: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_> {
    pub(super) fn http(
        &self,
        table: file::HttpTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Http> {
        let mut secrets = BTreeMap::new();
        for (name, source) in table.secrets {
            if let Some(source) = self.secret(source, line, problems) {
                secrets.insert(name, source);
            }
        }
        let mut used = BTreeSet::new();
        let call = call(
            &table.url,
            table.method.as_deref(),
            table.headers,
            (table.json, table.form),
            &mut used,
        );
        let call = call.and_then(|call| match call.names_token() {
            true => Err(("bad-template", "`{token}` is there in `revoke` alone".to_owned())),
            false => Ok(call),
        });
        let revoke = table.revoke.map(|revoke| self::revoke(revoke, &mut used)).transpose();
        let mut tell = |(code, message): Wrong| {
            let hint = "`{secret.NAME}`, `{client_id}`, `{session}`, `{uid}`; in `revoke` `{token}`; `{{` is a brace. config/recipes/http.toml";
            problems.error(line, code, message, hint);
        };
        let (call, revoke) = (call.map_err(&mut tell), revoke.map_err(tell));
        // The name is not shown: it may be a secret that was written there.
        if !used.iter().all(|name| secrets.contains_key(name)) {
            let message = "a template names a secret that is not in `secrets`";
            problems.error(line, "unknown-secret", message, "secrets = { NAME = { env = \"…\" } }");
            return None;
        }
        for name in secrets.keys().filter(|name| !used.contains(*name)) {
            let message = format!("no template names the secret `{name}`");
            problems.warn(line, "unused-secret", message, "take it out, or write {secret.NAME}");
        }
        let error = match &table.error {
            Some(text) => Some(pointer("error", Some(text), "/error", line, problems)?),
            None => None,
        };
        Some(Http {
            call: call.ok()?,
            revoke: revoke.ok()?,
            secrets,
            client_id: table.client_id.unwrap_or_default(),
            token: pointer("token", table.token.as_deref(), "/access_token", line, problems)?,
            expires: pointer("expires", table.expires.as_deref(), "/expires_in", line, problems)?,
            error,
        })
    }
}

type Wrong = (&'static str, String);

/// Who asked for a token may be gone when it is to end.
fn revoke(table: file::HttpRevokeTable, used: &mut BTreeSet<String>) -> Result<HttpCall, Wrong> {
    let file::HttpRevokeTable { url, method, headers, json, form } = table;
    let call = call(&url, method.as_deref(), headers, (json, form), used)?;
    if !call.variables().is_empty() {
        return Err(("bad-template", "`revoke` cannot name the client".to_owned()));
    }
    match call.names_token() {
        true => Ok(call),
        false => {
            Err(("bad-template", "`revoke` does not say which `{token}` is to end".to_owned()))
        }
    }
}

fn call(
    url: &str,
    method: Option<&str>,
    headers: BTreeMap<String, String>,
    body: (Option<Value>, Option<BTreeMap<String, String>>),
    used: &mut BTreeSet<String>,
) -> Result<HttpCall, Wrong> {
    let url = parse_endpoint(url).map_err(|m| ("bad-endpoint", format!("`url` {m}")))?;
    let method = method.unwrap_or("POST");
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
    let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| known);
    let wrong = || ("bad-method", "`method` is one of GET, POST, PUT, PATCH and DELETE".to_owned());
    let method = method.ok_or_else(wrong)?;
    let mut read = |text: &str| {
        let template = HttpTemplate::parse(text).map_err(|message| ("bad-template", message))?;
        used.extend(template.secrets().map(str::to_owned));
        Ok::<_, Wrong>(template)
    };
    let mut fields = Vec::new();
    for (name, text) in headers {
        let field = HeaderName::from_bytes(name.as_bytes()).ok();
        let field = field.filter(|field| !OWN.contains(&field.as_str()));
        let wrong = || ("bad-header", format!("`headers` cannot set `{}`", name.escape_debug()));
        let visible = text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let field = field.filter(|_| visible).ok_or_else(wrong)?;
        fields.push((field, read(&text)?));
    }
    let body = match body {
        (Some(_), Some(_)) => {
            return Err(("bad-body", "`json` and `form` exclude each other".to_owned()));
        }
        (Some(json), None) => HttpBody::Json(json_template(json, &mut read)?),
        (None, Some(form)) => {
            let mut pairs = Vec::new();
            for (name, text) in form {
                pairs.push((name, read(&text)?));
            }
            HttpBody::Form(pairs)
        }
        (None, None) => HttpBody::None,
    };
    if method == Method::GET && body != HttpBody::None {
        return Err(("bad-body", "a GET has no body".to_owned()));
    }
    Ok(HttpCall { method, url, headers: fields, body })
}

fn json_template(
    value: Value,
    read: &mut impl FnMut(&str) -> Result<HttpTemplate, Wrong>,
) -> Result<JsonTemplate, Wrong> {
    Ok(match value {
        Value::String(text) => JsonTemplate::Text(read(&text)?),
        Value::Array(list) => {
            let list = list.into_iter().map(|value| json_template(value, read));
            JsonTemplate::Array(list.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let map = map.into_iter().map(|(k, v)| Ok::<_, Wrong>((k, json_template(v, read)?)));
            JsonTemplate::Object(map.collect::<Result<_, _>>()?)
        }
        plain => JsonTemplate::Plain(plain),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, load};

    fn config(keys: &str) -> String {
        format!(
            "config_version = 1\n[credentials.x]\ngrant = \"http\"\n{keys}\n[[routes]]\nname = \"x\"\nhost = \"api.x.example\"\ncredential = \"x\"\n"
        )
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_not_echoed() {
        let url = "url = \"https://idp.example/t\"";
        for (keys, code) in [
            ("url = \"http://idp.example/t\"".to_owned(), "bad-endpoint"),
            (format!("{url}\nmethod = \"TRACE\""), "bad-method"),
            (format!("{url}\nmethod = \"post\""), "bad-method"),
            (format!("{url}\nheaders = {{ host = \"a\" }}"), "bad-header"),
            (format!("{url}\nheaders = {{ x-a = \"a\\nb\" }}"), "bad-header"),
            (format!("{url}\nheaders = {{ x-a = \"{{hunter2}}\" }}"), "bad-template"),
            (format!("{url}\nform = {{ a = \"{{secret.hunter2}}\" }}"), "unknown-secret"),
            (format!("{url}\nform = {{ a = \"b\" }}\njson = {{ a = 1 }}"), "bad-body"),
            (format!("{url}\nmethod = \"GET\"\nform = {{ a = \"b\" }}"), "bad-body"),
            (format!("{url}\nform = {{ a = \"{{token}}\" }}"), "bad-template"),
            (format!("{url}\nrevoke = {{ {url}, form = {{ a = \"b\" }} }}"), "bad-template"),
            (
                format!("{url}\nrevoke = {{ {url}, form = {{ a = \"{{token}}{{uid}}\" }} }}"),
                "bad-template",
            ),
            (format!("{url}\nrevoke = {{ url = \"http://idp.example/r\" }}"), "bad-endpoint"),
            (format!("{url}\ntoken = \"a\""), "bad-pointer"),
            (format!("{url}\nsecrets = {{ a = \"hunter2\" }}"), "literal-secret"),
        ] {
            let text = config(&keys);
            assert!(
                codes(&text).iter().any(|(_, found)| *found == code),
                "{keys}: {:?}",
                codes(&text)
            );
            assert!(!format!("{:?}", load(&text).unwrap_err()).contains("hunter2"), "{keys}");
        }
        let good = format!(
            "{url}\nrevoke = {{ {url}, method = \"DELETE\", headers = {{ authorization = \"Bearer {{token}}\" }} }}\n\
             secrets = {{ k = {{ env = \"K\" }} }}\njson = {{ a = [1, true, \"{{secret.k}}\"] }}"
        );
        assert_eq!(load(&config(&good)).unwrap().secret_variables(), ["K"]);
    }
}
