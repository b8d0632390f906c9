//! Services with one method whose answers are encoded by hand, which the generated services cannot send.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body as TonicBody;
use tonic::codegen::{Body, BoxFuture, StdError, http};
use tonic::server::{Grpc, NamedService};
use tonic_prost::ProstCodec;

use super::MESSAGE_BYTES_MAX;

/// The only method of a service.
pub(super) trait OneMethod: Clone + Send + Sync + 'static {
    /// The service's name in the contract.
    const SERVICE: &'static str;
    /// The method's name in the contract.
    const METHOD: &'static str;
    /// The message that it sends.
    type Sent: prost::Message + 'static;
    /// The message that it receives.
    type Received: prost::Message + Default + 'static;

    /// Serves one call.
    fn serve<B>(
        self,
        grpc: Grpc<ProstCodec<Self::Sent, Self::Received>>,
        request: http::Request<B>,
    ) -> impl Future<Output = http::Response<TonicBody>> + Send
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static;
}

/// A service with this method.
#[derive(Clone)]
pub(super) struct ByHand<M>(pub(super) M);

impl<M: OneMethod> NamedService for ByHand<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M, B> tower::Service<http::Request<B>> for ByHand<M>
where
    M: OneMethod,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<TonicBody>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some(M::METHOD) {
                let problem = format!("{} has one method: {}", M::SERVICE, M::METHOD);
                return Ok(Status::unimplemented(problem).into_http());
            }
            let max = Some(MESSAGE_BYTES_MAX);
            let grpc = Grpc::new(ProstCodec::default()).apply_max_message_size_config(max, max);
            Ok(method.serve(grpc, request).await)
        })
    }
}
