//! The public objects: one Rust type each, documented once, for REST, WebSocket and GraphQL.
//!
//! A field is `snake_case` in JSON and `camelCase` in GraphQL; the schemas of both documents come from the same type. Cluster
//! time is converted to `remaining_ms` and RFC 3339 here, and nowhere else. gRPC has its own form of the
//! contract (`proto/batuta/v1`), which `grpc/` converts from the same core views.
//!
//! Descriptions are shown for JSON and for GraphQL, so they name no field of more than one word, and say *left out* for a
//! field that is absent in JSON and null in GraphQL.

pub(crate) mod access;
pub(crate) mod cluster;
pub(crate) mod election;
pub(crate) mod lock;
mod long;
pub(crate) mod register;
mod secret_text;
pub(crate) mod session;
pub(crate) mod watch;

use async_graphql::SimpleObject;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::service::Consistency;

pub(crate) use long::Long;
pub(crate) use secret_text::SecretText;

/// The answer to a change that has no other result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1600}))]
pub(crate) struct Done {
    /// The revision of the change.
    pub(crate) revision: Long,
}

/// Query of a read whose only parameter is the consistency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadQuery {
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// No query parameters: any is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;
    use utoipa::PartialSchema;

    use super::access::{
        BindRequest, BootstrapRequest, CheckAccessRequest, CreateKeyRequest, ExtendBindingRequest,
        LoginRequest, PutGroupRequest, PutPrincipalRequest, PutRoleRequest, RotateKeyRequest, SetModeRequest,
        SetPasswordRequest, SuspendRequest,
    };
    use super::cluster::{SetLimitsRequest, TransferLeaderRequest};
    use super::election::{CampaignRequest, ProclaimRequest};
    use super::lock::{AcquireRequest, ExtendRequest, LockPage, LockRequest};
    use super::register::AdvanceRegisterRequest;
    use super::session::OpenSessionRequest;
    use crate::json::decode_value;
    use crate::service::parse;

    /// The example that the documents show.
    fn example<T: PartialSchema>() -> Value {
        let schema = serde_json::to_value(T::schema()).expect("a schema is serializable");
        let example = schema.get("example").or_else(|| schema["examples"].get(0));
        example.unwrap_or_else(|| panic!("no example: {schema}")).clone()
    }

    fn read<T: PartialSchema + DeserializeOwned>() -> T {
        decode_value(example::<T>()).unwrap_or_else(|error| panic!("{}: {error}", example::<T>()))
    }

    #[test]
    fn published_examples_are_accepted() {
        read::<AcquireRequest>().read().expect("one lock");
        read::<ExtendRequest>().read().expect("a grant");
        read::<CampaignRequest>().read().expect("a campaign");
        read::<ProclaimRequest>();
        read::<LockRequest>();
        read::<AdvanceRegisterRequest>();
        read::<OpenSessionRequest>();
        read::<SetLimitsRequest>();
        read::<TransferLeaderRequest>();
        read::<BootstrapRequest>();
        read::<LoginRequest>();
        read::<CheckAccessRequest>().read().expect("a check");
        read::<PutPrincipalRequest>();
        read::<SuspendRequest>();
        read::<SetPasswordRequest>();
        read::<PutGroupRequest>();
        read::<PutRoleRequest>().read().expect("rules");
        read::<BindRequest>().read().expect("a binding");
        read::<ExtendBindingRequest>();
        read::<CreateKeyRequest>().read().expect("a key");
        read::<RotateKeyRequest>();
        read::<SetModeRequest>();
        let cursor = example::<LockPage>()["next_cursor"].as_str().map(str::to_owned);
        assert!(parse::name_cursor(cursor.as_deref()).expect("a cursor").is_some());
    }
}
