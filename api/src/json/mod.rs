//! How JSON is read, and how errors look in it: what REST and WebSocket have in common beside the objects of the contract.

mod decode;
mod problem;

pub(crate) use decode::{decode_json, decode_value, not_in_body, shape_error};
pub(crate) use problem::{PROBLEM_JSON, Problem, TYPE_PREFIX};
