//! The calls about groups, roles and bindings.

use batuta_proto::v1;
use batuta_statemachine::access::Rule;

use super::convert::{binding_message, binding_response, done, group_message, role_message};
use crate::ApiError;
use crate::grpc::Front;
use crate::service::access::parse::{
    binding_cursor, binding_cursor_text, group_cursor, group_cursor_text, parse_binding_id, parse_namespaces,
    parse_optional_instant, parse_patterns, parse_principal_name, parse_principals, parse_rule,
    parse_subject, role_cursor, role_cursor_text,
};
use crate::service::access::{BindRequest, ListRequest};
use crate::service::{At, CallContext, Page};

impl Front {
    pub(super) async fn put_group(
        &self,
        context: &CallContext,
        message: v1::PutGroupRequest,
    ) -> Result<v1::GroupResponse, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        let members = parse_principals("members", &message.members)?;
        let at = self.service.put_group(context, name, members).await?;
        Ok(v1::GroupResponse { group: Some(group_message(&at.value)), revision: at.revision })
    }

    pub(super) async fn list_groups(
        &self,
        context: &CallContext,
        message: v1::ListGroupsRequest,
    ) -> Result<v1::ListGroupsResponse, ApiError> {
        let list = ListRequest { limit: Some(message.limit), after: group_cursor(Some(&message.cursor))? };
        let At { revision, value: Page { items, next, .. }, .. } =
            self.service.list_groups(context, &list).await?;
        Ok(v1::ListGroupsResponse {
            groups: items.iter().map(group_message).collect(),
            next_cursor: next.as_ref().map(group_cursor_text).unwrap_or_default(),
            revision,
        })
    }

    pub(super) async fn delete_group(
        &self,
        context: &CallContext,
        message: v1::DeleteGroupRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        Ok(done(&self.service.delete_group(context, name).await?))
    }

    pub(super) async fn put_role(
        &self,
        context: &CallContext,
        message: v1::PutRoleRequest,
    ) -> Result<v1::RoleResponse, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        let rules = message.rules.iter().enumerate();
        let rules = rules
            .map(|(place, rule)| parse_rule(&format!("rules[{place}]"), &rule.permissions, &rule.names))
            .collect::<Result<Vec<Rule>, ApiError>>()?;
        let at = self.service.put_role(context, name, rules).await?;
        Ok(v1::RoleResponse { role: Some(role_message(&at.value)), revision: at.revision })
    }

    pub(super) async fn list_roles(
        &self,
        context: &CallContext,
        message: v1::ListRolesRequest,
    ) -> Result<v1::ListRolesResponse, ApiError> {
        let list = ListRequest { limit: Some(message.limit), after: role_cursor(Some(&message.cursor))? };
        let At { revision, value: Page { items, next, .. }, .. } =
            self.service.list_roles(context, &list).await?;
        Ok(v1::ListRolesResponse {
            roles: items.iter().map(role_message).collect(),
            next_cursor: next.as_ref().map(role_cursor_text).unwrap_or_default(),
            revision,
        })
    }

    pub(super) async fn delete_role(
        &self,
        context: &CallContext,
        message: v1::DeleteRoleRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        Ok(done(&self.service.delete_role(context, name).await?))
    }

    pub(super) async fn bind(
        &self,
        context: &CallContext,
        message: v1::BindRequest,
    ) -> Result<v1::BindingResponse, ApiError> {
        let v1::BindRequest { subject, role, namespaces, names, not_before, ttl_ms, end_sessions, reason } =
            message;
        let request = BindRequest {
            subject: parse_subject("subject", &subject)?,
            role: parse_principal_name("role", &role)?,
            namespaces: parse_namespaces("namespaces", &namespaces)?,
            names: parse_patterns("names", &names)?,
            not_before_ms: parse_optional_instant("not_before", &not_before)?,
            ttl_ms,
            end_sessions,
            reason,
        };
        Ok(binding_response(&self.service.bind(context, request).await?))
    }

    pub(super) async fn extend_binding(
        &self,
        context: &CallContext,
        message: v1::ExtendBindingRequest,
    ) -> Result<v1::BindingResponse, ApiError> {
        let v1::ExtendBindingRequest { binding_id, ttl_ms, reason } = message;
        let binding = parse_binding_id("binding_id", &binding_id)?;
        Ok(binding_response(&self.service.extend_binding(context, binding, ttl_ms, reason).await?))
    }

    pub(super) async fn list_bindings(
        &self,
        context: &CallContext,
        message: v1::ListBindingsRequest,
    ) -> Result<v1::ListBindingsResponse, ApiError> {
        let v1::ListBindingsRequest { subject, limit, cursor } = message;
        let subject = if subject.is_empty() { None } else { Some(parse_subject("subject", &subject)?) };
        let list = ListRequest { limit: Some(limit), after: binding_cursor(Some(&cursor))? };
        let At { revision, value: Page { items, next, .. }, .. } =
            self.service.list_bindings(context, subject.as_ref(), &list).await?;
        Ok(v1::ListBindingsResponse {
            bindings: items.iter().map(binding_message).collect(),
            next_cursor: next.as_ref().map(binding_cursor_text).unwrap_or_default(),
            revision,
        })
    }

    pub(super) async fn unbind(
        &self,
        context: &CallContext,
        message: v1::UnbindRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let binding = parse_binding_id("binding_id", &message.binding_id)?;
        Ok(done(&self.service.unbind(context, binding).await?))
    }
}
