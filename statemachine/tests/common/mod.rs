//! Helpers shared by the tests of the state machine.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use batuta_statemachine::lock::Acquire;
use batuta_statemachine::{Command, DedupKey, Request, Retry, lock};

/// Makes a request like a front. The fingerprint is made in another way, because the state machine only compares fingerprints.
pub(crate) fn request(key: Option<DedupKey>, command: Command) -> Request {
    let dedup = key.map(|key| Retry { key, fingerprint: fingerprint(&command) });
    Request::new(dedup, command)
}

fn fingerprint(command: &Command) -> u64 {
    let asked = match command {
        Command::Lock(lock::Command::Acquire(acquire)) => Acquire { call: None, ..acquire.clone() }.into(),
        other => other.clone(),
    };
    let mut hasher = DefaultHasher::new();
    format!("{asked:?}").hash(&mut hasher);
    hasher.finish()
}
