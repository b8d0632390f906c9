//! One call: attempts under one key, on one node after another, until an answer or the deadline.
//!
//! No attempt gets all of the call's time: when a node has been silent for a fraction of the remaining time,
//! the call stops waiting for it alone. Calls that may be in flight twice (reads, keep-alives, writes that
//! create nothing) keep waiting for the silent node in parallel with the next attempt. An acquisition or a new session
//! is sent to one node at a time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::client::Client;
use crate::pipeline::{CallOptions, Pipelined};
use crate::pool::Endpoint;

/// Longest time a silent node is waited for alone, beyond the wait the call asked for.
const PACE_MAX: Duration = Duration::from_secs(3);
/// Shortest time a node is waited for alone.
const PACE_MIN: Duration = Duration::from_millis(50);
/// Another node is asked in parallel with the first after this fraction of a call's time.
const HEDGE_FRACTION: u32 = 8;
/// One attempt gets this fraction of the remaining time, when attempts go one at a time.
const ATTEMPT_FRACTION: u32 = 3;

/// How to make one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    /// Retry key of a write.
    pub(crate) key: Option<String>,
    /// How long the server may hold the call open.
    pub(crate) wait: Duration,
    /// Overall bound without the wait; the client's own timeout when absent.
    pub(crate) timeout: Option<Duration>,
    /// Whether several nodes may be asked at once.
    pub(crate) hedged: bool,
    /// Whether the answer takes long by nature, so that silence means nothing. An attempt then has all of the
    /// remaining time, and only a lost connection ends it.
    pub(crate) slow: bool,
}

impl Call {
    /// A read, or a write that may be repeated freely.
    pub(crate) fn read() -> Self {
        Self { hedged: true, ..Self::default() }
    }

    /// A write under a fresh key that creates nothing: whichever node answers, the answer is the same.
    pub(crate) fn write() -> Result<Self, Error> {
        Ok(Self { hedged: true, ..Self::creating()? })
    }

    /// A write under a fresh key that creates something. An abandoned attempt may still create it; to keep
    /// that rare, attempts go one at a time.
    pub(crate) fn creating() -> Result<Self, Error> {
        Ok(Self { key: Some(fresh_key()?), ..Self::default() })
    }

    /// A change of the cluster: it waits for nodes, and a repetition meets the first request still in
    /// progress.
    pub(crate) fn changing_the_cluster() -> Result<Self, Error> {
        Ok(Self { slow: true, ..Self::creating()? })
    }

    /// How long the attempt that begins `now` is waited for alone. The end of the call may come before that.
    fn pace(&self, patience: Duration, deadline: Instant, now: Instant) -> Duration {
        let left = deadline.saturating_duration_since(now);
        if self.slow {
            return left;
        }
        let share = if self.hedged {
            patience / HEDGE_FRACTION
        } else {
            left.saturating_sub(self.wait) / ATTEMPT_FRACTION
        };
        share.clamp(PACE_MIN, PACE_MAX) + self.wait
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
    // Without randomness the pauses are merely not spread.
    if getrandom::fill(&mut byte).is_ok() { byte[0] } else { u8::MAX }
}

/// The attempts of one call so far.
#[derive(Debug, Default)]
struct Attempts {
    asked: HashMap<Arc<str>, u32>,
    /// Unanswered attempts, each with the time it began.
    open: Vec<(Arc<str>, Instant)>,
    failures: u32,
    /// The last failure of each node.
    problems: Vec<(Arc<str>, Error)>,
    /// The failure of an attempt that may have taken effect.
    unknown: Option<Error>,
    /// Which token the last attempt was made with.
    sent: u64,
    /// Whether the call was made again with another token.
    renewed: bool,
}

impl Attempts {
    fn begun(&mut self, url: &Arc<str>) {
        *self.asked.entry(Arc::clone(url)).or_default() += 1;
        self.open.push((Arc::clone(url), Instant::now()));
    }

    /// Takes the attempt at this node off the open ones, and returns when it began.
    fn answered(&mut self, url: &Arc<str>) -> Option<Instant> {
        let place = self.open.iter().position(|(open, _)| open == url)?;
        Some(self.open.remove(place).1)
    }

    /// Notes the failure of an attempt. An attempt that was cut short by the end of the call tells nothing about
    /// the node, so what the node failed with before remains its problem.
    fn failed(&mut self, url: &Arc<str>, error: Error, cut_short: bool) {
        self.failures += 1;
        if error.is_outcome_unknown() {
            self.unknown.get_or_insert_with(|| error.clone());
        }
        if cut_short && self.problems.iter().any(|(other, _)| other == url) {
            return;
        }
        self.problems.retain(|(other, _)| other != url);
        self.problems.push((Arc::clone(url), error));
    }

    /// Whether this many nodes turned out not to be Batuta nodes.
    fn none_is_batuta(&self, count: usize) -> bool {
        self.problems.iter().filter(|(_, error)| error.code == "not_batuta").count() >= count
    }

    /// The outcome of the call, given the answer to its last attempt.
    fn outcome<A>(self, answer: Result<A, Error>, keyed: bool) -> Result<A, Error> {
        match (answer, self.unknown) {
            (Err(error), Some(unknown)) if keyed && error.is_access_refused() => {
                let message = format!("{}; a retry was refused: {}", unknown.message, error.message);
                Err(Error { message, ..unknown })
            }
            (answer, _) => answer,
        }
    }

    /// The error of the call: the last failure, together with those of the other silent nodes if the last
    /// node was silent.
    fn error(self, keyed: bool) -> Error {
        // An attempt before the last one may have taken effect, so the call cannot be reported as failed.
        if let Some(unknown) = self.unknown.filter(|_| keyed) {
            return unknown;
        }
        let mut problems = self.problems;
        let Some((_, mut last)) = problems.pop() else {
            return Error::new("timeout", "there was no time to ask", true);
        };
        if last.is_silence() {
            for (_, other) in problems.iter().rev().filter(|(_, other)| other.is_silence()) {
                last.message = format!("{}; {}", last.message, other.message);
            }
        }
        last
    }
}

impl Client {
    /// Makes a call through the node's pipeline.
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

    /// Makes a call of its own, outside the pipeline.
    pub(crate) async fn unary<Q, A, F, R>(&self, message: Q, call: Call, rpc: F) -> Result<A, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> R,
        R: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(&call, |node, attempt| {
            let answer =
                self.request(message.clone(), &call, attempt).map(|request| rpc(node.channel, request));
            let failed = move |status| Error::from_status(&status, Some(&node.url));
            async move { Ok(answer?.await.map_err(failed)?.into_inner()) }
        })
        .await
    }

    async fn call<A, F, R>(&self, call: &Call, ask: F) -> Result<A, Error>
    where
        F: Fn(Endpoint, Duration) -> R,
        R: Future<Output = Result<A, Error>>,
    {
        let patience = call.timeout.unwrap_or(self.timeout);
        let deadline = Instant::now() + patience + call.wait;
        let mut attempts = Attempts::default();
        let mut in_flight = FuturesUnordered::new();
        let mut next_at = Instant::now();
        let mut pace = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                Some((node, answer)) = in_flight.next(), if !in_flight.is_empty() => {
                    let (node, answer): (Endpoint, Result<A, Error>) = (node, answer);
                    let begun = attempts.answered(&node.url);
                    let error = match answer {
                        Err(error) if error.is_passing() => error,
                        answered => {
                            self.judge(&attempts, &node, pace);
                            if self.has_another_token(&answered, &mut attempts).await {
                                next_at = Instant::now();
                                continue;
                            }
                            return attempts.outcome(answered, call.key.is_some());
                        }
                    };
                    let cut_short = error.code == "timeout" && begun.is_some_and(|begun| begun.elapsed() < pace);
                    self.left(&node.url, &error, cut_short);
                    attempts.failed(&node.url, error, cut_short);
                    if attempts.none_is_batuta(self.pool.count()) {
                        return Err(attempts.error(call.key.is_some()));
                    }
                    let pause = self.backoff.pause(attempts.failures - 1, jitter()).min(pace);
                    next_at = next_at.min(Instant::now() + pause);
                    if next_at >= deadline && in_flight.is_empty() {
                        return Err(attempts.error(call.key.is_some()));
                    }
                }
                () = sleep_until(next_at.min(deadline)) => {
                    let now = Instant::now();
                    if now >= deadline || !call.hedged {
                        self.give_up_on_open(&mut attempts, now, pace);
                        in_flight.clear();
                    }
                    if now >= deadline {
                        return Err(attempts.error(call.key.is_some()));
                    }
                    let node = self.pool.next(|url| attempts.asked.get(url).copied().unwrap_or_default());
                    attempts.begun(&node.url);
                    attempts.sent = self.pool.credentials.generation();
                    pace = call.pace(patience, deadline, now);
                    next_at = now + pace;
                    let left = deadline - now;
                    let time = if call.hedged { left } else { pace.min(left) };
                    let asked = &ask;
                    in_flight.push(async move {
                        let proven = if node.unproven { self.pool.prove(&node).await.err() } else { None };
                        let answer = match proven {
                            Some(error) => Err(error),
                            None => asked(node.clone(), time).await,
                        };
                        (node, answer)
                    });
                }
            }
        }
    }

    /// Whether a call whose token was refused can be made with another one. That happens once.
    async fn has_another_token<A>(&self, answer: &Result<A, Error>, attempts: &mut Attempts) -> bool {
        let refused = answer.as_ref().is_err_and(Error::is_token_refused);
        if !refused || attempts.renewed || !self.pool.credentials.replaced(attempts.sent).await {
            return false;
        }
        tracing::debug!("the token was replaced; asking again");
        attempts.renewed = true;
        true
    }

    /// A node answered: nodes that were asked well before it and have not answered count as silent.
    fn judge(&self, attempts: &Attempts, node: &Endpoint, pace: Duration) {
        let silent = attempts.open.iter().filter(|(url, begun)| *url != node.url && begun.elapsed() >= pace);
        for (url, _) in silent {
            self.pool.silent(url);
        }
        self.pool.refresh(node, attempts.failures > 0 || attempts.asked.len() > 1);
    }

    fn left(&self, url: &str, error: &Error, cut_short: bool) {
        tracing::debug!(url, code = error.code, "an attempt failed; retrying");
        if cut_short {
            return;
        }
        if error.is_silence() {
            self.pool.silent(url);
        } else {
            self.pool.failed(url);
        }
    }

    fn give_up_on_open(&self, attempts: &mut Attempts, now: Instant, pace: Duration) {
        for (url, begun) in std::mem::take(&mut attempts.open) {
            let lasted = now - begun;
            let error =
                Error::new("timeout", format!("{url} did not answer within {} ms", lasted.as_millis()), true);
            let cut_short = lasted < pace;
            self.left(&url, &error, cut_short);
            attempts.failed(&url, error, cut_short);
        }
    }

    fn request<Q>(&self, message: Q, call: &Call, attempt: Duration) -> Result<Request<Q>, Error> {
        let mut request = Request::new(message);
        request.set_timeout(attempt);
        self.pool.credentials.sign(&mut request);
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

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
