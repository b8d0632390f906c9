//! Access in a run: the keys of the clients, and the administrator who secures the cluster before the faults begin.
//!
//! A key is in the memory of the harness and in the `Authorization` header of its calls, and nowhere else: not in the history, and not in the
//! arguments of a process.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// The principals of the clients. Few, so that several processes share one.
pub const WORKERS: u64 = 3;
/// The note that says that a run has access; the check of access looks at such runs only.
pub const SECURED: &str = "secured";
/// The role of the workers.
pub const ROLE: &str = "editor";
/// How long securing the cluster may take on a busy machine.
const SECURED_WITHIN: Duration = Duration::from_mins(1);

/// A key. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Keeps the text of a key.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, for the `Authorization` header.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// The keys of a run with access.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The administrator's.
    pub admin: Key,
    /// The workers', in their order.
    pub workers: Vec<Key>,
    /// The bindings that give the workers their role.
    pub bindings: Vec<String>,
}

impl Keys {
    /// The key of a client process.
    #[must_use]
    pub fn of_process(&self, process: u64) -> Option<&Key> {
        self.workers.get(usize::try_from(worker_of(process)).ok()?)
    }
}

/// The worker as whom a process calls.
#[must_use]
pub fn worker_of(process: u64) -> u64 {
    process % WORKERS
}

/// The name of a worker's service account.
#[must_use]
pub fn name_of(worker: u64) -> String {
    format!("worker-{worker}")
}

/// The request that gives a worker its role.
#[must_use]
pub fn binding_of(worker: u64) -> Value {
    json!({"subject": format!("service/{}", name_of(worker)), "role": ROLE, "reason": "jepsen"})
}

/// Makes the administrator, the workers, their keys and their bindings, in a cluster that was created with `--secure`.
///
/// # Errors
/// When the cluster has no bootstrap token, or refuses a change.
pub async fn secure(cluster: &Cluster) -> Result<Keys> {
    let observer = cluster.observer();
    let body = json!({"token": bootstrap_token(cluster).await?, "admin": "root"});
    let answer = observer.send(Method::POST, 0, "/api/v1/access/bootstrap", Some(body)).await;
    // The refusal of a bootstrap token does not name it.
    let admin = key_in(&answer.map_err(refused("making the administrator"))?)?;
    observer.call_as(admin.clone());
    let (mut workers, mut bindings) = (Vec::new(), Vec::new());
    for worker in 0..WORKERS {
        let name = name_of(worker);
        let path = format!("/api/v1/access/services/{name}");
        let put = observer.send(Method::PUT, 0, &path, Some(json!({}))).await;
        put.map_err(refused("making a worker"))?;
        let bound = observer.send(Method::POST, 0, "/api/v1/access/bindings", Some(binding_of(worker))).await;
        let bound = bound.map_err(refused("giving a worker its role"))?;
        bindings.push(bound["binding_id"].as_str().unwrap_or_default().to_owned());
        let key = json!({"principal": format!("service/{name}"), "label": "jepsen"});
        let made = observer.send(Method::POST, 0, "/api/v1/access/keys", Some(key)).await;
        workers.push(key_in(&made.map_err(refused("making a key"))?)?);
    }
    Ok(Keys { admin, workers, bindings })
}

/// Waits for the bootstrap token, which one node keeps in its data directory.
async fn bootstrap_token(cluster: &Cluster) -> Result<String> {
    let deadline = Instant::now() + SECURED_WITHIN;
    loop {
        let files = cluster.nodes.iter().map(|node| node.data_dir.join("bootstrap-token"));
        let found: Option<PathBuf> = files.into_iter().find(|file| file.exists());
        if let Some(file) = found {
            let text = std::fs::read_to_string(&file).map_err(Error::io(file.display().to_string()))?;
            // The node may still be writing it.
            if !text.trim().is_empty() {
                return Ok(text.trim().to_owned());
            }
        }
        if Instant::now() > deadline {
            let what = "a node keeps the bootstrap token".to_owned();
            return Err(Error::NotInTime { what, within: SECURED_WITHIN });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The key in an answer. The error does not show the answer.
fn key_in(answer: &Value) -> Result<Key> {
    let key = answer["key"].as_str().map(Key::new);
    key.ok_or_else(|| Error::Usage("the cluster answered without a key".to_owned()))
}

fn refused(what: &str) -> impl FnOnce(String) -> Error {
    move |said| Error::Usage(format!("{what} was refused: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let key = Key::new("btk_secret");
        assert_eq!(format!("{key:?}"), "[redacted]");
        let shown = key_in(&json!({"token": "btk_secret"})).unwrap_err().to_string();
        assert!(!shown.contains("btk_secret"), "{shown}");
        assert_eq!(key_in(&json!({"key": "btk_secret"})).unwrap(), key);
    }

    #[test]
    fn processes_share_the_workers() {
        let workers = (0..WORKERS).map(|number| Key::new(&number.to_string())).collect();
        let keys = Keys { admin: Key::new("a"), workers, bindings: Vec::new() };
        assert_eq!(keys.of_process(4).map(Key::expose), Some("1"));
        assert_eq!(keys.of_process(3), keys.of_process(0));
    }
}
