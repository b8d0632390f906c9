//! Batuta's Rust client: accepts several endpoints, prefers the leader, retries without repeating the effect,
//! keeps sessions alive, and reports when a lock or the leadership of an election is lost.
//!
//! A request that failed in transit is sent again under the same idempotency key until its deadline. If only
//! the answer was lost, the retry gets that answer instead of taking effect twice.

mod access;
mod address;
mod admin;
mod backoff;
mod call;
mod client;
mod credential;
mod election;
mod error;
mod held;
mod lock;
mod node;
mod observer;
mod pipeline;
mod pool;
mod session;
#[cfg(test)]
mod tests;
mod transport;
mod watch;
mod watch_queue;

/// Names and formats of an [`Error`]'s details.
pub use batuta_proto::facts;
/// The wire types that reads return.
pub use batuta_proto::v1;

pub use crate::address::endpoint_url;
pub use crate::backoff::Backoff;
pub use crate::client::{Builder, Client};
pub use crate::credential::{Credential, Token};
pub use crate::election::{CampaignOptions, Election};
pub use crate::error::Error;
pub use crate::lock::{Lock, LockOptions};
pub use crate::node::Node;
pub use crate::observer::{Observed, Observer};
pub use crate::pipeline::{CallOptions, Pipeline, Pipelined, PipelinedWatch};
pub use crate::session::{Loss, Session, SessionState};
pub use crate::watch::{Watch, WatchItem, WatchOptions};

/// Compiles the examples of the manual with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/api-grpc.md")]
struct Manual;
