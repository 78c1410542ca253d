use std::future::{poll_fn, Future};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use super::exchange::Exchange;
use super::pb::{self, Binding, Call, Effects, FailureCode, HookOutcome, Phase, Reply};
use super::plugin::{Hook, Plugin};
use super::{clip, End};

/// A call of the hooks of a binding. Who drops the future that run returns stops it: what is here says how it stood then.
pub struct Run {
    id: u64,
    binding: Binding,
    arrived: Instant,
    pub exchange: Exchange,
    pub effects: Effects,
    pub end: Option<End>,
    outcomes: Vec<HookOutcome>,
    began: Option<(u32, Instant)>, // of the hook that runs
    queued_us: u64,
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

impl Run {
    pub(crate) fn new(binding: Binding, call: Call, arrived: Instant) -> Self {
        let phase = Phase::try_from(binding.phase).unwrap_or(Phase::Unspecified);
        Run {
            id: call.id,
            exchange: Exchange::new(phase, binding.route.clone().unwrap_or_default(), call),
            binding,
            arrived,
            effects: Effects::default(),
            end: None,
            outcomes: Vec::new(),
            began: None,
            queued_us: 0,
        }
    }

    /// Runs the hooks.
    pub(crate) async fn run(&mut self, plugin: &Plugin) {
        self.queued_us = micros(self.arrived);
        for index in 0..self.binding.hooks.len() {
            let used = &self.binding.hooks[index];
            self.began = Some((index as u32, Instant::now()));
            self.exchange.begin(index as u32, &used.config);
            let end = match plugin.find(&used.name, self.binding.phase) {
                Some(hook) => contained(hook, &mut self.exchange).await,
                None => {
                    let message = format!("plugin {} has no hook {} in phase {:?}", plugin.name, used.name, self.exchange.phase);
                    Err(End::Failed(FailureCode::Unimplemented, message))
                }
            };
            let end = end.and_then(|()| self.exchange.broken().map_or(Ok(()), |why| Err(End::protocol(why))));
            match end {
                Ok(()) => {
                    let changed = self.exchange.merge(&mut self.effects);
                    self.outcome(changed);
                }
                Err(end) => return self.stop(end),
            }
            if self.exchange.answered() && self.exchange.phase != Phase::Response {
                return;
            }
        }
    }

    /// Ends it: the hook that runs, if one does, has no effects.
    pub(crate) fn stop(&mut self, end: End) {
        self.end = Some(end);
        self.outcome(0);
    }

    fn outcome(&mut self, changed: u32) {
        if let Some((hook, began)) = self.began.take() {
            self.outcomes.push(HookOutcome { hook, duration_us: micros(began), changed });
        }
    }

    pub(crate) fn reply(self) -> Reply {
        let mut reply = Reply { id: self.id, outcomes: self.outcomes, queued_us: self.queued_us, ..Default::default() };
        reply.logs = self.exchange.logs;
        reply.counters = self.exchange.counters;
        if self.effects != Effects::default() {
            reply.effects = Some(self.effects);
        }
        match self.end.map(checked) {
            Some(End::Refused { status, message, headers }) => {
                let headers = headers.into_iter().map(|(name, value)| pb::Field { name, value: value.into() }).collect();
                reply.error = Some(pb::Error { status, message: clip(&message), headers });
            }
            Some(End::Failed(code, message)) => reply.failure = Some(pb::Failure { code: code as i32, message: clip(&message) }),
            None => {}
        }
        reply
    }
}

/// A refusal that no message can carry is a failure.
fn checked(end: End) -> End {
    let End::Refused { status, headers, .. } = &end else { return end };
    let mut lines = super::headers::Headers::default();
    headers.iter().for_each(|(name, value)| lines.add(name, value));
    if let Some(why) = lines.broken {
        return End::protocol(why);
    }
    if !(400..=599).contains(status) {
        return End::protocol(format!("refusal with status {status}: want 400 to 599"));
    }
    end
}

/// Runs a hook. One that panics has failed, and no more.
async fn contained(hook: &Hook, x: &mut Exchange) -> Result<(), End> {
    let mut running = hook(x); // which makes a future, and runs nothing of it yet: see Plugin::hook
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut running).poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(end)) => Poll::Ready(end),
        Err(thrown) => Poll::Ready(Err(panicked(&*thrown))),
    })
    .await
}

fn panicked(thrown: &(dyn std::any::Any + Send)) -> End {
    let message = thrown.downcast_ref::<String>().map(String::as_str).or(thrown.downcast_ref::<&str>().copied());
    End::Failed(FailureCode::Failed, format!("panicked: {}", message.unwrap_or("without a message")))
}
