use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use super::exchange::Exchange;
use super::pb::{self, Binding, Call, DescribeReply, Event, HookUse, Limits, Needs, Phase, Record};
use super::run::Run;
use super::End;

/// What a hook may need to be sent, as bits to be joined.
pub mod needs {
    pub const HEADERS: u32 = 1 << 0;
    pub const QUERY: u32 = 1 << 1;
    pub const BODY: u32 = 1 << 2;
    pub const RESPONSE_HEADERS: u32 = 1 << 3;
    pub const RESPONSE_BODY: u32 = 1 << 4;
    pub const SESSION: u32 = 1 << 5;
    pub const VALUES: u32 = 1 << 6;
    pub const PEER: u32 = 1 << 7;
    pub const TRACE: u32 = 1 << 8;
    pub const NOTHING: u32 = 1 << 9;
    pub const DEFAULT: u32 = HEADERS | QUERY | RESPONSE_HEADERS | SESSION | VALUES | TRACE;
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), End>> + Send + 'a>>;
pub(crate) type Hook = Box<dyn for<'a> Fn(&'a mut Exchange) -> Running<'a> + Send + Sync>;
pub(crate) type Observer = Box<dyn Fn(&[Record], &[Event]) + Send + Sync>;

/// A plugin: its hooks and observers.
pub struct Plugin {
    pub(crate) name: String,
    version: String,
    config_schema: String,
    described: Vec<pb::Hook>,
    hooks: HashMap<(String, i32), Hook>,
    pub(crate) observers: Vec<(String, Observer)>,
}

impl Plugin {
    pub fn new(name: &str, version: &str) -> Self {
        Plugin {
            name: name.into(),
            version: version.into(),
            config_schema: String::new(),
            described: Vec::new(),
            hooks: HashMap::new(),
            observers: Vec::new(),
        }
    }

    /// The JSON Schema of the configuration that the hooks take.
    pub fn config_schema(mut self, schema: &str) -> Self {
        self.config_schema = schema.into();
        self
    }

    /// Adds a hook that does not wait; Phase::Unspecified is for any phase. fields are bits of needs.
    pub fn hook(self, name: &str, phase: Phase, fields: u32, run: fn(&mut Exchange) -> Result<(), End>) -> Self {
        let needs = Needs { fields, ..Default::default() };
        self.hook_with(name, phase, needs, move |x| Box::pin(async move { run(x) }))
    }

    /// Adds a hook that may wait, or is particular about what it is sent: a closure that returns Box::pin(async move { … }). What blocks
    /// belongs into tokio::task::spawn_blocking, or it holds other calls. At a call's end, by its deadline or because nobody waits for it any
    /// more, the future is dropped.
    pub fn hook_with(
        mut self,
        name: &str,
        phase: Phase,
        needs: Needs,
        run: impl for<'a> Fn(&'a mut Exchange) -> Running<'a> + Send + Sync + 'static,
    ) -> Self {
        self.described.push(pb::Hook { name: name.into(), phase: phase as i32, needs: Some(needs) });
        self.hooks.insert((name.into(), phase as i32), Box::new(run));
        self
    }

    /// Adds an observer, which is called with one batch at a time.
    pub fn observer(mut self, name: &str, run: impl Fn(&[Record], &[Event]) + Send + Sync + 'static) -> Self {
        self.observers.push((name.into(), Box::new(run)));
        self
    }

    /// Runs a hook with no gateway. The call has what the hook sees, the run says what came of it.
    pub async fn run(&self, hook: &str, phase: Phase, config: &str, call: Call) -> Run {
        let used = HookUse { name: hook.into(), config: config.into() };
        let binding = Binding { id: 1, phase: phase as i32, hooks: vec![used], route: None };
        let mut run = Run::new(binding, call, Instant::now());
        run.run(self).await;
        run
    }

    pub(crate) fn find(&self, hook: &str, phase: i32) -> Option<&Hook> {
        self.hooks.get(&(hook.to_string(), phase)).or_else(|| self.hooks.get(&(hook.to_string(), 0)))
    }

    pub(crate) fn describe(&self, frame_bytes: usize) -> DescribeReply {
        DescribeReply {
            name: self.name.clone(),
            version: self.version.clone(),
            minor: 0,
            hooks: self.described.clone(),
            observers: self.observers.iter().map(|(name, _)| name.clone()).collect(),
            config_schema: self.config_schema.clone().into_bytes(),
            limits: Some(Limits { frame_bytes: frame_bytes as u32, ..Default::default() }),
            ..Default::default() // what later minor versions add
        }
    }
}
