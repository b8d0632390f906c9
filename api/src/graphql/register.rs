//! Queries and mutations of high-water registers, for resources that cannot store a fencing token themselves.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, read_context, service};
use crate::contract::register::{AdvanceRegisterRequest, DeleteRegisterRequest, RegisterAnswer};
use crate::service::{Consistency, parse};

/// What can be read of registers.
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
            let context = read_context(&namespace)?;
            Ok(service(ctx)?.get_register(&context, name, consistency).await?.into())
        })
        .await
    }
}

/// What can be done with registers.
#[derive(Default)]
pub(super) struct RegisterMutation;

#[Object]
impl RegisterMutation {
    /// Raises a register to a token; refused when it has seen a newer one.
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
            let context = keys.context(None)?;
            let token = input.fencing_token.into();
            Ok(service(ctx)?.advance_register(&context, name, token).await?.into())
        })
        .await
    }

    /// Forgets a register; answers its last value.
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
            Ok(service(ctx)?.delete_register(&keys.context(None)?, name).await?.into())
        })
        .await
    }
}
