//! `batuta watch`: prints every change, one per line.

use std::pin::pin;
use std::time::Duration;

use batuta_client::v1::event::Facts;
use batuta_client::v1::object::Object;
use batuta_client::v1::{AccessFacts, Event, Register, SnapshotPage};
use batuta_client::{WatchItem, WatchOptions};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Failure, exit};
use crate::lock::render;
use crate::output::{Reader, printable, reader_gone, text_json, write_line};
use crate::{Global, duration, election, session};

/// The arguments of `batuta watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Only names that start with this prefix.
    #[arg(long, conflicts_with = "name")]
    prefix: Option<String>,
    /// Only this name.
    #[arg(long)]
    name: Option<String>,
    /// Only changes that belong to this session.
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// Only changes of these areas: lock, election, session, register, access, cluster; separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "JOB,…")]
    areas: Vec<String>,
    /// Only these kinds: `lock_granted`, `lock_released`, `session_ended`, …; separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,
    /// Start at this revision. To resume later, use the revision after the last one that was printed completely: with
    /// `-o json`, a line has `"more": true` when more lines of its revision follow.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "snapshot")]
    from: Option<u64>,
    /// Start with the current objects, and start this way again if the history is gone.
    #[arg(long)]
    snapshot: bool,
    /// Print the current revision when nothing has happened for this long.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    progress: Option<Duration>,
    /// Stop after this many lines of changes.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl WatchArgs {
    fn options(&self) -> WatchOptions {
        let begin = match self.from {
            Some(revision) => WatchOptions::from_revision(revision),
            None if self.snapshot => WatchOptions::snapshot(),
            None => WatchOptions::now(),
        };
        let begin = begin.areas(self.areas.clone()).kinds(self.kinds.clone());
        let begin = begin.prefix(self.prefix.clone().unwrap_or_default());
        let begin = begin.name(self.name.clone().unwrap_or_default());
        let begin = begin.session(self.session.clone().unwrap_or_default());
        match self.progress {
            Some(every) => begin.progress(every),
            None => begin,
        }
    }
}

/// Prints changes until the limit, or until a failure that a retry cannot fix.
pub(crate) async fn run(global: &Global, args: WatchArgs) -> Result<u8, Failure> {
    let mut watch = global.connect().await?.watch(args.options());
    let mut gone = pin!(reader_gone());
    let mut printed = 0;
    loop {
        let item = tokio::select! {
            item = watch.next() => item?,
            () = &mut gone => return Ok(exit::DONE),
        };
        let lines = match item {
            WatchItem::Progress { revision } if args.progress.is_some() => {
                vec![(format!("{revision}  progress"), json!({"revision": revision, "kind": "progress"}))]
            }
            WatchItem::Progress { .. } => Vec::new(),
            WatchItem::Snapshot { revision, page, .. } => objects(revision, &page),
            WatchItem::Changes { revision, events, more } => {
                let last = events.len().saturating_sub(1);
                let events = events.iter().enumerate().map(|(at, event)| {
                    let more = more || at < last;
                    (line(revision, event), to_json(revision, event, more))
                });
                let left = args.limit.map_or(u64::MAX, |limit| limit - printed);
                let events: Vec<_> = events.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
                printed += events.len() as u64;
                events
            }
        };
        for (text, json) in lines {
            if write_line(global.output, &text, &json)? == Reader::Gone {
                return Ok(exit::DONE);
            }
        }
        if args.limit.is_some_and(|limit| printed >= limit) {
            return Ok(exit::DONE);
        }
    }
}

/// The objects of a snapshot, one per line.
fn objects(revision: u64, page: &SnapshotPage) -> Vec<(String, Value)> {
    let known = page.objects.iter().filter_map(|object| object.object.as_ref());
    known.map(|found| object(revision, found)).collect()
}

fn object(revision: u64, found: &Object) -> (String, Value) {
    match found {
        Object::Session(found) => {
            let text = format!("{revision}  session  {}", found.session_id);
            (text, json!({"revision": revision, "kind": "session", "session": session::to_json(found)}))
        }
        Object::Lock(lock) => {
            let tokens: Vec<String> =
                lock.holders.iter().map(|grant| grant.fencing_token.to_string()).collect();
            let (name, waiting) = (printable(&lock.name), lock.waiter_count);
            let text = format!("{revision}  lock  {name}  tokens {}  waiting {waiting}", tokens.join(","));
            (text, json!({"revision": revision, "kind": "lock", "lock": render::lock_json(lock)}))
        }
        Object::Election(election) => {
            let leader = election.leader.as_ref();
            let parts = leader.map_or_else(
                || vec![printable(&election.name), "nobody leads".to_owned()],
                election::render::leader_parts,
            );
            let (parts, candidates) = (parts.join("  "), election.candidate_count);
            let text = format!("{revision}  election  {parts}  candidates {candidates}");
            let election = election::render::election_json(election);
            (text, json!({"revision": revision, "kind": "election", "election": election}))
        }
        Object::Register(Register { name, high_water }) => {
            let text = format!("{revision}  register  {}  high water {high_water}", printable(name));
            let register = json!({"name": name, "high_water": high_water});
            (text, json!({"revision": revision, "kind": "register", "register": register}))
        }
    }
}

/// Formats a change for people.
fn line(revision: u64, event: &Event) -> String {
    let mut parts = vec![revision.to_string(), event.kind.clone()];
    let mut words = None;
    match &event.facts {
        Some(Facts::Lock(lock)) => {
            if let Some(grant) = &lock.grant {
                parts.push(printable(&render::names(&grant.locks)));
                parts.push(format!("token {}", grant.fencing_token));
            }
            if let Some(waiter) = &lock.waiter {
                parts.push(printable(&render::names(&waiter.locks)));
                parts.push(lock.lock_id.clone());
            }
            if let Some(resized) = &lock.capacity {
                parts.push(printable(&resized.name));
                parts.push(format!("capacity {}", resized.capacity));
            }
            words = Some(printable(&lock.words));
        }
        Some(Facts::Election(election)) => {
            match &election.leader {
                Some(leader) => parts.extend(election::render::leader_parts(leader)),
                None => parts.extend([printable(&election.name), election.candidate_id.clone()]),
            }
            words = Some(printable(&election.words));
        }
        Some(Facts::Register(register)) => {
            parts.push(printable(&register.name));
            parts.push(format!("high water {}", register.high_water.unwrap_or_default()));
        }
        Some(Facts::Access(access)) => parts.extend(access_parts(access)),
        Some(Facts::Cluster(node)) if node.node_id > 0 => {
            parts.push(format!("{} {}", node.node_id, printable(&node.node_name)));
        }
        Some(Facts::Cluster(raised)) if raised.level > 0 => {
            parts.push(format!("level {} (Batuta {})", raised.level, printable(&raised.version)));
        }
        Some(Facts::Session(_) | Facts::Cluster(_)) | None => {}
    }
    parts.push(event.session_id.clone());
    parts.push(event.reason.clone());
    parts.extend(words);
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// What a change of access is about, for people.
fn access_parts(access: &AccessFacts) -> Vec<String> {
    let mut parts = vec![
        printable(&access.subject),
        printable(&access.role),
        access.binding_id.clone(),
        access.credential_kind.clone(),
        access.credential_id.clone(),
        access.mode.clone(),
    ];
    for (is_so, word) in [(access.suspended, "suspended"), (access.deleted, "deleted")] {
        parts.extend(is_so.then(|| word.to_owned()));
    }
    if !access.made_by.is_empty() {
        parts.push(format!("by {}", access.made_by));
    }
    parts
}

/// Formats a change for programs; `more`: whether more lines of its revision follow.
fn to_json(revision: u64, event: &Event, more: bool) -> Value {
    json!({
        "revision": revision,
        "more": more,
        "ordinal": event.ordinal,
        "namespace": text_json(&event.namespace),
        "kind": event.kind,
        "session_id": text_json(&event.session_id),
        "reason": text_json(&event.reason),
        "facts": event.facts.as_ref().map(facts_json),
    })
}

fn facts_json(facts: &Facts) -> Value {
    match facts {
        Facts::Lock(lock) => json!({
            "area": "lock",
            "lock_id": text_json(&lock.lock_id),
            "grant": lock.grant.as_ref().map(render::grant_json),
            "waiter": lock.waiter.as_ref().map(render::waiter_json),
            "words": text_json(&lock.words),
            "capacity": lock.capacity.as_ref().map(|resized| {
                json!({"name": resized.name, "capacity": resized.capacity})
            }),
        }),
        Facts::Election(election) => json!({
            "area": "election",
            "name": election.name,
            "candidate_id": text_json(&election.candidate_id),
            "leader": election.leader.as_ref().map(election::render::leader_json),
            "candidate": election.candidate.as_ref().map(election::render::candidate_json),
            "words": text_json(&election.words),
        }),
        Facts::Session(session) => json!({
            "area": "session",
            "ttl_ms": session.ttl_ms,
            "metadata": session.ttl_ms.map(|_| session.metadata.as_str()),
        }),
        Facts::Register(register) => json!({
            "area": "register", "name": register.name, "high_water": register.high_water,
        }),
        Facts::Access(access) => json!({
            "area": "access",
            "subject": text_json(&access.subject),
            "principal_id": text_json(&access.principal_id),
            "suspended": access.suspended,
            "role": text_json(&access.role),
            "binding_id": text_json(&access.binding_id),
            "credential_id": text_json(&access.credential_id),
            "credential_kind": text_json(&access.credential_kind),
            "mode": text_json(&access.mode),
            "deleted": access.deleted,
            "made_by": text_json(&access.made_by),
        }),
        Facts::Cluster(node) => json!({
            "area": "cluster",
            "node_id": (node.node_id > 0).then_some(node.node_id),
            "node_name": text_json(&node.node_name),
            "level": (node.level > 0).then_some(node.level),
            "version": text_json(&node.version),
        }),
    }
}

#[cfg(test)]
mod tests {
    use batuta_client::v1::{
        Candidate, Election, ElectionFacts, Grant, Leader, LockFacts, LockRequest, RegisterFacts,
    };

    use super::*;

    #[test]
    fn change_is_one_line_without_empty_parts() {
        let lock = LockRequest { name: "a\n1".to_owned(), ..Default::default() };
        let grant = Grant { locks: vec![lock], fencing_token: 7, ..Default::default() };
        let facts = LockFacts { grant: Some(grant), words: "stuck".to_owned(), ..Default::default() };
        let released = Event {
            kind: "lock_released".to_owned(),
            session_id: "s-1.0".to_owned(),
            reason: "forced".to_owned(),
            facts: Some(Facts::Lock(facts)),
            ..Default::default()
        };
        assert_eq!(line(9, &released), "9  lock_released  a\\n1  token 7  s-1.0  forced  stuck");
        assert_eq!(to_json(9, &released, true)["facts"]["grant"]["fencing_token"], 7);
        assert_eq!(to_json(9, &released, false)["facts"]["waiter"], Value::Null);
        let facts = RegisterFacts { name: "r".to_owned(), high_water: Some(3) };
        let advanced = Event {
            kind: "register_advanced".to_owned(),
            facts: Some(Facts::Register(facts)),
            ..Default::default()
        };
        assert_eq!(line(10, &advanced), "10  register_advanced  r  high water 3");
    }

    #[test]
    fn election_is_told_with_its_leader_or_candidate() {
        let leader = Leader {
            name: "shop".to_owned(),
            fencing_token: 7,
            value: "a:1".to_owned(),
            ..Leader::default()
        };
        let facts = ElectionFacts {
            name: "shop".to_owned(),
            candidate_id: "l-7.0".to_owned(),
            leader: Some(leader.clone()),
            ..Default::default()
        };
        let elected = Event {
            kind: "elected".to_owned(),
            session_id: "s-1.0".to_owned(),
            facts: Some(Facts::Election(facts.clone())),
            ..Default::default()
        };
        assert_eq!(line(9, &elected), "9  elected  shop  token 7  value a:1  s-1.0");
        let json = to_json(9, &elected, false);
        assert_eq!(
            (&json["facts"]["area"], &json["facts"]["leader"]["value"]),
            (&json!("election"), &json!("a:1"))
        );
        let facts = ElectionFacts { leader: None, candidate: Some(Candidate::default()), ..facts };
        let queued = Event {
            kind: "candidate_queued".to_owned(),
            facts: Some(Facts::Election(facts)),
            ..Default::default()
        };
        assert_eq!(line(8, &queued), "8  candidate_queued  shop  l-7.0");
        assert_eq!(to_json(8, &queued, false)["facts"]["candidate"]["queue_position"], 0);
        let election = Election { name: "shop".to_owned(), candidate_count: 2, ..Default::default() };
        let (text, json) = object(5, &Object::Election(election.clone()));
        assert_eq!(text, "5  election  shop  nobody leads  candidates 2");
        assert_eq!((&json["kind"], &json["election"]["leader"]), (&json!("election"), &Value::Null));
        let (text, _) = object(5, &Object::Election(Election { leader: Some(leader), ..election }));
        assert_eq!(text, "5  election  shop  token 7  value a:1  candidates 2");
    }
}
