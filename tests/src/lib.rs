//! Clusters of real processes for the integration tests, with real ports, real data directories and real kill -9.
//!
//! Everything listens on loopback, keeps its data in a temporary directory and is stopped when the
//! [`Cluster`] is dropped. Tests wait for conditions, with a deadline.

mod cluster;
pub mod conformance;
mod graphql;
mod http;
mod ports;
mod process;
mod small_disk;
mod snippets;

pub use cluster::{Cluster, Node, program};
pub use graphql::GraphqlOperation;
pub use http::{Answer, Rest};
pub use ports::Ports;
pub use process::{Alone, Dev, Process, addresses, is_alive, pid, written};
pub use small_disk::SmallDisk;
pub use snippets::{Snippet, Terminal, snippets};

use std::time::{Duration, Instant};

/// How long a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `condition` returns a value.
///
/// # Panics
/// When [`PATIENCE`] has run out: the test has failed. The message contains `what`.
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
