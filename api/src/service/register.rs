//! Use cases of high-water registers, for resources that cannot store a fencing token themselves.

use batuta_statemachine::register::{
    AdvanceRegister, DeleteRegister, Refusal, RegisterAdvanced, RegisterDeleted,
};
use batuta_statemachine::{Code, Name, Permission};

use super::operation::{Area, Needs, Operation};
use super::{At, CallContext, Consistency, Service};
use crate::ApiError;

/// The operation that advances a register.
pub const ADVANCE_REGISTER: Operation = Operation::write(
    "advance_register",
    "Advances a register to a fencing token. Refused when the register has seen a newer token.",
    Area::Register,
    Needs::Permission(Permission::RegisterAdvance),
    &[Code::TokenSuperseded, Code::LimitExceeded, Code::DiskFull],
);
/// The operation that reads a register.
pub const GET_REGISTER: Operation = Operation::read(
    "get_register",
    "Reads a register.",
    Area::Register,
    Permission::RegisterRead,
    &[Code::RegisterNotFound],
);
/// The operation that deletes a register.
pub const DELETE_REGISTER: Operation = Operation::write(
    "delete_register",
    "Deletes a register, which then accepts every token again. Answers its last value.",
    Area::Register,
    Needs::Permission(Permission::RegisterDelete),
    &[Code::RegisterNotFound],
);

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The name of the register.
    pub name: Name,
    /// The highest fencing token that the register has seen.
    pub high_water: u64,
}

impl Service {
    /// Advances a register to a fencing token.
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

    /// Deletes a register; answers its last value.
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
