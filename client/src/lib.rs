//! Batuta's Rust client: several endpoints, the leader preferred, retries that have their effect once,
//! sessions that keep themselves alive and locks that say when they are lost.
//!
//! A request that failed on the way is asked again under the same idempotency key until its deadline, so an answer
//! that was lost is found again instead of taken twice.

mod address;
mod admin;
mod backoff;
mod call;
mod client;
mod error;
mod lock;
mod node;
mod pipeline;
mod pool;
mod session;
mod transport;
mod watch;
mod watch_queue;

/// What the details of an [`Error`] are.
pub use batuta_proto::facts;
/// The wire types: what the reading calls answer.
pub use batuta_proto::v1;

pub use crate::address::endpoint_url;
pub use crate::backoff::Backoff;
pub use crate::client::{Builder, Client};
pub use crate::error::Error;
pub use crate::lock::{Lock, LockOptions};
pub use crate::node::Node;
pub use crate::pipeline::{CallOptions, Pipeline, Pipelined, PipelinedWatch};
pub use crate::session::{Loss, Session, SessionState};
pub use crate::watch::{Watch, WatchItem, WatchOptions};

/// The examples of the manual are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/api-grpc.md")]
struct Manual;
