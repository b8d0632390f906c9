//! The public objects: one Rust type each, documented once, for REST, WebSocket and GraphQL.
//!
//! A field is `snake_case` in JSON and `camelCase` in GraphQL; the schema of both documents comes from the same type. What the
//! state knows in cluster time becomes `remaining_ms` and RFC 3339 here, and nowhere else. gRPC has its own writing of the
//! contract (`proto/batuta/v1`) and is converted from the same core views, in `grpc/`.
//!
//! Descriptions are read over JSON and over GraphQL: they name no field of more than one word, and say *left out* for a
//! field that is absent in JSON and null in GraphQL.

pub(crate) mod cluster;
pub(crate) mod lock;
mod long;
pub(crate) mod register;
pub(crate) mod session;
pub(crate) mod watch;

use async_graphql::SimpleObject;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::service::Consistency;

pub(crate) use long::Long;

/// The revision of a change that has nothing else to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1600}))]
pub(crate) struct Done {
    /// The revision of the change.
    pub(crate) revision: Long,
}

/// Query of a read that has only the consistency to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadQuery {
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// No query parameters: any is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}
