//! The JSON that the fronts speak: wire types, how they are decoded, and how they are made of the service's answers.
//!
//! REST and WebSocket share them, so that an object, a request and an error look the same over both.

pub(crate) mod cluster_dto;
mod decode;
mod lock_convert;
pub(crate) mod lock_dto;
mod problem;
pub(crate) mod session_dto;
pub(crate) mod watch_dto;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::service;

pub(crate) use decode::{decode_json, decode_value, shape_error};
pub(crate) use lock_convert::acquire_request;
pub(crate) use problem::{PROBLEM_JSON, Problem, TYPE_PREFIX};

/// How current a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consistency {
    /// Sees every write that was acknowledged before the read began. The default.
    #[default]
    Linearizable,
    /// Answers from the node's own applied state; the revision says how old it is.
    Stale,
}

impl From<Consistency> for service::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Linearizable => Self::Linearizable,
            Consistency::Stale => Self::Stale,
        }
    }
}
