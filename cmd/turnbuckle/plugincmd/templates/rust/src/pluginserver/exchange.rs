use std::collections::HashMap;

use super::headers::{is_token, Headers};
use super::pb::{Call, Counter, Effects, LogLine, Phase, Response as Reply, Route, Session, Value};
use super::query::Query;
use super::{clip, text};

/// The bits of HookOutcome.changed.
mod changed {
    pub const METHOD: u32 = 1;
    pub const PATH: u32 = 2;
    pub const QUERY: u32 = 4;
    pub const HEADER: u32 = 8;
    pub const BODY: u32 = 16;
    pub const SESSION: u32 = 32;
    pub const VALUES: u32 = 64;
    pub const STATUS: u32 = 128;
    pub const RESPONSE_HEADER: u32 = 256;
    pub const RESPONSE_BODY: u32 = 512;
    pub const ANSWER: u32 = 1024;
}

const MOST: usize = 256; // log lines and counters of a reply that a host takes, each

/// The request as the hooks before left it.
pub struct Request {
    pub headers: Headers,
    pub query: Query,
    method: String,
    path: String,
    body: Option<Vec<u8>>,
    changed: u32,
    broken: Option<String>,
}

impl Request {
    fn new(call: &mut Call) -> Self {
        Request {
            headers: Headers::new(std::mem::take(&mut call.headers)),
            query: Query::new(text(&call.query)),
            method: text(&call.method),
            path: text(&call.path),
            body: call.body.take(),
            changed: 0,
            broken: None,
        }
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn set_method(&mut self, method: &str) {
        if !is_token(method) {
            self.broken.get_or_insert(format!("method {method:?}: want a token (RFC 9110 9.1)"));
            return;
        }
        self.method = method.into();
        self.changed |= changed::METHOD;
    }

    /// The path with its escapes as they came, the listen path in it.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn set_path(&mut self, path: &str) {
        let escapes = path.split('%').skip(1).all(|e| e.len() >= 2 && e.bytes().take(2).all(|b| b.is_ascii_hexdigit()));
        if !path.starts_with('/') || !escapes || path.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'?' || b == b'#') {
            self.broken.get_or_insert(format!("path {path:?}: it begins with a slash; blanks, ? and # are escaped"));
            return;
        }
        self.path = path.into();
        self.changed |= changed::PATH;
    }

    /// The body; None when it was not sent, which is so unless the hook needs it.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    pub fn set_body(&mut self, body: Vec<u8>) {
        self.body = Some(body);
        self.changed |= changed::BODY;
    }

    fn broken(&mut self) -> Option<String> {
        self.broken.take().or(self.headers.broken.take()).or(self.query.broken.take())
    }

    fn merge(&mut self, effects: &mut Effects) -> u32 {
        let mut bits = std::mem::take(&mut self.changed);
        if bits & changed::METHOD != 0 {
            effects.method = Some(self.method.clone().into_bytes());
        }
        if bits & changed::PATH != 0 {
            effects.path = Some(self.path.clone().into_bytes());
        }
        if bits & changed::BODY != 0 {
            effects.body = self.body.clone();
        }
        if std::mem::take(&mut self.query.edited) {
            effects.query = Some(self.query.raw().into());
            bits |= changed::QUERY;
        }
        if !self.headers.ops.is_empty() {
            effects.headers.append(&mut self.headers.ops);
            bits |= changed::HEADER;
        }
        bits
    }
}

/// The reply: the upstream's in the response phase, a hook's answer once there is one.
pub struct Response {
    pub headers: Headers,
    status: i32,
    body: Option<Vec<u8>>,
    answer: bool,
    changed: u32,
    broken: Option<String>,
}

impl Response {
    fn new(reply: Reply) -> Self {
        Response { headers: Headers::new(reply.headers), status: reply.status, body: reply.body, answer: false, changed: 0, broken: None }
    }

    /// 0 while there is no reply.
    pub fn status(&self) -> i32 {
        self.status
    }

    pub fn set_status(&mut self, status: i32) {
        if !(200..=599).contains(&status) {
            self.broken.get_or_insert(format!("status {status}: want 200 to 599"));
            return;
        }
        self.status = status;
        self.changed |= changed::STATUS;
    }

    /// The body; None when it was not sent.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    pub fn set_body(&mut self, body: Vec<u8>) {
        self.body = Some(body);
        self.changed |= changed::RESPONSE_BODY;
    }

    fn merge(&mut self, effects: &mut Effects) -> u32 {
        let mut bits = std::mem::take(&mut self.changed);
        let mut ops = std::mem::take(&mut self.headers.ops);
        if !ops.is_empty() {
            bits |= changed::RESPONSE_HEADER;
        }
        if self.answer {
            // later changes of an answer are made in it
            effects.answer =
                Some(Reply { status: self.status, headers: self.headers.lines().to_vec(), body: self.body.clone(), length: 0 });
            effects.status = None;
            effects.response_body = None;
            effects.response_headers.clear();
            return bits;
        }
        if bits & changed::STATUS != 0 {
            effects.status = Some(self.status);
        }
        if bits & changed::RESPONSE_BODY != 0 {
            effects.response_body = self.body.clone();
        }
        effects.response_headers.append(&mut ops);
        bits
    }
}

/// One request and its reply, as the hooks of one call see and change them.
pub struct Exchange {
    pub request: Request,
    pub response: Response,
    pub phase: Phase,
    pub route: Route,
    /// The call as it came, but for headers and bodies: the client, trace context and certificates among the rest.
    pub call: Call,
    config: Vec<u8>,
    session: Option<Session>,
    values: HashMap<String, Vec<u8>>,
    new_values: Vec<Value>,
    answered: bool,
    changed: u32,
    index: u32,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) counters: Vec<Counter>,
}

impl Exchange {
    pub(crate) fn new(phase: Phase, route: Route, mut call: Call) -> Self {
        let request = Request::new(&mut call);
        let response = Response::new(call.response.take().unwrap_or_default());
        let values = call.values.iter().map(|v| (v.name.clone(), v.data.clone().unwrap_or_default())).collect();
        let session = call.session.take();
        Exchange {
            request,
            response,
            phase,
            route,
            call,
            session,
            values,
            config: Vec::new(),
            new_values: Vec::new(),
            answered: false,
            changed: 0,
            index: 0,
            logs: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Prepares for the next hook of the call.
    pub(crate) fn begin(&mut self, index: u32, config: &[u8]) {
        self.index = index;
        self.config = if config.is_empty() { self.route.config.clone() } else { config.into() };
    }

    /// The configuration of the hook, else of the route; null without one.
    pub fn config(&self) -> serde_json::Result<serde_json::Value> {
        if self.config.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&self.config)
    }

    /// The request target as the client sent it.
    pub fn uri(&self) -> String {
        match (self.call.uri.is_empty(), self.call.query.is_empty()) {
            (false, _) => text(&self.call.uri),
            (true, true) => text(&self.call.path),
            (true, false) => format!("{}?{}", text(&self.call.path), text(&self.call.query)),
        }
    }

    /// Who calls.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Says who calls, all of it; None says that nobody does.
    pub fn set_session(&mut self, session: Option<Session>) {
        self.session = session;
        self.changed |= changed::SESSION;
    }

    /// Says who calls, by a key and nothing else.
    pub fn authenticate(&mut self, key: &str, alias: &str) {
        self.set_session(Some(Session { key_id: key.into(), alias: alias.into(), ..Default::default() }));
    }

    /// What an earlier hook left.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// Leaves bytes, by custom JSON, for later hooks; None takes them away.
    pub fn set_value(&mut self, name: &str, data: Option<Vec<u8>>) {
        match &data {
            Some(data) => self.values.insert(name.into(), data.clone()),
            None => self.values.remove(name),
        };
        self.new_values.retain(|v| v.name != name);
        self.new_values.push(Value { name: name.into(), data });
        self.changed |= changed::VALUES;
    }

    /// Answers at once; in the response phase replaces the reply. The hook goes on, and response is the answer.
    pub fn answer(&mut self, status: i32, body: impl Into<Vec<u8>>) -> &mut Response {
        self.answered = true;
        self.response.set_status(status);
        self.response.headers = Headers::default();
        self.response.body = Some(body.into());
        self.response.answer = true;
        self.response.changed = changed::ANSWER;
        &mut self.response
    }

    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Writes to the gateway's log under the hook's name. Levels are slog's: -4 debug, 0 info, 4 warn, 8 error.
    pub fn log(&mut self, level: i32, message: &str) {
        if self.logs.len() < MOST {
            self.logs.push(LogLine { hook: self.index, level, message: clip(message) });
        }
    }

    /// Adds to a counter of the hook's own.
    pub fn count(&mut self, name: &str, delta: i64) {
        if self.counters.len() < MOST {
            self.counters.push(Counter { hook: self.index, name: name.into(), delta });
        }
    }

    /// What the hook did that no message can carry.
    pub(crate) fn broken(&mut self) -> Option<String> {
        self.request.broken().or(self.response.broken.take()).or(self.response.headers.broken.take())
    }

    /// Adds what the hook changed to effects and returns its bits.
    pub(crate) fn merge(&mut self, effects: &mut Effects) -> u32 {
        let bits = std::mem::take(&mut self.changed);
        if bits & changed::SESSION != 0 {
            effects.session = self.session.clone();
            effects.clear_session = self.session.is_none();
        }
        for value in self.new_values.drain(..) {
            effects.values.retain(|v| v.name != value.name);
            effects.values.push(value);
        }
        bits | self.request.merge(effects) | self.response.merge(effects)
    }
}
