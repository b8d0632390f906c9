//! Scenarios as data, run through one front after the other and through the Rust client (`tests/conformance/README.md`).

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

/// A refusal: its code, the field at fault when one is, and its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: String,
    /// The field at fault.
    pub field: Option<String>,
    /// What the code says beside, in the shape of the REST API.
    pub details: Value,
}

impl Refusal {
    /// Code of a request that was not sent: nobody listens there.
    pub const UNREACHABLE: &str = "unreachable";
    /// How the code of a request begins that may have been sent and got no answer that can be read.
    pub const NO_ANSWER: &str = "no_answer";

    /// No connection: nothing was sent.
    #[must_use]
    pub fn unreachable() -> Self {
        Self { code: Self::UNREACHABLE.to_owned(), field: None, details: Value::Null }
    }

    /// No answer; `why` is for people.
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

/// What an operation answered, in the shape of the REST API.
pub type Outcome = Result<Value, Refusal>;

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which.
    pub name: String,
    /// Its fields, as in the REST API.
    pub args: Map<String, Value>,
    /// Idempotency key.
    pub key: Option<String>,
}

impl Operation {
    /// A text field; empty when it is not given.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.args.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number; 0 when it is not given.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.args.get(field).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A flag; false when it is not given.
    #[must_use]
    pub fn flag(&self, field: &str) -> bool {
        self.args.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list of texts; empty when it is not given.
    #[must_use]
    pub fn texts(&self, field: &str) -> Vec<String> {
        let items = self.args.get(field).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// One front of one node.
pub trait Driver: Send + Sync {
    /// What it is called in messages.
    fn front(&self) -> &'static str;
    /// Does an operation. Dropping the future is the client going away.
    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome>;
}
