//! Access over WebSocket: who the client is, and how it proves that on a connection.

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SUBPROTOCOL;
use super::op::{CallScope, Op, done, run};
use crate::ApiError;
use crate::access::Secret;
use crate::contract::access::WhoAmIAnswer;
use crate::contract::{NoQuery, SecretText};
use crate::service::access::WHO_AM_I;
use crate::service::{Client, Service};

/// The operations of access. Changes of access go over REST and gRPC.
pub(super) const OPS: &[Op] = &[Op::of::<NoQuery, WhoAmIAnswer>(&WHO_AM_I, |fields| {
    let NoQuery {} = fields.read()?;
    Ok(run(|CallScope { service, context, .. }| async move {
        done::<WhoAmIAnswer, _>(service.who_am_i(&context).await?)
    }))
})];

/// The fields of `auth`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthFields {
    pub(super) token: SecretText,
}

/// The result of `auth`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthAnswer {
    /// Who the client is: `user/NAME` or `service/NAME`.
    principal: String,
    /// The public id of the credential.
    credential_id: Option<String>,
    /// How long the credential lasts, in milliseconds; left out when it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

impl AuthAnswer {
    /// What a client has proved.
    pub(super) fn of(service: &Service, client: &Client) -> Self {
        let expires_in = service.identity_expires_in(client);
        Self {
            principal: client.principal().to_string(),
            credential_id: client.identity().map(|identity| identity.credential.to_string()),
            expires_in_ms: expires_in.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// What the name of a subprotocol begins with that is a token.
pub(super) const BEARER: &str = "batuta.bearer.";

/// Adds to a client what it proves with a token that it offers as a subprotocol, because a browser cannot set the header `Authorization`.
///
/// # Errors
/// `invalid_token` when the client also sent a token in the header; otherwise those of [`Service::renew`].
pub(super) async fn identified(
    service: &Service,
    client: Client,
    headers: &HeaderMap,
) -> Result<Client, ApiError> {
    match offered_token(headers) {
        Ok(None) => Ok(client),
        Ok(Some(token)) if client.identity().is_none() => service.renew(&client, token).await,
        Ok(Some(_)) => {
            let problem = "it was sent in the header Authorization and as a subprotocol; send it once";
            Err(service.refuse_client(&client, ApiError::InvalidToken { problem: problem.to_owned() }))
        }
        Err(error) => Err(service.refuse_client(&client, error)),
    }
}

/// The token among the offered subprotocols.
fn offered_token(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut tokens = offered.filter_map(|name| name.trim().strip_prefix(BEARER));
    let token = tokens.next().map(|token| Secret::new(token.to_owned()));
    if tokens.next().is_some() {
        let problem = format!("two subprotocols are tokens; offer {SUBPROTOCOL} and one token");
        return Err(ApiError::InvalidToken { problem });
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(offers: &[&'static str]) -> Result<Option<String>, ApiError> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, offer.parse().expect("a header"));
        }
        offered_token(&headers).map(|token| token.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn token_is_offered_beside_the_subprotocol() {
        for (offers, expected) in [
            (&[][..], None),
            (&["batuta.v1+json"], None),
            (&["batuta.v1+json, batuta.bearer.btk_x"], Some("btk_x")),
            (&["batuta.bearer.btk_x", "batuta.v1+json"], Some("btk_x")),
            (&["batuta.v1+json,batuta.bearer."], Some("")),
        ] {
            let found = token(offers).expect("one token at most");
            assert_eq!(found.as_deref(), expected, "{offers:?}");
        }
    }

    #[test]
    fn two_offered_tokens_are_refused() {
        let refused = token(&["batuta.bearer.btk_x, batuta.bearer.btk_y"]).expect_err("two tokens");
        assert_eq!(refused.code().as_str(), "invalid_token");
        assert!(!refused.to_string().contains("btk_"), "{refused}");
    }
}
