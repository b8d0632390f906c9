//! Who gives a right must have it: in that place, for those names, and at least as long. `access:escalate` lifts the rule.
//!
//! A right counts as had when one rule of one binding covers it. What only several rules cover together is refused,
//! which is on the safe side.

use crate::access::decide::is_global;
use crate::access::role::Role;
use crate::access::table::{Held, Holder};
use crate::access::{Namespaces, Narrowing, Pattern, Refusal, Rule, Subject};
use crate::{Actor, Namespace, Permission, Principal, PrincipalId, PrincipalName, Rejection, State};

/// Rights that somebody is about to give.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) namespaces: &'a Namespaces,
    /// The narrower names of the binding; empty = the names of the rules.
    pub(super) names: &'a [Pattern],
    /// The wall clock at which they end, in milliseconds since the Unix epoch.
    pub(super) not_after_ms: Option<u64>,
    /// The name that `{principal}` stands for, when a single principal gets them.
    pub(super) caller: Option<&'a PrincipalName>,
}

/// One permission for the names that two patterns both cover.
struct Right<'a> {
    permission: Permission,
    /// `None` = in all namespaces.
    namespace: Option<&'a Namespace>,
    patterns: [&'a Pattern; 2],
    not_after_ms: Option<u64>,
    caller: Option<&'a PrincipalName>,
}

/// Who gives.
struct Giver<'a> {
    principal: PrincipalId,
    name: Option<&'a PrincipalName>,
    narrowing: Option<&'a Narrowing>,
}

impl State {
    /// Checks that an actor may give rights.
    pub(super) fn check_gives(&self, actor: &Actor, rights: &Given<'_>) -> Result<(), Rejection> {
        let Actor::Caller { principal, credential } = *actor else { return Ok(()) };
        if self.may(actor, Permission::AccessEscalate).is_ok() {
            return Ok(());
        }
        let name = self.access.principal(principal).and_then(|entry| entry.record.principal.name());
        let token = credential.and_then(|token| self.access.tokens.get(&token));
        let narrowing = token.and_then(|token| token.narrowing.as_ref());
        let giver = Giver { principal, name, narrowing };
        for rule in rights.rules {
            for permission in rule.permissions.iter() {
                self.check_rule(&giver, rights, rule, permission)?;
            }
        }
        Ok(())
    }

    /// Checks that an actor may give everything that a principal or a group has, until `not_after_ms` at the latest.
    pub(super) fn check_gives_all_of<'a>(
        &self,
        actor: &Actor,
        held: impl Iterator<Item = &'a Held>,
        caller: Option<&PrincipalName>,
        not_after_ms: Option<u64>,
    ) -> Result<(), Rejection> {
        for Held { binding, role } in held {
            let ends = [binding.not_after_ms, not_after_ms];
            self.check_gives(
                actor,
                &Given {
                    rules: &role.record.rules,
                    namespaces: &binding.namespaces,
                    names: &binding.names,
                    not_after_ms: ends.into_iter().flatten().min(),
                    caller,
                },
            )?;
        }
        Ok(())
    }

    /// Checks that an actor may make credentials of a principal: of itself, or of somebody whose rights it may give.
    pub(super) fn check_credential_of(
        &self,
        actor: &Actor,
        principal: PrincipalId,
        not_after_ms: Option<u64>,
    ) -> Result<(), Rejection> {
        if self.is_own(actor, principal) {
            return Ok(());
        }
        self.may(actor, Permission::AccessKeys)?;
        let name = self.access.principal(principal).and_then(|entry| entry.record.principal.name());
        self.check_gives_all_of(actor, self.access.all_held(principal), name, not_after_ms)
    }

    /// Whether an actor is the principal itself, with all its rights. A caller with a narrowed key is not: it could make a wider key.
    pub(super) fn is_own(&self, actor: &Actor, principal: PrincipalId) -> bool {
        match *actor {
            Actor::Node => false,
            Actor::Caller { principal: own, credential } => {
                let token = credential.and_then(|token| self.access.tokens.get(&token));
                own == principal && token.is_none_or(|token| token.narrowing.is_none())
            }
        }
    }

    /// Whether an actor has a permission of the cluster as a whole.
    pub(super) fn may(&self, actor: &Actor, permission: Permission) -> Result<(), Refusal> {
        self.authorise(actor, permission, &Namespace::default(), None)
    }

    fn check_rule(
        &self,
        giver: &Giver<'_>,
        rights: &Given<'_>,
        rule: &Rule,
        permission: Permission,
    ) -> Result<(), Rejection> {
        let everywhere = [None];
        let listed: Vec<Option<&Namespace>> = match rights.namespaces {
            Namespaces::All => everywhere.to_vec(),
            // A binding in listed namespaces gives nothing of the cluster as a whole.
            Namespaces::Listed(_) if is_global(permission) => return Ok(()),
            Namespaces::Listed(listed) => listed.iter().map(Some).collect(),
        };
        for namespace in listed {
            for pattern in &rule.names {
                let narrower: Vec<&Pattern> =
                    if rights.names.is_empty() { vec![pattern] } else { rights.names.iter().collect() };
                for narrower in narrower {
                    let Given { not_after_ms, caller, .. } = *rights;
                    let patterns = [pattern, narrower];
                    let right = Right { permission, namespace, patterns, not_after_ms, caller };
                    self.check_right(giver, &right)?;
                }
            }
        }
        Ok(())
    }

    fn check_right(&self, giver: &Giver<'_>, right: &Right<'_>) -> Result<(), Rejection> {
        let left = giver.narrowing.is_none_or(|narrowing| self.keeps(giver, narrowing, right));
        let has = |held: &Held| self.holds(giver, held, right);
        if left && self.access.all_held(giver.principal).any(has) {
            return Ok(());
        }
        let narrowest = right.patterns.into_iter().find(|pattern| !pattern.is_all());
        Err(Refusal::EscalationRefused {
            principal: self.access.principal_of(giver.principal),
            permission: right.permission,
            namespace: right.namespace.cloned(),
            names: narrowest.unwrap_or(right.patterns[0]).as_str().to_owned(),
        }
        .into())
    }

    fn holds(&self, giver: &Giver<'_>, held: &Held, right: &Right<'_>) -> bool {
        let Held { binding, role } = held;
        binding.is_live(self.now_ms, self.wall_ms)
            && binding.outlasts(right.not_after_ms)
            && right.is_in(&binding.namespaces)
            && (binding.names.is_empty() || right.is_covered(giver, &binding.names))
            && right.is_in_role(giver, role)
    }

    fn keeps(&self, giver: &Giver<'_>, narrowing: &Narrowing, right: &Right<'_>) -> bool {
        let Narrowing { roles, namespaces, names } = narrowing;
        let has =
            |name: &PrincipalName| self.access.role(name).is_some_and(|role| right.is_in_role(giver, role));
        right.is_in(namespaces)
            && (names.is_empty() || right.is_covered(giver, names))
            && (roles.is_empty() || roles.iter().any(has))
    }
}

impl Right<'_> {
    fn is_in(&self, namespaces: &Namespaces) -> bool {
        match self.namespace {
            Some(namespace) => namespaces.contain(namespace),
            None => namespaces.include(&Namespaces::All),
        }
    }

    fn is_covered(&self, giver: &Giver<'_>, patterns: &[Pattern]) -> bool {
        let includes = |own: &Pattern| {
            self.patterns.into_iter().any(|pattern| own.includes(giver.name, pattern, self.caller))
        };
        patterns.iter().any(includes)
    }

    fn is_in_role(&self, giver: &Giver<'_>, role: &Role) -> bool {
        let covers =
            |rule: &Rule| rule.permissions.contains(self.permission) && self.is_covered(giver, &rule.names);
        role.record.rules.iter().any(covers)
    }
}

/// The name that `{principal}` stands for in what a subject gets; `None` for several principals.
pub(super) fn caller_of(subject: &Subject) -> Option<&PrincipalName> {
    match subject {
        Subject::User(name) | Subject::Service(name) => Some(name),
        Subject::Anonymous | Subject::Group(_) => None,
    }
}

impl State {
    /// Finds the holder that a subject names.
    pub(super) fn holder_of(&self, subject: &Subject) -> Result<Holder, Refusal> {
        let principal = match subject {
            Subject::Anonymous => return Ok(Holder::Principal(PrincipalId::ANONYMOUS)),
            Subject::Group(name) if self.access.groups.contains_key(name) => {
                return Ok(Holder::Group(name.clone()));
            }
            Subject::Group(name) => return Err(Refusal::GroupNotFound { group: name.clone() }),
            Subject::User(name) => Principal::User(name.clone()),
            Subject::Service(name) => Principal::Service(name.clone()),
        };
        self.find_principal(&principal).map(Holder::Principal)
    }

    /// Finds a principal that is stored.
    pub(super) fn find_principal(&self, principal: &Principal) -> Result<PrincipalId, Refusal> {
        let found = self.access.ids.get(principal).copied();
        found.ok_or_else(|| Refusal::PrincipalNotFound { principal: principal.clone() })
    }
}
