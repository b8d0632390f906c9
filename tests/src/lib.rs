//! Clusters of real processes for the integration tests: real ports, real data directories, real kill -9.
//!
//! Everything listens on loopback, keeps its data in a temporary directory and is stopped when the
//! [`Cluster`] is dropped. Waiting is always for a condition with a deadline.

mod cluster;
pub mod conformance;
mod graphql;
mod http;
mod ports;
mod process;
mod snippets;

pub use cluster::{Cluster, Node, program};
pub use graphql::GraphqlOperation;
pub use http::{Answer, Rest};
pub use ports::Ports;
pub use process::{Alone, Dev, Process, addresses, is_alive, pid, written};
pub use snippets::{Snippet, snippets};

use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When [`PATIENCE`] has run out: the test has failed, and `what` says on what.
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
