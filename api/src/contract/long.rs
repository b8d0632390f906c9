//! Whole numbers beyond the 32 bits of GraphQL's `Int`.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A whole number from 0: a revision, a token, a duration or a count. Batuta's numbers stay below 2^53, so that every JSON
/// reader keeps them exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct Long(pub(crate) u64);

/// A whole number from 0, as a JSON number. Batuta's numbers stay below 2^53, so that every JSON reader keeps them exact.
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = if let Value::Number(number) = &value { number.as_u64() } else { None };
        number.map(Self).ok_or_else(|| InputValueError::custom("must be a whole number from 0"))
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Number(number) if number.is_u64())
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

impl From<u64> for Long {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<Long> for u64 {
    fn from(long: Long) -> Self {
        long.0
    }
}
