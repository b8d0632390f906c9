//! Access in the runs whose seed asks for it: a cluster that is secured before the faults begin, clients with identities, and an operator
//! that takes rights away and gives them back while the faults happen.
//!
//! The operator is the only one that changes rights. It waits for the outcome of each change, so it knows for each [worker](Who::Worker) when a
//! revocation is acknowledged and when the right may come back. In between, no call that needs the right may be answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batuta_api::access::Secret;
use batuta_api::access::token::{Token, TokenKind};
use batuta_api::service::session::OpenRequest;
use batuta_api::service::{CallContext, Client, Consistency, Service};
use batuta_raft::{Answer, ProposeError, codec};
use batuta_statemachine::access::{
    Bind, BindingId, BuiltIn, CreateToken, DeleteToken, Mode, Namespaces, NewToken, OnEnd, PutPrincipal,
    ResumePrincipal, SecretHash, SetMode, Subject, SuspendPrincipal, TokenSecret, Unbind,
};
use batuta_statemachine::{
    Actor, Ask, DedupKey, Name, Namespace, Principal, PrincipalName, Request, TokenId,
};
use futures_util::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::client::{Call, Caller};
use crate::context::{Context, violation};
use crate::plan::{Stream, rng};

/// The principals whose rights come and go. Few, so that each has several clients.
pub(crate) const WORKERS: usize = 3;
/// How long one attempt to change a right may take.
const ATTEMPT: Duration = Duration::from_millis(1_500);

/// The identity with which a call is made. In a run without access, everybody is anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The administrator, whose rights nobody takes away.
    Root,
    /// A principal whose rights the operator takes away and gives back.
    Worker(usize),
    /// A client without a credential.
    Nobody,
}

impl Who {
    /// The identity of a client process.
    pub(crate) fn of_client(number: usize) -> Self {
        Self::Worker(number % WORKERS)
    }
}

/// The worker whose client wrote a text; `None` for texts of others. Every text of a client begins with its name.
pub(crate) fn author(text: &str) -> Option<usize> {
    let (number, _) = text.strip_prefix('c')?.split_once('-')?;
    Some(number.parse::<usize>().ok()? % WORKERS)
}

/// The principal of a worker.
pub(crate) fn worker(number: usize) -> Principal {
    Principal::Service(word(&format!("worker-{number}")))
}

fn word(text: &str) -> PrincipalName {
    // The names here are valid.
    PrincipalName::new(text).expect("a valid name")
}

/// What the clients of a run have proved.
#[derive(Default)]
pub(crate) struct Identities {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    root: Client,
    workers: [Client; WORKERS],
    secured: bool,
}

impl Identities {
    /// The client with an identity, with its newest credential.
    pub(crate) fn client(&self, who: Who) -> Client {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match who {
            Who::Root => known.root.clone(),
            Who::Worker(number) => known.workers[number].clone(),
            Who::Nobody => Client::default(),
        }
    }

    /// Whether the cluster is secured and everybody has an identity.
    pub(crate) fn are_there(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).secured
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a worker's rights depend on.
struct Right {
    binding: BindingId,
    credential: TokenId,
}

/// How a right is taken away.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The worker's only binding ends.
    Unbind,
    /// The worker is suspended, and what it owns ends.
    Suspend,
    /// The worker's only key is deleted.
    DeleteKey,
}

/// The administrator who takes rights away and gives them back.
pub(crate) struct Operator {
    context: Arc<Context>,
    rng: StdRng,
    actor: Actor,
    /// How many changes it has asked for.
    changes: u64,
    rights: Vec<Right>,
}

/// Secures the cluster: makes the administrator and the workers, gives them their rights, and enforces access. `None` when the run is over.
pub(crate) async fn secure(context: &Arc<Context>) -> Option<Operator> {
    let rng = rng(context.plan.seed, Stream::Operator);
    let mut operator =
        Operator { context: Arc::clone(context), rng, actor: Actor::Node, changes: 0, rights: Vec::new() };
    let root = Principal::User(word("root"));
    let put = PutPrincipal { principal: root.clone(), description: String::new() };
    let id = operator.ask(put).await?.id;
    operator.bind(&root, BuiltIn::Admin).await?;
    let token = operator.create_key(&root).await?;
    operator.actor = Actor::Caller { principal: id, credential: Some(token.id()) };
    let client = operator.authenticate(&token).await?;
    context.identities.change(|known| known.root = client);
    for number in 0..WORKERS {
        let principal = worker(number);
        operator.ask(PutPrincipal { principal: principal.clone(), description: String::new() }).await?;
        let binding = operator.bind(&principal, BuiltIn::Editor).await?;
        let credential = operator.key_of_worker(number).await?;
        operator.rights.push(Right { binding, credential });
    }
    operator.ask(SetMode { mode: Mode::Enforce }).await?;
    context.identities.change(|known| known.secured = true);
    Some(operator)
}

impl Operator {
    /// Takes rights away and gives them back until the run is over.
    pub(crate) async fn work(mut self) {
        while self.interlude().await.is_some() {}
    }

    /// Takes the right of a worker away, and gives it back after a while. `None` when the run is over.
    async fn interlude(&mut self) -> Option<()> {
        self.pause(100..1_500).await?;
        let number = self.rng.random_range(0..WORKERS);
        let way = match self.rng.random_range(0..3) {
            0 => Way::Unbind,
            1 => Way::Suspend,
            _ => Way::DeleteKey,
        };
        self.context.say(format_args!("operator: {way:?} of worker {number}"));
        let (binding, token) = (self.rights[number].binding, self.rights[number].credential);
        match way {
            Way::Unbind => self.ask(Unbind { binding }).await?,
            Way::Suspend => self.ask(SuspendPrincipal { principal: worker(number), end: true }).await?,
            Way::DeleteKey => self.ask(DeleteToken { token }).await?,
        };
        self.context.ledger().take_right(number);
        self.pause(50..2_000).await?;
        // From here on the right may be back at any moment.
        self.context.ledger().return_right(number);
        match way {
            Way::Unbind => self.rights[number].binding = self.bind(&worker(number), BuiltIn::Editor).await?,
            Way::Suspend => {
                self.ask(ResumePrincipal { principal: worker(number) }).await?;
            }
            Way::DeleteKey => self.rights[number].credential = self.key_of_worker(number).await?,
        }
        Some(())
    }

    /// Sleeps. `None` when the run is over.
    async fn pause(&mut self, ms: std::ops::Range<u64>) -> Option<()> {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(ms))).await;
        (!self.context.closing()).then_some(())
    }

    async fn bind(&mut self, principal: &Principal, role: BuiltIn) -> Option<BindingId> {
        // A principal is a subject.
        let subject: Subject = principal.to_string().parse().expect("a valid subject");
        let bind = Bind {
            subject,
            role: word(role.as_str()),
            namespaces: Namespaces::All,
            names: Vec::new(),
            not_before_ms: None,
            not_after_ms: None,
            on_end: OnEnd::Keep,
            reason: "simulation".to_owned(),
        };
        self.ask(bind).await.map(|bound| bound.binding)
    }

    async fn create_key(&mut self, principal: &Principal) -> Option<Token> {
        // The random numbers of the operating system are those of the seed.
        let token = Token::generate(TokenKind::Key).expect("random numbers");
        let hash = SecretHash::new(*token.hash().as_bytes());
        let secret = TokenSecret { id: token.id(), hash };
        let new = NewToken { secret, label: String::new(), not_after_ms: None };
        self.ask(CreateToken { principal: principal.clone(), token: new, narrowing: None }).await?;
        Some(token)
    }

    /// Makes a key for a worker, with which all its clients go on.
    async fn key_of_worker(&mut self, number: usize) -> Option<TokenId> {
        let token = self.create_key(&worker(number)).await?;
        let client = self.authenticate(&token).await?;
        self.context.identities.change(|known| known.workers[number] = client);
        Some(token.id())
    }

    /// Makes a change, and repeats it through any node until it is made. `None` when the run is over.
    async fn ask<C: Ask>(&mut self, command: C) -> Option<C::Reply> {
        self.changes += 1;
        let key = format!("operator-{}", self.changes);
        let key = DedupKey::Idempotency { namespace: Namespace::default(), key };
        let request = codec::request(Some(key), command).by(self.actor);
        let answer = loop {
            match self.propose(request.clone()).await {
                Some(Ok(answer)) => break answer,
                Some(Err(error)) => self.context.say(format_args!("operator < {error}")),
                None => self.context.say("operator < no answer"),
            }
            self.pause(10..200).await?;
        };
        let revision = answer.revision;
        {
            let mut ledger = self.context.ledger();
            ledger.revision = ledger.revision.max(revision);
        }
        self.context.say(format_args!("operator < revision {revision}: {:?}", answer.outcome));
        let reply = answer.outcome.map_err(|rejection| rejection.to_string());
        match reply.and_then(|reply| C::Reply::try_from(reply).map_err(|other| format!("{other:?}"))) {
            Ok(reply) => Some(reply),
            Err(answer) => {
                let what = format!("{:?} at revision {revision}: {answer}", request.command);
                self.context.fail(violation("an administrator may change access", what));
                None
            }
        }
    }

    /// Runs work in the process of a node; `None` when the node is down, or its process ended meanwhile.
    async fn at_node<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Service, batuta_raft::Replica) -> BoxFuture<'static, T> + Send + 'static,
    ) -> Option<T> {
        let node = self.rng.random_range(0..self.context.plan.nodes);
        let running = self.context.nodes[node].running()?;
        let (sender, answer) = oneshot::channel();
        let replica = running.replica.clone();
        let job = Box::new(move |service: Service| {
            Box::pin(async move {
                // The operator may have given up.
                let _ = sender.send(work(service, replica).await);
            }) as BoxFuture<'static, ()>
        });
        running.jobs.send(job).ok()?;
        tokio::time::timeout(2 * ATTEMPT, answer).await.ok()?.ok()
    }

    async fn propose(&mut self, request: Request) -> Option<Result<Answer, ProposeError>> {
        let propose = move |_: Service, replica: batuta_raft::Replica| -> BoxFuture<'static, _> {
            Box::pin(async move { replica.propose(request, ATTEMPT).await })
        };
        self.at_node(propose).await
    }

    /// Proves the identity of the owner of a token, at any node. `None` when the run is over.
    async fn authenticate(&mut self, token: &Token) -> Option<Client> {
        loop {
            let secret = Secret::new(token.text().expose().to_owned());
            let authenticate = move |service: Service, _: batuta_raft::Replica| -> BoxFuture<'static, _> {
                Box::pin(async move { service.authenticate(secret).await })
            };
            match self.at_node(authenticate).await {
                Some(Ok(identity)) => return Some(Client::new(None, "simulation").proven(identity)),
                Some(Err(error)) => self.context.say(format_args!("operator < {token}: {error}")),
                None => {}
            }
            self.pause(10..200).await?;
        }
    }
}

/// Runs a client without a credential: nothing that it asks for may be answered ([`Caller`] checks that).
pub(crate) async fn intrude(context: Arc<Context>) {
    let mut rng = rng(context.plan.seed, Stream::Intruder);
    let caller = Caller { context: Arc::clone(&context), who: "nobody".to_owned(), by: Who::Nobody };
    let name = Name::new("a").expect("a valid name");
    for number in 0_u64.. {
        if context.closing() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
        let call = if rng.random_bool(0.5) {
            Call::Open(OpenRequest { ttl_ms: 1_000, metadata: format!("nobody-{number}") })
        } else {
            Call::GetLock(name.clone(), Consistency::Linearizable)
        };
        let node = rng.random_range(0..context.plan.nodes);
        let under = CallContext { timeout: Some(ATTEMPT), ..caller.context() };
        caller.call(node, call, under, context.now_ms(), 2 * ATTEMPT).await;
    }
}
