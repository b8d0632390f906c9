//! The public APIs of a node: credentials and the audit ([`access`]), the use cases ([`service`]), and the fronts that offer them ([`rest`],
//! [`graphql`], [`grpc`], [`ws`]).
//!
//! A front decodes, calls the service, and encodes. The objects of REST, WebSocket and GraphQL are defined once (`contract`).
//! Every call passes one place (`service/admit.rs`). Fronts contain no rules: a request that one front refuses, all refuse, with
//! the same code of [`error::Code`].

pub mod access;
pub mod client_work;
mod contract;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod graphql;
pub mod grpc;
mod host;
mod json;
mod middleware;
pub mod rest;
pub mod service;
mod socket;
pub mod ws;

pub use error::ApiError;
pub use graphql::GraphqlOptions;
pub use host::Hosts;
pub use middleware::ClientAddress;
pub use service::{Service, ServiceOptions};
