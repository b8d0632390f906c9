//! The history of a run: the calls and answers of clients, one JSON object per line.
//!
//! ```text
//! {"t":…,"p":3,"op":17,"type":"invoke","f":"acquire","node":"n2","front":"gRPC","args":{…},"key":"…"}
//! {"t":…,"p":3,"op":17,"type":"attempt","node":"n1","front":"REST"}       the same request again, at another node
//! {"t":…,"p":3,"op":17,"type":"ok","value":{…}}                           answered; value.revision is its place in the log
//! {"t":…,"p":3,"op":17,"type":"fail","error":"lock_held"}                 refused: it had no effect
//! {"t":…,"p":3,"op":17,"type":"info","error":"outcome_unknown"}           the outcome is unknown
//! {"t":…,"type":"nemesis","note":"kill n2 (leader)"}
//! ```
//! `t` is the time since the run began, in nanoseconds of one monotonic clock.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A client makes a call.
    Invoke,
    /// A client repeats a call under the same key.
    Attempt,
    /// A call was answered.
    Ok,
    /// A call was refused and had no effect.
    Fail,
    /// A call was not answered; it may have taken effect, or may still do so.
    Info,
    /// The nemesis started or ended a fault.
    Nemesis,
    /// A node reported its status.
    Status,
    /// The harness added a note.
    Note,
}

/// One line of a history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Time since the run began, in nanoseconds.
    pub t: u64,
    /// The client process; absent for events that belong to no operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<u64>,
    /// The number of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u64>,
    /// The kind of the event.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The name of the operation, such as `acquire`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub f: String,
    /// The node that is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The front that is used.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub front: String,
    /// The fields of the request.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// Its retry key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// The code of a refusal, or why nothing is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// A text for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Event {
    /// Makes an event of a kind, without a time yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            t: 0,
            p: None,
            op: None,
            kind,
            f: String::new(),
            node: String::new(),
            front: String::new(),
            args: Value::Null,
            key: None,
            value: Value::Null,
            error: String::new(),
            note: String::new(),
        }
    }
}

/// Writes the history of a run.
pub struct History {
    began: Instant,
    file: Mutex<BufWriter<File>>,
    next_op: AtomicU64,
    oks: AtomicU64,
}

impl History {
    /// Creates the file of a history.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path.display().to_string()))?;
        Ok(Self {
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
            next_op: AtomicU64::new(1),
            oks: AtomicU64::new(0),
        })
    }

    /// Returns the number of a new operation.
    pub fn op(&self) -> u64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the number of operations answered so far.
    pub fn oks(&self) -> u64 {
        self.oks.load(Ordering::Relaxed)
    }

    /// Time since the run began, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn file(&self) -> MutexGuard<'_, BufWriter<File>> {
        // A line is written completely, or the process ends.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event with the current time, and returns that time.
    ///
    /// # Panics
    /// When the file cannot be written: a history with gaps proves nothing.
    pub fn write(&self, mut event: Event) -> u64 {
        if event.kind == Kind::Ok {
            self.oks.fetch_add(1, Ordering::Relaxed);
        }
        let mut file = self.file();
        event.t = self.now();
        let line = serde_json::to_string(&event).expect("an event is plain JSON");
        writeln!(file, "{line}").expect("the history can be written");
        event.t
    }

    /// Writes a note for people.
    pub fn note(&self, note: impl Into<String>) {
        self.tell(Kind::Note, "", note);
    }

    /// Writes a note for people, of a kind and with a keyword for the checkers.
    pub fn tell(&self, kind: Kind, word: &str, note: impl Into<String>) {
        let note = note.into();
        println!("{:7.2}s {note}", self.began.elapsed().as_secs_f64());
        self.write(Event { f: word.to_owned(), note, ..Event::new(kind) });
    }

    /// Flushes the history to its file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.file().flush().map_err(Error::io("the history"))
    }
}

/// One operation: the request and its outcome.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The number of the operation.
    pub op: u64,
    /// The client process.
    pub process: u64,
    /// The function.
    pub f: String,
    /// The node of the last attempt.
    pub node: String,
    /// Through which front.
    pub front: String,
    /// The fields of the request.
    pub args: Value,
    /// Its retry key.
    pub key: Option<String>,
    /// The number of attempts.
    pub attempts: u64,
    /// When the first attempt was made, in nanoseconds.
    pub invoked: u64,
    /// When it was answered, in nanoseconds; `u64::MAX` if it never was.
    pub returned: u64,
    /// How it ended.
    pub end: Kind,
    /// The answer.
    pub value: Value,
    /// The code of a refusal, or why nothing is known.
    pub error: String,
}

impl Operation {
    /// The revision of the answer.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.value["revision"].as_u64()
    }

    /// A text field of the request; empty when it is absent.
    #[must_use]
    pub fn arg(&self, name: &str) -> &str {
        self.args[name].as_str().unwrap_or_default()
    }

    /// The text by which an acquisition or a candidacy is found in the log; empty for other requests.
    #[must_use]
    pub fn mark(&self) -> &str {
        match self.f.as_str() {
            "acquire" => self.arg("metadata"),
            "campaign" => self.arg("value"),
            _ => "",
        }
    }

    /// The acquisition or the candidacy that the answer names; empty when it names none.
    #[must_use]
    pub fn acquisition(&self) -> &str {
        let lock_id = self.answered("lock_id");
        if lock_id.is_empty() { self.answered("candidate_id") } else { lock_id }
    }

    /// A number field of the answer.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value[name].as_u64()
    }

    /// A text field of the answer; empty when it is absent.
    #[must_use]
    pub fn answered(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    /// Whether the request names this lock, register or session.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        let several = self.args["locks"].as_array().into_iter().flatten();
        self.arg("name") == name || several.into_iter().any(|lock| lock["name"] == name)
    }

    /// Describes the operation for people: who asked what where.
    #[must_use]
    pub fn describe(&self) -> String {
        let at = |t: u64| format!("{:.3}s", std::time::Duration::from_nanos(t).as_secs_f64());
        let returned = if self.returned == u64::MAX { "never".to_owned() } else { at(self.returned) };
        let end = if self.error.is_empty() { self.value.to_string() } else { self.error.clone() };
        format!(
            "op {} of process {} at {} over {}: {} {} -> {:?} {end} [{}, {returned}]",
            self.op,
            self.process,
            self.node,
            self.front,
            self.f,
            self.args,
            self.end,
            at(self.invoked),
        )
    }
}

/// Reads a history from its file.
///
/// # Errors
/// When the file cannot be read or is not a history.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let failed = || path.display().to_string();
    let file = File::open(path).map_err(Error::io(failed()))?;
    let mut events = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(Error::io(failed()))?;
        let event = serde_json::from_str(&line).map_err(|error| Error::File {
            path: path.to_owned(),
            problem: format!("line {}: {error}", number + 1),
        })?;
        events.push(event);
    }
    Ok(events)
}

/// Collects the operations of a history, in the order of their first attempts.
#[must_use]
pub fn operations(events: &[Event]) -> Vec<Operation> {
    let mut found: Vec<Operation> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for event in events {
        let Some(op) = event.op else { continue };
        if event.kind == Kind::Invoke {
            places.insert(op, found.len());
            found.push(Operation {
                op,
                process: event.p.unwrap_or_default(),
                f: event.f.clone(),
                node: event.node.clone(),
                front: event.front.clone(),
                args: event.args.clone(),
                key: event.key.clone(),
                attempts: 1,
                invoked: event.t,
                returned: u64::MAX,
                end: Kind::Info,
                value: Value::Null,
                error: String::new(),
            });
            continue;
        }
        let Some(operation) = places.get(&op).and_then(|&place: &usize| found.get_mut(place)) else {
            continue;
        };
        match event.kind {
            Kind::Attempt => {
                operation.attempts += 1;
                operation.node.clone_from(&event.node);
                operation.front.clone_from(&event.front);
            }
            Kind::Ok | Kind::Fail | Kind::Info => {
                operation.end = event.kind;
                if event.kind != Kind::Info {
                    operation.returned = event.t;
                }
                operation.value = event.value.clone();
                operation.error.clone_from(&event.error);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn history_is_read_as_written() {
        let path = std::env::temp_dir().join(format!("batuta-jepsen-history-{}", std::process::id()));
        let history = History::create(&path).unwrap();
        let op = history.op();
        let invoke = Event {
            p: Some(3),
            op: Some(op),
            f: "acquire".into(),
            node: "n1".into(),
            args: json!({"name": "a"}),
            ..Event::new(Kind::Invoke)
        };
        history.write(invoke);
        history.write(Event { op: Some(op), node: "n2".into(), ..Event::new(Kind::Attempt) });
        history.write(Event { op: Some(op), value: json!({"revision": 7}), ..Event::new(Kind::Ok) });
        history.flush().unwrap();
        let operations = operations(&read(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(history.oks(), 1);
        let [operation] = &operations[..] else { panic!("{operations:?}") };
        assert_eq!(
            (operation.revision(), operation.arg("name"), operation.node.as_str()),
            (Some(7), "a", "n2")
        );
        assert_eq!((operation.attempts, operation.end), (2, Kind::Ok));
        assert!(operation.invoked < operation.returned);
    }

    #[test]
    fn unanswered_operation_never_returns() {
        let event = |kind, t| Event { op: Some(1), t, ..Event::new(kind) };
        let found = operations(&[event(Kind::Invoke, 5), event(Kind::Info, 9)]);
        assert_eq!((found[0].invoked, found[0].returned, found[0].end), (5, u64::MAX, Kind::Info));
    }
}
