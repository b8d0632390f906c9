//! What clients did and were told, one JSON object a line.
//!
//! ```text
//! {"t":…,"p":3,"op":17,"type":"invoke","f":"acquire","node":"n2","front":"gRPC","args":{…},"key":"…"}
//! {"t":…,"p":3,"op":17,"type":"attempt","node":"n1","front":"REST"}       the same request again, elsewhere
//! {"t":…,"p":3,"op":17,"type":"ok","value":{…}}                           answered; value.revision says where in the log
//! {"t":…,"p":3,"op":17,"type":"fail","error":"lock_held"}                 refused: it had no effect
//! {"t":…,"p":3,"op":17,"type":"info","error":"outcome_unknown"}           nobody knows
//! {"t":…,"type":"nemesis","note":"kill n2 (leader)"}
//! ```
//! `t` is nanoseconds of one monotonic clock since the run began. The file is the only thing the checkers need.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A client asks.
    Invoke,
    /// It asks again, the same request under the same key.
    Attempt,
    /// It was answered.
    Ok,
    /// It was refused; nothing happened.
    Fail,
    /// It was not answered; it may have happened, or still happen.
    Info,
    /// The nemesis did something.
    Nemesis,
    /// A node's word on itself.
    Status,
    /// The harness has something to say.
    Note,
}

/// One line of a history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the run began.
    pub t: u64,
    /// The process; absent for what is no operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<u64>,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u64>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The function.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub f: String,
    /// Whom it asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Through which front.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub front: String,
    /// What it asks for.
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
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Event {
    /// An event of a kind, at no time yet.
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

/// A history that is being written.
pub struct History {
    began: Instant,
    file: Mutex<BufWriter<File>>,
    next_op: AtomicU64,
    oks: AtomicU64,
}

impl History {
    /// Begins a history in a file.
    ///
    /// # Errors
    /// When it can not be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path.display().to_string()))?;
        Ok(Self {
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
            next_op: AtomicU64::new(1),
            oks: AtomicU64::new(0),
        })
    }

    /// A number for an operation.
    pub fn op(&self) -> u64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Operations answered so far.
    pub fn oks(&self) -> u64 {
        self.oks.load(Ordering::Relaxed)
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn file(&self) -> MutexGuard<'_, BufWriter<File>> {
        // A line is written whole or the process ends.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event down, with the time; gives the time.
    ///
    /// # Panics
    /// When the file can not be written: a history with holes proves nothing.
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

    /// Writes a line for people.
    pub fn note(&self, note: impl Into<String>) {
        self.tell(Kind::Note, "", note);
    }

    /// Writes a line for people, of a kind and with a word for checkers.
    pub fn tell(&self, kind: Kind, word: &str, note: impl Into<String>) {
        let note = note.into();
        println!("{:7.2}s {note}", self.began.elapsed().as_secs_f64());
        self.write(Event { f: word.to_owned(), note, ..Event::new(kind) });
    }

    /// Everything is in the file.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn flush(&self) -> Result<()> {
        self.file().flush().map_err(Error::io("the history"))
    }
}

/// One operation: what was asked and what came of it.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its number.
    pub op: u64,
    /// Who asked.
    pub process: u64,
    /// The function.
    pub f: String,
    /// Where it was asked last.
    pub node: String,
    /// Through which front.
    pub front: String,
    /// What was asked.
    pub args: Value,
    /// Its retry key.
    pub key: Option<String>,
    /// How often it was asked.
    pub attempts: u64,
    /// When it was asked first.
    pub invoked: u64,
    /// When it was answered; the end of time when it never was.
    pub returned: u64,
    /// What came of it.
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

    /// A text of the request; empty when there is none.
    #[must_use]
    pub fn arg(&self, name: &str) -> &str {
        self.args[name].as_str().unwrap_or_default()
    }

    /// A number of the answer.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value[name].as_u64()
    }

    /// A text of the answer; empty when there is none.
    #[must_use]
    pub fn answered(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    /// Whether it asks for something of this name.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        let several = self.args["locks"].as_array().into_iter().flatten();
        self.arg("name") == name || several.into_iter().any(|lock| lock["name"] == name)
    }

    /// For people: who asked what where.
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

/// Reads a history.
///
/// # Errors
/// When the file can not be read or is no history.
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

/// The operations of a history, in the order in which they were asked.
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
    fn a_history_is_read_as_it_was_written() {
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
    fn what_was_never_answered_lasts_for_ever() {
        let event = |kind, t| Event { op: Some(1), t, ..Event::new(kind) };
        let found = operations(&[event(Kind::Invoke, 5), event(Kind::Info, 9)]);
        assert_eq!((found[0].invoked, found[0].returned, found[0].end), (5, u64::MAX, Kind::Info));
    }
}
