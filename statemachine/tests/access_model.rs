//! Compares decisions with a slow and obvious model, over random policies: no index, no early end, texts instead of patterns.

use std::collections::{BTreeMap, BTreeSet};

use batuta_statemachine::access::{
    Bind, BindingId, CreateToken, DeletePrincipal, DeleteToken, ExtendBinding, Mode, Namespaces, Narrowing,
    NewToken, OnEnd, Pattern, PutGroup, PutPrincipal, PutRole, ResumePrincipal, Rule, SecretHash, SetMode,
    SuspendPrincipal, TokenSecret, Unbind,
};
use batuta_statemachine::lock::{Acquire, LockRequest, Owner};
use batuta_statemachine::{
    Actor, Applied, ChangeKind, Command, Entry, Name, Namespace, Outcome, Permission, PermissionSet,
    Position, Principal, PrincipalName, Rejection, Request, Stamp, State, TokenId, lock,
};
use proptest::prelude::*;

const WALL: u64 = 1_000_000;
/// The shortest time to live of a lock.
const TTL_MS: u64 = 500;
const PERMISSIONS: [Permission; 4] =
    [Permission::LockAcquire, Permission::LockRead, Permission::SessionOpen, Permission::ClusterRead];
const PATTERNS: [&str; 7] = ["**", "a", "a/**", "a/b/**", "ab", "{principal}/**", "home/{principal}"];
const NAMES: [&str; 9] = ["a", "a/b", "a/b/c", "ab", "ab/c", "u0/x", "u1/x", "home/u0", "home/u1"];
const NAMESPACES: [&str; 2] = ["one", "two"];

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Delete(usize),
    Suspend(usize, bool),
    Group(usize, Vec<usize>),
    Role(usize, Vec<(Vec<usize>, Vec<usize>)>),
    Bind {
        subject: usize,
        role: usize,
        place: Place,
        from: Option<u64>,
        to: Option<u64>,
    },
    Unbind(usize),
    Extend(usize, Option<u64>),
    Key {
        user: usize,
        narrowing: Option<(Vec<usize>, Place)>,
        to: Option<u64>,
    },
    DeleteKey(usize),
    /// Asks for a lock with one of the keys, for a while, and waits for it if it is held.
    Take {
        key: usize,
        namespace: usize,
        name: usize,
    },
    Pass {
        ms: u64,
        wall_ms: u64,
    },
}

#[derive(Clone, Debug)]
struct Place {
    /// Empty = all.
    namespaces: Vec<usize>,
    /// Empty = all.
    names: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Binding {
    subject: String,
    role: String,
    place: Place,
    from: Option<u64>,
    to: Option<u64>,
    deadline: Option<u64>,
}

#[derive(Clone, Debug)]
struct Key {
    user: String,
    narrowing: Option<(Vec<String>, Place)>,
    to: Option<u64>,
    deadline: Option<u64>,
}

/// Permissions, and the patterns for which they are given.
type ModelRule = (Vec<Permission>, Vec<&'static str>);

#[derive(Default)]
struct Model {
    now: u64,
    wall: u64,
    users: BTreeMap<String, bool>,
    groups: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, Vec<ModelRule>>,
    bindings: BTreeMap<BindingId, Binding>,
    keys: BTreeMap<TokenId, Key>,
}

impl Model {
    fn lives(&self, to: Option<u64>, deadline: Option<u64>) -> bool {
        to.is_none_or(|to| self.wall < to) && deadline.is_none_or(|deadline| self.now < deadline)
    }

    fn expire(&mut self) {
        let now = self.now;
        self.bindings.retain(|_, binding| binding.deadline.is_none_or(|deadline| now < deadline));
        self.keys.retain(|_, key| key.deadline.is_none_or(|deadline| now < deadline));
    }

    fn decide(
        &self,
        token: TokenId,
        user: &str,
        permission: Permission,
        namespace: usize,
        name: &str,
    ) -> &str {
        let key = match self.keys.get(&token) {
            Some(key) if key.user == user => key,
            _ => return "token_revoked",
        };
        if !self.lives(key.to, key.deadline) {
            return "token_expired";
        }
        if self.users[user] {
            return "principal_suspended";
        }
        let by_key = match &key.narrowing {
            None => true,
            Some((roles, place)) => {
                is_in(place, user, permission, namespace, name)
                    && (roles.is_empty()
                        || roles.iter().any(|role| self.role_covers(role, user, permission, name)))
            }
        };
        let by_binding = self.bindings.values().any(|binding| {
            let member = self.groups.get(&binding.subject).is_some_and(|members| members.contains(user));
            (binding.subject == user || member)
                && binding.from.is_none_or(|from| self.wall >= from)
                && self.lives(binding.to, binding.deadline)
                && is_in(&binding.place, user, permission, namespace, name)
                && self.role_covers(&binding.role, user, permission, name)
        });
        if by_key && by_binding { "ok" } else { "permission_denied" }
    }

    fn role_covers(&self, role: &str, user: &str, permission: Permission, name: &str) -> bool {
        self.roles.get(role).is_some_and(|rules| {
            rules.iter().any(|(permissions, names)| {
                permissions.contains(&permission)
                    && if permission == Permission::ClusterRead {
                        names.contains(&"**")
                    } else {
                        names.iter().any(|pattern| matches(pattern, user, name))
                    }
            })
        })
    }
}

fn is_in(place: &Place, user: &str, permission: Permission, namespace: usize, name: &str) -> bool {
    let names: Vec<&str> = place.names.iter().map(|index| PATTERNS[*index]).collect();
    if permission == Permission::ClusterRead {
        return place.namespaces.is_empty() && (names.is_empty() || names.contains(&"**"));
    }
    (place.namespaces.is_empty() || place.namespaces.contains(&namespace))
        && (names.is_empty() || names.iter().any(|pattern| matches(pattern, user, name)))
}

fn matches(pattern: &str, user: &str, name: &str) -> bool {
    let pattern = pattern.replace("{principal}", user);
    match pattern.strip_suffix("**") {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn user(index: usize) -> String {
    format!("u{index}")
}

fn word(text: &str) -> PrincipalName {
    PrincipalName::new(text).unwrap()
}

fn principal(text: &str) -> Principal {
    Principal::User(word(text))
}

fn patterns(indexes: &[usize]) -> Vec<Pattern> {
    indexes.iter().map(|index| Pattern::new(PATTERNS[*index]).unwrap()).collect()
}

fn namespaces(place: &Place) -> Namespaces {
    if place.namespaces.is_empty() {
        return Namespaces::All;
    }
    let named = |index: &usize| Namespace::new(NAMESPACES[*index]).unwrap();
    Namespaces::Listed(place.namespaces.iter().map(named).collect())
}

fn token(number: u64) -> TokenId {
    TokenId::new(&format!("{number:012}")).unwrap()
}

/// The state and the model, which get the same steps.
#[derive(Default)]
struct Both {
    state: State,
    model: Model,
    keys: u64,
    all_keys: Vec<(TokenId, String)>,
    all_bindings: Vec<BindingId>,
    /// Every entry, and what it did.
    log: Vec<(Entry, Applied)>,
}

impl Both {
    fn new() -> Self {
        let mut both = Self::default();
        both.model.wall = WALL;
        both.apply(None);
        both.put("root");
        both.key("root", None, None);
        let admin = Bind {
            subject: "user/root".parse().unwrap(),
            role: word("admin"),
            namespaces: Namespaces::All,
            names: Vec::new(),
            not_before_ms: None,
            not_after_ms: None,
            on_end: OnEnd::Keep,
            reason: String::new(),
        };
        both.ask(admin).unwrap();
        both.ask(SetMode { mode: Mode::Enforce }).unwrap();
        both
    }

    fn apply(&mut self, request: Option<Request>) -> Option<Outcome> {
        let stamp = Stamp { now_ms: self.model.now, wall_ms: self.model.wall };
        let entry = Entry { stamp, requests: request.into_iter().collect() };
        let applied = self.state.apply(self.state.revision() + 1, &entry);
        self.state.validate().unwrap();
        self.check_granted(&applied);
        let outcome = applied.outcomes.first().cloned();
        self.log.push((entry, applied));
        outcome
    }

    fn ask(&mut self, command: impl Into<Command>) -> Result<(), Rejection> {
        self.apply(Some(Request::new(None, command))).unwrap().map(|_| ())
    }

    /// Whoever is granted a lock, after a wait too, has a key with the right to it.
    fn check_granted(&self, applied: &Applied) {
        for change in &applied.changes {
            let ChangeKind::Lock(lock::Change::LockGranted(grant)) = &change.kind else { continue };
            let principal = &self.state.principal(grant.owner.principal).unwrap().principal;
            let user = principal.name().unwrap().as_str();
            let namespace = NAMESPACES.iter().position(|text| *text == grant.namespace.as_str()).unwrap();
            let name = grant.requests[0].name.as_str();
            let may = |(id, _): &(TokenId, String)| {
                self.model.decide(*id, user, Permission::LockAcquire, namespace, name) == "ok"
            };
            assert!(self.all_keys.iter().any(may), "{grant:?}");
        }
    }

    /// A caller asks for a lock: it is refused for the reason that the model has, or not for a reason of access.
    fn take(&mut self, key: usize, namespace: usize, text: &str) {
        let Some((id, user)) = pick(&self.all_keys[1..], key) else { return };
        let Some(principal) = self.state.principal_id(&principal(&user)) else { return };
        let expected = self.model.decide(id, &user, Permission::LockAcquire, namespace, text).to_owned();
        let acquire = Acquire {
            namespace: Namespace::new(NAMESPACES[namespace]).unwrap(),
            requests: vec![LockRequest { name: Name::new(text).unwrap(), mode: lock::Mode::Exclusive }],
            owner: Owner { session: None, label: String::new() },
            ttl_ms: Some(TTL_MS),
            wait_ms: 2 * TTL_MS,
            lock_delay_ms: 0,
            reentrant: false,
            metadata: String::new(),
            call: None,
        };
        let actor = Actor::Caller { principal, credential: Some(id) };
        match self.apply(Some(Request::new(None, acquire).by(actor))).unwrap() {
            Err(Rejection::Access(refusal)) => {
                assert_eq!(Rejection::from(refusal).code().as_str(), expected, "{actor:?} {text}");
            }
            _ => assert_eq!(expected, "ok", "{actor:?} {text}"),
        }
    }

    /// The same log makes the same state and the same answers: from nothing, and from the image of any quarter of it, as after a restart.
    fn check_replay(&self) {
        let mut replicas = vec![State::default()];
        let quarter = self.log.len().div_ceil(4);
        for (number, (entry, applied)) in (1..).zip(&self.log) {
            for replica in &mut replicas {
                assert_eq!(replica.apply(number, entry), *applied);
                replica.validate().unwrap();
            }
            let hash = replicas[0].hash();
            assert!(replicas.iter().all(|replica| replica.hash() == hash), "at revision {number}");
            if number.is_multiple_of(quarter as u64) {
                replicas.push(restored(&replicas[0]));
            }
        }
        assert_eq!(replicas[0].hash(), self.state.hash());
    }

    fn put(&mut self, text: &str) {
        self.ask(PutPrincipal { principal: principal(text), description: String::new() }).unwrap();
        self.model.users.entry(text.to_owned()).or_insert(false);
    }

    fn deadline(&self, to: Option<u64>) -> Option<u64> {
        to.map(|to| self.model.now + (to - self.model.wall))
    }

    fn key(&mut self, text: &str, narrowing: Option<(Vec<usize>, Place)>, to: Option<u64>) {
        self.keys += 1;
        let id = token(self.keys);
        let secret = TokenSecret { id, hash: SecretHash::new([0; 32]) };
        let narrows = narrowing.as_ref().map(|(roles, place)| Narrowing {
            roles: roles.iter().map(|role| word(&format!("r{role}"))).collect(),
            namespaces: namespaces(place),
            names: patterns(&place.names),
        });
        let new = NewToken { secret, label: String::new(), not_after_ms: to };
        if self.ask(CreateToken { principal: principal(text), token: new, narrowing: narrows }).is_ok() {
            let narrowing = narrowing
                .map(|(roles, place)| (roles.iter().map(|role| format!("r{role}")).collect(), place));
            let deadline = self.deadline(to);
            self.model.keys.insert(id, Key { user: text.to_owned(), narrowing, to, deadline });
            self.all_keys.push((id, text.to_owned()));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(index) => self.put(&user(index)),
            Step::Delete(index) => {
                let text = user(index);
                if self.ask(DeletePrincipal { principal: principal(&text), end: true }).is_ok() {
                    self.model.users.remove(&text);
                    self.model.groups.values_mut().for_each(|members| {
                        members.remove(&text);
                    });
                    self.model.bindings.retain(|_, binding| binding.subject != text);
                    self.model.keys.retain(|_, key| key.user != text);
                }
            }
            Step::Suspend(index, suspended) => {
                let principal = principal(&user(index));
                let done = if suspended {
                    self.ask(SuspendPrincipal { principal, end: true })
                } else {
                    self.ask(ResumePrincipal { principal })
                };
                assert_eq!(done.is_ok(), self.model.users.contains_key(&user(index)));
                self.model.users.entry(user(index)).and_modify(|now| *now = suspended);
            }
            Step::Group(index, members) => {
                let name = format!("g{index}");
                let members: BTreeSet<String> = members.into_iter().map(user).collect();
                let put = PutGroup {
                    name: word(&name),
                    members: members.iter().map(|member| principal(member)).collect(),
                };
                if self.ask(put).is_ok() {
                    self.model.groups.insert(name, members);
                }
            }
            Step::Role(index, rules) => self.role(index, &rules),
            Step::Take { key, namespace, name } => self.take(key, namespace, NAMES[name]),
            Step::Pass { ms, wall_ms } => {
                self.model.now += ms;
                self.model.wall = WALL + wall_ms;
                self.model.expire();
                self.apply(None);
            }
            step => self.step_of_rights(step),
        }
    }

    fn role(&mut self, index: usize, rules: &[(Vec<usize>, Vec<usize>)]) {
        let name = format!("r{index}");
        let permitted =
            |indexes: &[usize]| indexes.iter().map(|index| PERMISSIONS[*index]).collect::<Vec<_>>();
        let stored = rules.iter().map(|(permissions, names)| Rule {
            permissions: permitted(permissions).into_iter().collect::<PermissionSet>(),
            names: patterns(names),
        });
        self.ask(PutRole { name: word(&name), rules: stored.collect() }).unwrap();
        let kept = rules.iter().map(|(permissions, names)| {
            (permitted(permissions), names.iter().map(|index| PATTERNS[*index]).collect())
        });
        self.model.roles.insert(name, kept.collect());
    }

    fn step_of_rights(&mut self, step: Step) {
        match step {
            Step::Bind { subject, role, place, from, to } => self.bind(subject, role, place, from, to),
            Step::Unbind(index) => {
                let Some(id) = pick(&self.all_bindings, index) else { return };
                let known = self.model.bindings.remove(&id).is_some();
                assert_eq!(self.ask(Unbind { binding: id }).is_ok(), known);
            }
            Step::Extend(index, to) => {
                let Some(id) = pick(&self.all_bindings, index) else { return };
                let to = to.map(|to| self.model.wall + to);
                let extend = ExtendBinding { binding: id, not_after_ms: to, reason: String::new() };
                if self.ask(extend).is_ok() {
                    let deadline = self.deadline(to);
                    let binding = self.model.bindings.get_mut(&id).unwrap();
                    (binding.to, binding.deadline) = (to, deadline);
                }
            }
            Step::Key { user: index, narrowing, to } => {
                let to = to.map(|to| self.model.wall + to);
                self.key(&user(index), narrowing, to);
            }
            Step::DeleteKey(index) => {
                let Some((id, _)) = pick(&self.all_keys[1..], index) else { return };
                let known = self.model.keys.remove(&id).is_some();
                assert_eq!(self.ask(DeleteToken { token: id }).is_ok(), known);
            }
            other => panic!("{other:?} is no step of rights"),
        }
    }

    fn bind(&mut self, subject: usize, role: usize, place: Place, from: Option<u64>, to: Option<u64>) {
        let (kind, subject) =
            if subject < 3 { ("user", user(subject)) } else { ("group", format!("g{}", subject - 3)) };
        let (from, to) = (from.map(|from| self.model.wall + from), to.map(|to| self.model.wall + to));
        let role = format!("r{role}");
        let bind = Bind {
            subject: format!("{kind}/{subject}").parse().unwrap(),
            role: word(&role),
            namespaces: namespaces(&place),
            names: patterns(&place.names),
            not_before_ms: from,
            not_after_ms: to,
            on_end: OnEnd::Keep,
            reason: String::new(),
        };
        if self.ask(bind).is_ok() {
            let id = BindingId(Position { index: self.state.revision(), ordinal: 0 });
            let deadline = self.deadline(to);
            self.model.bindings.insert(id, Binding { subject, role, place, from, to, deadline });
            self.all_bindings.push(id);
        }
    }

    fn check(&self) {
        let restored = restored(&self.state);
        assert_eq!(restored.hash(), self.state.hash());
        for (id, text) in self.all_keys.iter().skip(1) {
            let Some(principal) = self.state.principal_id(&principal(text)) else { continue };
            let actor = Actor::Caller { principal, credential: Some(*id) };
            for (number, place) in NAMESPACES.iter().enumerate() {
                let namespace = Namespace::new(place).unwrap();
                for permission in PERMISSIONS {
                    for name in NAMES {
                        let expected = self.model.decide(*id, text, permission, number, name);
                        self.check_one(&restored, &actor, permission, (&namespace, name), expected);
                    }
                }
            }
        }
    }

    fn check_one(
        &self,
        restored: &State,
        actor: &Actor,
        permission: Permission,
        (namespace, text): (&Namespace, &str),
        expected: &str,
    ) {
        let name = Name::new(text).unwrap();
        let decided = self.state.authorise(actor, permission, namespace, Some(&name));
        assert_eq!(restored.authorise(actor, permission, namespace, Some(&name)), decided);
        let code = decided.map_err(Rejection::from).err().map_or("ok", |refusal| refusal.code().as_str());
        assert_eq!(code, expected, "{actor:?} {permission} {namespace} {text}");
        let admitted = self.state.scope(actor, permission, namespace).admits(&name);
        assert_eq!(admitted, expected == "ok", "scope: {actor:?} {permission} {namespace} {text}");
    }
}

/// The state as a node has it after it started from an image.
fn restored(state: &State) -> State {
    let records = state.image_records().collect::<Vec<_>>();
    State::from_image(state.image_header(), records, State::validate).unwrap()
}

fn pick<T: Clone>(all: &[T], index: usize) -> Option<T> {
    if all.is_empty() { None } else { all.get(index % all.len()).cloned() }
}

fn place() -> impl Strategy<Value = Place> {
    let namespaces = prop_oneof![2 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![0, 1])];
    let names = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0..PATTERNS.len(), 1..3)];
    (namespaces, names).prop_map(|(namespaces, names)| Place { namespaces, names })
}

fn step() -> impl Strategy<Value = Step> {
    let users = || 0..3_usize;
    let rule =
        (prop::collection::vec(0..PERMISSIONS.len(), 1..4), prop::collection::vec(0..PATTERNS.len(), 1..3));
    let time = || prop::option::of(1..50_u64);
    let narrowing = prop::option::of((prop::collection::vec(0..3_usize, 0..2), place()));
    prop_oneof![
        3 => users().prop_map(Step::Put),
        1 => users().prop_map(Step::Delete),
        1 => (users(), any::<bool>()).prop_map(|(user, suspended)| Step::Suspend(user, suspended)),
        2 => (0..2_usize, prop::collection::vec(users(), 0..3)).prop_map(|(group, members)| Step::Group(group, members)),
        3 => (0..3_usize, prop::collection::vec(rule, 0..3)).prop_map(|(role, rules)| Step::Role(role, rules)),
        6 => (0..5_usize, 0..3_usize, place(), prop::option::weighted(0.2, 0..20_u64), time())
            .prop_map(|(subject, role, place, from, to)| Step::Bind { subject, role, place, from, to }),
        1 => any::<usize>().prop_map(Step::Unbind),
        1 => (any::<usize>(), time()).prop_map(|(binding, to)| Step::Extend(binding, to)),
        4 => (users(), narrowing, time()).prop_map(|(user, narrowing, to)| Step::Key { user, narrowing, to }),
        1 => any::<usize>().prop_map(Step::DeleteKey),
        5 => (any::<usize>(), 0..NAMESPACES.len(), 0..NAMES.len())
            .prop_map(|(key, namespace, name)| Step::Take { key, namespace, name }),
        2 => (0..20_u64, 0..60_u64).prop_map(|(ms, wall_ms)| Step::Pass { ms, wall_ms }),
        1 => (TTL_MS..2 * TTL_MS, 0..60_u64).prop_map(|(ms, wall_ms)| Step::Pass { ms, wall_ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn decisions_are_those_of_the_model(steps in prop::collection::vec(step(), 1..50)) {
        let mut both = Both::new();
        for step in steps {
            both.step(step);
        }
        both.check();
        both.check_replay();
    }
}
