//! Scenarios as data, run through each front and through the Rust client (`tests/conformance/README.md`).

mod client;
mod graphql;
mod grpc;
mod rest;
mod runner;
mod ws;

pub use client::ClientDriver;
pub use graphql::{GraphqlDriver, as_rest};
pub use grpc::GrpcDriver;
pub use rest::RestDriver;
pub use runner::{Scenario, scenarios};
pub use ws::WsDriver;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

/// A refusal: its code, the offending field if there is one, and its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable error code.
    pub code: String,
    /// The offending field.
    pub field: Option<String>,
    /// The details of the error, in the shape of the REST API.
    pub details: Value,
}

impl Refusal {
    /// Code of a request that was not sent because the connection was refused.
    pub const UNREACHABLE: &str = "unreachable";
    /// Prefix of the code of a request that may have been sent but got no readable answer.
    pub const NO_ANSWER: &str = "no_answer";

    /// A refusal for a request that was not sent.
    #[must_use]
    pub fn unreachable() -> Self {
        Self { code: Self::UNREACHABLE.to_owned(), field: None, details: Value::Null }
    }

    /// A refusal for a request without a readable answer; `why` is for people.
    #[must_use]
    pub fn no_answer(why: impl std::fmt::Display) -> Self {
        Self { code: format!("{}: {why}", Self::NO_ANSWER), field: None, details: Value::Null }
    }
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() { Self::unreachable() } else { Self::no_answer(error) }
    }
}

impl From<batuta_client::Error> for Refusal {
    fn from(error: batuta_client::Error) -> Self {
        let batuta_client::Error { code, field, details, .. } = error;
        let details = details.into_iter().map(|(name, text)| (name, grpc::fact(text))).collect();
        Self { code, field, details }
    }
}

/// The answer to an operation, in the shape of the REST API, or its refusal.
pub type Outcome = Result<Value, Refusal>;

/// One operation of a scenario.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The operation's name, such as `acquire`.
    pub name: String,
    /// The operation's fields, as in the REST API.
    pub args: Map<String, Value>,
    /// The idempotency key, if any.
    pub key: Option<String>,
}

impl Operation {
    /// A text field; empty when it is absent.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.args.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number field; 0 when it is absent.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.args.get(field).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A flag; false when it is not given.
    #[must_use]
    pub fn flag(&self, field: &str) -> bool {
        self.args.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list of texts; empty when it is absent.
    #[must_use]
    pub fn texts(&self, field: &str) -> Vec<String> {
        let items = self.args.get(field).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// One front of one node.
pub trait Driver: Send + Sync {
    /// The front's name, for messages.
    fn front(&self) -> &'static str;
    /// Runs an operation. Dropping the future simulates a client that disconnects.
    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome>;
}
