//! The ports that clients speak to.

use std::io;
use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use batuta_api::Service;
use batuta_api::client_work::{client_work, client_work_now};
use futures_util::FutureExt as _;
use hyper::body::{Frame, SizeHint};
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

/// Runs the requests of a connection as tasks of their own, each a client's.
#[derive(Clone, Copy)]
struct ClientTasks;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for ClientTasks {
    fn execute(&self, work: F) {
        tokio::spawn(client_work(work));
    }
}

/// Answers a call whose handler panics, and marks handlers and the bodies of their answers as a client's.
#[derive(Clone)]
struct Guarded<S>(S);

impl<S, R> tower::Service<R> for Guarded<S>
where
    S: tower::Service<R, Response = Response<Body>, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let call = AssertUnwindSafe(client_work(self.0.call(request))).catch_unwind();
        Box::pin(async move {
            match call.await {
                Ok(answered) => Ok(answered?.map(|body| Body::new(ClientBody(body)))),
                Err(panic) => Ok(batuta_api::grpc::panicked(panic).into_http()),
            }
        })
    }
}

/// The body of an answer. One that panics ends its stream.
struct ClientBody(Body);

impl hyper::body::Body for ClientBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        client_work_now(|| Pin::new(&mut self.0).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
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
    let routes = batuta_api::grpc::routes(service).into_axum_router().layer(tower::layer::layer_fn(Guarded));
    tonic::transport::Server::builder()
        // Browsers speak gRPC-Web, over HTTP/1.1 as well.
        .accept_http1(true)
        .layer(tonic_web::GrpcWebLayer::new())
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY))
        .max_concurrent_streams(batuta_api::grpc::CONCURRENT_STREAMS_MAX)
        .add_routes(routes.into())
        .serve_with_incoming_shutdown(incoming, stopping.cancelled_owned())
        .await
        .map_err(|source| ServerError::Front { what: "gRPC", source: source.into() })
}
