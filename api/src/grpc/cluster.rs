//! `batuta.v1.ClusterService`.

use batuta_proto::v1;
use batuta_proto::v1::cluster_service_server::ClusterService;
use batuta_raft::{MemberStatus, Role};
use tonic::{Request, Response, Status};

use super::{Front, context};
use crate::service::Consistency;
use crate::service::cluster::{ClusterStatus, Limit};

fn role_message(role: Role) -> v1::MemberRole {
    match role {
        Role::Leader => v1::MemberRole::Leader,
        Role::Follower => v1::MemberRole::Follower,
        Role::Candidate => v1::MemberRole::Candidate,
        Role::Learner => v1::MemberRole::Learner,
    }
}

fn member_message(member: MemberStatus) -> v1::Member {
    v1::Member {
        node_id: member.node_id,
        name: member.name,
        role: role_message(member.role).into(),
        voter: member.voter,
        rest: member.addresses.rest,
        grpc: member.addresses.grpc,
        ws: member.addresses.ws,
        peer: member.addresses.peer,
        matched_index: member.matched_index,
        last_contact_ms: member.last_contact_ms,
        level: member.level,
        version: member.version.unwrap_or_default(),
        fault: member.fault,
    }
}

fn status_message(status: ClusterStatus) -> v1::GetStatusResponse {
    let replica = status.replica;
    v1::GetStatusResponse {
        cluster_id: replica.cluster_id.unwrap_or_default(),
        node_id: replica.node_id.unwrap_or(0),
        node_name: replica.node_name,
        role: role_message(replica.role).into(),
        term: replica.term,
        leader_id: replica.leader_id,
        leader_name: status.leader_name.unwrap_or_default(),
        last_log_index: replica.last_log_index,
        committed_index: replica.committed_index,
        applied_index: replica.applied_index,
        snapshot_index: replica.snapshot_index,
        purged_index: replica.purged_index,
        quorum_ack_ms: replica.quorum_ack_ms,
        ready: status.not_ready.is_none(),
        not_ready_reason: status.not_ready.unwrap_or_default(),
        version: status.version,
        level: replica.level,
        sessions: status.sessions,
        grants: status.grants,
        waiters: status.waiters,
        locks: status.locks,
        state_hash: status.state_hash.unwrap_or_default(),
        disk_full: replica.disk_full,
        writes_refused_reason: replica.writes_refused.unwrap_or_default(),
        uptime_ms: status.uptime_ms,
        cluster_time_ms: status.cluster_time_ms,
        token_high_water: status.token_high_water,
        access_mode: status.access_mode.as_str().to_owned(),
        members: replica.members.into_iter().map(member_message).collect(),
    }
}

fn limit_messages(limits: Vec<Limit>) -> Vec<v1::Limit> {
    limits.into_iter().map(|Limit { name, value }| v1::Limit { name, value }).collect()
}

#[tonic::async_trait]
impl ClusterService for Front {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let hashed = !request.get_ref().no_state_hash;
        Ok(Response::new(status_message(
            self.service
                .cluster_status(&context(request.metadata(), request.extensions(), None)?, hashed)
                .await?,
        )))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let at = self.service.members(&context(request.metadata(), request.extensions(), None)?).await?;
        let members = at.value.into_iter().map(member_message).collect();
        let cluster_id = self.service.cluster_id().unwrap_or_default();
        Ok(Response::new(v1::ListMembersResponse { members, revision: at.revision, cluster_id }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let node_id = self.service.remove_member(&context, &request.get_ref().member).await?.value.node_id;
        Ok(Response::new(v1::RemoveMemberResponse { node_id }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let leader = self.service.transfer_leader(&context, Some(&request.get_ref().member)).await?.value;
        let leader_name = leader.leader_name.unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { leader_id: leader.leader_id, leader_name }))
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let node_id = self.service.promote_member(&context, &request.get_ref().member).await?.value.node_id;
        Ok(Response::new(v1::PromoteMemberResponse { node_id }))
    }

    async fn trigger_snapshot(
        &self,
        request: Request<v1::TriggerSnapshotRequest>,
    ) -> Result<Response<v1::TriggerSnapshotResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let snapshot_index = self.service.trigger_snapshot(&context).await?.value.snapshot_index;
        Ok(Response::new(v1::TriggerSnapshotResponse { snapshot_index }))
    }

    async fn get_limits(
        &self,
        request: Request<v1::GetLimitsRequest>,
    ) -> Result<Response<v1::GetLimitsResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let at = self.service.limits(&context, Consistency::Linearizable).await?;
        Ok(Response::new(v1::GetLimitsResponse { limits: limit_messages(at.value), revision: at.revision }))
    }

    async fn set_limits(
        &self,
        request: Request<v1::SetLimitsRequest>,
    ) -> Result<Response<v1::SetLimitsResponse>, Status> {
        let context = context(request.metadata(), request.extensions(), None)?;
        let limits = request.into_inner().limits;
        let limits = limits.into_iter().map(|v1::Limit { name, value }| Limit { name, value }).collect();
        let at = self.service.set_limits(&context, limits).await?;
        Ok(Response::new(v1::SetLimitsResponse { limits: limit_messages(at.value), revision: at.revision }))
    }
}
