//! The public objects of high-water registers.

use async_graphql::{InputObject, SimpleObject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Long;
use crate::service::{At, register};

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"name": "orders/42", "high_water": 17}))]
pub(crate) struct Register {
    /// Name of the register.
    pub(crate) name: String,
    /// The highest fencing token that the register has seen.
    pub(crate) high_water: Long,
}

/// A register, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"name": "orders/42", "high_water": 17, "revision": 1600}))]
pub(crate) struct RegisterAnswer {
    /// The register.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) register: Register,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// Advances a register to a fencing token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "AdvanceRegisterInput")]
#[schema(example = json!({"fencing_token": 17}))]
pub(crate) struct AdvanceRegisterRequest {
    /// Name of the register. REST has it in the path.
    #[serde(default)]
    #[schema(ignore)]
    pub(crate) name: String,
    /// The token that a writer presented to the resource.
    pub(crate) fencing_token: Long,
}

/// Deletes a register, which then accepts every token again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "DeleteRegisterInput")]
pub(crate) struct DeleteRegisterRequest {
    /// Name of the register.
    pub(crate) name: String,
}

impl From<register::Register> for Register {
    fn from(register: register::Register) -> Self {
        Self { name: register.name.to_string(), high_water: Long(register.high_water) }
    }
}

impl From<At<register::Register>> for RegisterAnswer {
    fn from(At { revision, value, .. }: At<register::Register>) -> Self {
        Self { register: value.into(), revision: Long(revision) }
    }
}
