//! The ports that clients speak to.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use batuta_api::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
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
    let mut builder = Builder::new(TokioExecutor::new());
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
        tasks.spawn(serve_connection(builder.clone(), admitted, router.clone(), stopping.clone()));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn serve_connection(
    builder: Builder<TokioExecutor>,
    admitted: Admitted,
    router: axum::Router,
    stopping: CancellationToken,
) {
    let service = TowerToHyperService::new(
        router.map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new)),
    );
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

/// Serves gRPC and gRPC-Web until it is told to stop and the last call has ended.
pub(crate) async fn serve_grpc(
    listener: TcpListener,
    service: Service,
    connections: Connections,
    stopping: CancellationToken,
) -> Result<(), ServerError> {
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|source| ServerError::Front { what: "gRPC", source: source.into() })?;
    let incoming = futures_util::stream::unfold(listener, move |listener| {
        let connections = connections.clone();
        async move {
            let admitted = connections.accept(&listener).await;
            Some((Ok::<_, io::Error>(admitted), listener))
        }
    });
    tonic::transport::Server::builder()
        // Browsers speak gRPC-Web, over HTTP/1.1 as well.
        .accept_http1(true)
        .layer(tonic_web::GrpcWebLayer::new())
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY))
        .max_concurrent_streams(batuta_api::grpc::CONCURRENT_STREAMS_MAX)
        .add_routes(batuta_api::grpc::routes(service))
        .serve_with_incoming_shutdown(incoming, stopping.cancelled_owned())
        .await
        .map_err(|source| ServerError::Front { what: "gRPC", source: source.into() })
}
