//! The commands of locks and registers.

use batuta_proto::internal as wire;
use batuta_proto::internal::release::By as WireBy;
use batuta_statemachine::lock::{
    Acquire, AdvanceRegister, By, CancelScope, CancelWait, DeleteRegister, Extend, ForceRelease, LockRequest,
    Mode, Owner, Release, ServingCall, WithdrawWaits,
};

use super::{DecodeError, lock_id, name, namespace, position_to_wire, session_id};

pub(super) fn request_to_wire(request: &LockRequest) -> wire::LockRequest {
    let (mode, permits, capacity) = match request.mode {
        Mode::Exclusive => (wire::LockMode::Exclusive, 0, 0),
        Mode::Shared => (wire::LockMode::Shared, 0, 0),
        Mode::Semaphore { permits, capacity } => (wire::LockMode::Semaphore, permits, capacity),
    };
    wire::LockRequest { name: request.name.to_string(), mode: mode.into(), permits, capacity }
}

pub(super) fn request(request: &wire::LockRequest) -> Result<LockRequest, DecodeError> {
    let mode = match wire::LockMode::try_from(request.mode) {
        Ok(wire::LockMode::Exclusive) => Mode::Exclusive,
        Ok(wire::LockMode::Shared) => Mode::Shared,
        Ok(wire::LockMode::Semaphore) => {
            Mode::Semaphore { permits: request.permits, capacity: request.capacity }
        }
        Ok(wire::LockMode::Unspecified) | Err(_) => return Err(DecodeError::Unknown("lock mode")),
    };
    Ok(LockRequest { name: name(&request.name)?, mode })
}

pub(super) fn owner_to_wire(owner: &Owner) -> wire::Owner {
    wire::Owner {
        session: owner.session.map(|session| position_to_wire(session.0)),
        label: owner.label.clone(),
    }
}

pub(super) fn owner(owner: wire::Owner) -> Result<Owner, DecodeError> {
    let session = owner.session.map(|session| session_id(Some(session))).transpose()?;
    Ok(Owner { session, label: owner.label })
}

pub(super) fn acquire_to_wire(command: &Acquire) -> wire::Acquire {
    wire::Acquire {
        namespace: command.namespace.to_string(),
        requests: command.requests.iter().map(request_to_wire).collect(),
        owner: Some(owner_to_wire(&command.owner)),
        ttl_ms: command.ttl_ms,
        wait_ms: command.wait_ms,
        lock_delay_ms: command.lock_delay_ms,
        reentrant: command.reentrant,
        metadata: command.metadata.clone(),
        call: command.call.as_ref().map(call_to_wire),
    }
}

pub(super) fn acquire(command: wire::Acquire) -> Result<Acquire, DecodeError> {
    Ok(Acquire {
        namespace: namespace(&command.namespace)?,
        requests: command.requests.iter().map(request).collect::<Result<_, _>>()?,
        owner: owner(command.owner.ok_or(DecodeError::Missing("owner"))?)?,
        ttl_ms: command.ttl_ms,
        wait_ms: command.wait_ms,
        lock_delay_ms: command.lock_delay_ms,
        reentrant: command.reentrant,
        metadata: command.metadata,
        call: command.call.map(call),
    })
}

pub(super) fn cancel_wait_to_wire(command: &CancelWait) -> wire::CancelWait {
    let scope = match command.scope {
        CancelScope::Wait => wire::CancelScope::Wait,
        CancelScope::WaitOrGrant => wire::CancelScope::WaitOrGrant,
        CancelScope::Call => wire::CancelScope::Call,
    };
    wire::CancelWait {
        namespace: command.namespace.to_string(),
        lock_id: Some(position_to_wire(command.lock_id.0)),
        call: command.call.as_ref().map(call_to_wire),
        scope: scope.into(),
    }
}

pub(super) fn cancel_wait(command: &wire::CancelWait) -> Result<CancelWait, DecodeError> {
    let scope = match command.scope() {
        wire::CancelScope::Wait => CancelScope::Wait,
        wire::CancelScope::WaitOrGrant => CancelScope::WaitOrGrant,
        wire::CancelScope::Call => CancelScope::Call,
        wire::CancelScope::Unspecified => return Err(DecodeError::Unknown("scope of a cancellation")),
    };
    Ok(CancelWait {
        namespace: namespace(&command.namespace)?,
        lock_id: lock_id(command.lock_id)?,
        call: command.call.map(call),
        scope,
    })
}

pub(super) fn withdraw_waits_to_wire(command: &WithdrawWaits) -> wire::WithdrawWaits {
    wire::WithdrawWaits { node_id: command.node_id, except_boot: command.except_boot }
}

pub(super) fn withdraw_waits(command: &wire::WithdrawWaits) -> WithdrawWaits {
    WithdrawWaits { node_id: command.node_id, except_boot: command.except_boot }
}

pub(super) fn call_to_wire(call: &ServingCall) -> wire::ServingCall {
    wire::ServingCall { node_id: call.node_id, boot_id: call.boot_id, number: call.number }
}

pub(super) fn call(call: wire::ServingCall) -> ServingCall {
    ServingCall { node_id: call.node_id, boot_id: call.boot_id, number: call.number }
}

pub(super) fn release_to_wire(command: &Release) -> wire::Release {
    let (by, name) = match &command.by {
        By::Id { lock_id, name } => {
            (WireBy::LockId(position_to_wire(lock_id.0)), name.as_ref().map(ToString::to_string))
        }
        By::Token { name, token } => (WireBy::Token(*token), Some(name.to_string())),
    };
    wire::Release { namespace: command.namespace.to_string(), name, by: Some(by) }
}

pub(super) fn release(command: &wire::Release) -> Result<Release, DecodeError> {
    let named = command.name.as_deref().map(name).transpose()?;
    let by = match command.by.as_ref().ok_or(DecodeError::Unknown("way to name a grant"))? {
        WireBy::LockId(id) => By::Id { lock_id: lock_id(Some(*id))?, name: named },
        WireBy::Token(token) => {
            By::Token { name: named.ok_or(DecodeError::Missing("the name of a lock"))?, token: *token }
        }
    };
    Ok(Release { namespace: namespace(&command.namespace)?, by })
}

pub(super) fn extend_to_wire(command: &Extend) -> wire::Extend {
    wire::Extend {
        namespace: command.namespace.to_string(),
        lock_id: Some(position_to_wire(command.lock_id.0)),
        name: command.name.as_ref().map(ToString::to_string),
        ttl_ms: command.ttl_ms,
    }
}

pub(super) fn extend(command: &wire::Extend) -> Result<Extend, DecodeError> {
    Ok(Extend {
        namespace: namespace(&command.namespace)?,
        lock_id: lock_id(command.lock_id)?,
        name: command.name.as_deref().map(name).transpose()?,
        ttl_ms: command.ttl_ms,
    })
}

pub(super) fn force_release_to_wire(command: &ForceRelease) -> wire::ForceRelease {
    wire::ForceRelease {
        namespace: command.namespace.to_string(),
        name: command.name.to_string(),
        token: command.token,
        reason: command.reason.clone(),
    }
}

pub(super) fn force_release(command: wire::ForceRelease) -> Result<ForceRelease, DecodeError> {
    Ok(ForceRelease {
        namespace: namespace(&command.namespace)?,
        name: name(&command.name)?,
        token: command.token,
        reason: command.reason,
    })
}

pub(super) fn advance_register_to_wire(command: &AdvanceRegister) -> wire::AdvanceRegister {
    wire::AdvanceRegister {
        namespace: command.namespace.to_string(),
        name: command.name.to_string(),
        token: command.token,
    }
}

pub(super) fn advance_register(command: &wire::AdvanceRegister) -> Result<AdvanceRegister, DecodeError> {
    Ok(AdvanceRegister {
        namespace: namespace(&command.namespace)?,
        name: name(&command.name)?,
        token: command.token,
    })
}

pub(super) fn delete_register_to_wire(command: &DeleteRegister) -> wire::DeleteRegister {
    wire::DeleteRegister { namespace: command.namespace.to_string(), name: command.name.to_string() }
}

pub(super) fn delete_register(command: &wire::DeleteRegister) -> Result<DeleteRegister, DecodeError> {
    Ok(DeleteRegister { namespace: namespace(&command.namespace)?, name: name(&command.name)? })
}
