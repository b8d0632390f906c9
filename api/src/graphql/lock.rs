//! Queries and mutations of locks.

use async_graphql::{Context, Object};

use super::call::{Consistency, Keys, answered, read_context, service};
use super::connection::{self, cost};
use super::lock_types::{
    AcquireInput, CancelWaitInput, Check, Done, Explanation, ExtendInput, ForceReleaseInput, Grant, Lock,
    LockConnection, ReleaseInput, Released,
};
use super::long::Long;
use crate::ApiError;
use crate::service::{CallContext, Service, lock, parse};

/// What can be read of locks.
#[derive(Default)]
pub(super) struct LockQuery;

#[Object]
impl LockQuery {
    /// Reads one lock. A free lock leaves nothing behind: it is not found.
    async fn lock(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The lock.")] name: String,
        #[graphql(desc = "`nextHoldersCursor` of the answer before: only the holders behind it.", default)]
        holders_after: String,
        #[graphql(desc = "`nextWaitersCursor` of the answer before: only the waiters behind it.", default)]
        waiters_after: String,
        #[graphql(desc = "How current the answer must be.", default)] consistency: Consistency,
        #[graphql(desc = "Where it is read.", default = "default")] namespace: String,
    ) -> Option<Lock> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(&namespace)?;
            let cursors = lock::LockCursors::of(holders_after, waiters_after);
            let found = service(ctx)?.get_lock_part(&context, &name, &cursors, consistency.into()).await;
            Ok(found.map_err(connection::renamed)?.into())
        })
        .await
    }

    /// Lists the locks that are held, waited for or closed by lock-delay, in name order.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the schema")]
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn locks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Names that start with it.", default)] prefix: String,
        #[graphql(desc = "Held or waited for by this session.")] session_id: Option<String>,
        #[graphql(desc = "Held or waited for under this owner label.")] owner: Option<String>,
        #[graphql(desc = "Page size, default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
        #[graphql(desc = "How current the answer must be.", default)] consistency: Consistency,
        #[graphql(desc = "Where it is read.", default = "default")] namespace: String,
    ) -> Option<LockConnection> {
        answered(ctx, async {
            let session = session_id.as_deref().unwrap_or_default();
            let request = lock::ListRequest {
                prefix,
                session: parse::parse_optional_session_id("session_id", session)?,
                owner,
                limit: first,
                cursor: connection::cursor(after),
            };
            let context = read_context(&namespace)?;
            let page = service(ctx)?.list_locks(&context, &request, consistency.into()).await;
            Ok(LockConnection::new(page.map_err(connection::renamed)?, request.cursor.as_deref()))
        })
        .await
    }

    /// Is this token still the newest on that name?
    async fn check(
        &self,
        ctx: &Context<'_>,
        name: String,
        fencing_token: Long,
        #[graphql(default)] consistency: Consistency,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Check> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(&namespace)?;
            let consistency = consistency.into();
            Ok(service(ctx)?.check(&context, &name, fencing_token.into(), consistency).await?.into())
        })
        .await
    }

    /// Who holds the lock, who waits, and what each waiter is blocked by. Answers of a free lock too.
    async fn explain(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The lock.")] name: String,
        #[graphql(desc = "`nextHoldersCursor` of the answer before: only the holders behind it.", default)]
        holders_after: String,
        #[graphql(desc = "`nextWaitersCursor` of the answer before: only the waiters behind it.", default)]
        waiters_after: String,
        #[graphql(desc = "How current the answer must be.", default)] consistency: Consistency,
        #[graphql(desc = "Where it is read.", default = "default")] namespace: String,
    ) -> Option<Explanation> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(&namespace)?;
            let cursors = lock::LockCursors::of(holders_after, waiters_after);
            let found = service(ctx)?.explain_part(&context, &name, &cursors, consistency.into()).await;
            Ok(found.map_err(connection::renamed)?.into())
        })
        .await
    }
}

/// What can be done with locks.
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
        input: AcquireInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Grant> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let owner = parse::parse_owner(input.session_id.as_deref().unwrap_or_default(), &input.owner)?;
            let context = keys.context(owner.session)?;
            Ok(service(ctx)?.acquire(&context, input.request(owner)?).await?.into())
        })
        .await
    }

    /// Gives a grant back. A multi-lock is given back whole, by any of its names.
    async fn release(
        &self,
        ctx: &Context<'_>,
        input: ReleaseInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Released> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async { release(service(ctx)?, &keys.context(None)?, &input).await }).await
    }

    /// Takes a grant away from its owner, if the token that was looked at still holds the lock.
    async fn force_release(
        &self,
        ctx: &Context<'_>,
        input: ForceReleaseInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Released> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let ForceReleaseInput { name, fencing_token, reason } = input;
            let name = parse::parse_name("name", &name)?;
            let request = lock::ForceReleaseRequest { name, fencing_token: fencing_token.into(), reason };
            Ok(service(ctx)?.force_release(&keys.context(None)?, request).await?.into())
        })
        .await
    }

    /// Renews a one-shot grant. Never shortens it.
    async fn extend(
        &self,
        ctx: &Context<'_>,
        input: ExtendInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Grant> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let request = lock::ExtendRequest {
                lock_id: parse::parse_lock_id("lock_id", &input.lock_id)?,
                name: parse::parse_optional_name("name", input.name.as_deref().unwrap_or_default())?,
                ttl_ms: input.ttl_ms.into(),
            };
            Ok(service(ctx)?.extend(&keys.context(None)?, request).await?.into())
        })
        .await
    }

    /// Withdraws a queued acquisition. One that holds its lock is refused (`already_granted`): release it instead.
    async fn cancel_wait(
        &self,
        ctx: &Context<'_>,
        input: CancelWaitInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Done> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let lock_id = parse::parse_lock_id("lock_id", &input.lock_id)?;
            let revision = service(ctx)?.cancel_wait(&keys.context(None)?, lock_id).await?.revision;
            Ok(Done { revision: Long(revision) })
        })
        .await
    }
}

async fn release(
    service: &Service,
    context: &CallContext,
    input: &ReleaseInput,
) -> Result<Released, ApiError> {
    let name = parse::parse_optional_name("name", input.name.as_deref().unwrap_or_default())?;
    let released = match (&input.lock_id, input.fencing_token, name) {
        (Some(_), Some(_), _) => {
            return Err(ApiError::invalid("fencing_token", "give lock_id or fencing_token, not both"));
        }
        (None, None, _) => {
            let problem = "is required (or fencing_token): which grant to give back";
            return Err(ApiError::invalid("lock_id", problem));
        }
        (None, Some(_), None) => {
            return Err(ApiError::invalid("name", "is required with fencing_token: the lock it holds"));
        }
        (Some(lock_id), None, name) => {
            let lock_id = parse::parse_lock_id("lock_id", lock_id)?;
            service.release(context, lock::ReleaseRequest { lock_id, name }).await?
        }
        (None, Some(token), Some(name)) => service.release_by_token(context, name, token.into()).await?,
    };
    Ok(released.into())
}
