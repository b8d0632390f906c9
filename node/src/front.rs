//! The ports that clients speak to.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use batuta_api::ClientAddress;
use batuta_api::client_work::client_work;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::connection::{Admitted, Connections};
use crate::server::ServerError;

/// How often an HTTP/2 connection on which nothing happens is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Serves HTTP/1.1 and HTTP/2, with upgrades, until it is told to stop and the last request is answered. A connection over which no
/// request begins, or only begins, for `idle` is closed.
pub(crate) async fn serve_http(
    what: &'static str,
    listener: TcpListener,
    router: axum::Router,
    connections: Connections,
    idle: Duration,
    stopping: CancellationToken,
) -> Result<(), ServerError> {
    let failed = |source: io::Error| ServerError::Front { what, source: source.into() };
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let mut builder = Builder::new(ClientTasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(batuta_api::grpc::CONCURRENT_STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let tasks = TaskTracker::new();
    while let Some(admitted) = stopping.run_until_cancelled(connections.accept(&listener)).await {
        let connection = serve_connection(builder.clone(), admitted, router.clone(), stopping.clone());
        tasks.spawn(client_work(connection));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn serve_connection(
    builder: Builder<ClientTasks>,
    admitted: Admitted,
    router: axum::Router,
    stopping: CancellationToken,
) {
    let address = ClientAddress(admitted.peer().ip());
    let service =
        TowerToHyperService::new(router.map_request(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(address);
            request.map(Body::new)
        }));
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(admitted), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}

/// Runs the requests of a connection as tasks of their own, each a client's.
#[derive(Clone, Copy)]
struct ClientTasks;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for ClientTasks {
    fn execute(&self, work: F) {
        tokio::spawn(client_work(work));
    }
}
