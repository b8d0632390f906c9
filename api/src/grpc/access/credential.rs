//! The calls about the caller and its credentials.

use batuta_proto::v1;

use super::convert::{
    binding_message, created_response, credential_message, done, given, mode_message, words,
};
use crate::ApiError;
use crate::access::Secret;
use crate::grpc::Front;
use crate::service::access::parse::{
    credential_cursor, credential_cursor_text, parse_credential_id, parse_narrowing,
    parse_optional_principal, parse_permission, parse_principal_name,
};
use crate::service::access::{CheckRequest, CreateKey, ListRequest};
use crate::service::parse::parse_optional_name;
use crate::service::{At, CallContext, Page};

impl Front {
    pub(super) async fn bootstrap(
        &self,
        context: &CallContext,
        message: v1::BootstrapRequest,
    ) -> Result<v1::BootstrapResponse, ApiError> {
        let v1::BootstrapRequest { token, admin } = message;
        let token = Secret::new(token);
        let admin = parse_principal_name("admin", &admin)?;
        let at = self.service.bootstrap(context, token, admin).await?;
        Ok(v1::BootstrapResponse {
            principal: at.value.principal.to_string(),
            key: at.value.key.expose().to_owned(),
            credential: Some(credential_message(&at.value.credential)),
            revision: at.revision,
        })
    }

    pub(super) async fn login(
        &self,
        context: &CallContext,
        message: v1::LoginRequest,
    ) -> Result<v1::LoginResponse, ApiError> {
        let v1::LoginRequest { user, password, ttl_ms } = message;
        let password = Secret::new(password);
        let user = parse_principal_name("user", &user)?;
        let at = self.service.login(context, user, password, given(ttl_ms)).await?;
        Ok(v1::LoginResponse {
            token: at.value.token.expose().to_owned(),
            credential: Some(credential_message(&at.value.credential)),
            revision: at.revision,
        })
    }

    pub(super) async fn logout(
        &self,
        context: &CallContext,
        v1::LogoutRequest {}: v1::LogoutRequest,
    ) -> Result<v1::LogoutResponse, ApiError> {
        Ok(v1::LogoutResponse { revision: self.service.logout(context).await?.revision })
    }

    pub(super) async fn who_am_i(
        &self,
        context: &CallContext,
        v1::WhoAmIRequest {}: v1::WhoAmIRequest,
    ) -> Result<v1::WhoAmIResponse, ApiError> {
        let at = self.service.who_am_i(context).await?;
        Ok(v1::WhoAmIResponse {
            principal: at.value.principal.to_string(),
            groups: words(&at.value.groups),
            credential: at.value.credential.as_ref().map(credential_message),
            bindings: at.value.bindings.iter().map(binding_message).collect(),
            mode: mode_message(at.value.mode).into(),
            revision: at.revision,
        })
    }

    pub(super) async fn check_access(
        &self,
        context: &CallContext,
        message: v1::CheckAccessRequest,
    ) -> Result<v1::CheckAccessResponse, ApiError> {
        let name = parse_optional_name("name", &message.name)?;
        let principal = parse_optional_principal("principal", &message.principal)?;
        let permission = parse_permission("permission", &message.permission)?;
        let at = self.service.check_access(context, &CheckRequest { principal, permission, name }).await?;
        Ok(v1::CheckAccessResponse {
            allowed: at.value.allowed,
            binding_id: at.value.binding.map(|id| id.to_string()).unwrap_or_default(),
            role: at.value.role.map(|role| role.to_string()).unwrap_or_default(),
            summary: at.value.summary,
            revision: at.revision,
        })
    }

    pub(super) async fn create_key(
        &self,
        context: &CallContext,
        message: v1::CreateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, ApiError> {
        let v1::CreateKeyRequest { principal, label, ttl_ms, never_expires, roles, namespaces, names } =
            message;
        let principal = parse_optional_principal("principal", &principal)?;
        let narrowing = parse_narrowing(&roles, &namespaces, &names)?;
        let ttl_ms = given(ttl_ms);
        let request = CreateKey { principal, label, ttl_ms, never_expires, narrowing };
        Ok(created_response(&self.service.create_key(context, request).await?))
    }

    pub(super) async fn rotate_key(
        &self,
        context: &CallContext,
        message: v1::RotateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, ApiError> {
        let token = parse_credential_id("credential_id", &message.credential_id)?;
        let at = self.service.rotate_key(context, token, given(message.overlap_ms)).await?;
        Ok(created_response(&at))
    }

    pub(super) async fn list_credentials(
        &self,
        context: &CallContext,
        message: v1::ListCredentialsRequest,
    ) -> Result<v1::ListCredentialsResponse, ApiError> {
        let v1::ListCredentialsRequest { principal, limit, cursor } = message;
        let principal = parse_optional_principal("principal", &principal)?;
        let list = ListRequest { limit: Some(limit), after: credential_cursor(Some(&cursor))? };
        let At { revision, value: Page { items, next, .. }, .. } =
            self.service.list_credentials(context, principal.as_ref(), &list).await?;
        Ok(v1::ListCredentialsResponse {
            credentials: items.iter().map(credential_message).collect(),
            next_cursor: next.as_ref().map(credential_cursor_text).unwrap_or_default(),
            revision,
        })
    }

    pub(super) async fn delete_credential(
        &self,
        context: &CallContext,
        message: v1::DeleteCredentialRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let token = parse_credential_id("credential_id", &message.credential_id)?;
        Ok(done(&self.service.delete_credential(context, token).await?))
    }
}
