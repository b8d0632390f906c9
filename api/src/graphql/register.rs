//! Queries and mutations of high-water registers, for resources that cannot store a fencing token themselves.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use super::call::{Consistency, Keys, answered, read_context, service};
use super::long::Long;
use crate::service::{At, lock, parse};

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Register {
    /// The highest token it has seen.
    high_water: Long,
    /// The answer is true at this revision.
    revision: Long,
}

impl From<At<lock::Register>> for Register {
    fn from(At { revision, value }: At<lock::Register>) -> Self {
        Self { high_water: Long(value.high_water), revision: Long(revision) }
    }
}

/// Raises a register.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct AdvanceRegisterInput {
    /// The register.
    name: String,
    /// The token a writer presented to the resource.
    fencing_token: Long,
}

/// Forgets a register.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct DeleteRegisterInput {
    /// The register.
    name: String,
}

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
    ) -> Option<Register> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(&namespace)?;
            Ok(service(ctx)?.get_register(&context, &name, consistency.into()).await?.into())
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
        input: AdvanceRegisterInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Register> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let name = parse::parse_name("name", &input.name)?;
            let context = keys.context(None)?;
            Ok(service(ctx)?.advance_register(&context, name, input.fencing_token.into()).await?.into())
        })
        .await
    }

    /// Forgets a register; answers its last value.
    async fn delete_register(
        &self,
        ctx: &Context<'_>,
        input: DeleteRegisterInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Register> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let name = parse::parse_name("name", &input.name)?;
            Ok(service(ctx)?.delete_register(&keys.context(None)?, name).await?.into())
        })
        .await
    }
}
