//! What may be changed of a lock while it is held: its mode, its text, the capacity of a semaphore.

use batuta_statemachine::lock::{
    Downgrade, Downgraded, GrantRef, MetadataSet, Resize as ResizeCommand, SetMetadata as SetMetadataCommand,
};
use batuta_statemachine::{Code, Name, Permission, lock};

use super::super::acquire::Held;
use super::super::operation::{Area, Needs, Operation};
use super::super::{At, CallContext, Service};
use crate::ApiError;

/// Turning exclusive locks into shared ones.
pub const DOWNGRADE: Operation = Operation::write(
    "downgrade",
    "Turns the exclusive locks of a grant into shared ones without letting go of them.",
    Area::Lock,
    Needs::Identity,
    &[Code::LockNotHeld, Code::ModeMismatch, Code::NamespaceMismatch, Code::NotOwner, Code::TokenSuperseded],
);
/// Replacing the text of a grant.
pub const SET_METADATA: Operation = Operation::write(
    "set_metadata",
    "Replaces the free text of a grant.",
    Area::Lock,
    Needs::Identity,
    &[Code::LockNotHeld, Code::NamespaceMismatch, Code::NotOwner, Code::TokenSuperseded],
);
/// Changing the capacity of a semaphore.
pub const RESIZE: Operation = Operation::write(
    "resize",
    "Changes the capacity of a semaphore while it is in use.",
    Area::Lock,
    Needs::Permission(Permission::LockResize),
    &[Code::Deadlock, Code::LockNotFound, Code::ModeMismatch],
);

/// Replaces the free text of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMetadata {
    /// The grant.
    pub grant: GrantRef,
    /// The new text.
    pub metadata: String,
}

/// Changes the capacity of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The semaphore.
    pub name: Name,
    /// Permits there will be.
    pub capacity: u32,
}

/// A semaphore with its new capacity.
pub type Resized = lock::Resized;

impl Service {
    /// Turns the exclusive locks of a grant into shared ones without letting go of them. The token stays; a repetition changes nothing.
    ///
    /// # Errors
    /// `mode_mismatch` when the grant holds semaphores only; otherwise see `docs/errors.md`.
    pub async fn downgrade(&self, context: &CallContext, grant: GrantRef) -> Result<At<Held>, ApiError> {
        let permit = self.admit(context, &DOWNGRADE, grant.name())?;
        let command = Downgrade { namespace: context.namespace.clone(), grant };
        let (answer, Downgraded { grant }) = permit.propose(command).await?;
        Ok(At::of(&answer, grant))
    }

    /// Replaces the free text of a grant.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn set_metadata(
        &self,
        context: &CallContext,
        request: SetMetadata,
    ) -> Result<At<Held>, ApiError> {
        let SetMetadata { grant, metadata } = request;
        let permit = self.admit(context, &SET_METADATA, grant.name())?;
        let command = SetMetadataCommand { namespace: context.namespace.clone(), grant, metadata };
        let (answer, MetadataSet { grant }) = permit.propose(command).await?;
        Ok(At::of(&answer, grant))
    }

    /// Changes the capacity of a semaphore while it is in use. Nobody loses a permit; waiters that fit are granted at once.
    ///
    /// # Errors
    /// `lock_not_found` when nobody uses it, `deadlock` and `invalid_argument` when a waiter could never go; otherwise see `docs/errors.md`.
    pub async fn resize(&self, context: &CallContext, request: Resize) -> Result<At<Resized>, ApiError> {
        let Resize { name, capacity } = request;
        let permit = self.admit(context, &RESIZE, [&name])?;
        let command = ResizeCommand { namespace: context.namespace.clone(), name, capacity };
        let (answer, resized) = permit.propose(command).await?;
        Ok(At::of(&answer, resized))
    }
}
