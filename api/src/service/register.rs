//! High-water registers, for resources that cannot store a fencing token themselves.

use batuta_statemachine::register::{
    AdvanceRegister, DeleteRegister, Refusal, RegisterAdvanced, RegisterDeleted,
};
use batuta_statemachine::{Code, Name};

use super::operation::{Area, Operation};
use super::{At, CallContext, Consistency, Service};
use crate::ApiError;

/// Raising a register.
pub const ADVANCE_REGISTER: Operation = Operation::write(
    "advance_register",
    "Raises a register to a token; refused when it has seen a newer one.",
    Area::Register,
    Some("register:advance"),
    &[Code::TokenSuperseded, Code::LimitExceeded, Code::DiskFull],
);
/// Reading a register.
pub const GET_REGISTER: Operation = Operation::read(
    "get_register",
    "Reads a register.",
    Area::Register,
    "register:read",
    &[Code::RegisterNotFound],
);
/// Forgetting a register.
pub const DELETE_REGISTER: Operation = Operation::write(
    "delete_register",
    "Forgets a register; answers its last value.",
    Area::Register,
    Some("register:delete"),
    &[Code::RegisterNotFound],
);

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name.
    pub name: Name,
    /// The highest token it was raised to.
    pub high_water: u64,
}

impl Service {
    /// Raises a register to a token.
    ///
    /// # Errors
    /// `token_superseded` when the register has seen a newer token; otherwise see `docs/errors.md`.
    pub async fn advance_register(
        &self,
        context: &CallContext,
        name: Name,
        fencing_token: u64,
    ) -> Result<At<Register>, ApiError> {
        let permit = self.admit(context, &ADVANCE_REGISTER, [&name])?;
        let namespace = context.namespace.clone();
        let command = AdvanceRegister { namespace, name: name.clone(), token: fencing_token };
        let (answer, RegisterAdvanced { high_water }) = permit.propose(command).await?;
        Ok(At::of(&answer, Register { name, high_water }))
    }

    /// Reads a register.
    ///
    /// # Errors
    /// `register_not_found`; otherwise see `docs/errors.md`.
    pub async fn get_register(
        &self,
        context: &CallContext,
        name: Name,
        consistency: Consistency,
    ) -> Result<At<Register>, ApiError> {
        let permit = self.admit(context, &GET_REGISTER, [&name])?;
        let state = permit.read(consistency).await?;
        match state.register(&context.namespace, &name) {
            Some(high_water) => Ok(permit.seen(&state, Register { name, high_water })),
            None => Err(ApiError::rejected(Refusal::RegisterNotFound { name }.into(), state.revision())),
        }
    }

    /// Forgets a register; answers its last value.
    ///
    /// # Errors
    /// `register_not_found`; otherwise see `docs/errors.md`.
    pub async fn delete_register(&self, context: &CallContext, name: Name) -> Result<At<Register>, ApiError> {
        let permit = self.admit(context, &DELETE_REGISTER, [&name])?;
        let command = DeleteRegister { namespace: context.namespace.clone(), name: name.clone() };
        let (answer, RegisterDeleted { high_water }) = permit.propose(command).await?;
        Ok(At::of(&answer, Register { name, high_water }))
    }
}
