//! A valid request for every method of gRPC, and for every call of a pipeline.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::{call, hold_request, lead_request};
use bytes::{Buf as _, BufMut as _};
use futures_util::{StreamExt as _, stream};
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::calls::{NO_BINDING, NO_CREDENTIAL, NO_LOCK, NO_SESSION, PASSWORD};
use crate::secure::Caller;
use crate::streams::{calling, code_of, wanted};

/// A method: its service and name, its operation, and the bytes of a request.
pub(crate) struct Method(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Vec<u8>);

/// Sends bytes as they are, so that methods can be called by name.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Connects to the gRPC port of a caller's node.
pub(crate) async fn channel_of(caller: &Caller) -> Channel {
    Channel::from_shared(caller.grpc.clone()).expect("a URL").connect().await.expect("connects")
}

/// Calls a method by its path, such as `/batuta.v1.LockService/Check`, and returns its first message or the code of its refusal.
pub(crate) async fn call_raw(
    channel: &Channel,
    caller: &Caller,
    path: &str,
    message: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let streams = ["/Hold", "/Lead", "/Pipeline"].into_iter().any(|method| path.ends_with(method));
    let path: PathAndQuery = path.parse().map_err(|_| format!("{path} is no path"))?;
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    // To close the client's side of a stream would withdraw what it waits for; any other call begins only then.
    let open = if streams { stream::pending().right_stream() } else { stream::empty().left_stream() };
    let messages = stream::iter([message]).chain(open);
    let request = caller.request(messages);
    let asked = async {
        let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::new(Code::Cancelled, "no message"))
    };
    match tokio::time::timeout(Duration::from_secs(20), asked).await {
        Ok(answer) => answer.map_err(|status| code_of(&status)),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn method(path: &'static str, operation: &'static str, message: &impl Message) -> Method {
    Method(path, operation, message.encode_to_vec())
}

/// All methods.
pub(crate) fn methods(caller: &Caller) -> Vec<Method> {
    let mut methods = lock_methods();
    methods.extend(election_methods());
    methods.extend(session_methods(caller));
    methods.extend(cluster_methods());
    methods.extend(access_methods());
    methods.extend(policy_methods());
    methods
}

fn name() -> String {
    "m/none".to_owned()
}

fn lock_id() -> String {
    NO_LOCK.to_owned()
}

fn no_member() -> String {
    "no-such-node".to_owned()
}

fn acquire() -> v1::AcquireRequest {
    v1::AcquireRequest { ttl_ms: Some(1_000), ..wanted("m/grpc") }
}

fn campaign() -> v1::CampaignRequest {
    v1::CampaignRequest { name: "e/grpc".to_owned(), ttl_ms: Some(1_000), ..Default::default() }
}

fn force_release() -> v1::ForceReleaseRequest {
    v1::ForceReleaseRequest { name: name(), fencing_token: 1, reason: "a test".to_owned() }
}

fn lock_methods() -> Vec<Method> {
    let hold = v1::HoldRequest { request: Some(hold_request::Request::Acquire(acquire())) };
    vec![
        method("LockService/Acquire", "acquire", &acquire()),
        method(
            "LockService/Release",
            "release",
            &v1::ReleaseRequest { lock_id: lock_id(), ..Default::default() },
        ),
        method(
            "LockService/Downgrade",
            "downgrade",
            &v1::DowngradeRequest { lock_id: lock_id(), ..Default::default() },
        ),
        method(
            "LockService/SetMetadata",
            "set_metadata",
            &v1::SetMetadataRequest { lock_id: lock_id(), ..Default::default() },
        ),
        method("LockService/Resize", "resize", &v1::ResizeRequest { name: name(), capacity: 2 }),
        method(
            "LockService/Extend",
            "extend",
            &v1::ExtendRequest { lock_id: lock_id(), ttl_ms: 1_000, ..Default::default() },
        ),
        method("LockService/CancelWait", "cancel_wait", &v1::CancelWaitRequest { lock_id: lock_id() }),
        method("LockService/ForceRelease", "force_release", &force_release()),
        method("LockService/Hold", "acquire", &hold),
        method(
            "LockService/Check",
            "check",
            &v1::CheckRequest { name: name(), fencing_token: 1, ..Default::default() },
        ),
        method("LockService/GetLock", "get_lock", &v1::GetLockRequest { name: name(), ..Default::default() }),
        method("LockService/ListLocks", "list_locks", &v1::ListLocksRequest::default()),
        method("LockService/Explain", "explain", &v1::ExplainRequest { name: name(), ..Default::default() }),
        method(
            "LockService/AdvanceRegister",
            "advance_register",
            &v1::AdvanceRegisterRequest { name: name(), fencing_token: 1 },
        ),
        method(
            "LockService/GetRegister",
            "get_register",
            &v1::GetRegisterRequest { name: name(), ..Default::default() },
        ),
        method("LockService/DeleteRegister", "delete_register", &v1::DeleteRegisterRequest { name: name() }),
    ]
}

fn election_methods() -> Vec<Method> {
    let lead = v1::LeadRequest { request: Some(lead_request::Request::Campaign(campaign())) };
    vec![
        method("ElectionService/Campaign", "campaign", &campaign()),
        method(
            "ElectionService/Proclaim",
            "proclaim",
            &v1::ProclaimRequest { name: name(), fencing_token: 1, ..Default::default() },
        ),
        method(
            "ElectionService/Resign",
            "resign",
            &v1::ResignRequest { name: name(), fencing_token: 1, ..Default::default() },
        ),
        method("ElectionService/Lead", "campaign", &lead),
        method(
            "ElectionService/GetElection",
            "get_election",
            &v1::GetElectionRequest { name: name(), ..Default::default() },
        ),
        method("ElectionService/ListElections", "list_elections", &v1::ListElectionsRequest::default()),
    ]
}

fn session_methods(caller: &Caller) -> Vec<Method> {
    let session_id = || NO_SESSION.to_owned();
    let watch = v1::WatchRequest { areas: vec!["lock".to_owned()], progress_ms: 100, ..Default::default() };
    // A pipeline is what its calls are; its stream needs nothing, and `access_pipeline` has its calls.
    let empty = calling(1, caller, call::Request::GetLock(v1::GetLockRequest::default()));
    vec![
        method(
            "SessionService/OpenSession",
            "open_session",
            &v1::OpenSessionRequest { ttl_ms: 5_000, ..Default::default() },
        ),
        method("SessionService/KeepAlive", "keep_alive", &v1::KeepAliveRequest { session_id: session_id() }),
        method(
            "SessionService/CloseSession",
            "close_session",
            &v1::CloseSessionRequest { session_id: session_id(), ..Default::default() },
        ),
        method(
            "SessionService/GetSession",
            "get_session",
            &v1::GetSessionRequest { session_id: session_id(), ..Default::default() },
        ),
        method("SessionService/ListSessions", "list_sessions", &v1::ListSessionsRequest::default()),
        method("WatchService/Watch", "watch", &watch),
        method("PipelineService/Pipeline", "connection", &empty),
    ]
}

fn cluster_methods() -> Vec<Method> {
    let limit = v1::Limit { name: "waiters_per_lock_max".to_owned(), value: 10_000 };
    vec![
        method("ClusterService/GetStatus", "get_cluster", &v1::GetStatusRequest::default()),
        method("ClusterService/ListMembers", "list_members", &v1::ListMembersRequest {}),
        method(
            "ClusterService/RemoveMember",
            "remove_member",
            &v1::RemoveMemberRequest { member: no_member() },
        ),
        method(
            "ClusterService/PromoteMember",
            "promote_member",
            &v1::PromoteMemberRequest { member: no_member() },
        ),
        method(
            "ClusterService/TransferLeader",
            "transfer_leader",
            &v1::TransferLeaderRequest { member: no_member() },
        ),
        method("ClusterService/TriggerSnapshot", "trigger_snapshot", &v1::TriggerSnapshotRequest {}),
        method("ClusterService/GetLimits", "get_limits", &v1::GetLimitsRequest::default()),
        method("ClusterService/SetLimits", "set_limits", &v1::SetLimitsRequest { limits: vec![limit] }),
    ]
}

fn access_methods() -> Vec<Method> {
    let principal = || "service/no-such".to_owned();
    let login =
        v1::LoginRequest { user: "ann".to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
    let bootstrap = v1::BootstrapRequest { token: "btb_x".to_owned(), admin: "eve".to_owned() };
    let check = v1::CheckAccessRequest { permission: "lock:read".to_owned(), ..Default::default() };
    let password = v1::SetPasswordRequest {
        user: "no-such".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let key = v1::CreateKeyRequest {
        principal: "service/spare".to_owned(),
        label: "x".to_owned(),
        ..Default::default()
    };
    let rotate = v1::RotateKeyRequest { credential_id: NO_CREDENTIAL.to_owned(), ..Default::default() };
    let delete = v1::DeleteCredentialRequest { credential_id: NO_CREDENTIAL.to_owned() };
    let of_root = v1::ListCredentialsRequest { principal: "user/root".to_owned(), ..Default::default() };
    let suspend = v1::SuspendPrincipalRequest { principal: principal(), keep_sessions: false };
    let put = v1::PutPrincipalRequest { principal: principal(), ..Default::default() };
    vec![
        method("AccessService/Bootstrap", "bootstrap", &bootstrap),
        method("AccessService/Login", "login", &login),
        method("AccessService/Logout", "logout", &v1::LogoutRequest {}),
        method("AccessService/WhoAmI", "who_am_i", &v1::WhoAmIRequest {}),
        method("AccessService/CheckAccess", "check_access", &check),
        method("AccessService/SetPassword", "set_password", &password),
        method("AccessService/CreateKey", "create_key", &key),
        method("AccessService/RotateKey", "rotate_key", &rotate),
        method("AccessService/ListCredentials", "list_credentials", &of_root),
        method("AccessService/DeleteCredential", "delete_credential", &delete),
        method("AccessService/PutPrincipal", "put_principal", &put),
        method(
            "AccessService/GetPrincipal",
            "get_principal",
            &v1::GetPrincipalRequest { principal: principal() },
        ),
        method("AccessService/ListPrincipals", "list_principals", &v1::ListPrincipalsRequest::default()),
        method("AccessService/SuspendPrincipal", "suspend_principal", &suspend),
        method(
            "AccessService/ResumePrincipal",
            "resume_principal",
            &v1::ResumePrincipalRequest { principal: principal() },
        ),
        method(
            "AccessService/DeletePrincipal",
            "delete_principal",
            &v1::DeletePrincipalRequest { principal: principal() },
        ),
    ]
}

fn policy_methods() -> Vec<Method> {
    let no_such = || "no-such".to_owned();
    let rule = v1::Rule { permissions: vec!["access:write".to_owned()], names: vec!["**".to_owned()] };
    let bind = v1::BindRequest {
        subject: "service/no-such".to_owned(),
        role: "viewer".to_owned(),
        reason: "a test".to_owned(),
        ..Default::default()
    };
    let extend = v1::ExtendBindingRequest {
        binding_id: NO_BINDING.to_owned(),
        ttl_ms: Some(1_000),
        reason: "a test".to_owned(),
    };
    let unbind = v1::UnbindRequest { binding_id: NO_BINDING.to_owned() };
    let enforce = v1::SetAccessModeRequest { mode: v1::AccessMode::Enforce.into() };
    let group = v1::PutGroupRequest { name: no_such(), members: Vec::new() };
    vec![
        method("AccessService/PutGroup", "put_group", &group),
        method("AccessService/ListGroups", "list_groups", &v1::ListGroupsRequest::default()),
        method("AccessService/DeleteGroup", "delete_group", &v1::DeleteGroupRequest { name: no_such() }),
        method(
            "AccessService/PutRole",
            "put_role",
            &v1::PutRoleRequest { name: no_such(), rules: vec![rule] },
        ),
        method("AccessService/ListRoles", "list_roles", &v1::ListRolesRequest::default()),
        method("AccessService/DeleteRole", "delete_role", &v1::DeleteRoleRequest { name: no_such() }),
        method("AccessService/Bind", "bind", &bind),
        method("AccessService/ExtendBinding", "extend_binding", &extend),
        method("AccessService/ListBindings", "list_bindings", &v1::ListBindingsRequest::default()),
        method("AccessService/Unbind", "unbind", &unbind),
        method("AccessService/GetAccess", "get_access", &v1::GetAccessRequest {}),
        method("AccessService/SetAccessMode", "set_access_mode", &enforce),
        method("AccessService/GetAccessReport", "get_access_report", &v1::GetAccessReportRequest::default()),
        method("AccessService/ReadAudit", "read_audit", &v1::ReadAuditRequest::default()),
    ]
}

/// Every call of a pipeline, with the name of its field in `batuta.v1.Call` and its operation.
pub(crate) fn pipeline_calls() -> Vec<(&'static str, call::Request)> {
    use call::Request;
    let by_id = || v1::ReleaseRequest { lock_id: lock_id(), ..Default::default() };
    let session_id = || NO_SESSION.to_owned();
    let watch = v1::WatchRequest { areas: vec!["lock".to_owned()], progress_ms: 100, ..Default::default() };
    vec![
        ("acquire", Request::Acquire(acquire())),
        ("release", Request::Release(by_id())),
        (
            "extend",
            Request::Extend(v1::ExtendRequest { lock_id: lock_id(), ttl_ms: 1_000, ..Default::default() }),
        ),
        ("cancel_wait", Request::CancelWait(v1::CancelWaitRequest { lock_id: lock_id() })),
        ("force_release", Request::ForceRelease(force_release())),
        ("check", Request::Check(v1::CheckRequest { name: name(), fencing_token: 1, ..Default::default() })),
        ("get_lock", Request::GetLock(v1::GetLockRequest { name: name(), ..Default::default() })),
        (
            "advance_register",
            Request::AdvanceRegister(v1::AdvanceRegisterRequest { name: name(), fencing_token: 1 }),
        ),
        ("get_register", Request::GetRegister(v1::GetRegisterRequest { name: name(), ..Default::default() })),
        ("delete_register", Request::DeleteRegister(v1::DeleteRegisterRequest { name: name() })),
        (
            "open_session",
            Request::OpenSession(v1::OpenSessionRequest { ttl_ms: 5_000, ..Default::default() }),
        ),
        ("keep_alive", Request::KeepAlive(v1::KeepAliveRequest { session_id: session_id() })),
        (
            "close_session",
            Request::CloseSession(v1::CloseSessionRequest { session_id: session_id(), ..Default::default() }),
        ),
        (
            "get_session",
            Request::GetSession(v1::GetSessionRequest { session_id: session_id(), ..Default::default() }),
        ),
        ("watch", Request::Watch(watch)),
        ("downgrade", Request::Downgrade(v1::DowngradeRequest { lock_id: lock_id(), ..Default::default() })),
        (
            "set_metadata",
            Request::SetMetadata(v1::SetMetadataRequest { lock_id: lock_id(), ..Default::default() }),
        ),
        ("resize", Request::Resize(v1::ResizeRequest { name: name(), capacity: 2 })),
        ("campaign", Request::Campaign(campaign())),
        (
            "proclaim",
            Request::Proclaim(v1::ProclaimRequest { name: name(), fencing_token: 1, ..Default::default() }),
        ),
        (
            "resign",
            Request::Resign(v1::ResignRequest { name: name(), fencing_token: 1, ..Default::default() }),
        ),
        ("get_election", Request::GetElection(v1::GetElectionRequest { name: name(), ..Default::default() })),
    ]
}
