//! The commands of sessions.

use batuta_proto::internal as wire;
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{Position, SessionId};

use super::{DecodeError, namespace, position_to_wire, session_id};

pub(super) fn open_to_wire(command: &OpenSession) -> wire::OpenSession {
    wire::OpenSession {
        namespace: command.namespace.to_string(),
        ttl_ms: command.ttl_ms,
        metadata: command.metadata.clone(),
    }
}

pub(super) fn open(command: wire::OpenSession) -> Result<OpenSession, DecodeError> {
    let namespace = namespace(&command.namespace)?;
    Ok(OpenSession { namespace, ttl_ms: command.ttl_ms, metadata: command.metadata })
}

pub(super) fn keep_alive_to_wire(command: &KeepAlive) -> wire::RenewSessions {
    let indexes = command.sessions.iter().map(|session| session.0.index);
    let before = std::iter::once(0).chain(indexes.clone());
    wire::RenewSessions {
        index_steps: indexes.zip(before).map(|(index, before)| index.wrapping_sub(before)).collect(),
        ordinals: command.sessions.iter().map(|session| session.0.ordinal).collect(),
    }
}

pub(super) fn keep_alive(command: &wire::RenewSessions) -> Result<KeepAlive, DecodeError> {
    if command.index_steps.len() != command.ordinals.len() {
        return Err(DecodeError::Missing("half of a session id"));
    }
    let mut index = 0_u64;
    let sessions = command.index_steps.iter().zip(&command.ordinals).map(|(&step, &ordinal)| {
        index = index.wrapping_add(step);
        SessionId(Position { index, ordinal })
    });
    Ok(KeepAlive { sessions: sessions.collect() })
}

pub(super) fn close_to_wire(command: &CloseSession) -> wire::CloseSession {
    wire::CloseSession {
        session: Some(position_to_wire(command.session.0)),
        namespace: command.namespace.to_string(),
    }
}

pub(super) fn close(command: &wire::CloseSession) -> Result<CloseSession, DecodeError> {
    Ok(CloseSession { session: session_id(command.session)?, namespace: namespace(&command.namespace)? })
}
