//! Golden stories: `tests/golden/*.txt` are commands (`> …`) and, under each, the outcome (`=`) and the changes (`*`).
//!
//! `UPDATE_GOLDEN=1 cargo test -p batuta-statemachine --test golden` writes the current outcomes; review the difference.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use batuta_statemachine::cluster::SetLimits;
use batuta_statemachine::lock::{
    Acquire, By, CancelScope, CancelWait, Extend, ForceRelease, LockPart, LockRequest, Mode, Owner, Release,
    ServingCall, SetMetadata, WithdrawWaits,
};
use batuta_statemachine::register::{AdvanceRegister, DeleteRegister};
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{
    Actor, Change, ChangeKind, Command, DedupKey, Entry, LimitsPatch, LockId, Name, Namespace, Outcome,
    Position, Reply, SessionId, Stamp, State, lock, register, session,
};

use common::request;

/// A story in progress. Sessions and acquisitions have names, which replace their ids in the output.
#[derive(Default)]
struct Story {
    state: State,
    revision: u64,
    now_ms: u64,
    sessions: BTreeMap<String, SessionId>,
    locks: BTreeMap<String, LockId>,
}

/// The words of a command line: plain ones in order, and `key=value` pairs.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (options, plain): (Vec<&str>, Vec<&str>) =
            line.split_whitespace().partition(|word| word.contains('='));
        Self { plain, options: options.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.options
            .get(key)
            .map(|text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is not a number")))
    }

    /// `call=NODE.BOOT.NUMBER`
    fn call(&self) -> Option<ServingCall> {
        let call = self.options.get("call")?;
        let numbers: Vec<u64> = call.split('.').map(|number| number.parse().expect("a number")).collect();
        let &[node_id, boot_id, number] = numbers.as_slice() else { panic!("call={call}") };
        Some(ServingCall { node_id, boot_id, number })
    }

    fn text(&self, key: &str) -> String {
        self.options.get(key).map(|text| (*text).to_owned()).unwrap_or_default()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// `a`, `a:shared`, `a:election` or `a:2/3` (two permits of three).
fn lock_request(text: &str) -> LockRequest {
    let (text, mode) = text.split_once(':').unwrap_or((text, "exclusive"));
    let mode = match mode.split_once('/') {
        Some((permits, capacity)) => {
            Mode::Semaphore { permits: permits.parse().unwrap(), capacity: capacity.parse().unwrap() }
        }
        None if mode == "shared" => Mode::Shared,
        None if mode == "election" => Mode::Election,
        None => Mode::Exclusive,
    };
    LockRequest { name: name(text), mode }
}

impl Story {
    /// The position of the next request.
    fn next(&self) -> Position {
        Position { index: self.revision + 1, ordinal: 0 }
    }

    fn session(&self, word: &str) -> SessionId {
        *self.sessions.get(word).unwrap_or_else(|| panic!("nobody is called {word}"))
    }

    fn lock(&self, word: &str) -> LockId {
        *self.locks.get(word).unwrap_or_else(|| panic!("no acquisition is called {word}"))
    }

    fn command(&mut self, words: &Words<'_>) -> Command {
        let namespace = Namespace::default();
        let first = words.plain[1];
        match words.plain[0] {
            "open" => {
                let session = SessionId(self.next());
                self.sessions.entry(first.to_owned()).or_insert(session);
                let ttl_ms = words.number("ttl").unwrap_or(1000);
                Command::from(OpenSession { namespace, ttl_ms, metadata: String::new() })
            }
            "keep" => Command::from(KeepAlive { sessions: vec![self.session(first)] }),
            "close" => {
                Command::from(CloseSession { namespace, session: self.session(first), lock_delay: false })
            }
            "acquire" => self.acquire(words),
            "release" => {
                let by = match words.number("token") {
                    Some(token) => By::Token { name: name(first), token },
                    None => By::Id { lock_id: self.lock(first), name: None },
                };
                Command::from(Release { namespace, grant: by.into() })
            }
            "resign" | "proclaim" => {
                let token = words.number("token").unwrap_or_default();
                let grant = By::Leader { name: name(first), token }.into();
                match words.plain[0] {
                    "resign" => Command::from(Release { namespace, grant }),
                    _ => Command::from(SetMetadata { namespace, grant, metadata: words.text("value") }),
                }
            }
            "cancel" | "abandon" => {
                let scope = match (words.plain[0], words.number("keeps")) {
                    ("cancel", _) => CancelScope::WaitOrGrant,
                    (_, None) => CancelScope::Wait,
                    (_, Some(_)) => CancelScope::Call,
                };
                let (lock_id, call) = (self.lock(first), words.call());
                Command::from(CancelWait { namespace, lock_id, call, scope })
            }
            "lost" => Command::from(WithdrawWaits {
                node_id: first.parse().expect("a node id"),
                except_boot: words.number("except"),
            }),
            "extend" => {
                let ttl_ms = words.number("ttl").unwrap_or(1000);
                Command::from(Extend { namespace, lock_id: self.lock(first), name: None, ttl_ms })
            }
            "force" => {
                let (token, reason) = (words.number("token").unwrap_or_default(), words.text("reason"));
                Command::from(ForceRelease { namespace, name: name(first), token, reason })
            }
            "register" => {
                let token = words.number("token").unwrap_or_default();
                Command::from(AdvanceRegister { namespace, name: name(first), token })
            }
            "unregister" => Command::from(DeleteRegister { namespace, name: name(first) }),
            "limit" => {
                let value = words.number("value").unwrap_or_default();
                let patch = LimitsPatch { values: vec![(first.to_owned(), value)] };
                Command::from(SetLimits { patch })
            }
            other => panic!("{other} is not a command"),
        }
    }

    /// `acquire CALLED NAME[,NAME…] [by=SESSION] [label=] [ttl=] [wait=] [delay=] [reentrant=1] [value=] [call=NODE.BOOT.NUMBER]`
    fn acquire(&mut self, words: &Words<'_>) -> Command {
        let lock_id = LockId(self.next());
        self.locks.entry(words.plain[1].to_owned()).or_insert(lock_id);
        Command::from(Acquire {
            namespace: Namespace::default(),
            requests: words.plain[2].split(',').map(lock_request).collect(),
            owner: Owner {
                session: words.options.get("by").map(|session| self.session(session)),
                label: words.text("label"),
            },
            ttl_ms: words.number("ttl"),
            wait_ms: words.number("wait").unwrap_or_default(),
            lock_delay_ms: words.number("delay").unwrap_or_default(),
            reentrant: words.number("reentrant").is_some(),
            metadata: words.text("value"),
            call: words.call(),
        })
    }

    fn dedup(&self, words: &Words<'_>) -> Option<DedupKey> {
        if let Some(key) = words.options.get("key") {
            return Some(DedupKey::Idempotency { namespace: Namespace::default(), key: (*key).to_owned() });
        }
        let (session, sequence) = words.options.get("seq")?.split_once('#').expect("seq=SESSION#NUMBER");
        Some(DedupKey::Sequence {
            session: self.session(session),
            sequence: sequence.parse().expect("a number"),
        })
    }

    /// Runs one command line; returns the outcome and the changes, one per line.
    fn tell(&mut self, line: &str) -> Vec<String> {
        let words = Words::of(line);
        match words.plain[0] {
            "check" => {
                let token = words.number("token").unwrap_or_default();
                let check = self.state.check(&Namespace::default(), &name(words.plain[1]), token);
                return vec![format!("= {:?}, newest {:?}", check.status, check.newest)];
            }
            "explain" => return self.explain(words.plain[1]),
            _ => {}
        }
        let requests = if words.plain[0] == "pass" {
            self.now_ms += words.plain[1].parse::<u64>().expect("milliseconds");
            Vec::new()
        } else {
            let dedup = self.dedup(&words);
            vec![request(dedup, self.command(&words))]
        };
        self.revision += 1;
        let stamp = Stamp { now_ms: self.now_ms, wall_ms: 0 };
        let applied = self.state.apply(self.revision, &Entry { stamp, requests });
        self.state.validate().unwrap_or_else(|broken| panic!("after {line:?}: {broken}"));
        let outcomes = applied.outcomes.iter().map(|outcome| format!("= {}", outcome_line(outcome)));
        let changes = applied.changes.iter().map(|change| format!("* {}", change_line(change)));
        let told: Vec<String> = outcomes.chain(changes).collect();
        told.into_iter().map(|line| self.called(line)).collect()
    }

    fn explain(&self, lock: &str) -> Vec<String> {
        let Some(explanation) =
            self.state.explain(&Actor::Node, &Namespace::default(), &name(lock), &LockPart::first(16, 16))
        else {
            return vec!["= free".to_owned()];
        };
        let waiters = explanation.waiters.iter().map(|waiter| {
            let blockers = waiter.blockers.iter().map(|blocker| {
                let names: Vec<&str> = blocker.waits_for.iter().map(Name::as_str).collect();
                format!(
                    "{} (token {:?}, itself waits for [{}])",
                    blocker.lock_id,
                    blocker.token,
                    names.join(",")
                )
            });
            let blockers: Vec<String> = blockers.collect();
            format!("= {} waits for {}", waiter.wait.lock_id, blockers.join(" and "))
        });
        waiters.map(|line| self.called(line)).collect()
    }

    /// Replaces ids in a line with names.
    fn called(&self, mut line: String) -> String {
        for (called, lock_id) in &self.locks {
            line = line.replace(&lock_id.to_string(), called);
        }
        for (called, session) in &self.sessions {
            line = line.replace(&session.to_string(), called);
        }
        line
    }
}

fn outcome_line(outcome: &Outcome) -> String {
    match outcome {
        Err(rejection) => format!("refused {}: {rejection}", rejection.code()),
        Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) => {
            let ends = grant.deadline_ms.map(|at| format!(", until {at}")).unwrap_or_default();
            format!("granted {} token {} count {}{ends}", grant.lock_id, grant.token, grant.count)
        }
        Ok(Reply::Lock(lock::Reply::Extended(lock::Extended { grant }))) => {
            format!("extended {} until {}", grant.lock_id, grant.deadline_ms.unwrap_or_default())
        }
        Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) => {
            format!("queued {} position {} until {}", wait.lock_id, wait.queue_position, wait.deadline_ms)
        }
        Ok(Reply::Session(session::Reply::SessionOpened(session::SessionOpened {
            session,
            deadline_ms,
            ..
        }))) => {
            format!("opened {session} until {deadline_ms}")
        }
        Ok(Reply::Lock(lock::Reply::Released(lock::Released { lock_id, token, remaining_count }))) => {
            format!("released {lock_id} token {token} count {remaining_count}")
        }
        Ok(Reply::Lock(lock::Reply::MetadataSet(lock::MetadataSet { grant }))) => {
            format!("changed {} token {} to {}", grant.lock_id, grant.token, grant.metadata)
        }
        Ok(Reply::Lock(lock::Reply::WaitCancelled(lock::WaitCancelled { lock_id }))) => {
            format!("cancelled {lock_id}")
        }
        Ok(reply) => format!("{reply:?}"),
    }
}

fn change_line(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Session(session::Change::SessionOpened { session, .. }) => format!("{session} opened"),
        ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
            format!("{session} ended: {reason:?}")
        }
        ChangeKind::Lock(lock::Change::LockQueued(wait)) => format!("{} queued", wait.lock_id),
        ChangeKind::Lock(lock::Change::LockGranted(grant)) => {
            format!("{} granted, token {} count {}", grant.lock_id, grant.token, grant.count)
        }
        ChangeKind::Lock(lock::Change::LockExtended(grant)) => format!("{} extended", grant.lock_id),
        ChangeKind::Lock(lock::Change::LockChanged(grant)) => {
            format!("{} changed, token {}: {}", grant.lock_id, grant.token, grant.metadata)
        }
        ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
            format!("{} released, count {}: {reason:?}", grant.lock_id, grant.count)
        }
        ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
            format!("{} ended its wait: {reason:?}", wait.lock_id)
        }
        ChangeKind::Register(register::Change::RegisterChanged { name, high_water }) => {
            format!("register {name} at {high_water:?}")
        }
        other => format!("{other:?}"),
    }
}

/// Runs a story, and returns it with the current outcomes under each command.
fn told(text: &str) -> String {
    let mut story = Story::default();
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("= ") && !line.starts_with("* ")) {
        lines.push(line.to_owned());
        if let Some(command) = line.strip_prefix("> ") {
            lines.extend(story.tell(command));
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_story_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut stories = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let written = std::fs::read_to_string(&path).unwrap();
        let now = told(&written);
        if update {
            std::fs::write(&path, &now).unwrap();
        } else {
            assert_eq!(written, now, "{}", path.display());
        }
        stories += 1;
    }
    assert!(stories >= 12, "only {stories} stories were found");
}
