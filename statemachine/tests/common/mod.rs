//! What the tests of the state machine share.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use batuta_statemachine::lock::Acquire;
use batuta_statemachine::{Command, DedupKey, Request, Retry};

/// A request as a front makes it. The fingerprint is one of its own kind: the state machine compares fingerprints and makes none.
pub(crate) fn request(key: Option<DedupKey>, command: Command) -> Request {
    let dedup = key.map(|key| Retry { key, fingerprint: fingerprint(&command) });
    Request::new(dedup, command)
}

fn fingerprint(command: &Command) -> u64 {
    let asked = match command {
        Command::Acquire(acquire) => Command::Acquire(Acquire { call: None, ..acquire.clone() }),
        other => other.clone(),
    };
    let mut hasher = DefaultHasher::new();
    format!("{asked:?}").hash(&mut hasher);
    hasher.finish()
}
