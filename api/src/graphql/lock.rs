//! Queries and mutations of locks.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, read_context, service};
use super::connection::{self, Connection, cost};
use crate::contract::lock::{
    AcquireRequest, CancelWaitRequest, CheckAnswer, DowngradeRequest, ExplainAnswer, ExtendRequest,
    ForceReleaseRequest, GrantAnswer, Lock, LockAnswer, ReleaseAnswer, ReleaseRequest, ResizeAnswer,
    ResizeRequest, SetMetadataRequest,
};
use crate::contract::{Done, Long};
use crate::service::lock::{ListRequest, LockCursors};
use crate::service::{Consistency, parse};

/// The queries of locks.
#[derive(Default)]
pub(super) struct LockQuery;

#[Object]
impl LockQuery {
    /// Reads one lock. A free lock is not stored, so it is not found.
    async fn lock(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The lock.")] name: String,
        #[graphql(desc = "`nextHoldersCursor` of the previous answer: reads the holders after it.", default)]
        holders_after: String,
        #[graphql(desc = "`nextWaitersCursor` of the previous answer: reads the waiters after it.", default)]
        waiters_after: String,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<LockAnswer> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(ctx, &namespace)?;
            let cursors = LockCursors::read(&holders_after, &waiters_after).map_err(connection::renamed)?;
            Ok(service(ctx)?.get_lock(&context, &name, cursors, consistency).await?.into())
        })
        .await
    }

    /// Lists the locks that are held, waited for or closed by lock-delay, in order of their names.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the schema")]
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn locks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only names that start with this prefix.", default)] prefix: String,
        #[graphql(desc = "Only locks that this session holds or waits for.")] session_id: Option<String>,
        #[graphql(desc = "Only locks held or waited for under this owner label.")] owner: Option<String>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<Connection<Lock>> {
        answered(ctx, async {
            let session = session_id.as_deref().unwrap_or_default();
            let session = parse::parse_optional_session_id("session_id", session)?;
            let context = read_context(ctx, &namespace)?;
            let page = async {
                let begin = parse::name_cursor(after.as_deref())?;
                let request = ListRequest { prefix, session, owner, limit: first, after: begin };
                service(ctx)?.list_locks(&context, &request, consistency).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let name = |lock: &crate::service::lock::Lock| lock.view.name.clone();
            let seen = |lock, clock| Lock::seen(&lock, clock);
            Ok(Connection::new(page, after.as_deref(), name, parse::name_cursor_text, seen))
        })
        .await
    }

    /// Checks whether the lock is held under this token.
    async fn check(
        &self,
        ctx: &Context<'_>,
        name: String,
        fencing_token: Long,
        #[graphql(default)] consistency: Consistency,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<CheckAnswer> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(ctx, &namespace)?;
            Ok(service(ctx)?.check(&context, &name, fencing_token.into(), consistency).await?.into())
        })
        .await
    }

    /// Explains who holds the lock, who waits, and what blocks each waiter. Also answers for a free lock.
    async fn explain(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The lock.")] name: String,
        #[graphql(desc = "`nextHoldersCursor` of the previous answer: reads the holders after it.", default)]
        holders_after: String,
        #[graphql(desc = "`nextWaitersCursor` of the previous answer: reads the waiters after it.", default)]
        waiters_after: String,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<ExplainAnswer> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(ctx, &namespace)?;
            let cursors = LockCursors::read(&holders_after, &waiters_after).map_err(connection::renamed)?;
            Ok(service(ctx)?.explain(&context, &name, cursors, consistency).await?.into())
        })
        .await
    }
}

/// The mutations of locks.
#[derive(Default)]
pub(super) struct LockMutation;

#[Object]
impl LockMutation {
    /// Takes one lock, or several all or nothing.
    ///
    /// With `waitMs` the answer comes when the lock is granted or the wait is over. Closing the connection withdraws the wait.
    async fn acquire(
        &self,
        ctx: &Context<'_>,
        input: AcquireRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<GrantAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let request = input.read()?;
            let context = keys.context(ctx, request.owner.session)?;
            Ok(service(ctx)?.acquire(&context, request).await?.into())
        })
        .await
    }

    /// Releases a grant. A grant of several locks is released as a whole, by any of its names.
    async fn release(
        &self,
        ctx: &Context<'_>,
        input: ReleaseRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<ReleaseAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.release(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Takes a grant away from its owner, if the lock is still held under the given token.
    async fn force_release(
        &self,
        ctx: &Context<'_>,
        input: ForceReleaseRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<ReleaseAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.force_release(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Renews a one-shot grant. Never shortens it.
    async fn extend(
        &self,
        ctx: &Context<'_>,
        input: ExtendRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<GrantAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.extend(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Turns the exclusive locks of a grant into shared ones without letting go of them. The token stays; a repetition changes nothing.
    async fn downgrade(
        &self,
        ctx: &Context<'_>,
        input: DowngradeRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<GrantAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.downgrade(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Replaces the free text of a grant; watchers see the change.
    async fn set_metadata(
        &self,
        ctx: &Context<'_>,
        input: SetMetadataRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<GrantAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.set_metadata(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Changes the capacity of a semaphore while it is in use. Nobody loses a permit; waiters that fit are granted at once.
    async fn resize(
        &self,
        ctx: &Context<'_>,
        input: ResizeRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<ResizeAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.resize(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }

    /// Withdraws a queued acquisition. Refused with `already_granted` when it holds its lock: release it instead.
    async fn cancel_wait(
        &self,
        ctx: &Context<'_>,
        input: CancelWaitRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Done> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let lock_id = parse::parse_lock_id("lock_id", &input.lock_id)?;
            let revision = service(ctx)?.cancel_wait(&keys.context(ctx, None)?, lock_id).await?.revision;
            Ok(Done { revision: Long(revision) })
        })
        .await
    }
}
