//! Plain calls: reads, operator commands, registers, elections, the cluster.

use std::time::Duration;

use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::election_service_client::ElectionServiceClient;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::session_service_client::SessionServiceClient;
use batuta_proto::v1::{self};

use crate::call::Call;
use crate::pool::Sight;
use crate::{Client, Error};

/// Generates one method per plain rpc: message in, answer out.
macro_rules! calls {
    ($($service:ident . $rpc:ident as $name:ident ($request:ident) -> $answer:ident, $call:expr, $doc:literal;)*) => {
        impl Client {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// The cluster's refusal, or that no node answered before the deadline.
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$answer, Error> {
                    self.unary(request, $call, |channel, request| async move {
                        $service::new(channel).$rpc(request).await
                    })
                    .await
                }
            )*
        }
    };
}

pub(crate) use calls;

/// Generates the same methods for calls that go through the pipeline.
macro_rules! pipelined {
    ($($name:ident ($request:ident) -> $answer:ident, $call:expr, $doc:literal;)*) => {
        impl Client {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// The cluster's refusal, or that no node answered before the deadline.
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$answer, Error> {
                    self.pipelined(request, $call).await
                }
            )*
        }
    };
}

pipelined! {
    release(ReleaseRequest) -> ReleaseResponse, Call::write()?, "Releases a grant.";
    downgrade(DowngradeRequest) -> DowngradeResponse, Call::write()?, "Turns the exclusive locks of a grant into shared ones without letting go of them.";
    set_metadata(SetMetadataRequest) -> SetMetadataResponse, Call::write()?, "Replaces the free text of a grant.";
    resize(ResizeRequest) -> ResizeResponse, Call::write()?, "Changes the capacity of a semaphore while it is in use.";
    extend(ExtendRequest) -> ExtendResponse, Call::write()?, "Renews a one-shot grant.";
    cancel(CancelWaitRequest) -> CancelWaitResponse, Call::write()?, "Withdraws a queued acquisition.";
    force_release(ForceReleaseRequest) -> ForceReleaseResponse, Call::write()?, "Revokes a grant from its owner.";
    check(CheckRequest) -> CheckResponse, Call::read(), "Checks whether a token is the newest.";
    lock(GetLockRequest) -> GetLockResponse, Call::read(), "Reads one lock.";
    proclaim(ProclaimRequest) -> ProclaimResponse, Call::write()?, "Replaces the value of a leader.";
    resign(ResignRequest) -> ResignResponse, Call::write()?, "Gives up leadership.";
    election(GetElectionRequest) -> GetElectionResponse, Call::read(), "Reads one election.";
    advance_register(AdvanceRegisterRequest) -> AdvanceRegisterResponse, Call::write()?, "Raises a high-water register.";
    register(GetRegisterRequest) -> GetRegisterResponse, Call::read(), "Reads a high-water register.";
    delete_register(DeleteRegisterRequest) -> DeleteRegisterResponse, Call::write()?, "Forgets a high-water register.";
    open_raw_session(OpenSessionRequest) -> OpenSessionResponse, Call::creating()?, "Opens a session that nothing keeps alive.";
    keep_alive(KeepAliveRequest) -> KeepAliveResponse, Call::read(), "Renews a session once.";
    close_session(CloseSessionRequest) -> CloseSessionResponse, Call::write()?, "Ends a session and everything it owns.";
    session(GetSessionRequest) -> GetSessionResponse, Call::read(), "Reads one session.";
}

calls! {
    LockServiceClient.list_locks as locks(ListLocksRequest) -> ListLocksResponse, Call::read(), "Reads a page of locks.";
    LockServiceClient.explain as explain(ExplainRequest) -> ExplainResponse, Call::read(), "Explains who holds a lock and what each waiter waits for.";
    ElectionServiceClient.list_elections as elections(ListElectionsRequest) -> ListElectionsResponse, Call::read(), "Reads a page of elections.";
    SessionServiceClient.list_sessions as sessions(ListSessionsRequest) -> ListSessionsResponse, Call::read(), "Reads a page of sessions.";
    ClusterServiceClient.remove_member as remove_member(RemoveMemberRequest) -> RemoveMemberResponse, Call::changing_the_cluster()?, "Removes a member.";
    ClusterServiceClient.promote_member as promote_member(PromoteMemberRequest) -> PromoteMemberResponse, Call::changing_the_cluster()?, "Makes a learner a voter.";
    ClusterServiceClient.transfer_leader as transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse, Call::changing_the_cluster()?, "Hands leadership over.";
    ClusterServiceClient.set_limits as set_limits(SetLimitsRequest) -> SetLimitsResponse, Call::write()?, "Changes limits on every node.";
}

impl Client {
    /// Reads the status of the cluster from the preferred node.
    ///
    /// # Errors
    /// No node answered before the deadline.
    pub async fn status(&self) -> Result<v1::GetStatusResponse, Error> {
        let request = v1::GetStatusRequest::default();
        let asked = self.unary(request, Call::read(), |channel, request| async move {
            ClusterServiceClient::new(channel).get_status(request).await
        });
        let status = asked.await?;
        self.pool.follow(&Sight::from(&status));
        Ok(status)
    }

    /// Learns the members and the leader from the preferred node. Every known caller may list the members, but
    /// not every caller may read the status.
    pub(crate) async fn find_members(&self) -> Result<(), Error> {
        self.pool.follow(&Sight::from(self.members().await?));
        Ok(())
    }

    /// Lists the members of the cluster.
    ///
    /// # Errors
    /// No node answered before the deadline.
    pub async fn members(&self) -> Result<v1::ListMembersResponse, Error> {
        self.unary(v1::ListMembersRequest {}, Call::read(), |channel, request| async move {
            ClusterServiceClient::new(channel).list_members(request).await
        })
        .await
    }

    /// Takes a snapshot on the preferred node.
    ///
    /// # Errors
    /// The node's refusal, or that no node answered before the deadline.
    pub async fn snapshot(&self) -> Result<v1::TriggerSnapshotResponse, Error> {
        let call = Call { slow: true, ..Call::default() };
        self.unary(v1::TriggerSnapshotRequest {}, call, |channel, request| async move {
            ClusterServiceClient::new(channel).trigger_snapshot(request).await
        })
        .await
    }

    /// Reads the limits in force.
    ///
    /// # Errors
    /// No node answered before the deadline.
    pub async fn limits(&self) -> Result<v1::GetLimitsResponse, Error> {
        self.unary(v1::GetLimitsRequest {}, Call::read(), |channel, request| async move {
            ClusterServiceClient::new(channel).get_limits(request).await
        })
        .await
    }

    /// Takes locks and leaves them to the caller: nothing renews or releases them. With the same `key`,
    /// another process that repeats the request finds the same lock; without `key` a fresh one is used.
    ///
    /// # Errors
    /// `lock_held`, `wait_timeout`, `deadlock`, … as the cluster answers.
    pub async fn acquire_detached(
        &self,
        request: v1::AcquireRequest,
        key: Option<String>,
    ) -> Result<v1::AcquireResponse, Error> {
        let call = waiting(request.wait_ms, key)?;
        self.pipelined(request, call).await
    }

    /// Stands as a candidate and leaves the leadership to the caller: nothing renews it or resigns. With the
    /// same `key`, another process that repeats the request finds the same candidacy; without `key` a fresh one
    /// is used.
    ///
    /// # Errors
    /// `lock_held` when somebody else leads, `wait_timeout`, `deadlock`, … as the cluster answers.
    pub async fn campaign_detached(
        &self,
        request: v1::CampaignRequest,
        key: Option<String>,
    ) -> Result<v1::CampaignResponse, Error> {
        let call = waiting(request.wait_ms, key)?;
        self.pipelined(request, call).await
    }
}

/// A call that creates something after a wait.
fn waiting(wait_ms: u64, key: Option<String>) -> Result<Call, Error> {
    let call = Call::creating()?;
    Ok(Call { key: key.or(call.key), wait: Duration::from_millis(wait_ms), ..call })
}
