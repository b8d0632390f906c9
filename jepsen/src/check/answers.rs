//! Compares one answer with the log at the answer's revision.

use std::sync::Arc;

use batuta_statemachine::lock::Grant;
use batuta_statemachine::{
    Applied, ChangeKind, Command, Entry, LockId, Name, Namespace, Outcome, Reply, SessionId, State, lock,
    register, session,
};

use serde_json::Value;

use crate::history::Operation;

/// The state, entry and outcomes of the log at a revision.
pub(super) struct At<'a> {
    pub(super) revision: u64,
    pub(super) entry: Option<&'a Entry>,
    pub(super) applied: &'a Applied,
    pub(super) state: &'a State,
}

impl At<'_> {
    /// Whether one of the entry's requests has this outcome.
    fn has(&self, wanted: impl Fn(&Reply) -> bool) -> bool {
        self.applied.outcomes.iter().any(|outcome| matches!(outcome, Ok(reply) if wanted(reply)))
    }

    fn requests(&self) -> impl Iterator<Item = (&Command, &Outcome)> {
        let requests = self.entry.map(|entry| entry.requests.as_slice()).unwrap_or_default();
        requests.iter().map(|request| &request.command).zip(&self.applied.outcomes)
    }

    /// The grant of an acquisition, if it is held at this revision or granted by it.
    fn grant(&self, lock_id: LockId) -> Option<Arc<Grant>> {
        self.state.grant(lock_id).or_else(|| {
            self.applied.changes.iter().find_map(|change| match &change.kind {
                ChangeKind::Lock(lock::Change::LockGranted(grant)) if grant.lock_id == lock_id => {
                    Some(Arc::clone(grant))
                }
                _ => None,
            })
        })
    }
}

fn lock_id(operation: &Operation) -> Result<LockId, String> {
    operation.acquisition().parse().map_err(|error| format!("{error}"))
}

fn name(operation: &Operation) -> Result<Name, String> {
    Name::new(operation.arg("name")).map_err(|error| error.to_string())
}

fn session(text: &str) -> Result<SessionId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, log: &T, answer: &T) -> Result<(), String> {
    if log == answer { Ok(()) } else { Err(format!("{what}: the log says {log:?}, the answer {answer:?}")) }
}

fn found(is: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(format!("the log has no {}", what())) }
}

/// Compares an answer with the log.
pub(super) fn compare(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    match operation.f.as_str() {
        "acquire" => acquire(operation, at),
        "campaign" => campaign(operation, at),
        "proclaim" | "resign" => leads(operation, at),
        "release" | "extend" => release_or_extend(operation, at),
        "open_session" | "keep_alive" | "close_session" => session_write(operation, at),
        "advance_register" => {
            let high_water = operation.number("high_water").ok_or("no high_water")?;
            found(
                at.has(|reply| {
                    *reply
                        == Reply::Register(register::Reply::RegisterAdvanced(register::RegisterAdvanced {
                            high_water,
                        }))
                }),
                || "such advance".to_owned(),
            )
        }
        "delete_register" => {
            let high_water = operation.number("high_water").ok_or("no high_water")?;
            found(
                at.has(|reply| {
                    *reply
                        == Reply::Register(register::Reply::RegisterDeleted(register::RegisterDeleted {
                            high_water,
                        }))
                }),
                || "such deletion".to_owned(),
            )
        }
        "cancel_wait" => {
            found(at.has(|reply| matches!(reply, Reply::Lock(lock::Reply::WaitCancelled(_)))), || {
                "such withdrawal".to_owned()
            })
        }
        _ => read(operation, at),
    }
}

fn acquire(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let lock_id = lock_id(operation)?;
    let grant = at.grant(lock_id).ok_or_else(|| format!("{lock_id} is not held at {}", at.revision))?;
    same("token", &Some(grant.token), &operation.number("fencing_token"))?;
    same("metadata", grant.metadata.as_ref(), operation.arg("metadata"))?;
    let held: Vec<(&str, &str)> =
        grant.requests.iter().map(|request| (request.name.as_str(), request.mode.as_str())).collect();
    same("locks", &held, &wanted(&operation.args))
}

fn campaign(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let lock_id = lock_id(operation)?;
    let grant = at.grant(lock_id).ok_or_else(|| format!("{lock_id} does not lead at {}", at.revision))?;
    same("token", &Some(grant.token), &operation.number("fencing_token"))?;
    same("value", grant.metadata.as_ref(), operation.arg("value"))?;
    same("answered value", grant.metadata.as_ref(), operation.answered("value"))?;
    same("election", &grant.election().map(Name::as_str), &Some(operation.arg("name")))
}

/// Compares what a leader did with the log: under its own token, and with its own value.
fn leads(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let id = lock_id(operation)?;
    let asked = operation.args["fencing_token"].as_u64();
    same("token", &asked, &operation.number("fencing_token"))?;
    let is_it = |reply: &Reply| match reply {
        Reply::Lock(lock::Reply::Released(lock::Released { lock_id, token, .. })) => {
            operation.f == "resign" && *lock_id == id && Some(*token) == asked
        }
        Reply::Lock(lock::Reply::MetadataSet(lock::MetadataSet { grant })) => {
            let value = &*grant.metadata;
            operation.f == "proclaim"
                && grant.lock_id == id
                && Some(grant.token) == asked
                && value == operation.arg("value")
                && value == operation.answered("value")
        }
        _ => false,
    };
    found(at.has(is_it), || format!("{} of {id} at {}", operation.f, at.revision))
}

/// The requested names and modes.
fn wanted(args: &Value) -> Vec<(&str, &str)> {
    match args["locks"].as_array() {
        Some(locks) => locks.iter().map(lock_wanted).collect(),
        None => vec![lock_wanted(args)],
    }
}

fn lock_wanted(lock: &Value) -> (&str, &str) {
    (lock["name"].as_str().unwrap_or_default(), lock["mode"].as_str().unwrap_or("exclusive"))
}

fn release_or_extend(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let id = lock_id(operation)?;
    let told = operation.number("fencing_token");
    let is_it = |reply: &Reply| match reply {
        Reply::Lock(lock::Reply::Released(lock::Released { lock_id, token, .. })) => {
            operation.f == "release" && *lock_id == id && Some(*token) == told
        }
        Reply::Lock(lock::Reply::Extended(lock::Extended { grant })) => {
            operation.f == "extend" && grant.lock_id == id && Some(grant.token) == told
        }
        _ => false,
    };
    found(at.has(is_it), || format!("{} of {id} at {}", operation.f, at.revision))
}

fn session_write(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let is_it = match operation.f.as_str() {
        "open_session" => {
            let opened = session(operation.answered("session_id"))?;
            at.has(|reply| {
                let Reply::Session(session::Reply::SessionOpened(told)) = reply else { return false };
                told.session == opened
            })
        }
        "keep_alive" => {
            let kept = session(operation.arg("session_id"))?;
            at.requests().any(|(command, outcome)| match (command, outcome) {
                (
                    Command::Session(session::Command::KeepAlive(command)),
                    Ok(Reply::Session(session::Reply::KeptAlive(kept_alive))),
                ) => command
                    .sessions
                    .iter()
                    .zip(&kept_alive.deadlines_ms)
                    .any(|(one, deadline)| *one == kept && deadline.is_some()),
                _ => false,
            })
        }
        _ => {
            let closed = session(operation.arg("session_id"))?;
            let told = (operation.number("released_locks"), operation.number("cancelled_waits"));
            at.requests().any(|(command, outcome)| match (command, outcome) {
                (
                    Command::Session(session::Command::CloseSession(command)),
                    Ok(Reply::Session(session::Reply::SessionClosed(session::SessionClosed {
                        released_grants,
                        cancelled_waits,
                    }))),
                ) => command.session == closed && (Some(*released_grants), Some(*cancelled_waits)) == told,
                _ => false,
            })
        }
    };
    found(is_it, || format!("{} at {}", operation.f, at.revision))
}

fn read(operation: &Operation, at: &At<'_>) -> Result<(), String> {
    let namespace = Namespace::default();
    match operation.f.as_str() {
        "check" => {
            let token = operation.args["fencing_token"].as_u64().unwrap_or_default();
            let check = at.state.check(&namespace, &name(operation)?, token);
            let status = match check.status {
                batuta_statemachine::lock::TokenStatus::Held => "held",
                batuta_statemachine::lock::TokenStatus::Superseded => "superseded",
                batuta_statemachine::lock::TokenStatus::NotHeld => "not_held",
            };
            same("status", status, operation.answered("status"))?;
            same("newest token", &check.newest, &operation.number("newest_token"))
        }
        "get_lock" => {
            let lock = at.state.lock(&namespace, &name(operation)?, 0).ok_or("the lock is free")?;
            let told = operation.value["holders"].as_array().into_iter().flatten();
            let told: Vec<u64> = told.filter_map(|holder| holder["fencing_token"].as_u64()).collect();
            let held: Vec<u64> = lock.holders.iter().map(|grant| grant.token).collect();
            same("holders", &held, &told)?;
            same("waiters", &Some(lock.waiter_count), &operation.number("waiter_count"))
        }
        "get_election" => {
            let lock = at.state.lock(&namespace, &name(operation)?, 0);
            let leader = lock.as_ref().and_then(|lock| lock.holders.first());
            let told = &operation.value["leader"];
            same("leader", &leader.map(|grant| grant.token), &told["fencing_token"].as_u64())?;
            same("value", &leader.map(|grant| &*grant.metadata), &told["value"].as_str())?;
            let candidates = lock.map_or(0, |lock| lock.waiter_count);
            same("candidates", &Some(candidates), &operation.number("candidate_count"))
        }
        "get_session" => {
            let session = session(operation.arg("session_id"))?;
            found(at.state.session(session).is_some(), || format!("{session} at {}", at.revision))
        }
        "get_register" => {
            same("value", &at.state.register(&namespace, &name(operation)?), &operation.number("high_water"))
        }
        // What they change is compared by what is allowed afterwards (`check/access.rs`).
        "take_right" | "return_right" => Ok(()),
        other => Err(format!("no way to compare {other}")),
    }
}
