//! Connections: accepted up to a number, closed when slow, drained when the server stops.

use crate::app::{App, router};
use crate::config::Config;
use crate::http::patience::Patient;
use crate::{Error, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Largest head of a request, and bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A server that has its models and its address.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
    head: Duration,
    drain: Duration,
    connections: usize,
}

impl Server {
    /// Opens and warms the models, then listens.
    ///
    /// # Errors
    /// A value of the configuration, a model, a file or the address that is wrong.
    pub fn open(config: &Config) -> Result<Self> {
        config.validate()?;
        // First, so that a taken port is told before models are read.
        let failed = |source| Error::Listen { address: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let changes = config.updates.is_some() || config.studio.is_some();
        if changes && config.api_keys.is_none() && !address.ip().is_loopback() {
            let allowed = format!("a file of keys, or `listen` on 127.0.0.1 in place of {address}");
            return Err(Error::config("api_keys, with updates or studio,", "missing", allowed));
        }
        let app = Arc::new(App::new(config)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(app.engine.threads().clamp(1, 4))
            .thread_name("ufo-http")
            .enable_all()
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let limits = &config.limits;
        Ok(Self {
            app,
            listener,
            address,
            runtime,
            head: Duration::from_millis(limits.head_ms),
            drain: Duration::from_millis(limits.drain_ms),
            connections: limits.connections,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until SIGTERM or Ctrl-C, then finishes what is under way.
    ///
    /// # Errors
    /// When the system gives no signals or no connections.
    pub fn run(self) -> Result<()> {
        self.run_until(stop_signal())
    }

    /// Answers until `stop`, then finishes what is under way.
    ///
    /// # Errors
    /// When the system gives no connections.
    pub fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { app, listener, address, runtime, head, drain, connections } = self;
        let failed = |source| Error::Listen { address: address.to_string(), source };
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            let accepting = Accepting { router: router(Arc::clone(&app)), head, connections };
            let graceful = GracefulShutdown::new();
            tokio::select! {
                () = accepting.run(&listener, &graceful) => {}
                () = stop => {}
            }
            app.stop();
            app.cancel_work();
            drop(listener);
            let open = graceful.count();
            tracing::info!(connections = open, "stopping: finishing what is under way");
            if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
                tracing::warn!(ms = drain.as_millis() as u64, "requests were cut off");
            }
            let worker = Arc::clone(&app);
            let _ended = tokio::task::spawn_blocking(move || worker.wait_work()).await;
            Ok(())
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("stopped");
        served
    }
}

struct Accepting {
    router: Router,
    head: Duration,
    connections: usize,
}

impl Accepting {
    async fn run(&self, listener: &tokio::net::TcpListener, graceful: &GracefulShutdown) {
        let free = Arc::new(Semaphore::new(self.connections));
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream, permit, graceful),
                Err(error) => {
                    // Such as no more file descriptors: they come back.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        permit: tokio::sync::OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        // Answers are written whole, so they need not wait for more.
        let _slower = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let (head, watcher) = (self.head, graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head)
                .max_buf_size(READ_BYTES)
                .serve_connection(Patient::new(TokioIo::new(stream), head), service);
            ended(watcher.watch(connection).await);
        });
    }
}

fn ended(connection: Result<(), hyper::Error>) {
    if let Err(error) = connection {
        tracing::debug!(%error, "connection");
    }
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be waited for");
            let _stopped = interrupt.await;
        }
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    let _stopped = tokio::signal::ctrl_c().await;
}
