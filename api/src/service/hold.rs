//! Holds locks, or the leadership of an election, for one connection: acquired, kept alive by its messages, lost or released.

use batuta_statemachine::lock::{Acquisition, By};
use batuta_statemachine::{LockId, Name};

use super::acquire::{AcquireRequest, Held};
use super::election::{Campaign, Leadership};
use super::lock::{Extend, Released};
use super::watch::{Event, Facts, Filter, Item, Kind, Names, Start, Watch, WatchRequest};
use super::{At, CallContext, Caller, Clock, Consistency, Service};
use crate::ApiError;
use crate::access::Secret;

/// A grant that is held for a connection.
pub struct Hold {
    service: Service,
    context: CallContext,
    lock_id: LockId,
    name: Name,
    token: u64,
    ttl_ms: u64,
    watch: Watch,
    /// The kind of the change that ends the grant.
    end: Kind,
    /// Whether the watch covers every change since the grant.
    seamless: bool,
}

/// The loss of a held grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The reason: `expired`, `forced`, `released`, or `unknown` when it was not seen.
    pub reason: &'static str,
    /// Of a forced release: the operator's reason.
    pub words: Option<String>,
}

impl Service {
    /// Takes locks like [`Service::acquire`], for a caller that keeps them alive through the [`Hold`].
    ///
    /// # Errors
    /// Those of [`Service::acquire`]; `invalid_argument` when a session is given.
    pub async fn hold(
        &self,
        context: &CallContext,
        request: AcquireRequest,
    ) -> Result<(At<Held>, Hold), ApiError> {
        if request.owner.session.is_some() {
            let problem = "a hold lives by its own ttl_ms; acquire with the session instead";
            return Err(ApiError::invalid("session_id", problem));
        }
        let granted = self.acquire(context, request).await?;
        self.hold_granted(context, granted).await
    }

    /// Campaigns like [`Service::campaign`], for a caller that keeps its leadership alive through the [`Hold`].
    ///
    /// # Errors
    /// Those of [`Service::campaign`]; `invalid_argument` when a session is given.
    pub async fn lead(&self, context: &CallContext, request: Campaign) -> Result<(At<Held>, Hold), ApiError> {
        if request.owner.session.is_some() {
            let problem = "a leader on a stream lives by its own ttl_ms; campaign with the session instead";
            return Err(ApiError::invalid("session_id", problem));
        }
        let granted = self.campaign(context, request).await?;
        self.hold_granted(context, granted).await
    }

    async fn hold_granted(
        &self,
        context: &CallContext,
        granted: At<Held>,
    ) -> Result<(At<Held>, Hold), ApiError> {
        let grant = &granted.value;
        let end = Kind::of_end(grant);
        // The state machine refuses an acquisition without a name, and a one-shot acquisition without a TTL.
        let name = grant.requests.first().map(|request| request.name.clone());
        let (Some(name), Some(ttl_ms)) = (name, grant.ttl_ms) else {
            return Err(ApiError::Internal("a one-shot grant without a name or a time to live".to_owned()));
        };
        let (watch, seamless) = match self.watch_grant(context, &name, end, granted.revision).await {
            Ok(watched) => watched,
            Err(error) => {
                // Nobody would learn of the grant, so it is released at once, or ends by its TTL.
                let by = By::Id { lock_id: grant.lock_id, name: None };
                if let Err(error) = self.release(&plain(context), by).await {
                    tracing::debug!(%error, "a grant that cannot be held ends by its time to live");
                }
                return Err(error);
            }
        };
        let (lock_id, token) = (grant.lock_id, grant.token);
        let (service, context) = (self.clone(), plain(context));
        let hold = Hold { service, context, lock_id, name, token, ttl_ms, watch, end, seamless };
        Ok((granted, hold))
    }
}

impl Service {
    /// Watches a grant from the revision of its answer on. A grant that a retry found may be older than the kept changes; then the watch
    /// starts now, and [`Hold::lost`] first checks whether the grant still exists.
    async fn watch_grant(
        &self,
        context: &CallContext,
        name: &Name,
        end: Kind,
        revision: u64,
    ) -> Result<(Watch, bool), ApiError> {
        match watch_from(self, context, name, end, Start::Revision(revision)).await {
            Err(ApiError::Compacted { .. }) => {
                Ok((watch_from(self, context, name, end, Start::Now).await?, false))
            }
            watch => Ok((watch?, true)),
        }
    }
}

/// The context without the retry key of the acquisition, for later requests.
fn plain(context: &CallContext) -> CallContext {
    CallContext { dedup: None, ..context.clone() }
}

async fn watch_from(
    service: &Service,
    context: &CallContext,
    name: &Name,
    end: Kind,
    start: Start,
) -> Result<Watch, ApiError> {
    let filter = Filter {
        namespace: context.namespace.clone(),
        kinds: vec![end],
        names: Names::Exact(name.clone()),
        ..Filter::default()
    };
    // Whoever holds something learns of its loss, also without the permission to watch.
    let context = CallContext { caller: Caller::Node("hold a grant"), ..context.clone() };
    service.watch(&context, WatchRequest { filter, start, ..WatchRequest::default() }).await
}

impl Hold {
    /// Renews the grant; returns its remaining time, in milliseconds.
    ///
    /// # Errors
    /// `lock_not_held` when the grant is lost; otherwise see `docs/errors.md`.
    pub async fn keep_alive(&self) -> Result<At<u64>, ApiError> {
        let request = Extend { lock_id: self.lock_id, name: None, ttl_ms: self.ttl_ms };
        let extended = self.service.extend(&self.context, request).await?;
        let clock = extended.clock;
        Ok(extended.map(|grant| grant.deadline_ms.map_or(0, |deadline_ms| clock.remaining_ms(deadline_ms))))
    }

    /// Renews what the client of the connection proved, with another token of the same principal.
    ///
    /// # Errors
    /// Those of [`Service::renew`].
    pub async fn authenticate(&mut self, token: Secret) -> Result<(), ApiError> {
        if let Caller::Client(client) = &self.context.caller {
            self.context.caller = Caller::Client(self.service.renew(client, token).await?);
        }
        Ok(())
    }

    /// Resolves when what the client of the connection proved no longer holds, with the reason. It belongs to what was proved last: after
    /// [`Self::authenticate`] there is another one.
    pub fn identity_lost(&self) -> impl Future<Output = ApiError> + Send + use<> {
        self.service.client_lost(self.context.caller.client())
    }

    /// Replaces the value of the leader.
    ///
    /// # Errors
    /// `mode_mismatch` when locks are held instead of a leadership; otherwise those of [`Service::proclaim`].
    pub async fn proclaim(&self, value: String) -> Result<At<Held>, ApiError> {
        let leadership = Leadership { name: self.name.clone(), fencing_token: self.token, session: None };
        self.service.proclaim(&self.context, leadership, value).await
    }

    /// Releases the locks, or resigns.
    ///
    /// # Errors
    /// `lock_not_held` when they are lost; otherwise see `docs/errors.md`.
    pub async fn release(&self) -> Result<At<Released>, ApiError> {
        self.service.release(&self.context, By::Id { lock_id: self.lock_id, name: None }).await
    }

    /// Resolves when the locks are no longer held. Cancel-safe.
    ///
    /// # Errors
    /// `draining`, and the errors of a new watch.
    pub async fn lost(&mut self) -> Result<At<Lost>, ApiError> {
        loop {
            if !self.seamless {
                let permit = self.service.of_node();
                let state = permit.read(Consistency::Linearizable).await?;
                if !matches!(state.acquisition(self.lock_id), Acquisition::Granted(_)) {
                    let value = Lost { reason: "unknown", words: None };
                    return Ok(permit.seen(&state, value));
                }
                self.seamless = true;
            }
            match self.watch.next().await {
                Ok(Item::Changes(batch)) => {
                    if let Some(lost) = batch.events.iter().find_map(|event| self.loss(event)) {
                        return Ok(At { revision: batch.revision, clock: lost.1, value: lost.0 });
                    }
                }
                Ok(_) => {}
                Err(ApiError::Draining) => return Err(ApiError::Draining),
                // Changes were missed, so the state must tell whether the grant still exists.
                Err(_) => {
                    let start = Start::Now;
                    self.watch =
                        watch_from(&self.service, &self.context, &self.name, self.end, start).await?;
                    self.seamless = false;
                }
            }
        }
    }

    fn loss(&self, event: &Event) -> Option<(Lost, Clock)> {
        let Facts::Grant { grant, words } = &event.facts else { return None };
        let reason = event.reason.unwrap_or("unknown");
        (grant.lock_id == self.lock_id && grant.count == 0)
            .then(|| (Lost { reason, words: words.clone() }, event.clock))
    }
}
