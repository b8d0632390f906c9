//! Runs a scenario through a driver.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::{Driver, Operation, Outcome};
use crate::PATIENCE;

/// A scenario of `tests/conformance/`.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The behaviour that the scenario shows.
    pub name: String,
    steps: Vec<Map<String, Value>>,
    /// Fronts that lack one of its operations.
    not_over: Vec<String>,
}

/// Loads all scenarios, each with the name of its file.
///
/// # Panics
/// When a file does not have the format of the README.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "json")) {
        let text = std::fs::read_to_string(path).expect("a text");
        let list: Vec<Map<String, Value>> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.extend(list.iter().map(|scenario| Scenario {
            name: scenario["name"].as_str().expect("a name").to_owned(),
            steps: serde_json::from_value(scenario["steps"].clone()).expect("a list of steps"),
            not_over: scenario.get("not_over").map_or_else(Vec::new, |fronts| {
                serde_json::from_value(fronts.clone()).expect("a list of fronts")
            }),
        }));
    }
    found
}

/// A field of an answer: `leader.value` is a field of a field, and `candidates.0` the first item of a list.
fn within<'a>(answer: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(answer, |value, part| match part.parse::<usize>() {
        Ok(place) => value.get(place),
        Err(_) => value.get(part),
    })
}

/// A run of one scenario.
struct Run<'a> {
    follower: &'a dyn Driver,
    leader: &'a dyn Driver,
    /// The text that replaces `@`.
    unique: String,
    saved: HashMap<String, Value>,
    started: HashMap<String, JoinHandle<Outcome>>,
}

impl Scenario {
    /// Runs the scenario. `unique` distinguishes the names and keys of this run from those of all others.
    ///
    /// # Panics
    /// When an outcome differs from the expected one: the test has failed.
    pub async fn run(&self, follower: &dyn Driver, leader: &dyn Driver, unique: &str) {
        if self.not_over.iter().any(|front| front == follower.front()) {
            return;
        }
        let mut run = Run {
            follower,
            leader,
            unique: unique.to_owned(),
            saved: HashMap::new(),
            started: HashMap::new(),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let place = format!("{} / {} / step {}: {step:?}", follower.front(), self.name, index + 1);
            run.step(step, &place).await;
        }
    }
}

impl Run<'_> {
    fn text<'s>(step: &'s Map<String, Value>, field: &str) -> Option<&'s str> {
        step.get(field).and_then(Value::as_str)
    }

    /// Replaces the variables and `@` in a value.
    fn resolve(&self, value: &Value, place: &str) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix('$') {
                Some(name) => {
                    self.saved.get(name).cloned().unwrap_or_else(|| panic!("{place}: {name} was not saved"))
                }
                None => Value::String(text.replace('@', &self.unique)),
            },
            Value::Array(items) => items.iter().map(|item| self.resolve(item, place)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.resolve(value, place))).collect()
            }
            other => other.clone(),
        }
    }

    async fn step(&mut self, step: &Map<String, Value>, place: &str) {
        if let Some(label) = Self::text(step, "abort") {
            self.started.remove(label).unwrap_or_else(|| panic!("{place}: nothing was started")).abort();
            return;
        }
        if let Some(label) = Self::text(step, "finish") {
            let started =
                self.started.remove(label).unwrap_or_else(|| panic!("{place}: nothing was started"));
            let outcome = tokio::time::timeout(PATIENCE, started).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("{place}: not in time")).expect("no panic");
            self.judge(step, &outcome, place).unwrap_or_else(|problem| panic!("{place}: {problem}"));
            return;
        }
        let args = self.resolve(&step.get("args").cloned().unwrap_or_default(), place);
        let operation = Operation {
            name: Self::text(step, "do").unwrap_or_else(|| panic!("{place}: nothing to do")).to_owned(),
            args: serde_json::from_value(args).unwrap_or_default(),
            key: Self::text(step, "key").map(|key| format!("{key}-{}", self.unique)),
        };
        let driver = if Self::text(step, "node") == Some("leader") { self.leader } else { self.follower };
        if let Some(label) = Self::text(step, "start") {
            self.started.insert(label.to_owned(), tokio::spawn(driver.call(operation)));
            return;
        }
        for _ in 1..step.get("times").and_then(Value::as_u64).unwrap_or(1) {
            let outcome = driver.call(operation.clone()).await;
            self.judge(step, &outcome, place).unwrap_or_else(|problem| panic!("{place}: {problem}"));
        }
        let repeat = step.get("until") == Some(&Value::Bool(true));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let outcome = tokio::time::timeout_at(deadline, driver.call(operation.clone())).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("{place}: not in time"));
            match self.judge(step, &outcome, place) {
                Ok(()) => return,
                Err(_) if repeat && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(problem) => panic!("{place}: {problem}"),
            }
        }
    }

    /// Compares an outcome with what the step expects, and saves the values that the step names.
    fn judge(&mut self, step: &Map<String, Value>, outcome: &Outcome, place: &str) -> Result<(), String> {
        let answer = match (outcome, Self::text(step, "error")) {
            (Ok(answer), None) => answer,
            (Ok(answer), Some(code)) => return Err(format!("{code} was expected, not {answer}")),
            (Err(refusal), Some(code)) => {
                let field = Self::text(step, "field");
                let at_fault = refusal.field.as_deref();
                // A front may name the offending item of a list: `areas[0]`.
                let names = |field: &str| {
                    let rest = at_fault.and_then(|found| found.strip_prefix(field));
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
                };
                let fits = refusal.code == code && field.is_none_or(names);
                if !fits {
                    return Err(format!("{code} of {field:?} was expected, not {refusal:?}"));
                }
                &refusal.details
            }
            (Err(refusal), None) => return Err(format!("an answer was expected, not {refusal:?}")),
        };
        let expected = self.resolve(&step.get("expect").cloned().unwrap_or_default(), place);
        for (field, value) in expected.as_object().into_iter().flatten() {
            let found = within(answer, field);
            let fits = match value {
                Value::Null => found.is_none_or(Value::is_null),
                value if value == "*" => found.is_some(),
                value => found == Some(value),
            };
            if !fits {
                return Err(format!("{field} is {found:?}, expected {value}; the answer: {answer}"));
            }
        }
        for (name, field) in step.get("save").and_then(Value::as_object).into_iter().flatten() {
            let field = field.as_str().unwrap_or_default();
            let value = within(answer, field).ok_or_else(|| format!("no {field} to save in {answer}"))?;
            self.saved.insert(name.clone(), value.clone());
        }
        Ok(())
    }
}
