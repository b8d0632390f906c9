//! Queries and mutations of high-water registers, for resources that cannot store a fencing token themselves.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use batuta_statemachine::Name;

use super::call::{Consistency, Keys, answered, read_context, service};
use super::long::Long;
use crate::service::{At, lock, parse};

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Register {
    /// Its name.
    name: String,
    /// The highest token it has seen.
    high_water: Long,
    /// The answer is true at this revision.
    revision: Long,
}

impl Register {
    /// The register of this name.
    pub(super) fn new(name: &Name, At { revision, value }: At<u64>) -> Self {
        Self { name: name.to_string(), high_water: Long(value), revision: Long(revision) }
    }

    fn read(name: &Name, At { revision, value }: At<lock::Register>) -> Self {
        Self::new(name, At { revision, value: value.high_water })
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
            let found = service(ctx)?.get_register(&context, &name, consistency.into()).await?;
            Ok(Register::read(&name, found))
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
            let token = input.fencing_token.into();
            let risen = service(ctx)?.advance_register(&context, name.clone(), token).await?;
            Ok(Register::read(&name, risen))
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
            let deleted = service(ctx)?.delete_register(&keys.context(None)?, name.clone()).await?;
            Ok(Register::read(&name, deleted))
        })
        .await
    }
}
