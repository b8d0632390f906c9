//! Calls the public use cases on a node, as a front does. A call ends with an answer, a refusal, or an unknown outcome.

use std::sync::Arc;
use std::time::Duration;

use batuta_api::ApiError;
use batuta_api::service::acquire::{AcquireRequest, Held};
use batuta_api::service::election::{Campaign, Election, Leadership};
use batuta_api::service::lock::{Extend, Lock, LockCursors, Released, SetMetadata};
use batuta_api::service::register::Register;
use batuta_api::service::session::{Closed, KeptAlive, OpenRequest};
use batuta_api::service::{At, CallContext, Consistency, Service};
use batuta_raft::ProposeError;
use batuta_statemachine::lock::By;
use batuta_statemachine::session::SessionView;
use batuta_statemachine::{Actor, LockId, Name, Namespace, SessionId};
use tokio::sync::oneshot;

use crate::access::Who;
use crate::context::{Context, violation};
use crate::ledger::{Granted, Life, Read, Renewals, Seen};
use crate::node;

/// A call of a use case.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open(OpenRequest),
    KeepAlive(SessionId),
    Close(SessionId),
    Acquire(AcquireRequest),
    Release(LockId),
    Extend(Extend),
    Downgrade(LockId),
    SetMetadata(LockId, String),
    Campaign(Campaign),
    Proclaim(Leadership, String),
    Resign(Leadership),
    GetElection(Name, Consistency),
    Advance { name: Name, token: u64 },
    GetLock(Name, Consistency),
    GetRegister(Name, Consistency),
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Opened(At<SessionView>),
    KeptAlive(At<KeptAlive>),
    Closed(At<Closed>),
    Granted(Box<At<Held>>),
    Released(At<Released>),
    Extended(Box<At<Held>>),
    Changed(Box<At<Held>>),
    Elected(Box<At<Held>>),
    Proclaimed(Box<At<Held>>),
    Resigned(At<Released>),
    Election(Box<At<Election>>),
    Advanced(At<Register>),
    Lock(Box<At<Lock>>),
    Register(At<Register>),
}

impl Answer {
    pub(crate) fn revision(&self) -> u64 {
        match self {
            Self::Opened(at) => at.revision,
            Self::KeptAlive(at) => at.revision,
            Self::Closed(at) => at.revision,
            Self::Granted(at)
            | Self::Extended(at)
            | Self::Changed(at)
            | Self::Elected(at)
            | Self::Proclaimed(at) => at.revision,
            Self::Released(at) | Self::Resigned(at) => at.revision,
            Self::Election(at) => at.revision,
            Self::Advanced(at) | Self::Register(at) => at.revision,
            Self::Lock(at) => at.revision,
        }
    }
}

/// How a call ended for its caller.
#[derive(Debug)]
pub(crate) enum CallEnd {
    Answer(Answer),
    /// The call was refused and had no effect.
    Refused(ApiError),
    /// The call may have taken effect, or may still do so.
    Unknown,
    /// The node is down, so nothing was sent.
    NotSent,
}

impl Call {
    async fn run(self, service: Service, context: CallContext) -> Result<Answer, ApiError> {
        Ok(match self {
            Self::Open(request) => Answer::Opened(service.open_session(&context, request).await?),
            Self::KeepAlive(session) => Answer::KeptAlive(service.keep_alive(&context, session).await?),
            Self::Close(session) => Answer::Closed(service.close_session(&context, session, false).await?),
            Self::Acquire(request) => Answer::Granted(Box::new(service.acquire(&context, request).await?)),
            Self::Release(lock_id) => {
                Answer::Released(service.release(&context, By::Id { lock_id, name: None }).await?)
            }
            Self::Extend(request) => Answer::Extended(Box::new(service.extend(&context, request).await?)),
            Self::Downgrade(lock_id) => {
                let grant = By::Id { lock_id, name: None }.into();
                Answer::Changed(Box::new(service.downgrade(&context, grant).await?))
            }
            Self::SetMetadata(lock_id, metadata) => {
                let request = SetMetadata { grant: By::Id { lock_id, name: None }.into(), metadata };
                Answer::Changed(Box::new(service.set_metadata(&context, request).await?))
            }
            Self::Campaign(request) => Answer::Elected(Box::new(service.campaign(&context, request).await?)),
            Self::Proclaim(leadership, value) => {
                Answer::Proclaimed(Box::new(service.proclaim(&context, leadership, value).await?))
            }
            Self::Resign(leadership) => Answer::Resigned(service.resign(&context, leadership).await?),
            Self::GetElection(name, consistency) => {
                Answer::Election(Box::new(service.get_election(&context, &name, None, consistency).await?))
            }
            Self::Advance { name, token } => {
                Answer::Advanced(service.advance_register(&context, name, token).await?)
            }
            Self::GetLock(name, consistency) => {
                let cursors = LockCursors::default();
                Answer::Lock(Box::new(service.get_lock(&context, &name, cursors, consistency).await?))
            }
            Self::GetRegister(name, consistency) => {
                Answer::Register(service.get_register(&context, name, consistency).await?)
            }
        })
    }

    fn linearizable(&self) -> bool {
        matches!(
            self,
            Self::GetLock(_, Consistency::Linearizable)
                | Self::GetElection(_, Consistency::Linearizable)
                | Self::GetRegister(_, Consistency::Linearizable)
        )
    }

    /// Whether whoever has lost its rights is refused this call wherever it is made. The others need ownership alone, are decided on what
    /// their node has applied, or may be answered under their key with what they did before.
    fn needs_right(&self) -> bool {
        match self {
            Self::Open(_) | Self::Acquire(_) | Self::Campaign(_) | Self::Advance { .. } => true,
            Self::GetLock(..) | Self::GetElection(..) | Self::GetRegister(..) => self.linearizable(),
            Self::KeepAlive(_)
            | Self::Close(_)
            | Self::Release(_)
            | Self::Extend(_)
            | Self::Downgrade(_)
            | Self::SetMetadata(..)
            | Self::Proclaim(..)
            | Self::Resign(_) => false,
        }
    }
}

/// Whether the error leaves open whether the call took effect.
fn is_unknown(error: &ApiError) -> bool {
    match error {
        ApiError::OutcomeUnknown { .. } | ApiError::Draining => true,
        ApiError::Propose(error) => {
            matches!(error, ProposeError::OutcomeUnknown { .. } | ProposeError::Fatal(_))
        }
        _ => false,
    }
}

/// Whether an answer about a leadership is about the one that was asked for.
fn is_about(answer: &Answer, call: &Call) -> bool {
    match (call, answer) {
        (Call::Campaign(request), Answer::Elected(at)) => {
            let owner = &at.value.owner;
            at.value.election() == Some(&request.name)
                && (owner.session, &*owner.label) == (request.owner.session, request.owner.label.as_str())
        }
        (Call::Proclaim(leadership, value), Answer::Proclaimed(at)) => {
            let of = (at.value.election(), at.value.token, &*at.value.metadata);
            of == (Some(&leadership.name), leadership.fencing_token, value.as_str())
        }
        (Call::Resign(leadership), Answer::Resigned(at)) => {
            at.value.fencing_token == leadership.fencing_token && at.value.remaining_count == 0
        }
        (Call::GetElection(name, _), Answer::Election(at)) => at.value.name == *name,
        _ => true,
    }
}

/// The token and the value of whoever leads an election.
fn leaders(election: &Election) -> Vec<(u64, String)> {
    let holders = election.lock.iter().flat_map(|lock| &lock.view.holders);
    holders.map(|grant| (grant.token, grant.metadata.to_string())).collect()
}

/// A call that was made and may not be answered yet.
pub(crate) struct Asked {
    call: Call,
    begun_ms: u64,
    /// The newest revision that any client had been told when the call was made.
    acknowledged: u64,
    /// Who asks, as access knows it.
    actor: Actor,
    /// The taking after which the caller had no right when the call was made.
    taken: Option<u64>,
    pub(crate) answer: oneshot::Receiver<Result<Answer, ApiError>>,
}

/// A client that makes calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) context: Arc<Context>,
    pub(crate) who: String,
    pub(crate) by: Who,
}

impl Caller {
    /// The context of a call that is made now, in the default namespace, without a retry key.
    pub(crate) fn context(&self) -> CallContext {
        self.context.identities.client(self.by).context(Namespace::default())
    }

    /// The taking after which the caller has no right now.
    fn taken(&self) -> Option<u64> {
        match self.by {
            Who::Worker(number) => self.context.ledger().taken(number),
            Who::Root | Who::Nobody => None,
        }
    }

    /// Makes the call on a node and records its outcome. The caller hangs up after `patience`. `begun_ms` is when the call, or
    /// the first call under the same key, began.
    pub(crate) async fn call(
        &self,
        node: usize,
        call: Call,
        under: CallContext,
        begun_ms: u64,
        patience: Duration,
    ) -> CallEnd {
        let Some(mut asked) = self.ask(node, call, under, begun_ms) else { return CallEnd::NotSent };
        // `None` when the process ended or the caller hung up.
        let outcome = tokio::time::timeout(patience, &mut asked.answer).await.ok().and_then(Result::ok);
        self.settle(&asked, outcome)
    }

    /// Makes the call; dropping the returned value hangs up. `None` when the node is down.
    pub(crate) fn ask(&self, node: usize, call: Call, under: CallContext, begun_ms: u64) -> Option<Asked> {
        let (context, who) = (&self.context, &self.who);
        context.ledger().calls += 1;
        let running = context.nodes[node].running()?;
        let (mut sender, answer) = oneshot::channel();
        let acknowledged = context.ledger().revision;
        context.say(format_args!("{who} > {} {call:?} key={:?}", node::name(node), under.dedup));
        let (asked, actor, taken) = (call.clone(), under.caller.actor(), self.taken());
        let job = Box::new(move |service: Service| {
            Box::pin(async move {
                tokio::select! {
                    biased;
                    // The caller has hung up, so the front drops the call.
                    () = sender.closed() => {}
                    result = asked.run(service, under) => drop(sender.send(result)),
                }
            }) as futures_util::future::BoxFuture<'static, ()>
        });
        running.jobs.send(job).ok()?;
        Some(Asked { call, begun_ms, acknowledged, actor, taken, answer })
    }

    /// Records how a call ended; `None` means without an answer.
    pub(crate) fn settle(&self, asked: &Asked, outcome: Option<Result<Answer, ApiError>>) -> CallEnd {
        let (context, who) = (&self.context, &self.who);
        let end = match outcome {
            Some(Ok(answer)) => CallEnd::Answer(answer),
            Some(Err(error)) if is_unknown(&error) => CallEnd::Unknown,
            Some(Err(error)) => CallEnd::Refused(error),
            None => CallEnd::Unknown,
        };
        match &end {
            CallEnd::Answer(answer) => context.say(format_args!("{who} < {answer:?}")),
            other => context.say(format_args!("{who} < {other:?}")),
        }
        if let CallEnd::Answer(answer) = &end {
            self.check_right(asked, answer);
        }
        self.note(asked, &end);
        end
    }

    /// Checks that a call was answered only to a caller that may make it: not after a revocation that was acknowledged before the call began,
    /// unless the right came back meanwhile, and never without a credential once access is enforced.
    fn check_right(&self, asked: &Asked, answer: &Answer) {
        if self.by == Who::Nobody {
            let what = format!("{}: {:?} was answered with {answer:?}", self.who, asked.call);
            self.context.fail(violation("nobody is let in without a credential", what));
        }
        if asked.call.needs_right() && asked.taken.is_some() && asked.taken == self.taken() {
            let what = format!(
                "{}: {:?} was answered with {answer:?}, after its right was taken away",
                self.who, asked.call
            );
            self.context.fail(violation("a revoked right is of no use", what));
        }
    }

    fn note(&self, asked: &Asked, end: &CallEnd) {
        let Asked { call, begun_ms, acknowledged, actor, .. } = asked;
        let (begun_ms, acknowledged, actor) = (*begun_ms, *acknowledged, *actor);
        let mut ledger = self.context.ledger();
        let answer = match end {
            CallEnd::Answer(answer) => answer,
            CallEnd::Refused(ApiError::Internal(error)) => {
                let what = format!("{}: {error}", self.who);
                return self.context.fail(violation("no call fails for reasons of ours", what));
            }
            CallEnd::Refused(_) => return ledger.refused += 1,
            CallEnd::Unknown => return ledger.unknown += 1,
            CallEnd::NotSent => return,
        };
        ledger.acknowledged += 1;
        ledger.revision = ledger.revision.max(answer.revision());
        let read = |name: &Name, revision, seen| Read {
            who: self.who.clone(),
            actor,
            revision,
            name: name.clone(),
            seen,
        };
        if !is_about(answer, call) {
            let what = format!("{}: {call:?} was answered with {answer:?}", self.who);
            self.context.fail(violation("an answer fits its call", what));
        }
        match (call, answer) {
            (_, Answer::Opened(at)) => {
                let renewals = Renewals {
                    ttl_ms: at.value.ttl_ms,
                    acknowledged: vec![(begun_ms, at.value.session.0.index)],
                };
                ledger.sessions.entry(at.value.session).or_insert(renewals);
            }
            (_, Answer::KeptAlive(at)) => {
                if let Some(renewals) = ledger.sessions.get_mut(&at.value.session) {
                    renewals.acknowledged.push((begun_ms, at.revision));
                }
            }
            (Call::Close(session), Answer::Closed(_)) => ledger.closed.push(*session),
            (_, Answer::Granted(at) | Answer::Elected(at)) => {
                let grant = &at.value;
                ledger.granted.push(Granted { lock_id: grant.lock_id, token: grant.token });
                if let Some(ttl_ms) = grant.ttl_ms {
                    ledger.lives.push(Life { lock_id: grant.lock_id, begun_ms, ttl_ms });
                }
            }
            (Call::Extend(request), Answer::Extended(at)) => {
                let lock_id = at.value.lock_id;
                ledger.lives.push(Life { lock_id, begun_ms, ttl_ms: request.ttl_ms });
            }
            (Call::Release(lock_id), Answer::Released(_)) => ledger.released.push(*lock_id),
            (Call::Resign(_), Answer::Resigned(at)) => ledger.released.push(at.value.lock_id),
            (Call::Proclaim(_, value), Answer::Proclaimed(at)) => {
                ledger.changed.push((at.value.lock_id, value.clone()));
            }
            (Call::GetElection(name, _), Answer::Election(at)) => {
                ledger.reads.push(read(name, at.revision, Seen::Leaders(leaders(&at.value))));
            }
            (Call::SetMetadata(lock_id, text), Answer::Changed(_)) => {
                ledger.changed.push((*lock_id, text.clone()));
            }
            (Call::Advance { name, token }, Answer::Advanced(_)) => {
                ledger.registers.push((name.clone(), *token));
            }
            (Call::Downgrade(_), Answer::Changed(_)) => {}
            (Call::GetLock(name, _), Answer::Lock(at)) => {
                let mut tokens: Vec<u64> = at.value.view.holders.iter().map(|holder| holder.token).collect();
                tokens.sort_unstable();
                ledger.reads.push(read(name, at.revision, Seen::Holders(tokens)));
            }
            (Call::GetRegister(name, _), Answer::Register(at)) => {
                ledger.reads.push(read(name, at.revision, Seen::Register(Some(at.value.high_water))));
            }
            _ => {
                let what = format!("{}: {call:?} was answered with {answer:?}", self.who);
                self.context.fail(violation("an answer fits its call", what));
            }
        }
        if call.linearizable() {
            ledger.linearizable_reads += 1;
            if answer.revision() < acknowledged {
                let what = format!(
                    "{} read revision {} after revision {acknowledged} was acknowledged",
                    self.who,
                    answer.revision()
                );
                self.context.fail(violation("linearizable reads are not stale", what));
            }
        }
    }
}
