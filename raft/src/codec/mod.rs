//! Our own types as protobuf and back, by hand, one file per job. Wire types stop here.
//!
//! Decoding is strict where guessing would let replicas diverge: a request, mode or key that this build does not know is an
//! error, never skipped. A field this build does not know is ignored; so a field may only be added when ignoring it is right.

mod cluster;
pub(crate) mod consensus;
mod entry;
mod image;
mod lock;
mod outcome;
mod session;

use batuta_proto::internal as wire;
use batuta_statemachine::{LockId, Name, NameError, Namespace, Position, SessionId};

pub use entry::{decode_entry, encode_entry, request};
pub(crate) use entry::{request_from_wire, request_to_wire};
pub(crate) use image::{image_header, image_header_to_wire, image_record, image_record_to_wire};
pub(crate) use outcome::{outcome, outcome_to_wire};

/// Bytes that are not an entry this build can apply.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf of the expected shape.
    #[error("not a log entry: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field that every build writes is not there.
    #[error("a log entry lacks {0}")]
    Missing(&'static str),
    /// A value that only a newer build can have written.
    #[error("a log entry has an unknown {0}: it was written by a newer version; upgrade this node")]
    Unknown(&'static str),
    /// A name that no build would have accepted.
    #[error("a log entry has a bad {field}: it {source}")]
    Name {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
}

pub(crate) fn position_to_wire(position: Position) -> wire::Position {
    wire::Position { index: position.index, ordinal: position.ordinal }
}

pub(crate) fn position_from_wire(position: wire::Position) -> Position {
    Position { index: position.index, ordinal: position.ordinal }
}

fn position(position: Option<wire::Position>, field: &'static str) -> Result<Position, DecodeError> {
    position.map(position_from_wire).ok_or(DecodeError::Missing(field))
}

fn session_id(id: Option<wire::Position>) -> Result<SessionId, DecodeError> {
    position(id, "session id").map(SessionId)
}

fn lock_id(id: Option<wire::Position>) -> Result<LockId, DecodeError> {
    position(id, "lock id").map(LockId)
}

fn namespace(text: &str) -> Result<Namespace, DecodeError> {
    Namespace::new(text).map_err(|source| DecodeError::Name { field: "namespace", source })
}

fn name(text: &str) -> Result<Name, DecodeError> {
    Name::stored(text).map_err(|source| DecodeError::Name { field: "name", source })
}

#[cfg(test)]
mod golden;
