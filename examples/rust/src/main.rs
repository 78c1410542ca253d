//! A plugin with hooks in four phases, and an observer.

mod pluginserver;

use std::time::Duration;

use pluginserver::pb::{Needs, Phase, Session};
use pluginserver::{needs, serve, text, End, Exchange, Plugin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    serve(plugin()).await
}

/// Lists the hooks. plugin.yaml says the same to the gateway.
fn plugin() -> Plugin {
    let headers = Needs { fields: needs::HEADERS, ..Default::default() };
    let key = Needs { fields: needs::HEADERS, header_names: vec!["Authorization".into()], body_limit: 0 };
    Plugin::new("gatekeeper-rust", "1.0.0")
        .config_schema(
            r#"{"type": "object", "additionalProperties": false, "properties": {"keys": {"type": "object", "additionalProperties": {"type": "string"}}}}"#,
        )
        .hook_with("Welcome", Phase::Pre, headers, |x| Box::pin(welcome(x)))
        .hook_with("CheckKey", Phase::Auth, key, |x| Box::pin(async move { check_key(x) }))
        .hook("Tell", Phase::Post, needs::HEADERS | needs::QUERY | needs::SESSION | needs::BODY, tell)
        .hook("Sign", Phase::Response, needs::RESPONSE_HEADERS | needs::RESPONSE_BODY, sign)
        .observer("Watch", |records, events| {
            for r in records {
                println!("record {} {} {} {}", text(&r.method), text(&r.path), r.status, r.alias);
            }
            for e in events {
                println!("event {} {}", e.r#type, e.route);
            }
        })
}

/// Sets a header, waits or answers when it is asked to. A hook that waits holds no other call.
async fn welcome(x: &mut Exchange) -> Result<(), End> {
    let greeting = format!("hello {}", text(&x.call.host));
    x.request.headers.set("X-Greeting", greeting);
    x.request.headers.remove("X-Remove");
    x.count("welcomed", 1);
    if let Some(wait) = x.request.headers.get("X-Wait") {
        tokio::time::sleep(Duration::from_millis(wait.parse()?)).await;
    }
    if x.request.path().ends_with("/teapot") {
        let answer = x.answer(418, "short and stout\n");
        answer.headers.set("Content-Type", "text/x-tea");
        answer.headers.add("X-Pot", "1");
        answer.headers.add("X-Pot", "2");
    }
    if x.request.path().ends_with("/broken") {
        return Err(std::io::Error::other("out of order").into()); // a panic comes to the same
    }
    Ok(())
}

/// Knows the keys of the route's configuration.
fn check_key(x: &mut Exchange) -> Result<(), End> {
    let Some(key) = x.request.headers.get("Authorization") else { return Ok(()) }; // nobody: the gateway refuses
    let config = x.config()?;
    let Some(alias) = config["keys"][&key].as_str() else {
        return Err(End::Refused { status: 403, message: "unknown key".into(), headers: vec![("X-Reason".into(), "key".into())] });
    };
    let metadata = [("plan".to_string(), "gold".to_string())].into();
    x.set_session(Some(Session { key_id: key, alias: alias.into(), metadata, ..Default::default() }));
    Ok(())
}

/// Tells the upstream who calls, and changes what it is asked to.
fn tell(x: &mut Exchange) -> Result<(), End> {
    let who = x.session().cloned().unwrap_or_default();
    let request = &mut x.request;
    request.headers.set("X-Alias", &who.alias);
    request.headers.set("X-Plan", who.metadata.get("plan").map_or("", String::as_str));
    request.headers.add("X-Many", "3");
    if request.path().contains("/old/") {
        let path = request.path().replace("/old/", "/new/");
        request.set_path(&path);
        request.query.set("b", "2");
    }
    if request.headers.get("X-Edit").as_deref() == Some("append") {
        let body = [request.body().unwrap_or_default(), b"+rust"].concat();
        request.set_body(body);
    }
    Ok(())
}

/// Changes header, status and body of the reply.
fn sign(x: &mut Exchange) -> Result<(), End> {
    let reply = &mut x.response;
    reply.headers.set("X-Signed", "one");
    reply.headers.add("X-Signed", "two");
    reply.headers.remove("X-Internal");
    if reply.headers.get("Content-Type").as_deref() == Some("text/plain") {
        let body = [reply.body().unwrap_or_default(), b"signed\n"].concat();
        reply.set_body(body);
    }
    if x.request.method() == "PUT" {
        reply.set_status(201);
    }
    Ok(())
}

/// What the hooks do, with no gateway.
#[cfg(test)]
mod tests {
    use super::pluginserver::pb::{Call, Field, Response};
    use super::*;

    fn call(method: &str, path: &str, headers: &[(&str, &str)]) -> Call {
        let headers = headers.iter().map(|(name, value)| Field { name: name.to_string(), value: (*value).into() }).collect();
        Call { id: 1, method: method.into(), path: path.into(), host: "example.test".into(), headers, ..Default::default() }
    }

    #[tokio::test]
    async fn welcome_greets_and_answers_teapots() {
        let run = plugin().run("Welcome", Phase::Pre, "", call("GET", "/native/x", &[("X-Remove", "me")])).await;
        let headers = &run.exchange.request.headers;
        assert_eq!((headers.get("X-Greeting").as_deref(), headers.get("X-Remove")), (Some("hello example.test"), None));
        let run = plugin().run("Welcome", Phase::Pre, "", call("GET", "/native/teapot", &[])).await;
        assert_eq!((run.exchange.answered(), run.exchange.response.status()), (true, 418));
    }

    #[tokio::test]
    async fn check_key_knows_the_keys_of_its_configuration() {
        let config = r#"{"keys": {"sesame": "ali"}}"#;
        let run = plugin().run("CheckKey", Phase::Auth, config, call("GET", "/", &[("Authorization", "sesame")])).await;
        assert_eq!(run.exchange.session().map(|s| s.alias.as_str()), Some("ali"));
        let run = plugin().run("CheckKey", Phase::Auth, config, call("GET", "/", &[("Authorization", "guess")])).await;
        assert!(matches!(run.end, Some(End::Refused { status: 403, .. })), "{:?}", run.end);
    }

    #[tokio::test]
    async fn sign_signs_text() {
        let headers = vec![Field { name: "Content-Type".into(), value: "text/plain".into() }];
        let reply = Response { status: 200, headers, body: Some("plain\n".into()), length: 6 };
        let run = plugin().run("Sign", Phase::Response, "", Call { response: Some(reply), ..call("PUT", "/", &[]) }).await;
        assert_eq!((run.exchange.response.status(), run.exchange.response.body()), (201, Some(&b"plain\nsigned\n"[..])));
    }
}
