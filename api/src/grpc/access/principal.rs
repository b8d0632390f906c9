//! The calls about principals.

use batuta_proto::v1;

use super::convert::{done, optional_secret, principal_message, principal_response};
use crate::ApiError;
use crate::access::Secret;
use crate::grpc::Front;
use crate::service::access::ListRequest;
use crate::service::access::parse::{
    parse_principal, parse_principal_name, principal_cursor, principal_cursor_text,
};
use crate::service::{At, CallContext, Page};

impl Front {
    pub(super) async fn put_principal(
        &self,
        context: &CallContext,
        message: v1::PutPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        let at = self.service.put_principal(context, principal, message.description).await?;
        Ok(principal_response(&at))
    }

    pub(super) async fn get_principal(
        &self,
        context: &CallContext,
        message: v1::GetPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(principal_response(&self.service.get_principal(context, &principal).await?))
    }

    pub(super) async fn list_principals(
        &self,
        context: &CallContext,
        message: v1::ListPrincipalsRequest,
    ) -> Result<v1::ListPrincipalsResponse, ApiError> {
        let after = principal_cursor(Some(&message.cursor))?;
        let list = ListRequest { limit: Some(message.limit), after };
        let At { revision, value: Page { items, next, .. }, .. } =
            self.service.list_principals(context, &list).await?;
        Ok(v1::ListPrincipalsResponse {
            principals: items.iter().map(principal_message).collect(),
            next_cursor: next.as_ref().map(principal_cursor_text).unwrap_or_default(),
            revision,
        })
    }

    pub(super) async fn delete_principal(
        &self,
        context: &CallContext,
        message: v1::DeletePrincipalRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(done(&self.service.delete_principal(context, principal).await?))
    }

    pub(super) async fn suspend_principal(
        &self,
        context: &CallContext,
        message: v1::SuspendPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        let at = self.service.suspend_principal(context, principal, message.keep_sessions).await?;
        Ok(principal_response(&at))
    }

    pub(super) async fn resume_principal(
        &self,
        context: &CallContext,
        message: v1::ResumePrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(principal_response(&self.service.resume_principal(context, principal).await?))
    }

    pub(super) async fn set_password(
        &self,
        context: &CallContext,
        message: v1::SetPasswordRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let v1::SetPasswordRequest { user, password, old_password } = message;
        let (password, old) = (Secret::new(password), optional_secret(old_password));
        let user = if user.is_empty() { None } else { Some(parse_principal_name("user", &user)?) };
        Ok(done(&self.service.set_password(context, user, password, old).await?))
    }
}
