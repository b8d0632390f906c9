//! One WebSocket connection: its loop, its operations, and its end.

use std::collections::HashMap;
use std::ops::ControlFlow;

use async_graphql::ServerError;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::SplitStream;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout_at};

use super::super::http::Front;
use super::super::request::{Body, Operation};
use super::super::{Schema, error};
use super::close::Close;
use super::message::{self, Incoming, InitPayload, Outgoing};
use crate::ApiError;
use crate::client_work::client_work;
use crate::service::{Client, parse};
use crate::socket::{self, Gone, IdentityNews, IdentityWatch, LOST_GRACE, Out};

/// Serves a connection to its end.
pub(super) async fn serve(front: Front, client: Client, socket: WebSocket) {
    let options = front.options.socket;
    let (sink, mut reader) = socket.split();
    let (out, queue) = Out::new(options.outgoing_messages_max);
    let writer = socket::start_writer(sink, queue, options.write_timeout, Close::Slow.message());
    let service = front.service.clone();
    let mut connection = Connection::new(front, client, out.clone());
    let close = tokio::select! {
        close = connection.run(&mut reader) => close,
        () = socket::overdue(&service) => Ok(Some(Close::Draining)),
    };
    // Operations end here, with their watches and waits, before the last messages are sent.
    drop(connection);
    let close = close.ok().flatten().map(|close| close.message());
    socket::hang_up(out, writer, reader, close).await;
}

/// How an operation ends.
enum Ended {
    /// Everything was answered.
    Complete,
    /// The operation failed, or a subscription ended.
    Failed(Vec<ServerError>),
    /// The client no longer reads.
    Gone,
}

struct Entry {
    subscription: bool,
    task: AbortHandle,
}

struct Connection {
    front: Front,
    /// Who the connection belongs to.
    client: Client,
    /// Follows what the client proved.
    identity: IdentityWatch,
    /// Why that no longer holds; set when the connection ends for it.
    lost: Option<ApiError>,
    out: Out,
    acknowledged: bool,
    tasks: JoinSet<Ended>,
    ids: HashMap<Id, String>,
    /// The running operations, by the client's ids.
    operations: HashMap<String, Entry>,
}

impl Connection {
    fn new(front: Front, client: Client, out: Out) -> Self {
        Self {
            identity: IdentityWatch::new(&front.service, &client),
            lost: None,
            front,
            client,
            out,
            acknowledged: false,
            tasks: JoinSet::new(),
            ids: HashMap::new(),
            operations: HashMap::new(),
        }
    }

    /// Serves until the connection should be closed; `None` when the client closed it.
    async fn run(&mut self, reader: &mut SplitStream<WebSocket>) -> Result<Option<Close>, Gone> {
        let options = self.front.options.socket;
        let mut ping = interval_at(Instant::now() + options.ping_every, options.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let init_until = Instant::now() + options.init_timeout;
        let mut heard = Instant::now();
        let (service, out) = (self.front.service.clone(), self.out.clone());
        loop {
            let read = tokio::select! {
                read = reader.next() => read,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.settle(ended).await?;
                    continue;
                }
                news = self.identity.next() => match news {
                    // The subprotocol has no message for that.
                    IdentityNews::Expiring { .. } => continue,
                    IdentityNews::Lost(error) => return self.expel(error).await,
                },
                _ = ping.tick() => {
                    self.out.send(Message::Ping(Bytes::new())).await?;
                    continue;
                }
                () = sleep_until(init_until), if !self.acknowledged => return Ok(Some(Close::NoInit)),
                () = sleep_until(heard + options.idle_timeout) => {
                    // While the loop waited for room in the queue, a message of the client may have arrived unread.
                    let Some(read) = reader.next().now_or_never() else { return Ok(Some(Close::Idle)) };
                    read
                }
                () = service.draining() => return self.drain().await,
                () = out.gone() => return Err(Gone),
            };
            heard = Instant::now();
            if let ControlFlow::Break(close) = self.message(read).await? {
                return Ok(close);
            }
        }
    }

    /// Lets operations end: subscriptions tell where to resume, and calls are answered if they are quick.
    async fn drain(&mut self) -> Result<Option<Close>, Gone> {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.settle(ended).await?;
        }
        Ok(Some(Close::Draining))
    }

    /// Ends everything of a client whose identity is lost. Subscriptions and waits end by themselves, calls in flight are answered if they are
    /// quick; whatever is left is told why it ends.
    async fn expel(&mut self, error: ApiError) -> Result<Option<Close>, Gone> {
        let close = Close::Refused(error.code());
        self.lost = Some(error);
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
        let close = match message {
            Some(Ok(Message::Text(text))) if text.len() > self.front.options.socket.message_bytes_max => {
                Some(Close::TooLong)
            }
            Some(Ok(Message::Text(text))) => match message::decode(&text) {
                Ok(message) => match self.take(message).await? {
                    ControlFlow::Continue(()) => return Ok(ControlFlow::Continue(())),
                    ControlFlow::Break(close) => Some(close),
                },
                Err(error) => Some(Close::Invalid(error.to_string())),
            },
            Some(Ok(Message::Binary(_))) => Some(Close::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(ControlFlow::Continue(())),
            Some(Ok(Message::Close(_))) | None => None,
            Some(Err(error)) => socket::offence(error).map(Close::from),
        };
        Ok(ControlFlow::Break(close))
    }

    async fn take(&mut self, message: Incoming) -> Result<ControlFlow<Close>, Gone> {
        match message {
            Incoming::ConnectionInit { .. } if self.acknowledged => {
                return Ok(ControlFlow::Break(Close::SecondInit));
            }
            Incoming::ConnectionInit { payload } => {
                if let Err(error) = require_no_call_fields(&payload) {
                    return Ok(ControlFlow::Break(Close::Invalid(error.to_string())));
                }
                if let Err(close) = self.authenticate(payload).await {
                    return Ok(ControlFlow::Break(close));
                }
                self.acknowledged = true;
                self.out.send(Outgoing::ConnectionAck).await?;
            }
            Incoming::Ping { payload } => self.out.send(Outgoing::Pong { payload }).await?,
            Incoming::Pong => {}
            Incoming::Subscribe { .. } if !self.acknowledged => {
                return Ok(ControlFlow::Break(Close::Unacknowledged));
            }
            Incoming::Subscribe { id, .. } if self.operations.contains_key(&id) => {
                return Ok(ControlFlow::Break(Close::IdTaken(id)));
            }
            Incoming::Subscribe { id, payload } => {
                if let Err(refused) = self.start(&id, payload) {
                    self.out.send(Outgoing::Error { id, payload: vec![refused] }).await?;
                }
            }
            Incoming::Complete { id } => self.end(&id).await?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Proves who the client is, if the payload of its `connection_init` has a token.
    async fn authenticate(&mut self, payload: InitPayload) -> Result<(), Close> {
        let token = payload.token().map_err(|error| match error {
            ApiError::InvalidArgument { .. } => Close::Invalid(error.to_string()),
            error => Close::Refused(error.code()),
        })?;
        let Some(token) = token else { return Ok(()) };
        let renewed = self.front.service.renew(&self.client, token).await;
        self.client = renewed.map_err(|error| Close::Refused(error.code()))?;
        self.identity = IdentityWatch::new(&self.front.service, &self.client);
        Ok(())
    }

    /// Starts an operation in its own task.
    fn start(&mut self, id: &str, body: Body) -> Result<(), ServerError> {
        let operation = Operation::read(body, self.front.options.introspection)?;
        let subscription = operation.is_subscription();
        self.room(subscription).map_err(|error| error::of(&error, None))?;
        let work = answer(
            self.front.schema.clone(),
            self.client.clone(),
            operation,
            id.to_owned(),
            self.out.clone(),
        );
        let task = self.tasks.spawn(client_work(work));
        self.ids.insert(task.id(), id.to_owned());
        self.operations.insert(id.to_owned(), Entry { subscription, task });
        Ok(())
    }

    fn room(&self, subscription: bool) -> Result<(), ApiError> {
        let options = self.front.options.socket;
        let (what, max) = if subscription {
            ("graphql_subscriptions_max", options.subscriptions_max)
        } else {
            ("graphql_in_flight_max", options.in_flight_max)
        };
        let used = self.operations.values().filter(|entry| entry.subscription == subscription).count();
        if used < max {
            return Ok(());
        }
        Err(ApiError::Busy { what, max: u64::try_from(max).unwrap_or(u64::MAX) })
    }

    /// Ends an operation that the client has completed. It has ended when this returns, so no message of it follows under its id once
    /// another operation has the id.
    async fn end(&mut self, id: &str) -> Result<(), Gone> {
        // An operation that has ended by itself no longer belongs to the client.
        if let Some(entry) = self.operations.get(id) {
            entry.task.abort();
        }
        while self.operations.contains_key(id)
            && let Some(ended) = self.tasks.join_next_with_id().await
        {
            self.settle(ended).await?;
        }
        Ok(())
    }

    /// Handles the end of an operation, and sends its last message.
    async fn settle(&mut self, ended: Result<(Id, Ended), JoinError>) -> Result<(), Gone> {
        let (task, ended) = match ended {
            Ok((task, ended)) => (task, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(id) = self.ids.remove(&task) else { return Ok(()) };
        self.operations.remove(&id);
        match ended {
            Ok(Ended::Complete) => self.out.send(Outgoing::Complete { id }).await,
            Ok(Ended::Failed(payload)) => self.out.send(Outgoing::Error { id, payload }).await,
            Ok(Ended::Gone) => Err(Gone),
            Err(error) if error.is_cancelled() => match &self.lost {
                Some(lost) => {
                    let payload = vec![error::of(lost, None)];
                    self.out.send(Outgoing::Error { id, payload }).await
                }
                None => Ok(()),
            },
            Err(error) => {
                tracing::error!(%error, "a GraphQL operation panicked");
                let problem =
                    "the node failed while it answered; the request may or may not have had its effect";
                let failed = error::of(&ApiError::Internal(problem.to_owned()), None);
                self.out.send(Outgoing::Error { id, payload: vec![failed] }).await
            }
        }
    }
}

/// Runs an operation and sends its answers, up to its last message.
async fn answer(schema: Schema, client: Client, operation: Operation, id: String, out: Out) -> Ended {
    if !operation.is_subscription() {
        let payload = operation.execute(&schema, client).await;
        if payload.data.is_none() {
            return Ended::Failed(payload.errors);
        }
        return match out.send(Outgoing::Next { id, payload }).await {
            Ok(()) => Ended::Complete,
            Err(Gone) => Ended::Gone,
        };
    }
    let mut answers = std::pin::pin!(operation.subscribe(&schema, client));
    while let Some(payload) = answers.next().await {
        if payload.data.is_none() {
            return Ended::Failed(payload.errors);
        }
        if out.send(Outgoing::Next { id: id.clone(), payload }).await.is_err() {
            return Ended::Gone;
        }
    }
    Ended::Complete
}

/// Refuses the headers of REST in the payload of `connection_init`, where they would have no effect.
fn require_no_call_fields(payload: &InitPayload) -> Result<(), ApiError> {
    for name in [parse::NAMESPACE_FIELD, parse::KEY_FIELD, parse::SEQUENCE_FIELD] {
        if payload.keys().any(|key| key.eq_ignore_ascii_case(name)) {
            return Err(ApiError::invalid(name, "is an argument of the field in GraphQL"));
        }
    }
    Ok(())
}
