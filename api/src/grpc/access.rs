//! `batuta.v1.AccessService`.

use batuta_proto::v1;
use batuta_proto::v1::access_service_server::AccessService;
use batuta_statemachine::access::{Mode, Namespaces, Pattern, Rule};
use batuta_statemachine::{Name, Namespace, PrincipalName};
use tonic::{Request, Response, Status};

use super::{Front, OfSession, calls_of_the_front, context};
use crate::ApiError;
use crate::access::Secret;
use crate::access::report::Missing;
use crate::service::access::parse::{
    binding_cursor, binding_cursor_text, credential_cursor, credential_cursor_text, group_cursor,
    group_cursor_text, parse_binding_id, parse_credential_id, parse_narrowing, parse_namespaces,
    parse_optional_instant, parse_optional_principal, parse_patterns, parse_permission, parse_principal,
    parse_principal_name, parse_principals, parse_rule, parse_subject, principal_cursor,
    principal_cursor_text, role_cursor, role_cursor_text,
};
use crate::service::access::{
    AccessView, BindRequest, BindingView, CheckRequest, CreateKey, Created, CredentialView, GroupView,
    ListRequest, PrincipalView, RoleView,
};
use crate::service::parse::parse_optional_name;
use crate::service::{At, CallContext, Page, rfc3339};

calls_of_the_front! {
    AccessService {}
    bootstrap(BootstrapRequest) -> BootstrapResponse;
    login(LoginRequest) -> LoginResponse;
    logout(LogoutRequest) -> LogoutResponse;
    who_am_i(WhoAmIRequest) -> WhoAmIResponse;
    check_access(CheckAccessRequest) -> CheckAccessResponse;
    put_principal(PutPrincipalRequest) -> PrincipalResponse;
    get_principal(GetPrincipalRequest) -> PrincipalResponse;
    list_principals(ListPrincipalsRequest) -> ListPrincipalsResponse;
    delete_principal(DeletePrincipalRequest) -> AccessDone;
    suspend_principal(SuspendPrincipalRequest) -> PrincipalResponse;
    resume_principal(ResumePrincipalRequest) -> PrincipalResponse;
    set_password(SetPasswordRequest) -> AccessDone;
    put_group(PutGroupRequest) -> GroupResponse;
    list_groups(ListGroupsRequest) -> ListGroupsResponse;
    delete_group(DeleteGroupRequest) -> AccessDone;
    put_role(PutRoleRequest) -> RoleResponse;
    list_roles(ListRolesRequest) -> ListRolesResponse;
    delete_role(DeleteRoleRequest) -> AccessDone;
    bind(BindRequest) -> BindingResponse;
    extend_binding(ExtendBindingRequest) -> BindingResponse;
    list_bindings(ListBindingsRequest) -> ListBindingsResponse;
    unbind(UnbindRequest) -> AccessDone;
    create_key(CreateKeyRequest) -> CreateKeyResponse;
    rotate_key(RotateKeyRequest) -> CreateKeyResponse;
    list_credentials(ListCredentialsRequest) -> ListCredentialsResponse;
    delete_credential(DeleteCredentialRequest) -> AccessDone;
    get_access(GetAccessRequest) -> GetAccessResponse;
    set_access_mode(SetAccessModeRequest) -> GetAccessResponse;
    get_access_report(GetAccessReportRequest) -> GetAccessReportResponse;
    read_audit(ReadAuditRequest) -> ReadAuditResponse;
}

macro_rules! without_session {
    ($($request:ident)*) => {$(
        impl OfSession for v1::$request {}
    )*};
}

without_session! {
    BootstrapRequest LoginRequest LogoutRequest WhoAmIRequest CheckAccessRequest
    PutPrincipalRequest GetPrincipalRequest ListPrincipalsRequest DeletePrincipalRequest
    SuspendPrincipalRequest ResumePrincipalRequest SetPasswordRequest
    PutGroupRequest ListGroupsRequest DeleteGroupRequest
    PutRoleRequest ListRolesRequest DeleteRoleRequest
    BindRequest ExtendBindingRequest ListBindingsRequest UnbindRequest
    CreateKeyRequest RotateKeyRequest ListCredentialsRequest DeleteCredentialRequest
    GetAccessRequest SetAccessModeRequest GetAccessReportRequest ReadAuditRequest
}

fn mode_message(mode: Mode) -> v1::AccessMode {
    match mode {
        Mode::Off => v1::AccessMode::Off,
        Mode::Observe => v1::AccessMode::Observe,
        Mode::Enforce => v1::AccessMode::Enforce,
    }
}

fn mode_of(value: i32) -> Result<Mode, ApiError> {
    match v1::AccessMode::try_from(value) {
        Ok(v1::AccessMode::Off) => Ok(Mode::Off),
        Ok(v1::AccessMode::Observe) => Ok(Mode::Observe),
        Ok(v1::AccessMode::Enforce) => Ok(Mode::Enforce),
        Ok(v1::AccessMode::Unspecified) | Err(_) => {
            Err(ApiError::invalid("mode", "is required, and must be a value of AccessMode"))
        }
    }
}

fn words(names: &[PrincipalName]) -> Vec<String> {
    names.iter().map(PrincipalName::to_string).collect()
}

fn namespace_words(namespaces: &Namespaces) -> Vec<String> {
    match namespaces {
        Namespaces::All => Vec::new(),
        Namespaces::Listed(listed) => listed.iter().map(Namespace::to_string).collect(),
    }
}

fn pattern_words(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(Pattern::to_string).collect()
}

/// An instant, empty without one.
fn instant_word(wall_ms: Option<u64>) -> String {
    wall_ms.map(rfc3339).unwrap_or_default()
}

fn principal_message(view: &PrincipalView) -> v1::Principal {
    let record = &view.record;
    v1::Principal {
        principal: record.principal.to_string(),
        principal_id: record.id.to_string(),
        description: record.description.clone(),
        suspended: record.suspended,
        has_password: record.password.is_some(),
        groups: words(&view.groups),
        created_at: rfc3339(record.created_wall_ms),
    }
}

fn principal_response(at: &At<PrincipalView>) -> v1::PrincipalResponse {
    v1::PrincipalResponse { principal: Some(principal_message(&at.value)), revision: at.revision }
}

fn group_message(view: &GroupView) -> v1::Group {
    let members = view.members.iter().map(ToString::to_string).collect();
    v1::Group { name: view.name.to_string(), members }
}

fn rule_message(rule: &Rule) -> v1::Rule {
    let permissions = rule.permissions.iter().map(|permission| permission.to_string()).collect();
    v1::Rule { permissions, names: pattern_words(&rule.names) }
}

fn role_message(view: &RoleView) -> v1::Role {
    let rules = view.record.rules.iter().map(rule_message).collect();
    v1::Role { name: view.record.name.to_string(), rules, built_in: view.built_in }
}

fn binding_message(view: &BindingView) -> v1::Binding {
    let record = &view.record;
    v1::Binding {
        binding_id: record.id.to_string(),
        subject: view.subject.to_string(),
        role: record.role.to_string(),
        namespaces: namespace_words(&record.namespaces),
        names: pattern_words(&record.names),
        not_before: instant_word(record.not_before_ms),
        not_after: instant_word(record.not_after_ms),
        end_sessions: record.on_end == batuta_statemachine::access::OnEnd::EndSessions,
        reason: record.reason.clone(),
        made_by: view.made_by.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn binding_response(at: &At<BindingView>) -> v1::BindingResponse {
    v1::BindingResponse { binding: Some(binding_message(&at.value)), revision: at.revision }
}

/// The message has nothing of the hash in the record.
fn credential_message(view: &CredentialView) -> v1::Credential {
    let record = &view.record;
    let narrowing = record.narrowing.clone().unwrap_or_default();
    v1::Credential {
        credential_id: record.secret.id.to_string(),
        kind: record.kind.as_str().to_owned(),
        principal: view.principal.to_string(),
        label: record.label.clone(),
        created_at: rfc3339(record.created_wall_ms),
        not_after: instant_word(record.not_after_ms),
        last_used_at: instant_word(record.last_used_wall_ms),
        roles: words(&narrowing.roles),
        namespaces: namespace_words(&narrowing.namespaces),
        names: pattern_words(&narrowing.names),
    }
}

fn created_response(at: &At<Created>) -> v1::CreateKeyResponse {
    let Created { key, credential } = &at.value;
    v1::CreateKeyResponse {
        key: key.expose().to_owned(),
        credential: Some(credential_message(credential)),
        revision: at.revision,
    }
}

fn access_response(at: At<AccessView>) -> v1::GetAccessResponse {
    let AccessView { mode, access_revision, principals, groups, roles, bindings, credentials } = at.value;
    v1::GetAccessResponse {
        mode: mode_message(mode).into(),
        access_revision,
        principals,
        groups,
        roles,
        bindings,
        credentials,
        revision: at.revision,
    }
}

fn missing_message((missing, calls): (Missing, u64)) -> v1::MissingRight {
    let Missing { principal, permission, namespace, names } = missing;
    v1::MissingRight {
        principal,
        permission: permission.to_string(),
        namespace: namespace.to_string(),
        names: names.unwrap_or_default(),
        calls,
    }
}

fn done(at: &At<()>) -> v1::AccessDone {
    v1::AccessDone { revision: at.revision }
}

/// A number of which 0 means the default.
fn given(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// An optional secret; the empty text means none.
fn optional_secret(text: String) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

/// The caller and its credentials.
impl Front {
    async fn bootstrap(
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

    async fn login(
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

    async fn logout(
        &self,
        context: &CallContext,
        v1::LogoutRequest {}: v1::LogoutRequest,
    ) -> Result<v1::LogoutResponse, ApiError> {
        Ok(v1::LogoutResponse { revision: self.service.logout(context).await?.revision })
    }

    async fn who_am_i(
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

    async fn check_access(
        &self,
        context: &CallContext,
        message: v1::CheckAccessRequest,
    ) -> Result<v1::CheckAccessResponse, ApiError> {
        let name: Option<Name> = parse_optional_name("name", &message.name)?;
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

    async fn create_key(
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

    async fn rotate_key(
        &self,
        context: &CallContext,
        message: v1::RotateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, ApiError> {
        let token = parse_credential_id("credential_id", &message.credential_id)?;
        let at = self.service.rotate_key(context, token, given(message.overlap_ms)).await?;
        Ok(created_response(&at))
    }

    async fn list_credentials(
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

    async fn delete_credential(
        &self,
        context: &CallContext,
        message: v1::DeleteCredentialRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let token = parse_credential_id("credential_id", &message.credential_id)?;
        Ok(done(&self.service.delete_credential(context, token).await?))
    }
}

/// Principals.
impl Front {
    async fn put_principal(
        &self,
        context: &CallContext,
        message: v1::PutPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        let at = self.service.put_principal(context, principal, message.description).await?;
        Ok(principal_response(&at))
    }

    async fn get_principal(
        &self,
        context: &CallContext,
        message: v1::GetPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(principal_response(&self.service.get_principal(context, &principal).await?))
    }

    async fn list_principals(
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

    async fn delete_principal(
        &self,
        context: &CallContext,
        message: v1::DeletePrincipalRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(done(&self.service.delete_principal(context, principal).await?))
    }

    async fn suspend_principal(
        &self,
        context: &CallContext,
        message: v1::SuspendPrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        let at = self.service.suspend_principal(context, principal, message.keep_sessions).await?;
        Ok(principal_response(&at))
    }

    async fn resume_principal(
        &self,
        context: &CallContext,
        message: v1::ResumePrincipalRequest,
    ) -> Result<v1::PrincipalResponse, ApiError> {
        let principal = parse_principal("principal", &message.principal)?;
        Ok(principal_response(&self.service.resume_principal(context, principal).await?))
    }

    async fn set_password(
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

/// Groups, roles and bindings.
impl Front {
    async fn put_group(
        &self,
        context: &CallContext,
        message: v1::PutGroupRequest,
    ) -> Result<v1::GroupResponse, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        let members = parse_principals("members", &message.members)?;
        let at = self.service.put_group(context, name, members).await?;
        Ok(v1::GroupResponse { group: Some(group_message(&at.value)), revision: at.revision })
    }

    async fn list_groups(
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

    async fn delete_group(
        &self,
        context: &CallContext,
        message: v1::DeleteGroupRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        Ok(done(&self.service.delete_group(context, name).await?))
    }

    async fn put_role(
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

    async fn list_roles(
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

    async fn delete_role(
        &self,
        context: &CallContext,
        message: v1::DeleteRoleRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let name = parse_principal_name("name", &message.name)?;
        Ok(done(&self.service.delete_role(context, name).await?))
    }

    async fn bind(
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

    async fn extend_binding(
        &self,
        context: &CallContext,
        message: v1::ExtendBindingRequest,
    ) -> Result<v1::BindingResponse, ApiError> {
        let v1::ExtendBindingRequest { binding_id, ttl_ms, reason } = message;
        let binding = parse_binding_id("binding_id", &binding_id)?;
        Ok(binding_response(&self.service.extend_binding(context, binding, ttl_ms, reason).await?))
    }

    async fn list_bindings(
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

    async fn unbind(
        &self,
        context: &CallContext,
        message: v1::UnbindRequest,
    ) -> Result<v1::AccessDone, ApiError> {
        let binding = parse_binding_id("binding_id", &message.binding_id)?;
        Ok(done(&self.service.unbind(context, binding).await?))
    }
}

/// The mode, the report and the audit.
impl Front {
    async fn get_access(
        &self,
        context: &CallContext,
        v1::GetAccessRequest {}: v1::GetAccessRequest,
    ) -> Result<v1::GetAccessResponse, ApiError> {
        Ok(access_response(self.service.get_access(context).await?))
    }

    async fn set_access_mode(
        &self,
        context: &CallContext,
        message: v1::SetAccessModeRequest,
    ) -> Result<v1::GetAccessResponse, ApiError> {
        let mode = mode_of(message.mode)?;
        Ok(access_response(self.service.set_access_mode(context, mode).await?))
    }

    async fn get_access_report(
        &self,
        context: &CallContext,
        message: v1::GetAccessReportRequest,
    ) -> Result<v1::GetAccessReportResponse, ApiError> {
        let at = self.service.access_report(context, message.clear).await?;
        Ok(v1::GetAccessReportResponse {
            missing: at.value.missing.into_iter().map(missing_message).collect(),
            other_calls: at.value.other_calls,
            revision: at.revision,
        })
    }

    async fn read_audit(
        &self,
        context: &CallContext,
        message: v1::ReadAuditRequest,
    ) -> Result<v1::ReadAuditResponse, ApiError> {
        let v1::ReadAuditRequest { cursor, limit } = message;
        let page = self.service.read_audit(context, &cursor, Some(limit)).await?.value;
        Ok(v1::ReadAuditResponse { lines: page.lines, next_cursor: page.next, end: page.end })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::access::{
        Narrowing, SecretHash, TokenKind, TokenRecord, TokenSecret,
    };
    use batuta_statemachine::{Position, Principal, PrincipalId, TokenId};
    use prost::Message as _;

    use super::*;

    #[test]
    fn modes_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(mode_of(mode_message(mode).into()).unwrap(), mode);
        }
        for value in [0, 9] {
            assert_eq!(mode_of(value).unwrap_err().field(), Some("mode"));
        }
    }

    #[test]
    fn credential_is_shown_without_its_hash() {
        let id = TokenId::new("abcDEF012345").unwrap();
        let record = TokenRecord {
            secret: TokenSecret { id, hash: SecretHash::new([0xA5; SecretHash::LENGTH]) },
            kind: TokenKind::Key,
            principal: PrincipalId(Position { index: 7, ordinal: 0 }),
            label: "ci".to_owned(),
            not_after_ms: Some(1_000),
            deadline_ms: Some(5),
            narrowing: Some(Narrowing {
                roles: vec![PrincipalName::new("viewer").unwrap()],
                namespaces: Namespaces::Listed(vec![Namespace::default()]),
                names: vec![Pattern::all()],
            }),
            made_by: None,
            created_wall_ms: 0,
            last_used_wall_ms: None,
        };
        let principal: Principal = "service/shop".parse().unwrap();
        let message = credential_message(&CredentialView { record: Arc::new(record), principal });
        let expected = v1::Credential {
            credential_id: id.to_string(),
            kind: "key".to_owned(),
            principal: "service/shop".to_owned(),
            label: "ci".to_owned(),
            created_at: "1970-01-01T00:00:00.000Z".to_owned(),
            not_after: "1970-01-01T00:00:01.000Z".to_owned(),
            last_used_at: String::new(),
            roles: vec!["viewer".to_owned()],
            namespaces: vec!["default".to_owned()],
            names: vec!["**".to_owned()],
        };
        assert!(!message.encode_to_vec().windows(4).any(|bytes| bytes == [0xA5; 4]));
        assert_eq!(message, expected);
    }
}
