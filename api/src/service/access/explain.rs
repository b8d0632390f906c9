//! Explains a decision in one sentence: which binding allows something, or what is missing and what would give it.

use std::fmt::Write as _;

use batuta_statemachine::access::{
    Allowed, BindingRecord, BuiltIn, Namespaces, Pattern, Refusal, RoleRecord,
};
use batuta_statemachine::{Actor, Name, Namespace, Permission, Principal, PrincipalName, State};

use super::CheckAnswer;
use crate::service::{Clock, rfc3339};

/// The built-in roles, the one that gives least first.
const BY_MIGHT: [BuiltIn; 4] = [BuiltIn::Viewer, BuiltIn::Editor, BuiltIn::Operator, BuiltIn::Admin];

/// What is asked.
pub(super) struct Question<'a> {
    /// Who would do it.
    pub(super) actor: Actor,
    /// What it would do.
    pub(super) permission: Permission,
    pub(super) namespace: &'a Namespace,
    /// With which name; `None` asks without one.
    pub(super) name: Option<&'a Name>,
}

/// Decides as if access were enforced, and explains the decision.
pub(super) fn explain(state: &State, clock: Clock, question: &Question<'_>) -> CheckAnswer {
    let asked = Asked { state, clock, question, principal: principal_of(state, &question.actor) };
    let Question { actor, permission, namespace, name } = *question;
    match state.would_authorise(&actor, permission, namespace, name) {
        Ok(Allowed::Node) => CheckAnswer {
            allowed: true,
            binding: None,
            role: None,
            summary: "nodes of the cluster may do everything".to_owned(),
        },
        Ok(Allowed::Binding { binding, role }) => CheckAnswer {
            allowed: true,
            binding: Some(binding),
            role: Some(role.clone()),
            summary: asked.allowed(state.binding(binding).map(AsRef::as_ref), role),
        },
        Err(refusal) => {
            CheckAnswer { allowed: false, binding: None, role: None, summary: asked.refused(&refusal) }
        }
    }
}

fn principal_of(state: &State, actor: &Actor) -> Principal {
    let record = state.principal(actor.principal());
    record.map_or(Principal::Anonymous, |record| record.principal.clone())
}

/// A question, and where its answer is looked for.
struct Asked<'a> {
    state: &'a State,
    clock: Clock,
    question: &'a Question<'a>,
    principal: Principal,
}

/// Why a binding whose role has the permission does not allow what is asked. The later variants are nearer to allowing it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    Namespace,
    Name,
    Time,
}

impl Asked<'_> {
    fn allowed(&self, binding: Option<&BindingRecord>, role: &PrincipalName) -> String {
        let mut text = format!("{} may use {}", self.principal, self.what());
        if let Some(binding) = binding {
            let subject = self.state.subject_of(&binding.holder);
            // Writing to a String cannot fail.
            let _ = write!(text, ": binding {} gives {subject} the role {role}", binding.id);
            if let Some(not_after_ms) = binding.not_after_ms {
                let _ = write!(text, " until {}", rfc3339(not_after_ms));
            }
        }
        text
    }

    fn refused(&self, refusal: &Refusal) -> String {
        let why = match refusal {
            Refusal::PermissionDenied { .. } if self.has_it_without_its_key() => format!(
                "{} has {}, but the key of the call is narrowed and leaves it out: use another key, or log in",
                self.principal,
                self.what()
            ),
            Refusal::PermissionDenied { .. } => format!("{}; {}", self.nearest(), self.remedy()),
            Refusal::PrincipalSuspended { principal } => format!(
                "{principal} is suspended and may do nothing; `{}` ends that",
                resume_command(principal)
            ),
            other => other.to_string(),
        };
        if self.state.enforces(self.question.permission) {
            return why;
        }
        format!("{why}; it is not refused now, because the mode is {}", self.state.access_mode().as_str())
    }

    /// The permission, for what and where.
    fn what(&self) -> String {
        let Question { permission, namespace, name, .. } = self.question;
        match name {
            _ if is_of_cluster(*permission) => permission.to_string(),
            Some(name) => format!("{permission} for {name} in namespace {namespace}"),
            None => format!("{permission} in namespace {namespace}"),
        }
    }

    /// Whether only the narrowing of its key keeps the caller from it.
    fn has_it_without_its_key(&self) -> bool {
        let Question { actor, permission, namespace, name } = self.question;
        let Actor::Caller { principal, credential: Some(_) } = *actor else { return false };
        let whole = Actor::Caller { principal, credential: None };
        self.state.would_authorise(&whole, *permission, namespace, *name).is_ok()
    }

    /// The binding that comes nearest to allowing it, and what keeps it from that.
    fn nearest(&self) -> String {
        let permission = self.question.permission;
        let bindings = self.state.bindings_of(self.question.actor.principal());
        let near = bindings.filter_map(|binding| {
            let role = self.state.role(&binding.role)?;
            let gives = role.rules.iter().any(|rule| rule.permissions.contains(permission));
            gives.then(|| (self.obstacle(binding, role), binding))
        });
        let Some((obstacle, binding)) = near.max_by_key(|(obstacle, _)| *obstacle) else {
            return format!("no binding of {} or its groups gives {permission}", self.principal);
        };
        let role = &binding.role;
        let but = match obstacle {
            Obstacle::Namespace if is_of_cluster(permission) => {
                "the permission concerns the cluster as a whole and takes a binding in all namespaces"
                    .to_owned()
            }
            Obstacle::Namespace => format!("not in namespace {}", self.question.namespace),
            Obstacle::Name if is_of_cluster(permission) => {
                "the permission concerns the cluster as a whole and takes a binding for all names".to_owned()
            }
            Obstacle::Name => {
                self.question.name.map_or_else(|| "for no name".to_owned(), |name| format!("not for {name}"))
            }
            Obstacle::Time => self.time_of(binding),
        };
        format!(
            "binding {} gives {} {permission} with the role {role}, but {but}",
            binding.id, self.principal
        )
    }

    fn obstacle(&self, binding: &BindingRecord, role: &RoleRecord) -> Obstacle {
        let Question { permission, namespace, name, .. } = *self.question;
        let there = match &binding.namespaces {
            Namespaces::All => true,
            listed @ Namespaces::Listed(_) => !is_of_cluster(permission) && listed.contain(namespace),
        };
        let covers = |patterns: &[Pattern]| match name {
            _ if is_of_cluster(permission) => patterns.iter().any(Pattern::is_all),
            Some(name) => patterns.iter().any(|pattern| pattern.covers(name, self.principal.name())),
            None => true,
        };
        let in_role =
            role.rules.iter().any(|rule| rule.permissions.contains(permission) && covers(&rule.names));
        if !there {
            Obstacle::Namespace
        } else if !in_role || !(binding.names.is_empty() || covers(&binding.names)) {
            Obstacle::Name
        } else {
            Obstacle::Time
        }
    }

    fn time_of(&self, binding: &BindingRecord) -> String {
        match binding.not_before_ms.filter(|not_before_ms| self.clock.wall_ms < *not_before_ms) {
            Some(not_before_ms) => format!("not before {}", rfc3339(not_before_ms)),
            None => "its time is over".to_owned(),
        }
    }

    /// What would give it.
    fn remedy(&self) -> String {
        let Question { permission, namespace, name, .. } = *self.question;
        let role = BY_MIGHT.into_iter().find(|role| role.permissions().contains(permission));
        let Some(role) = role.filter(|_| self.principal != Principal::Anonymous) else {
            return "send a token, or log in with `batuta login`".to_owned();
        };
        let mut command = format!("batuta access grant {} {}", self.principal, role.as_str());
        if !is_of_cluster(permission) {
            // Writing to a String cannot fail.
            let _ = write!(command, " --namespace {namespace}");
            if let Some(name) = name {
                let _ = write!(command, " --name {name}");
            }
        }
        format!("`{command} --reason …` would give it")
    }
}

/// Whether calls under a permission concern the cluster as a whole and have no names.
fn is_of_cluster(permission: Permission) -> bool {
    matches!(permission.area(), "cluster" | "access")
}

fn resume_command(principal: &Principal) -> String {
    match principal {
        Principal::Service(name) => format!("batuta access service resume {name}"),
        Principal::User(_) | Principal::Anonymous => {
            format!("batuta access user resume {}", principal.name().map_or("NAME", PrincipalName::as_str))
        }
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::access::{
        Bind, CreateToken, Mode, Narrowing, NewToken, OnEnd, PutPrincipal, SecretHash, SetMode,
        SuspendPrincipal, TokenSecret,
    };
    use batuta_statemachine::{Command, Entry, PrincipalId, Request, Stamp, TokenId};

    use super::*;

    const WALL_MS: u64 = 1_700_000_000_000;

    fn word(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    struct Policy(State);

    impl Policy {
        /// A cluster that enforces access, with the users `root`, an administrator, and `ann`.
        fn new() -> Self {
            let mut policy = Self(State::default());
            policy.user("root");
            policy.key("root", None);
            policy.ask(bind("user/root", "admin"));
            policy.ask(SetMode { mode: Mode::Enforce });
            policy.user("ann");
            policy
        }

        fn ask(&mut self, command: impl Into<Command>) {
            let stamp = Stamp { now_ms: 1, wall_ms: WALL_MS };
            let entry = Entry { stamp, requests: vec![Request::new(None, command)] };
            let applied = self.0.apply(self.0.revision() + 1, &entry);
            assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
        }

        fn user(&mut self, name: &str) {
            self.ask(PutPrincipal { principal: Principal::User(word(name)), description: String::new() });
        }

        fn key(&mut self, name: &str, narrowing: Option<Narrowing>) -> Actor {
            let id = TokenId::new(&format!("{:012}", self.0.revision())).unwrap();
            let secret = TokenSecret { id, hash: SecretHash::new([7; SecretHash::LENGTH]) };
            let token = NewToken { secret, label: String::new(), not_after_ms: None };
            let principal = Principal::User(word(name));
            self.ask(CreateToken { principal, token, narrowing });
            Actor::Caller { principal: self.id(name), credential: Some(id) }
        }

        fn id(&self, name: &str) -> PrincipalId {
            self.0.principal_id(&Principal::User(word(name))).unwrap()
        }

        fn of(&self, name: &str) -> Actor {
            Actor::Caller { principal: self.id(name), credential: None }
        }

        fn explain(&self, actor: Actor, permission: &str, name: Option<&str>) -> CheckAnswer {
            let name = name.map(|name| Name::new(name).unwrap());
            let question = Question {
                actor,
                permission: permission.parse().unwrap(),
                namespace: &Namespace::default(),
                name: name.as_ref(),
            };
            explain(&self.0, Clock { now_ms: 1, wall_ms: WALL_MS }, &question)
        }

        fn summary(&self, actor: Actor, permission: &str, name: Option<&str>) -> String {
            let answer = self.explain(actor, permission, name);
            assert!(!answer.allowed && answer.binding.is_none(), "{answer:?}");
            answer.summary
        }
    }

    fn bind(subject: &str, role: &str) -> Bind {
        Bind {
            subject: subject.parse().unwrap(),
            role: word(role),
            namespaces: Namespaces::All,
            names: Vec::new(),
            not_before_ms: None,
            not_after_ms: None,
            on_end: OnEnd::Keep,
            reason: String::new(),
        }
    }

    fn pattern(text: &str) -> Vec<Pattern> {
        vec![Pattern::new(text).unwrap()]
    }

    #[test]
    fn allowed_names_the_binding_and_the_role() {
        let mut policy = Policy::new();
        policy.ask(Bind { not_after_ms: Some(WALL_MS + 60_000), ..bind("user/ann", "editor") });
        let answer = policy.explain(policy.of("ann"), "lock:acquire", Some("orders/42"));
        let binding = policy.0.bindings_of(policy.id("ann")).next().unwrap().id;
        assert!(answer.allowed);
        assert_eq!((answer.binding, answer.role), (Some(binding), Some(word("editor"))));
        let expected = format!(
            "user/ann may use lock:acquire for orders/42 in namespace default: binding {binding} gives user/ann the role editor until \
             2023-11-14T22:14:20.000Z"
        );
        assert_eq!(answer.summary, expected);
    }

    #[test]
    fn refused_names_what_would_give_it() {
        let policy = Policy::new();
        let ann = policy.of("ann");
        assert_eq!(
            policy.summary(ann, "lock:acquire", Some("orders/42")),
            "no binding of user/ann or its groups gives lock:acquire; `batuta access grant user/ann editor --namespace default --name \
             orders/42 --reason …` would give it"
        );
        for (permission, command) in [
            ("session:list", "grant user/ann viewer --namespace default --reason"),
            ("lock:force_release", "grant user/ann operator --namespace default --reason"),
            ("cluster:members", "grant user/ann operator --reason"),
            ("access:write", "grant user/ann admin --reason"),
        ] {
            let summary = policy.summary(ann, permission, None);
            assert!(summary.contains(command), "{summary}");
        }
        let nobody = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
        let summary = policy.summary(nobody, "lock:read", Some("a"));
        assert!(
            summary.starts_with("no binding of anonymous") && summary.contains("batuta login"),
            "{summary}"
        );
    }

    #[test]
    fn nearest_binding_tells_what_it_lacks() {
        let elsewhere = Namespaces::Listed(vec![Namespace::new("other").unwrap()]);
        for (given, permission, but) in [
            (
                Bind { namespaces: elsewhere.clone(), ..bind("user/ann", "editor") },
                "lock:acquire",
                "but not in namespace default",
            ),
            (
                Bind { names: pattern("carts/**"), ..bind("user/ann", "editor") },
                "lock:acquire",
                "but not for orders/42",
            ),
            (
                Bind { not_before_ms: Some(WALL_MS + 1), ..bind("user/ann", "editor") },
                "lock:acquire",
                "but not before 2023-11-14T22:13:20.001Z",
            ),
            (
                Bind { namespaces: elsewhere, ..bind("user/ann", "operator") },
                "cluster:members",
                "takes a binding in all namespaces",
            ),
            (
                Bind { names: pattern("carts/**"), ..bind("user/ann", "operator") },
                "cluster:members",
                "takes a binding for all names",
            ),
        ] {
            let mut policy = Policy::new();
            policy.ask(given);
            let summary = policy.summary(policy.of("ann"), permission, Some("orders/42"));
            assert!(summary.contains(but), "{summary}");
        }
    }

    #[test]
    fn narrowed_key_and_suspension_are_told_apart() {
        let mut policy = Policy::new();
        policy.ask(bind("user/ann", "editor"));
        let narrowing = Narrowing { names: pattern("carts/**"), ..Narrowing::default() };
        let key = policy.key("ann", Some(narrowing));
        let summary = policy.summary(key, "lock:acquire", Some("orders/42"));
        assert!(summary.contains("the key of the call is narrowed"), "{summary}");
        assert!(policy.explain(key, "lock:acquire", Some("carts/1")).allowed);
        policy.ask(SuspendPrincipal { principal: Principal::User(word("ann")), end: true });
        let summary = policy.summary(key, "lock:acquire", Some("carts/1"));
        assert!(summary.contains("`batuta access user resume ann`"), "{summary}");
    }

    #[test]
    fn mode_that_refuses_nothing_is_named() {
        let mut policy = Policy::new();
        policy.ask(SetMode { mode: Mode::Observe });
        let summary = policy.summary(policy.of("ann"), "lock:acquire", None);
        assert!(summary.ends_with("it is not refused now, because the mode is observe"), "{summary}");
        let summary = policy.summary(policy.of("ann"), "access:write", None);
        assert!(!summary.contains("observe"), "calls of access are always enforced: {summary}");
    }
}
