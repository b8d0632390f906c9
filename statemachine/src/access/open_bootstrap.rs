//! Opens a bootstrap token.

use crate::access::command::OpenBootstrap;
use crate::access::token::{add_token, end_token};
use crate::access::{Change, End, Mode, Refusal, TokenCreated, TokenKind, TokenRecord};
use crate::check::number_within;
use crate::limit::DAY_MS;
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Namespace, Permission, PrincipalId, Rejection, State};

impl OpenBootstrap {
    /// The longest life of a bootstrap token, in milliseconds.
    pub const TTL_MS_MAX: u64 = 7 * DAY_MS;

    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<TokenCreated, Rejection> {
        let state = &*step.state;
        state.check_says_node(actor, Permission::AccessKeys)?;
        let token = self.token.id;
        if state.access.guarded && (self.enforce || !self.recovery) {
            return Err(Refusal::AlreadyBootstrapped { token }.into());
        }
        number_within("ttl_ms", self.ttl_ms, 1, Self::TTL_MS_MAX)?;
        state.check_new_token(&self.token)?;
        if self.not_after_wall_ms <= state.wall_ms {
            return Err(invalid("not_after", "is in the past"));
        }
        for earlier in state.access.bootstraps.clone() {
            end_token(step, earlier, End::Used, None);
        }
        let record = TokenRecord {
            secret: self.token.clone(),
            kind: TokenKind::Bootstrap { recovery: self.recovery },
            principal: PrincipalId::ANONYMOUS,
            label: String::new(),
            not_after_ms: Some(self.not_after_wall_ms),
            deadline_ms: Some(step.state.now_ms.saturating_add(self.ttl_ms)),
            narrowing: None,
            made_by: None,
            created_wall_ms: step.state.wall_ms,
            last_used_wall_ms: None,
        };
        add_token(step, record, None);
        if self.enforce && step.state.access.mode != Mode::Enforce {
            step.state.access.mode = Mode::Enforce;
            step.state.access.bump();
            step.emit(None, Change::AccessModeChanged { mode: Mode::Enforce, by: None });
        }
        Ok(TokenCreated { token, not_after_ms: Some(self.not_after_wall_ms) })
    }
}

impl State {
    /// Checks that a node asks for what nodes asked for before the log knew actors: while access is off, such an entry may be replayed.
    pub(crate) fn check_is_node(&self, actor: &Actor, permission: Permission) -> Result<(), Refusal> {
        match *actor {
            Actor::ANONYMOUS if self.access.mode == Mode::Off && !self.access.guarded => Ok(()),
            _ => self.check_says_node(actor, permission),
        }
    }

    /// Checks that a node acts, not a caller.
    pub(super) fn check_says_node(&self, actor: &Actor, permission: Permission) -> Result<(), Refusal> {
        match *actor {
            Actor::Node => Ok(()),
            Actor::Caller { principal, .. } => Err(Refusal::PermissionDenied {
                principal: self.access.principal_of(principal),
                permission,
                namespace: Namespace::default(),
                name: None,
            }),
        }
    }
}
