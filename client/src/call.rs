//! One call: attempts under one key, on one node after the other, until an answer or the deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::client::Client;
use crate::pipeline::{CallOptions, Pipelined};
use crate::pool::Endpoint;

/// An attempt that is silent longer than this (beyond the wait it asked for) is made elsewhere.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// How to make one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    /// Retry key of a write.
    pub(crate) key: Option<String>,
    /// How long the server may hold the call open.
    pub(crate) wait: Duration,
    /// Overall bound without the wait; the client's own when absent.
    pub(crate) timeout: Option<Duration>,
}

impl Call {
    /// A read, or a write that may be repeated freely.
    pub(crate) fn read() -> Self {
        Self::default()
    }

    /// A write under a fresh key.
    pub(crate) fn write() -> Result<Self, Error> {
        Ok(Self { key: Some(fresh_key()?), ..Self::default() })
    }
}

/// 128 random bits in hex.
pub(crate) fn fresh_key() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new("internal", format!("no randomness: {error}"), false))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

pub(crate) fn jitter() -> u8 {
    let mut byte = [0_u8; 1];
    // Without randomness the pause is merely not spread.
    if getrandom::fill(&mut byte).is_ok() { byte[0] } else { u8::MAX }
}

impl Client {
    /// A call through the stream that carries many.
    pub(crate) async fn pipelined<Q>(&self, message: Q, call: Call) -> Result<Q::Answer, Error>
    where
        Q: Pipelined + Clone,
    {
        self.call(&call, |node, attempt| {
            let options = CallOptions {
                namespace: self.namespace.as_ref().to_owned(),
                idempotency_key: call.key.clone(),
                timeout: Some(attempt),
            };
            let message = message.clone();
            async move { node.pipeline.call(message, &options).await }
        })
        .await
    }

    /// A call by itself.
    pub(crate) async fn unary<Q, A, F, R>(&self, message: Q, call: Call, rpc: F) -> Result<A, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> R,
        R: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(&call, |node, attempt| {
            let answer =
                self.request(message.clone(), &call, attempt).map(|request| rpc(node.channel, request));
            async move { Ok(answer?.await.map_err(|status| Error::from_status(&status))?.into_inner()) }
        })
        .await
    }

    async fn call<A, F, R>(&self, call: &Call, ask: F) -> Result<A, Error>
    where
        F: Fn(Endpoint, Duration) -> R,
        R: Future<Output = Result<A, Error>>,
    {
        let deadline = Instant::now() + call.timeout.unwrap_or(self.timeout) + call.wait;
        let mut failures = 0;
        let mut unknown: Option<Error> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = left.min(ATTEMPT_MAX + call.wait);
            let node = self.pool.preferred();
            let url = Arc::clone(&node.url);
            let error = match timeout(attempt, ask(node, attempt)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::new("timeout", format!("{url} did not answer within {attempt:?}"), true),
            };
            let pause = self.backoff.pause(failures, jitter());
            if !error.retryable {
                return Err(error);
            }
            if Instant::now() + pause >= deadline {
                // An attempt before this one may have had its effect: that it failed can not be said any more.
                return Err(unknown.filter(|_| call.key.is_some()).unwrap_or(error));
            }
            if error.is_outcome_unknown() {
                unknown.get_or_insert(error.clone());
            }
            tracing::debug!(%url, code = error.code, "asking again");
            failures += 1;
            self.pool.failed(&url);
            sleep(pause).await;
        }
    }

    fn request<Q>(&self, message: Q, call: &Call, attempt: Duration) -> Result<Request<Q>, Error> {
        let mut request = Request::new(message);
        request.set_timeout(attempt);
        request.metadata_mut().insert("batuta-namespace", ascii("namespace", &self.namespace)?);
        if let Some(key) = &call.key {
            request.metadata_mut().insert("idempotency-key", ascii("idempotency key", key)?);
        }
        Ok(request)
    }
}

fn ascii(what: &str, text: &str) -> Result<AsciiMetadataValue, Error> {
    text.parse().map_err(|_| Error::invalid(format!("{what} {text:?} is not printable ASCII")))
}
