//! Decodes JSON and encodes errors, for REST and WebSocket.

mod decode;
mod problem;

pub(crate) use decode::{decode_json, decode_value, not_in_body, shape_error};
pub(crate) use problem::{PROBLEM_JSON, Problem, TYPE_PREFIX, challenge};
