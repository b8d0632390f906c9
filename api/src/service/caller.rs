//! Who makes a call: the node itself, or a client and what it proved.

use std::net::IpAddr;
use std::sync::Arc;

use batuta_statemachine::{Actor, Namespace, Principal, PrincipalId, State, TokenId};

use super::{CallContext, Clock};

/// The maker of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client, over a front.
    Client(Client),
    /// The node itself, for the work named here.
    Node(&'static str),
}

impl Caller {
    /// Who asks, for the state machine.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::Client(client) => client.actor(),
            Self::Node(_) => Actor::Node,
        }
    }

    /// The client; `None` when the node itself calls.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client) => Some(client),
            Self::Node(_) => None,
        }
    }
}

/// What a client proved with its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal.
    pub id: PrincipalId,
    /// Its kind and name.
    pub principal: Principal,
    /// The credential.
    pub credential: TokenId,
    /// The wall clock at which the credential ends, in milliseconds since the Unix epoch.
    pub not_after_ms: Option<u64>,
    /// The cluster time at which it ends, in milliseconds.
    pub deadline_ms: Option<u64>,
}

impl Identity {
    /// The identity with the ends that its credential has in a state: a key that was replaced ends earlier than when it was proven. One that the
    /// state does not know keeps the ends that it had.
    pub(super) fn refreshed(&self, state: &State) -> Self {
        let (not_after_ms, deadline_ms) =
            state.token(self.credential).map_or((self.not_after_ms, self.deadline_ms), |record| {
                (record.not_after_ms, record.deadline_ms)
            });
        Self { not_after_ms, deadline_ms, ..self.clone() }
    }

    /// Whether the time of the credential is over.
    pub(super) fn has_expired(&self, clock: Clock) -> bool {
        self.expires_in_ms(clock) == Some(0)
    }

    /// How long the credential lasts, in milliseconds; `None` without an end.
    pub(crate) fn expires_in_ms(&self, clock: Clock) -> Option<u64> {
        clock.left_ms(self.not_after_ms, self.deadline_ms)
    }
}

/// A client, as a front knows it. By default it has proved nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    identity: Option<Arc<Identity>>,
    ip: Option<IpAddr>,
    front: &'static str,
}

impl Client {
    /// A client that has proved nothing yet, at this address, over the front of this name.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, front: &'static str) -> Self {
        Self { identity: None, ip, front }
    }

    /// The same client, once it has proved who it is.
    #[must_use]
    pub fn proven(&self, identity: Arc<Identity>) -> Self {
        Self { identity: Some(identity), ..self.clone() }
    }

    /// What the client proved; `None` for an anonymous client.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The address from which it calls, if the front knows it.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The name of the front over which it calls.
    #[must_use]
    pub fn front(&self) -> &'static str {
        self.front
    }

    /// The principal.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.identity().map_or(Principal::Anonymous, |identity| identity.principal.clone())
    }

    /// Who asks, for the state machine.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.identity().map_or(Actor::ANONYMOUS, |identity| Actor::Caller {
            principal: identity.id,
            credential: Some(identity.credential),
        })
    }

    /// The context of a call of this client in a namespace, without a retry key.
    #[must_use]
    pub fn context(&self, namespace: Namespace) -> CallContext {
        CallContext { caller: Caller::Client(self.clone()), namespace, dedup: None, timeout: None }
    }
}
