//! One WebSocket connection: its loop, its requests in flight, and its end.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use batuta_statemachine::SessionId;
use futures_util::stream::SplitStream;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Serialize;
use tokio::sync::watch::Sender;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout_at};

use super::WsOptions;
use super::access::AuthAnswer;
use super::close::Close;
use super::frame::{self, Outgoing};
use super::lease::{Followed, Follower};
use super::op::{self, Asked, Call, Defaults, Done, Effect, LeaseOf};
use super::watch;
use crate::ApiError;
use crate::access::Secret;
use crate::client_work::client_work;
use crate::contract::session::Session;
use crate::json::Problem;
use crate::service::bound::BoundSession;
use crate::service::watch::WatchRequest;
use crate::service::{At, CallContext, Caller, Client, Consistency, Service};
use crate::socket::{self, Gone, IdentityNews, IdentityWatch, LOST_GRACE, Out};

/// Serves a connection to its end.
pub(super) async fn serve(service: Service, options: Arc<WsOptions>, client: Client, socket: WebSocket) {
    let (sink, mut reader) = socket.split();
    let (out, queue) = Out::new(options.outgoing_frames_max);
    let writer = socket::start_writer(sink, queue, options.write_timeout, Close::Slow.message());
    let mut connection = Connection::new(service.clone(), options, client, out.clone());
    let close = tokio::select! {
        close = connection.run(&mut reader) => close,
        () = socket::overdue(&service) => Ok(Some(Close::Draining)),
    };
    // Waits, watches and bound sessions end here, before the last frames are sent.
    drop(connection);
    let close = close.ok().flatten().map(Close::message);
    socket::hang_up(out, writer, reader, close).await;
}

/// The result of a task of the connection.
enum Finished {
    Call(Box<Result<Done, ApiError>>),
    Watch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Acquire,
    Watch,
}

/// An unanswered request, or a watch.
struct Entry {
    kind: Kind,
    task: AbortHandle,
    /// The request that asked to end it, which is answered once it has ended.
    ended_by: Option<String>,
}

struct Connection {
    service: Service,
    options: Arc<WsOptions>,
    out: Out,
    defaults: Defaults,
    /// Follows what the client of the connection proved.
    identity: IdentityWatch,
    /// Tells open watches what the client proved since.
    clients: Sender<Client>,
    /// Why what the client proved no longer holds; set when the connection ends for it.
    lost: Option<Problem>,
    /// Whether a `hello` is still allowed.
    fresh: bool,
    /// The `open_session` in flight. Later requests may refer to its session, so they are read once it is answered.
    opening: Option<String>,
    bound: HashMap<SessionId, BoundSession>,
    tasks: JoinSet<Finished>,
    ids: HashMap<Id, String>,
    entries: HashMap<String, Entry>,
    followers: JoinSet<Followed>,
    followed: HashSet<Followed>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Cancelled {
    cancelled: bool,
}

#[derive(Serialize)]
struct Unwatched {
    unwatched: bool,
}

#[derive(Serialize)]
struct Greeting {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
}

impl Connection {
    fn new(service: Service, options: Arc<WsOptions>, client: Client, out: Out) -> Self {
        Self {
            identity: IdentityWatch::new(&service, &client),
            clients: Sender::new(client.clone()),
            lost: None,
            service,
            options,
            out,
            defaults: Defaults { client, ..Defaults::default() },
            fresh: true,
            opening: None,
            bound: HashMap::new(),
            tasks: JoinSet::new(),
            ids: HashMap::new(),
            entries: HashMap::new(),
            followers: JoinSet::new(),
            followed: HashSet::new(),
        }
    }

    /// Serves until the connection should be closed; `None` when the client closed it.
    async fn run(&mut self, reader: &mut SplitStream<WebSocket>) -> Result<Option<Close>, Gone> {
        let mut ping = interval_at(Instant::now() + self.options.ping_every, self.options.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let (service, out) = (self.service.clone(), self.out.clone());
        loop {
            tokio::select! {
                frame = reader.next(), if self.opening.is_none() => {
                    heard = Instant::now();
                    if let ControlFlow::Break(close) = self.message(frame).await? {
                        return Ok(close);
                    }
                }
                Some(ended) = self.tasks.join_next_with_id() => self.settle(ended).await?,
                Some(ended) = self.followers.join_next() => {
                    if let Ok(followed) = ended {
                        self.followed.remove(&followed);
                    }
                }
                news = self.identity.next() => match news {
                    IdentityNews::Expiring { left } => {
                        let expires_in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                        self.out.send(Outgoing::<()>::AuthExpiring { expires_in_ms }).await?;
                    }
                    IdentityNews::Lost(error) => return self.expel(error).await,
                },
                _ = ping.tick() => self.out.send(Message::Ping(Bytes::new())).await?,
                () = sleep_until(heard + self.options.idle_timeout), if self.opening.is_none() => {
                    // While the loop waited for room in the queue, a frame of the client may have arrived unread.
                    let Some(frame) = reader.next().now_or_never() else { return Ok(Some(Close::Idle)) };
                    heard = Instant::now();
                    if let ControlFlow::Break(close) = self.message(frame).await? {
                        return Ok(close);
                    }
                }
                () = service.draining() => return self.drain().await,
                () = out.gone() => return Err(Gone),
            }
        }
    }

    /// Names other nodes, and answers requests in flight if they are quick.
    async fn drain(&mut self) -> Result<Option<Close>, Gone> {
        let nodes = self.service.other_members().into_iter().map(|member| member.addresses.ws).collect();
        self.out.send(Outgoing::<()>::Draining { nodes }).await?;
        while self.in_flight() > 0
            && let Some(ended) = self.tasks.join_next_with_id().await
        {
            self.settle(ended).await?;
        }
        Ok(Some(Close::Draining))
    }

    /// Ends everything of a client whose identity is lost. Watches and waits end by themselves, calls in flight are answered if they are quick;
    /// whatever is left is told why it ends.
    async fn expel(&mut self, error: ApiError) -> Result<Option<Close>, Gone> {
        let close = Close::IdentityLost(error.code());
        self.lost = Some(Problem::from(error));
        let until = Instant::now() + LOST_GRACE;
        while let Ok(Some(ended)) = timeout_at(until, self.tasks.join_next_with_id()).await {
            self.settle(ended).await?;
        }
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.settle(ended).await?;
        }
        Ok(Some(close))
    }

    /// Handles a message; breaks with the reason when the connection must be closed.
    async fn message(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<ControlFlow<Option<Close>>, Gone> {
        match message {
            Some(Ok(Message::Text(text))) if text.len() > self.options.message_bytes_max => {
                Ok(ControlFlow::Break(Some(Close::TooLong)))
            }
            Some(Ok(Message::Text(text))) => self.request(&text).await.map(ControlFlow::Continue),
            Some(Ok(Message::Binary(_))) => Ok(ControlFlow::Break(Some(Close::Binary))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(ControlFlow::Continue(())),
            Some(Ok(Message::Close(_))) | None => Ok(ControlFlow::Break(None)),
            Some(Err(error)) => Ok(ControlFlow::Break(socket::offence(error).map(Close::from))),
        }
    }

    /// Handles a frame of the client.
    async fn request(&mut self, text: &str) -> Result<(), Gone> {
        let request = match frame::decode(text) {
            Ok(request) => request,
            Err(frame::Unreadable { id, error }) => return self.out.send(Outgoing::error(id, error)).await,
        };
        let id = request.id.clone();
        let fresh = std::mem::replace(&mut self.fresh, false);
        let taken = match op::decode(request, &self.defaults) {
            Ok(_) if self.entries.contains_key(&id) => {
                Err(ApiError::invalid("id", "names a request that is not answered yet, or a watch"))
            }
            Ok(Asked::Hello { .. }) if !fresh => {
                Err(ApiError::invalid("op", "hello comes first, or not at all"))
            }
            Ok(Asked::Hello { namespace, session }) => {
                self.defaults.namespace = namespace.unwrap_or_default();
                return self.hello(id, session).await;
            }
            Ok(Asked::Auth { token }) => {
                // A connection may authenticate before its hello, which may need that.
                self.fresh = fresh;
                return self.auth(id, token).await;
            }
            Ok(Asked::Ping) => return self.reply(id, Nothing {}).await,
            Ok(Asked::Cancel { request_id }) => return self.end(id, &request_id, Kind::Acquire).await,
            Ok(Asked::Unwatch { watch_id }) => return self.end(id, &watch_id, Kind::Watch).await,
            Ok(Asked::Watch(request)) => self.watch(&id, *request),
            Ok(Asked::Call(call)) => self.call(&id, call),
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(error) => self.out.send(Outgoing::error(Some(id), error)).await,
        }
    }

    async fn reply(&self, id: String, result: impl Serialize) -> Result<(), Gone> {
        let revision = self.service.applied_revision();
        self.out.send(Outgoing::Reply { id, revision, result }).await
    }

    /// Handles a hello. Later requests may depend on it, so it is done before they are read.
    async fn hello(&mut self, id: String, session: Option<SessionId>) -> Result<(), Gone> {
        let namespace = self.defaults.namespace.to_string();
        let Some(session) = session else {
            return self.reply(id, Greeting { namespace, session: None }).await;
        };
        match self.service.get_session(&self.context(), session, Consistency::Linearizable).await {
            Ok(found) => {
                self.adopt(id.clone(), session, found.value.ttl_ms, found.revision);
                let At { revision, clock, value } = found;
                let result = Greeting { namespace, session: Some(Session::seen(value, clock)) };
                self.out.send(Outgoing::Reply { id, revision, result }).await
            }
            Err(error) => self.out.send(Outgoing::error(Some(id), error)).await,
        }
    }

    /// Proves who the client is, or renews that. Later requests may depend on it, so it is done before they are read.
    async fn auth(&mut self, id: String, token: Secret) -> Result<(), Gone> {
        match self.service.renew(&self.defaults.client, token).await {
            Ok(client) => {
                self.identity = IdentityWatch::new(&self.service, &client);
                let answer = AuthAnswer::of(&self.service, &client);
                self.clients.send_replace(client.clone());
                self.defaults.client = client;
                self.reply(id, answer).await
            }
            Err(error) => self.out.send(Outgoing::error(Some(id), error)).await,
        }
    }

    fn context(&self) -> CallContext {
        self.defaults.client.context(self.defaults.namespace.clone())
    }

    fn follower(&self, id: String) -> Follower {
        let context = CallContext { caller: Caller::Node("follow a lease"), ..self.context() };
        Follower { service: self.service.clone(), context, out: self.out.clone(), id }
    }

    /// Makes the session that of the connection.
    fn adopt(&mut self, id: String, session: SessionId, ttl_ms: u64, revision: u64) {
        self.defaults.session = Some(session);
        if self.followed.insert(Followed::Session(session)) {
            let follower = self.follower(id);
            self.followers.spawn(follower.session(session, ttl_ms, revision));
        }
    }

    fn in_flight(&self) -> usize {
        self.entries.values().filter(|entry| entry.kind != Kind::Watch).count()
    }

    fn watch(&mut self, id: &str, request: WatchRequest) -> Result<(), ApiError> {
        let watches = self.entries.len() - self.in_flight();
        within("ws_watches_max", watches, self.options.watches_max)?;
        let work = watch::tell(
            self.service.clone(),
            self.clients.subscribe(),
            id.to_owned(),
            request,
            self.out.clone(),
        );
        self.start(id, Kind::Watch, async move {
            work.await;
            Finished::Watch
        });
        Ok(())
    }

    fn call(&mut self, id: &str, call: Call) -> Result<(), ApiError> {
        within("ws_in_flight_max", self.in_flight(), self.options.in_flight_max)?;
        let kind = if call.lease == LeaseOf::Lock { Kind::Acquire } else { Kind::Call };
        let opens = call.lease == LeaseOf::Session;
        if call.lease != LeaseOf::Nothing {
            within("ws_leases_max", self.followed.len(), self.options.leases_max)?;
        }
        let work = call.make(self.service.clone(), self.follower(id.to_owned()));
        self.start(id, kind, async move { Finished::Call(Box::new(work.await)) });
        if opens {
            self.opening = Some(id.to_owned());
        }
        Ok(())
    }

    fn start(&mut self, id: &str, kind: Kind, work: impl Future<Output = Finished> + Send + 'static) {
        let task = self.tasks.spawn(client_work(work));
        self.ids.insert(task.id(), id.to_owned());
        self.entries.insert(id.to_owned(), Entry { kind, task, ended_by: None });
    }

    /// Ends a task of the connection. The answer is sent once it has ended, so that no frame of it follows the answer.
    async fn end(&mut self, id: String, target: &str, kind: Kind) -> Result<(), Gone> {
        match self.entries.get_mut(target).filter(|entry| entry.kind == kind && entry.ended_by.is_none()) {
            Some(entry) => {
                entry.task.abort();
                entry.ended_by = Some(id);
                Ok(())
            }
            None => self.ended(id, kind, false).await,
        }
    }

    async fn ended(&self, id: String, kind: Kind, ended: bool) -> Result<(), Gone> {
        match kind {
            Kind::Watch => self.reply(id, Unwatched { unwatched: ended }).await,
            Kind::Acquire | Kind::Call => self.reply(id, Cancelled { cancelled: ended }).await,
        }
    }

    /// Handles the result of a task.
    async fn settle(&mut self, ended: Result<(Id, Finished), JoinError>) -> Result<(), Gone> {
        let (task, finished) = match ended {
            Ok((task, finished)) => (task, Ok(finished)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some((id, entry)) = self.ids.remove(&task).and_then(|id| self.entries.remove_entry(&id)) else {
            return Ok(());
        };
        self.opening.take_if(|opening| *opening == id);
        let cut = matches!(&finished, Err(error) if error.is_cancelled());
        match finished {
            Ok(Finished::Watch) => {}
            Ok(Finished::Call(answered)) => match *answered {
                Ok(Done { revision, result, effect }) => {
                    self.out.send(Outgoing::Reply { id: id.clone(), revision, result }).await?;
                    self.take(id, revision, effect);
                }
                Err(error) => self.out.send(Outgoing::error(Some(id), error)).await?,
            },
            Err(_) if cut && self.lost.is_some() => self.tell_lost(id).await?,
            Err(_) if cut && entry.kind == Kind::Watch => {}
            Err(_) if cut => self.out.send(Outgoing::error(Some(id), ApiError::CallCancelled)).await?,
            Err(error) => {
                tracing::error!(%error, "a WebSocket request panicked");
                let problem =
                    "the node failed while it answered; the request may or may not have had its effect";
                self.out.send(Outgoing::error(Some(id), ApiError::Internal(problem.to_owned()))).await?;
            }
        }
        match entry.ended_by {
            Some(by) => self.ended(by, entry.kind, cut || entry.kind == Kind::Watch).await,
            None => Ok(()),
        }
    }

    /// Tells why a request or a watch of a client ends whose identity is lost.
    async fn tell_lost(&self, id: String) -> Result<(), Gone> {
        let Some(problem) = self.lost.clone() else { return Ok(()) };
        self.out.send(Outgoing::<()>::Error { id: Some(id), error: Box::new(problem) }).await
    }

    /// Applies the effect of an answered call to the connection.
    fn take(&mut self, id: String, revision: u64, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Opened { session, ttl_ms, bound } => {
                if let Some(bound) = bound {
                    self.bound.insert(session, bound);
                }
                self.adopt(id, session, ttl_ms, revision);
            }
            Effect::Closed(session) => {
                if let Some(bound) = self.bound.remove(&session) {
                    bound.settle();
                }
                self.defaults.session = self.defaults.session.filter(|own| *own != session);
            }
            Effect::Granted { held, queued } => {
                if self.followed.insert(Followed::Lock(held.value.lock_id)) {
                    let follower = self.follower(id);
                    self.followers.spawn(follower.held(held, queued));
                }
            }
        }
    }
}

fn within(what: &'static str, used: usize, max: usize) -> Result<(), ApiError> {
    if used < max {
        return Ok(());
    }
    Err(ApiError::Busy { what, max: u64::try_from(max).unwrap_or(u64::MAX) })
}
