use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::pb::plugin_server::{self, PluginServer};
use super::pb::{DescribeReply, DescribeRequest, Event, HostFrame, PluginFrame, Record, StatsReply, StatsRequest};
use super::plugin::Plugin;
use super::stream::Stream;

pub(crate) const MAX_MESSAGE: usize = 4 << 20; // bytes, both ways
const HANDOVER: Duration = Duration::from_millis(500); // that hosts have to find a server that has taken the address over
const DRAIN: Duration = Duration::from_secs(10); // that calls may take to finish
const MOST_BATCHES: usize = 1024; // that wait for one observer

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Serves at --listen, or where the environment says, until SIGTERM or SIGINT.
pub async fn serve(plugin: Plugin) -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let given = args.iter().position(|a| a == "--listen").and_then(|at| args.get(at + 1).cloned());
    let address = given.or_else(|| std::env::var("TURNBUCKLE_LISTEN").ok()).or_else(|| std::env::var("TURNBUCKLE_PLUGIN_LISTEN").ok());
    let address = address.ok_or("no address to listen on: give --listen or set TURNBUCKLE_LISTEN")?;
    let (drain, draining) = watch::channel(false);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<PluginServer<Service>>().await;
    let plugin = Arc::new(plugin);
    let streams = Arc::new(AtomicUsize::new(0));
    let service = Service { observers: Observers::start(&plugin), plugin, draining, streams: streams.clone() };
    let router = tonic::transport::Server::builder()
        .add_service(health)
        .add_service(PluginServer::new(service).max_decoding_message_size(MAX_MESSAGE));
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, mut stopped) = watch::channel(false);
    let shutdown = async move {
        let _ = stopped.wait_for(|s| *s).await; // the sender is there as long as the server
    };
    let mut serving: Pin<Box<dyn Future<Output = std::result::Result<(), tonic::transport::Error>> + Send>>;
    if let Some(path) = address.strip_prefix("unix:") {
        let _ = std::fs::remove_file(path); // of a server that ran before
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        println!("listening on {address}");
        serving = Box::pin(router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown));
    } else {
        let listener = TcpListener::bind(address.trim_start_matches("tcp://")).await?;
        println!("listening on {}", listener.local_addr()?);
        serving = Box::pin(router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown));
    }
    tokio::select! {
        result = &mut serving => return Ok(result?),
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.send_replace(true); // listens no more, and sends GOAWAY
    if let Ok(result) = tokio::time::timeout(HANDOVER, &mut serving).await {
        return Ok(result?);
    }
    drain.send_replace(true);
    reporter.set_not_serving::<PluginServer<Service>>().await;
    let left = async {
        while streams.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await; // counted rarely: this is the end
        }
        let _ = tokio::time::timeout(HANDOVER, &mut serving).await; // only watches of the health can be left
    };
    tokio::time::timeout(DRAIN, left).await.map_err(|_| "calls did not finish in time".into())
}

/// What tonic calls.
pub(crate) struct Service {
    plugin: Arc<Plugin>,
    observers: Arc<Observers>,
    draining: watch::Receiver<bool>,
    streams: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl plugin_server::Plugin for Service {
    async fn describe(&self, _: Request<DescribeRequest>) -> std::result::Result<Response<DescribeReply>, Status> {
        Ok(Response::new(self.plugin.describe(MAX_MESSAGE)))
    }

    type SessionStream = ReceiverStream<std::result::Result<PluginFrame, Status>>;

    async fn session(&self, request: Request<Streaming<HostFrame>>) -> std::result::Result<Response<Self::SessionStream>, Status> {
        let (out, frames) = mpsc::channel(16);
        let (plugin, observers, draining, streams) =
            (self.plugin.clone(), self.observers.clone(), self.draining.clone(), self.streams.clone());
        streams.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            Stream::serve(plugin, observers, request.into_inner(), out, draining).await;
            streams.fetch_sub(1, Ordering::AcqRel);
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    /// Of minor version 1: this server counts nothing of its own.
    async fn stats(&self, _: Request<StatsRequest>) -> std::result::Result<Response<StatsReply>, Status> {
        Err(Status::unimplemented("no counts"))
    }
}

type Batch = (Vec<Record>, Vec<Event>);

/// Hands records and events to the plugin's observers, each in a thread of its own. What one cannot keep up with is dropped.
pub(crate) struct Observers(Vec<(String, mpsc::Sender<Batch>)>);

impl Observers {
    fn start(plugin: &Arc<Plugin>) -> Arc<Self> {
        let mut all = Vec::new();
        for (index, (name, _)) in plugin.observers.iter().enumerate() {
            let (sender, mut batches) = mpsc::channel::<Batch>(MOST_BATCHES);
            let plugin = plugin.clone();
            std::thread::spawn(move || {
                while let Some((records, events)) = batches.blocking_recv() {
                    plugin.observers[index].1(&records, &events);
                }
            });
            all.push((name.clone(), sender));
        }
        Arc::new(Observers(all))
    }

    pub(crate) fn offer(&self, records: Vec<Record>, events: Vec<Event>, names: &[String]) {
        if records.is_empty() && events.is_empty() {
            return;
        }
        for (name, sender) in &self.0 {
            if (names.is_empty() || names.contains(name)) && sender.try_send((records.clone(), events.clone())).is_err() {
                eprintln!("observer {name} is slow: a batch was dropped");
            }
        }
    }
}
