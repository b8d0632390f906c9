//! Decides what a caller may do: the one function that fronts and the log share (decision 0035).

use std::sync::Arc;

use crate::access::role::Role;
use crate::access::table::{Held, PrincipalEntry};
use crate::access::{
    BindingId, BindingRecord, Mode, Namespaces, Narrowing, Pattern, Refusal, Rule, TokenRecord,
};
use crate::{Actor, Name, Namespace, Permission, Principal, PrincipalId, PrincipalName, State, TokenId};

/// Why something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed<'a> {
    /// The caller is a node: nodes may do everything.
    Node,
    /// A binding gives the permission.
    Binding {
        /// The binding.
        binding: BindingId,
        /// The role of the binding.
        role: &'a PrincipalName,
    },
}

/// A question: this permission, in this namespace, for this name or, without one, for any name.
#[derive(Clone, Copy)]
struct Ask<'a> {
    permission: Permission,
    namespace: &'a Namespace,
    name: Option<&'a Name>,
}

/// Whether a permission concerns the cluster as a whole. Only a binding in all namespaces, for all names, gives such a permission.
pub(super) const fn is_global(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::ClusterRead
            | Permission::ClusterMembers
            | Permission::ClusterLimits
            | Permission::ClusterTransfer
            | Permission::ClusterSnapshot
    ) || is_of_access(permission)
}

const fn is_of_access(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::AccessRead
            | Permission::AccessWrite
            | Permission::AccessKeys
            | Permission::AccessMode
            | Permission::AccessAudit
            | Permission::AccessEscalate
    )
}

impl State {
    /// Decides whether an actor has a permission now, for this name. Without a name, a right to one name is enough. For a permission of the
    /// cluster as a whole, the namespace does not matter. Everything is allowed while the permission is not enforced.
    ///
    /// # Errors
    /// The permission that is missing, or what is wrong with the credential.
    pub fn authorise(
        &self,
        actor: &Actor,
        permission: Permission,
        namespace: &Namespace,
        name: Option<&Name>,
    ) -> Result<(), Refusal> {
        if !self.enforces(permission) {
            return Ok(());
        }
        self.would_authorise(actor, permission, namespace, name).map(|_| ())
    }

    /// Decides as if access were enforced, and tells what allows it.
    ///
    /// # Errors
    /// Those of [`Self::authorise`].
    pub fn would_authorise(
        &self,
        actor: &Actor,
        permission: Permission,
        namespace: &Namespace,
        name: Option<&Name>,
    ) -> Result<Allowed<'_>, Refusal> {
        let Actor::Caller { principal, credential } = *actor else { return Ok(Allowed::Node) };
        let (entry, token) = self.identify(principal, credential)?;
        let caller = entry.and_then(|entry| entry.record.principal.name());
        let ask = Ask { permission, namespace, name };
        let narrowing = token.and_then(|token| token.narrowing.as_ref());
        if narrowing.is_none_or(|narrowing| self.leaves(narrowing, &ask, caller)) {
            let allows = |held: &&Held| self.gives(held, &ask, caller);
            if let Some(held) = self.access.all_held(principal).find(allows) {
                return Ok(Allowed::Binding { binding: held.binding.id, role: &held.binding.role });
            }
        }
        Err(Refusal::PermissionDenied {
            principal: entry.map_or(Principal::Anonymous, |entry| entry.record.principal.clone()),
            permission,
            namespace: namespace.clone(),
            name: name.cloned(),
        })
    }

    /// The names for which an actor has a permission in a namespace. An actor whose credential is not good has none;
    /// [`Self::authorise`] says why.
    #[must_use]
    pub fn scope(&self, actor: &Actor, permission: Permission, namespace: &Namespace) -> Scope {
        let Actor::Caller { principal, credential } = *actor else { return Scope::All };
        if !self.enforces(permission) {
            return Scope::All;
        }
        let Ok((entry, token)) = self.identify(principal, credential) else { return Scope::Nothing };
        let caller = entry.and_then(|entry| entry.record.principal.name()).cloned();
        let ask = Ask { permission, namespace, name: None };
        let narrowing = token.and_then(|token| token.narrowing.as_ref());
        let key = match narrowing {
            Some(narrowing) if !self.leaves(narrowing, &ask, caller.as_ref()) => return Scope::Nothing,
            Some(narrowing) => self.names_left(narrowing, permission),
            None => Vec::new(),
        };
        let held = self.access.all_held(principal).filter(|held| self.gives(held, &ask, caller.as_ref()));
        let granted: Vec<Granted> = held.map(|held| Granted::of(held, permission)).collect();
        let names = Names { caller, granted, key };
        if names.granted.is_empty() {
            Scope::Nothing
        } else if names.are_all() {
            Scope::All
        } else {
            Scope::Names(names)
        }
    }

    /// Whether calls under this permission are refused to those who lack it.
    #[must_use]
    pub fn enforces(&self, permission: Permission) -> bool {
        self.access.mode == Mode::Enforce || (self.access.guarded && is_of_access(permission))
    }

    /// Checks that a caller and its credential are good, whatever it may do and whatever the mode.
    ///
    /// # Errors
    /// `token_expired`, `token_revoked`, `principal_suspended`.
    pub fn check_identity(&self, actor: &Actor) -> Result<(), Refusal> {
        match *actor {
            Actor::Node => Ok(()),
            Actor::Caller { principal, credential } => self.identify(principal, credential).map(|_| ()),
        }
    }

    /// Finds a caller and its credential, and checks that both are good. An anonymous caller has neither.
    pub(super) fn identify(
        &self,
        principal: PrincipalId,
        credential: Option<TokenId>,
    ) -> Result<(Option<&PrincipalEntry>, Option<&TokenRecord>), Refusal> {
        let entry = self.access.principal(principal);
        let token = match credential {
            Some(token) => Some(self.live_token(principal, token)?),
            None => None,
        };
        match entry {
            Some(entry) if entry.record.suspended => {
                Err(Refusal::PrincipalSuspended { principal: entry.record.principal.clone() })
            }
            entry => Ok((entry, token)),
        }
    }

    fn live_token(&self, principal: PrincipalId, token: TokenId) -> Result<&TokenRecord, Refusal> {
        let record = self.access.tokens.get(&token).filter(|record| record.principal == principal);
        let record = record.ok_or(Refusal::TokenRevoked { token })?;
        if record.is_live(self.now_ms, self.wall_ms) {
            Ok(record)
        } else {
            Err(Refusal::TokenExpired { token })
        }
    }

    fn gives(&self, held: &Held, ask: &Ask<'_>, caller: Option<&PrincipalName>) -> bool {
        let Held { binding, role } = held;
        role.permissions.contains(ask.permission)
            && binding.is_live(self.now_ms, self.wall_ms)
            && ask.is_in(&binding.namespaces)
            && (binding.names.is_empty() || ask.is_covered(&binding.names, caller))
            && ask.is_in_role(role, caller)
    }

    /// Whether a narrowed key still allows what is asked.
    fn leaves(&self, narrowing: &Narrowing, ask: &Ask<'_>, caller: Option<&PrincipalName>) -> bool {
        let Narrowing { roles, namespaces, names } = narrowing;
        let has =
            |name: &PrincipalName| self.access.role(name).is_some_and(|role| ask.is_in_role(role, caller));
        ask.is_in(namespaces)
            && (names.is_empty() || ask.is_covered(names, caller))
            && (roles.is_empty() || roles.iter().any(has))
    }

    /// The lists of patterns of a narrowed key. A name must be covered by every list.
    fn names_left(&self, narrowing: &Narrowing, permission: Permission) -> Vec<Vec<Pattern>> {
        let mut lists = Vec::new();
        if !narrowing.names.is_empty() {
            lists.push(narrowing.names.clone());
        }
        if !narrowing.roles.is_empty() {
            let roles = narrowing.roles.iter().filter_map(|name| self.access.role(name));
            lists.push(roles.flat_map(|role| patterns_for(role, permission)).collect());
        }
        lists
    }
}

impl Ask<'_> {
    fn is_in(&self, namespaces: &Namespaces) -> bool {
        match namespaces {
            Namespaces::All => true,
            Namespaces::Listed(_) => !is_global(self.permission) && namespaces.contain(self.namespace),
        }
    }

    fn is_covered(&self, patterns: &[Pattern], caller: Option<&PrincipalName>) -> bool {
        match self.name {
            _ if is_global(self.permission) => patterns.iter().any(Pattern::is_all),
            Some(name) => patterns.iter().any(|pattern| pattern.covers(name, caller)),
            None => true,
        }
    }

    fn is_in_role(&self, role: &Role, caller: Option<&PrincipalName>) -> bool {
        let covers =
            |rule: &Rule| rule.permissions.contains(self.permission) && self.is_covered(&rule.names, caller);
        role.record.rules.iter().any(covers)
    }
}

/// The patterns of a role under a permission.
fn patterns_for(role: &Role, permission: Permission) -> impl Iterator<Item = Pattern> + '_ {
    let rules = role.record.rules.iter().filter(move |rule| rule.permissions.contains(permission));
    rules.flat_map(|rule| rule.names.iter().cloned())
}

/// The names for which a caller has a permission in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All names.
    #[default]
    All,
    /// The names that its rules cover: a list of names is filtered.
    Names(Names),
    /// No name.
    Nothing,
}

impl Scope {
    /// Whether the name is one of them.
    #[must_use]
    pub fn admits(&self, name: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contain(name),
            Self::Nothing => false,
        }
    }
}

/// The names that the rules of a caller cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    caller: Option<PrincipalName>,
    granted: Vec<Granted>,
    /// The lists of patterns of a narrowed key. A name must be covered by every list.
    key: Vec<Vec<Pattern>>,
}

/// What one binding gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    role: Vec<Pattern>,
    binding: Arc<BindingRecord>,
}

impl Granted {
    fn of(held: &Held, permission: Permission) -> Self {
        let role = patterns_for(&held.role, permission).collect();
        Self { role, binding: Arc::clone(&held.binding) }
    }
}

impl Names {
    fn are_all(&self) -> bool {
        let all = |patterns: &[Pattern]| patterns.iter().any(Pattern::is_all);
        let whole = |granted: &Granted| {
            all(&granted.role) && (granted.binding.names.is_empty() || all(&granted.binding.names))
        };
        self.granted.iter().any(whole) && self.key.iter().all(|patterns| all(patterns))
    }

    fn contain(&self, name: &Name) -> bool {
        let covers =
            |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(name, self.caller.as_ref()));
        let gives = |granted: &Granted| {
            covers(&granted.role) && (granted.binding.names.is_empty() || covers(&granted.binding.names))
        };
        self.granted.iter().any(gives) && self.key.iter().all(|patterns| covers(patterns))
    }
}
