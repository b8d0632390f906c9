//! Converts the core's types to protobuf and back, one file per job. Wire types stop here.
//!
//! Decoding is strict where a guess would let replicas diverge: a request, mode or key that this build does not know is an
//! error, never skipped. A field that this build does not know is ignored, so a field may be added only when ignoring it is right.

mod access;
mod actor;
mod cluster;
pub(crate) mod consensus;
mod encoded;
mod entry;
mod image;
mod lock;
mod outcome;
mod register;
mod retry;
mod session;
mod wire;

use batuta_proto::internal;
use batuta_statemachine::{NameError, Position};

pub(crate) use encoded::{EncodedRequests, encode_entry_of};
pub use entry::{decode_entry, encode_entry, request};
pub(crate) use entry::{request_from_wire, request_to_wire};
pub(crate) use image::{image_header, image_header_to_wire, image_record, image_record_to_wire};
pub(crate) use outcome::{outcome, outcome_to_wire};

/// The bytes are not an entry that this build can apply.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not protobuf of the expected shape.
    #[error("not a log entry: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field that every build writes is missing.
    #[error("a log entry lacks {0}")]
    Missing(&'static str),
    /// Only a newer build can have written this value.
    #[error("a log entry has an unknown {0}: it was written by a newer version; upgrade this node")]
    Unknown(&'static str),
    /// The name breaks the naming rules, which every build checks.
    #[error("a log entry has a bad {field}: it {source}")]
    Name {
        /// The field with the name.
        field: &'static str,
        /// The rule that the name breaks.
        source: NameError,
    },
}

pub(crate) fn position_to_wire(position: Position) -> internal::Position {
    internal::Position { index: position.index, ordinal: position.ordinal }
}

pub(crate) fn position_from_wire(position: internal::Position) -> Position {
    Position { index: position.index, ordinal: position.ordinal }
}

#[cfg(test)]
mod golden;
