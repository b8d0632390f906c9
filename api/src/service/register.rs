//! High-water registers, for resources that cannot store a fencing token themselves.

use batuta_statemachine::register::{
    self, AdvanceRegister, DeleteRegister, RegisterAdvanced, RegisterDeleted,
};
use batuta_statemachine::{Command, Name, Rejection, Reply};

use super::{At, CallContext, Consistency, Service, unexpected};
use crate::ApiError;

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
        let namespace = context.namespace.clone();
        let command = AdvanceRegister { namespace, name: name.clone(), token: fencing_token };
        let (answer, reply) = self.propose(context, Command::from(command)).await?;
        match reply {
            Reply::Register(register::Reply::RegisterAdvanced(RegisterAdvanced { high_water })) => {
                Ok(At::of(&answer, Register { name, high_water }))
            }
            other => Err(unexpected(&other)),
        }
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
        let state = self.state(context, consistency).await?;
        match state.register(&context.namespace, &name) {
            Some(high_water) => Ok(self.seen(&state, Register { name, high_water })),
            None => Err(ApiError::rejected(
                Rejection::Register(register::Refusal::RegisterNotFound { name }),
                state.revision(),
            )),
        }
    }

    /// Forgets a register; answers its last value.
    ///
    /// # Errors
    /// `register_not_found`; otherwise see `docs/errors.md`.
    pub async fn delete_register(&self, context: &CallContext, name: Name) -> Result<At<Register>, ApiError> {
        let command = DeleteRegister { namespace: context.namespace.clone(), name: name.clone() };
        let (answer, reply) = self.propose(context, Command::from(command)).await?;
        match reply {
            Reply::Register(register::Reply::RegisterDeleted(RegisterDeleted { high_water })) => {
                Ok(At::of(&answer, Register { name, high_water }))
            }
            other => Err(unexpected(&other)),
        }
    }
}
