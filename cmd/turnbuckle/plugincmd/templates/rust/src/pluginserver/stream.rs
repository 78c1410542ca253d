use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};

use super::pb::{self, Binding, Call, FailureCode, HostFrame, PluginFrame, Reply};
use super::plugin::Plugin;
use super::run::Run;
use super::server::{Observers, MAX_MESSAGE};
use super::End;

const CREDIT: usize = 256; // calls that a host may have outstanding on a stream
const MOST_BINDINGS: usize = 65_536;
const MOST_LINES: usize = 16_384;
const FRAME_FULL: usize = 256 << 10; // a frame of this size is sent, and the next begun
const MOST_REPLY: usize = MAX_MESSAGE - 64;
const DAY: Duration = Duration::from_secs(86_400);

/// One stream of the native protocol: one task reads and writes, and each call is a task of its own.
pub(crate) struct Stream {
    plugin: Arc<Plugin>,
    observers: Arc<Observers>,
    out: mpsc::Sender<Result<PluginFrame, Status>>,
    finished: mpsc::UnboundedSender<Reply>, // as many as there are calls
    bindings: HashMap<u32, Binding>,
    calls: HashMap<u64, oneshot::Sender<()>>, // who cancels
    replies: VecDeque<Reply>,
    received: u64,
    acked: u64,
    drain_told: bool,
    over: bool, // no call will come
}

impl Stream {
    /// Serves a stream until it ends, or nobody reads what is written to out.
    pub(crate) async fn serve(
        plugin: Arc<Plugin>,
        observers: Arc<Observers>,
        mut incoming: Streaming<HostFrame>,
        out: mpsc::Sender<Result<PluginFrame, Status>>,
        mut draining: watch::Receiver<bool>,
    ) {
        let (finished, mut done) = mpsc::unbounded_channel();
        let (bindings, calls, replies) = (HashMap::new(), HashMap::new(), VecDeque::new());
        let mut s =
            Stream { plugin, observers, out, finished, bindings, calls, replies, received: 0, acked: 0, drain_told: false, over: false };
        let first = PluginFrame { credit: CREDIT as u32, ..Default::default() };
        if s.out.send(Ok(first)).await.is_err() {
            return;
        }
        let mut half_closed = false;
        while !(s.over && s.calls.is_empty()) {
            tokio::select! {
                frame = incoming.message(), if !half_closed => match frame {
                    Ok(Some(frame)) => match s.take(frame) {
                        Ok(()) => tokio::task::yield_now().await, // calls that finish at once share a frame with the acknowledgement
                        Err(status) => return drop(s.out.send(Err(status)).await),
                    },
                    Ok(None) => (half_closed, s.over) = (true, true),
                    Err(status) => return drop(s.out.send(Err(status)).await),
                },
                Some(reply) = done.recv() => s.done(reply),
                drains = async { draining.wait_for(|d| *d).await.is_ok() }, if !s.drain_told => {
                    s.drain_told = true;
                    if !drains {
                        continue; // the server is gone
                    }
                    let frame = PluginFrame { drain: true, ..Default::default() };
                    if s.out.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
                () = s.out.closed() => return,
            }
            while let Ok(reply) = done.try_recv() {
                s.done(reply);
            }
            if s.flush().await.is_err() {
                return; // the stream is gone: its calls end with the senders in s.calls
            }
        }
    }

    fn take(&mut self, frame: HostFrame) -> Result<(), Status> {
        let arrived = Instant::now();
        for binding in frame.bindings {
            if self.bindings.len() >= MOST_BINDINGS && !self.bindings.contains_key(&binding.id) {
                return Err(Status::resource_exhausted(format!("more than {MOST_BINDINGS} bindings on one stream")));
            }
            self.bindings.insert(binding.id, binding);
        }
        self.received = self.received.max(frame.seq);
        for call in frame.calls {
            if call.id == 0 {
                return Err(Status::invalid_argument("a call without id"));
            }
            self.call(call, arrived);
        }
        for id in frame.cancels {
            if let Some(cancel) = self.calls.remove(&id) {
                self.calls.insert(id, oneshot::channel().0); // it gives its credit back with its reply
                let _ = cancel.send(()); // it may have ended meanwhile
            }
        }
        self.observers.offer(frame.records, frame.events, &frame.observers);
        self.over |= frame.drain;
        Ok(())
    }

    fn call(&mut self, call: Call, arrived: Instant) {
        let lines = call.headers.len().max(call.response.as_ref().map_or(0, |r| r.headers.len()));
        let Some(binding) = self.bindings.get(&call.binding) else {
            return self.refuse(&call, FailureCode::Protocol, format!("binding {} was not sent on this stream", call.binding));
        };
        if binding.hooks.is_empty() {
            return self.refuse(&call, FailureCode::Protocol, format!("binding {} names no hook", call.binding));
        }
        if lines > MOST_LINES {
            return self.refuse(&call, FailureCode::Protocol, format!("more than {MOST_LINES} header lines"));
        }
        if self.calls.len() >= CREDIT {
            return self.refuse(&call, FailureCode::Overloaded, format!("more than {CREDIT} calls outstanding on the stream"));
        }
        let left = if call.timeout_us == 0 { DAY } else { Duration::from_micros(call.timeout_us).min(DAY) };
        let (cancel, cancelled) = oneshot::channel();
        self.calls.insert(call.id, cancel);
        let mut run = Run::new(binding.clone(), call, arrived);
        let (plugin, finished) = (self.plugin.clone(), self.finished.clone());
        tokio::spawn(async move {
            let why = tokio::select! {
                () = run.run(&plugin) => None,
                _ = cancelled => Some((FailureCode::Canceled, "nobody waits for the call any more")),
                () = tokio::time::sleep(left.saturating_sub(arrived.elapsed())) => Some((FailureCode::Timeout, "the deadline passed")),
            };
            if let Some((code, message)) = why {
                run.stop(End::Failed(code, message.into()));
            }
            let _ = finished.send(run.reply()); // the stream may be gone
        });
    }

    fn refuse(&mut self, call: &Call, code: FailureCode, message: String) {
        let failure = pb::Failure { code: code as i32, message };
        self.replies.push_back(Reply { id: call.id, failure: Some(failure), ..Default::default() });
    }

    fn done(&mut self, mut reply: Reply) {
        self.calls.remove(&reply.id);
        let size = reply.encoded_len();
        if size > MOST_REPLY {
            let outcomes = reply.outcomes.iter().map(|o| pb::HookOutcome { changed: 0, ..*o }).collect();
            let message = format!("a reply of {size} bytes, the server sends {MOST_REPLY} at most");
            let failure = Some(pb::Failure { code: FailureCode::Failed as i32, message });
            reply = Reply { id: reply.id, outcomes, failure, ..Default::default() };
        }
        self.replies.push_back(reply);
    }

    /// Sends what there is to send.
    async fn flush(&mut self) -> Result<(), mpsc::error::SendError<Result<PluginFrame, Status>>> {
        while !self.replies.is_empty() || self.received > self.acked {
            let mut frame = PluginFrame::default();
            let mut size = 0;
            while let Some(reply) = self.replies.front() {
                let more = reply.encoded_len() + 8;
                if size > 0 && size + more > FRAME_FULL {
                    break;
                }
                size += more;
                frame.replies.extend(self.replies.pop_front());
            }
            if self.received > self.acked {
                self.acked = self.received;
                frame.ack = self.acked;
            }
            self.out.send(Ok(frame)).await?;
        }
        Ok(())
    }
}
