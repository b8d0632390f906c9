//! `batuta.v1.AccessService`.

mod convert;
mod credential;
mod mode;
mod policy;
mod principal;

use batuta_proto::v1;
use batuta_proto::v1::access_service_server::AccessService;
use tonic::{Request, Response, Status};

use super::{Front, OfSession, calls_of_the_front, context};

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
