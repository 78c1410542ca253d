//! The hooks of proto/CONFORMANCE.md: what `turnbuckle plugin conform` calls.

mod pluginserver;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Map, Value};
use sha2::{Digest, Sha256};

use pluginserver::pb::{Field, Needs, Phase, Session};
use pluginserver::{needs, text, End, Exchange, Plugin};

/// What the observer has seen: request ids of records, types of events.
type Seen = Arc<Mutex<[Vec<String>; 2]>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let seen = Seen::default();
    let (one, two, three) = (seen.clone(), seen.clone(), seen);
    let all = Needs { fields: needs::DEFAULT | needs::BODY | needs::RESPONSE_BODY | needs::PEER, ..Default::default() };
    let narrow = Needs { fields: needs::HEADERS, header_names: vec!["X-One".into()], body_limit: 1024 };
    let plugin = Plugin::new("conformance", "1.0.0")
        .hook_with("Conform", Phase::Unspecified, all, move |x| {
            let seen = one.clone();
            Box::pin(async move { conform(x, &seen).await })
        })
        .hook_with("ConformNarrow", Phase::Pre, narrow, move |x| {
            let seen = two.clone();
            Box::pin(async move { conform(x, &seen).await })
        })
        .hook("ConformPick", Phase::Post, needs::DEFAULT, |x| {
            x.request.headers.set("X-Picked", "post");
            Ok(())
        })
        .hook("ConformPick", Phase::Unspecified, needs::DEFAULT, |x| {
            x.request.headers.set("X-Picked", "any");
            Ok(())
        })
        .observer("ConformWatch", move |records, events| {
            let mut seen = three.lock().expect("nobody panics with it");
            seen[0].extend(records.iter().map(|r| r.request_id.clone()));
            seen[1].extend(events.iter().map(|e| e.r#type.clone()));
            for list in seen.iter_mut() {
                let more = list.len().saturating_sub(100);
                list.drain(..more);
            }
        });
    pluginserver::serve(plugin).await
}

async fn conform(x: &mut Exchange, seen: &Seen) -> Result<(), End> {
    let config = x.config()?;
    for step in config["steps"].as_array().into_iter().flatten() {
        match word(step, "do") {
            "sleep" => tokio::time::sleep(Duration::from_millis(step["ms"].as_u64().unwrap_or(0))).await,
            "report" => report(x, step, &config["note"], seen)?,
            _ => run(x, step)?,
        }
    }
    Ok(())
}

fn word<'a>(step: &'a Value, name: &str) -> &'a str {
    step[name].as_str().unwrap_or("")
}

fn value(step: &Value) -> Result<Vec<u8>, End> {
    match step["value64"].as_str() {
        Some(encoded) => Ok(BASE64_STANDARD.decode(encoded)?),
        None => Ok(word(step, "value").into()),
    }
}

fn lines(step: &Value) -> Vec<(String, String)> {
    let line = |l: &Value| (l[0].as_str().unwrap_or("").to_string(), l[1].as_str().unwrap_or("").to_string());
    step["headers"].as_array().into_iter().flatten().map(line).collect()
}

fn run(x: &mut Exchange, s: &Value) -> Result<(), End> {
    let response = word(s, "of") == "response";
    let headers = if response { &mut x.response.headers } else { &mut x.request.headers };
    let (name, status) = (word(s, "name"), s["status"].as_i64().unwrap_or(0) as i32);
    match word(s, "do") {
        "set_header" => headers.set(name, value(s)?),
        "add_header" => headers.add(name, value(s)?),
        "del_header" => headers.remove(name),
        "set_method" => x.request.set_method(word(s, "value")),
        "set_path" => x.request.set_path(word(s, "value")),
        "set_query" => x.request.query.set_raw(word(s, "value")),
        "set_param" => x.request.query.set(name, word(s, "value")),
        "add_param" => x.request.query.add(name, word(s, "value")),
        "del_param" => x.request.query.remove(name),
        "set_body" => {
            let body = value(s)?.repeat(s["repeat"].as_u64().unwrap_or(1) as usize);
            if response {
                x.response.set_body(body);
            } else {
                x.request.set_body(body);
            }
        }
        "set_status" => x.response.set_status(status),
        "answer" => {
            let answer = x.answer(status, value(s)?);
            lines(s).iter().for_each(|(name, value)| answer.headers.add(name, value));
        }
        "refuse" => return Err(End::Refused { status, message: word(s, "message").into(), headers: lines(s) }),
        _ => return state(x, s),
    }
    Ok(())
}

/// The steps that concern more than the messages.
fn state(x: &mut Exchange, s: &Value) -> Result<(), End> {
    let name = word(s, "name");
    match word(s, "do") {
        "authenticate" => x.authenticate(word(s, "key"), word(s, "alias")),
        "set_session" => x.set_session(Some(session(&s["session"]))),
        "clear_session" => x.set_session(None),
        "set_value" => x.set_value(name, Some(value(s)?)),
        "del_value" => x.set_value(name, None),
        "log" => {
            let level = [("debug", -4), ("warn", 4), ("error", 8)].iter().find(|l| l.0 == word(s, "level")).map_or(0, |l| l.1);
            x.log(level, word(s, "message"));
        }
        "count" => x.count(name, s["delta"].as_i64().unwrap_or(0)),
        "fail" => return Err(std::io::Error::other(word(s, "message")).into()),
        "crash" => panic!("{}", word(s, "message")),
        other => return Err(std::io::Error::other(format!("unknown step {other:?}")).into()),
    }
    Ok(())
}

fn session(s: &Value) -> Session {
    Session {
        key_id: word(s, "key_id").into(),
        alias: word(s, "alias").into(),
        org_id: word(s, "org_id").into(),
        rate: s["rate"].as_f64().unwrap_or(0.0),
        quota_max: s["quota_max"].as_i64().unwrap_or(0),
        tags: s["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect(),
        metadata: s["metadata"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").into())).collect(),
        ..Default::default()
    }
}

fn report(x: &mut Exchange, step: &Value, note: &Value, seen: &Seen) -> Result<(), End> {
    let encoded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let headers = |lines: &[Field]| lines.iter().map(|l| json!([l.name, encoded(&l.value)])).collect::<Value>();
    let (client, port) = x.call.client.rsplit_once(':').unwrap_or(("", "0"));
    let mut values = Map::new();
    for name in step["values"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        values.insert(name.into(), json!(x.value(name).map(encoded)));
    }
    let who = x.session().map(|s| {
        json!({"key_id": s.key_id, "alias": s.alias, "org_id": s.org_id, "rate": s.rate, "quota_max": s.quota_max, "tags": s.tags, "metadata": s.metadata})
    });
    let reply = (x.response.status() != 0).then(
        || json!({"status": x.response.status(), "headers": headers(x.response.headers.lines()), "body": x.response.body().map(encoded)}),
    );
    let observed = seen.lock().expect("nobody panics with it");
    let report = json!({
        "phase": x.phase.as_str_name().trim_start_matches("PHASE_").to_lowercase(), "method": x.request.method(), "path": x.request.path(),
        "query": x.request.query.raw(), "uri": x.uri(), "scheme": text(&x.call.scheme), "host": text(&x.call.host), "proto": text(&x.call.proto),
        "client": client.trim_matches(['[', ']']), "client_port": port.parse::<u16>().unwrap_or(0), "request_id": x.call.request_id,
        "headers": headers(x.request.headers.lines()), "length": x.request.body().map_or(x.call.length, |b| b.len() as i64),
        "body": x.request.body().map(encoded), "param_q": x.request.query.all("q"), "note": note,
        "route": {"id": x.route.id, "name": x.route.name, "org": x.route.org, "listen_path": x.route.listen_path, "bundle": x.route.bundle},
        "trace": {"parent": x.call.traceparent, "state": x.call.tracestate}, "session": who, "values": values, "response": reply,
        "peer": x.call.peer_certificates.first().map(|der| Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect::<String>()),
        "observed": {"records": observed[0], "events": observed[1]},
    });
    drop(observed);
    x.answer(200, report.to_string()).headers.set("Content-Type", "application/json");
    Ok(())
}
