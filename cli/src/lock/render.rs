//! Renders locks, grants and waiters as tables and as JSON with the names of the API.

use std::fmt::Write as _;

use batuta_client::v1::{
    Blocker, ExplainResponse, Grant, ListLocksResponse, Lock, LockMode, LockRequest, Waiter,
    WaiterExplanation,
};
use serde_json::{Value, json};

use crate::duration::human;
use crate::output::{Answer, fields, more, or_dash, owner, partial, printable, rows};
use crate::reading::Page;

/// Renders a grant that was just made or renewed.
pub(super) fn granted(grant: &Grant, revision: u64) -> Answer {
    let text = fields([
        ("lock_id", grant.lock_id.clone()),
        ("fencing_token", grant.fencing_token.to_string()),
        ("locks", names(&grant.locks)),
        ("session_id", grant.session_id.clone()),
        ("owner", grant.owner.clone()),
        ("ttl", grant.ttl_ms.map(human).unwrap_or_default()),
        ("expires_at", grant.expires_at.clone()),
        ("count", if grant.count > 1 { grant.count.to_string() } else { String::new() }),
        ("metadata", grant.metadata.clone()),
        ("revision", revision.to_string()),
    ]);
    Answer::new(json!({"grant": grant_json(grant), "revision": revision}), text)
}

/// Renders a page of locks.
pub(super) fn list(answer: &ListLocksResponse) -> Answer {
    let table = rows(
        ["NAME", "MODE", "TOKEN", "OWNER", "REMAINING", "WAITERS", "LOCK ID"],
        answer.locks.iter().map(|lock| {
            let first = lock.holders.first();
            let more = match lock.holder_count {
                0 | 1 => String::new(),
                holders => format!(" +{}", holders - 1),
            };
            [
                lock.name.clone(),
                kind(lock),
                or_dash(first.map(|grant| format!("{}{more}", grant.fencing_token))),
                or_dash(first.map(|grant| owner(&grant.session_id, &grant.owner))),
                or_dash(first.and_then(|grant| grant.remaining_ms).or(lock.delayed_ms).map(human)),
                lock.waiter_count.to_string(),
                or_dash(first.map(|grant| grant.lock_id.clone())),
            ]
        }),
    );
    let json = json!({
        "locks": answer.locks.iter().map(lock_json).collect::<Vec<_>>(),
        "next_cursor": answer.next_cursor,
        "revision": answer.revision,
        "filtered": answer.filtered,
    });
    Answer::new(json, table + partial(answer.filtered) + &Page::more(&answer.next_cursor))
}

/// Renders one lock with its holders and first waiters.
pub(super) fn one(lock: &Lock, revision: u64) -> Answer {
    let text = format!("{}{}", described(lock, revision), waiting(lock));
    Answer::new(json!({"lock": lock_json(lock), "revision": revision}), text)
}

/// Renders who holds a lock, and what each waiter waits for.
pub(super) fn explained(answer: &ExplainResponse) -> Answer {
    let mut text = printable(&answer.summary);
    if let Some(lock) = &answer.lock {
        text += "\n\n";
        text += &described(lock, answer.revision);
    }
    if !answer.waiters.is_empty() {
        let blocked = answer.waiters.iter().flat_map(blocked_rows);
        text += "\n\n";
        text += &rows(["WAITER", "OWNER", "AHEAD", "BLOCKED ON", "BY", "TOKEN", "WHO WAITS FOR"], blocked);
        if let Some(lock) = &answer.lock {
            let cursor = &lock.next_waiters_cursor;
            text += &more(answer.waiters.len(), lock.waiter_count, "--waiters-cursor", cursor);
        }
    }
    let json = json!({
        "lock": answer.lock.as_ref().map(lock_json),
        "waiters": answer.waiters.iter().map(explanation_json).collect::<Vec<_>>(),
        "summary": answer.summary,
        "revision": answer.revision,
        "names_hidden": answer.names_hidden,
    });
    if answer.names_hidden > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n\n{} names are hidden: you may not see them", answer.names_hidden);
    }
    Answer::new(json, text)
}

fn described(lock: &Lock, revision: u64) -> String {
    let mut text = fields([
        ("name", lock.name.clone()),
        ("namespace", lock.namespace.clone()),
        ("mode", kind(lock)),
        ("closed_for", lock.delayed_ms.map(human).unwrap_or_default()),
        ("waiters", lock.waiter_count.to_string()),
        ("revision", revision.to_string()),
    ]);
    if !lock.holders.is_empty() {
        text += "\n\n";
        text += &rows(
            ["HOLDER", "TOKEN", "OWNER", "COUNT", "REMAINING", "SINCE", "METADATA"],
            lock.holders.iter().map(|grant| {
                [
                    grant.lock_id.clone(),
                    grant.fencing_token.to_string(),
                    owner(&grant.session_id, &grant.owner),
                    grant.count.to_string(),
                    or_dash(grant.remaining_ms.map(human)),
                    grant.granted_at.clone(),
                    grant.metadata.clone(),
                ]
            }),
        );
        text += &more(lock.holders.len(), lock.holder_count, "--holders-cursor", &lock.next_holders_cursor);
    }
    text
}

fn waiting(lock: &Lock) -> String {
    let waiters = &lock.waiters;
    if waiters.is_empty() {
        return String::new();
    }
    let table = rows(
        ["WAITER", "OWNER", "AHEAD", "WANTS", "REMAINING"],
        waiters.iter().map(|waiter| {
            [
                waiter.lock_id.clone(),
                owner(&waiter.session_id, &waiter.owner),
                waiter.queue_position.to_string(),
                names(&waiter.locks),
                human(waiter.remaining_ms),
            ]
        }),
    );
    let more = more(waiters.len(), lock.waiter_count, "--waiters-cursor", &lock.next_waiters_cursor);
    format!("\n\n{table}{more}")
}

/// One row for each blocker of a waiter; one row for a waiter without a blocker.
fn blocked_rows(explanation: &WaiterExplanation) -> Vec<[String; 7]> {
    let waiter = explanation.waiter.clone().unwrap_or_default();
    let row = |blocker: Option<&Blocker>| {
        [
            waiter.lock_id.clone(),
            owner(&waiter.session_id, &waiter.owner),
            waiter.queue_position.to_string(),
            or_dash(blocker.map(|blocker| blocker.name.clone())),
            or_dash(blocker.map(|blocker| {
                format!("{} {}", blocker.lock_id, owner(&blocker.session_id, &blocker.owner))
            })),
            or_dash(blocker.map(|blocker| blocker.fencing_token).filter(|token| *token > 0)),
            or_dash(
                blocker
                    .filter(|blocker| !blocker.waits_for.is_empty())
                    .map(|blocker| blocker.waits_for.join(", ")),
            ),
        ]
    };
    match explanation.blockers.as_slice() {
        [] => vec![row(None)],
        blockers => blockers.iter().map(|blocker| row(Some(blocker))).collect(),
    }
}

pub(crate) fn names(locks: &[LockRequest]) -> String {
    let wanted = locks.iter().map(|lock| match lock.mode() {
        LockMode::Unspecified | LockMode::Exclusive => lock.name.clone(),
        LockMode::Shared => format!("{} (shared)", lock.name),
        LockMode::Election => format!("{} (election)", lock.name),
        LockMode::Semaphore => format!("{} ({} of {})", lock.name, lock.permits, lock.capacity),
    });
    wanted.collect::<Vec<_>>().join(", ")
}

fn kind(lock: &Lock) -> String {
    match lock.mode() {
        LockMode::Semaphore => format!("semaphore, {} of {} free", lock.permits_free, lock.capacity),
        mode => mode_name(mode).to_owned(),
    }
}

fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        // Unspecified means exclusive.
        LockMode::Unspecified | LockMode::Exclusive => "exclusive",
        LockMode::Shared => "shared",
        LockMode::Election => "election",
        LockMode::Semaphore => "semaphore",
    }
}

pub(crate) fn lock_json(lock: &Lock) -> Value {
    json!({
        "name": lock.name,
        "namespace": lock.namespace,
        "mode": mode_name(lock.mode()),
        "capacity": lock.capacity,
        "permits_free": lock.permits_free,
        "holders": lock.holders.iter().map(grant_json).collect::<Vec<_>>(),
        "waiters": lock.waiters.iter().map(waiter_json).collect::<Vec<_>>(),
        "waiter_count": lock.waiter_count,
        "holder_count": lock.holder_count,
        "next_holders_cursor": lock.next_holders_cursor,
        "next_waiters_cursor": lock.next_waiters_cursor,
        "delayed_ms": lock.delayed_ms,
    })
}

pub(crate) fn grant_json(grant: &Grant) -> Value {
    json!({
        "lock_id": grant.lock_id,
        "namespace": grant.namespace,
        "locks": grant.locks.iter().map(request_json).collect::<Vec<_>>(),
        "session_id": grant.session_id,
        "owner": grant.owner,
        "fencing_token": grant.fencing_token,
        "count": grant.count,
        "granted_revision": grant.granted_revision,
        "granted_at": grant.granted_at,
        "ttl_ms": grant.ttl_ms,
        "remaining_ms": grant.remaining_ms,
        "expires_at": grant.expires_at,
        "lock_delay_ms": grant.lock_delay_ms,
        "metadata": grant.metadata,
    })
}

fn request_json(request: &LockRequest) -> Value {
    json!({
        "name": request.name,
        "mode": mode_name(request.mode()),
        "permits": request.permits,
        "capacity": request.capacity,
    })
}

pub(crate) fn waiter_json(waiter: &Waiter) -> Value {
    json!({
        "lock_id": waiter.lock_id,
        "locks": waiter.locks.iter().map(request_json).collect::<Vec<_>>(),
        "session_id": waiter.session_id,
        "owner": waiter.owner,
        "queue_position": waiter.queue_position,
        "remaining_ms": waiter.remaining_ms,
    })
}

fn explanation_json(explanation: &WaiterExplanation) -> Value {
    let blockers = explanation.blockers.iter().map(|blocker| {
        json!({
            "lock_id": blocker.lock_id,
            "name": blocker.name,
            "session_id": blocker.session_id,
            "owner": blocker.owner,
            "fencing_token": blocker.fencing_token,
            "waits_for": blocker.waits_for,
        })
    });
    json!({
        "waiter": explanation.waiter.as_ref().map(waiter_json),
        "blockers": blockers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
