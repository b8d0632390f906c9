//! Queries and mutations of high-water registers, for resources that cannot store a fencing token themselves.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, read_context, service};
use crate::contract::register::{AdvanceRegisterRequest, DeleteRegisterRequest, RegisterAnswer};
use crate::service::{Consistency, parse};

/// The queries of registers.
#[derive(Default)]
pub(super) struct RegisterQuery;

#[Object]
impl RegisterQuery {
    /// Reads a register.
    async fn register(
        &self,
        ctx: &Context<'_>,
        name: String,
        #[graphql(default)] consistency: Consistency,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<RegisterAnswer> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(ctx, &namespace)?;
            Ok(service(ctx)?.get_register(&context, name, consistency).await?.into())
        })
        .await
    }
}

/// The mutations of registers.
#[derive(Default)]
pub(super) struct RegisterMutation;

#[Object]
impl RegisterMutation {
    /// Advances a register to a fencing token. Refused when the register has seen a newer token.
    async fn advance_register(
        &self,
        ctx: &Context<'_>,
        input: AdvanceRegisterRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<RegisterAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let name = parse::parse_name("name", &input.name)?;
            let context = keys.context(ctx, None)?;
            let token = input.fencing_token.into();
            Ok(service(ctx)?.advance_register(&context, name, token).await?.into())
        })
        .await
    }

    /// Deletes a register, which then accepts every token again. Answers its last value.
    async fn delete_register(
        &self,
        ctx: &Context<'_>,
        input: DeleteRegisterRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<RegisterAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let name = parse::parse_name("name", &input.name)?;
            Ok(service(ctx)?.delete_register(&keys.context(ctx, None)?, name).await?.into())
        })
        .await
    }
}
