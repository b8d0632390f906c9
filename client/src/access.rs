//! Calls of administration: principals, credentials, roles and bindings; who may do what.
//!
//! Calls that make a secret are never sent to two nodes at once, and carry no retry key: no node can show a
//! secret twice. When the answer is lost, list the credentials and delete the one that nobody knows.

use batuta_proto::v1::access_service_client::AccessServiceClient;
use batuta_proto::v1::{self};

use crate::admin::calls;
use crate::call::Call;
use crate::{Client, Error};

calls! {
    AccessServiceClient.bootstrap as bootstrap_access(BootstrapRequest) -> BootstrapResponse, Call::default(), "Makes the first administrator with the one-time token of the founder. Needs no credential.";
    AccessServiceClient.login as login(LoginRequest) -> LoginResponse, Call::default(), "Logs a user in with a password. Needs no credential. The client goes on with its own credential; the token of the answer is for another client.";
    AccessServiceClient.logout as logout(LogoutRequest) -> LogoutResponse, Call::write()?, "Deletes the login of the caller.";
    AccessServiceClient.who_am_i as who_am_i(WhoAmIRequest) -> WhoAmIResponse, Call::read(), "Tells who the caller is and what it may do.";
    AccessServiceClient.check_access as check_access(CheckAccessRequest) -> CheckAccessResponse, Call::read(), "Tells whether a principal may do something in the namespace of the client, and why.";
    AccessServiceClient.put_principal as put_principal(PutPrincipalRequest) -> PrincipalResponse, Call::write()?, "Creates a user or a service account, or changes its description.";
    AccessServiceClient.get_principal as principal(GetPrincipalRequest) -> PrincipalResponse, Call::read(), "Reads one principal.";
    AccessServiceClient.list_principals as principals(ListPrincipalsRequest) -> ListPrincipalsResponse, Call::read(), "Reads a page of principals.";
    AccessServiceClient.delete_principal as delete_principal(DeletePrincipalRequest) -> AccessDone, Call::write()?, "Deletes a principal with its credentials and bindings, and ends what it owns.";
    AccessServiceClient.suspend_principal as suspend_principal(SuspendPrincipalRequest) -> PrincipalResponse, Call::write()?, "Suspends a principal: it may do nothing until it is resumed.";
    AccessServiceClient.resume_principal as resume_principal(ResumePrincipalRequest) -> PrincipalResponse, Call::write()?, "Resumes a suspended principal.";
    AccessServiceClient.set_password as set_password(SetPasswordRequest) -> AccessDone, Call::write()?, "Sets the password of a user.";
    AccessServiceClient.put_group as put_group(PutGroupRequest) -> GroupResponse, Call::write()?, "Creates a group or replaces its members.";
    AccessServiceClient.list_groups as groups(ListGroupsRequest) -> ListGroupsResponse, Call::read(), "Reads a page of groups.";
    AccessServiceClient.delete_group as delete_group(DeleteGroupRequest) -> AccessDone, Call::write()?, "Deletes a group with its bindings.";
    AccessServiceClient.put_role as put_role(PutRoleRequest) -> RoleResponse, Call::write()?, "Creates a role or replaces its rules.";
    AccessServiceClient.list_roles as roles(ListRolesRequest) -> ListRolesResponse, Call::read(), "Reads a page of roles, built-in ones first.";
    AccessServiceClient.delete_role as delete_role(DeleteRoleRequest) -> AccessDone, Call::write()?, "Deletes a role that no binding has.";
    AccessServiceClient.bind as bind(BindRequest) -> BindingResponse, Call::creating()?, "Gives a role to a subject.";
    AccessServiceClient.extend_binding as extend_binding(ExtendBindingRequest) -> BindingResponse, Call::write()?, "Changes when a binding ends.";
    AccessServiceClient.list_bindings as bindings(ListBindingsRequest) -> ListBindingsResponse, Call::read(), "Reads a page of bindings.";
    AccessServiceClient.unbind as unbind(UnbindRequest) -> AccessDone, Call::write()?, "Takes a binding away.";
    AccessServiceClient.create_key as create_key(CreateKeyRequest) -> CreateKeyResponse, Call::default(), "Makes an API key. The answer is the only place that has its secret.";
    AccessServiceClient.rotate_key as rotate_key(RotateKeyRequest) -> CreateKeyResponse, Call::default(), "Makes a key with the rights of an old one, which stays valid for a while.";
    AccessServiceClient.list_credentials as credentials(ListCredentialsRequest) -> ListCredentialsResponse, Call::read(), "Reads a page of credentials, without their secrets.";
    AccessServiceClient.delete_credential as delete_credential(DeleteCredentialRequest) -> AccessDone, Call::write()?, "Deletes a credential. Every node refuses it within a second.";
    AccessServiceClient.get_access as access(GetAccessRequest) -> GetAccessResponse, Call::read(), "Reads the mode of access and how much there is.";
    AccessServiceClient.set_access_mode as set_access_mode(SetAccessModeRequest) -> GetAccessResponse, Call::write()?, "Sets the mode of access.";
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
