//! Commands of access by callers: who may change what.

use crate::access::job::run;
use crate::access::{
    Bind, BindingId, Bootstrap, Bound, Command, CreateToken, DeleteGroup, DeletePrincipal, DeleteToken,
    ExtendBinding, Mode, Namespaces, Narrowing, NewToken, OnEnd, OpenBootstrap, OpenLogin, PasswordHash,
    Pattern, PutGroup, PutPrincipal, PutRole, Reply, ResumePrincipal, RotateToken, Rule, SecretHash, SetMode,
    SetPassword, Subject, SuspendPrincipal, TokenSecret, Unbind,
};
use crate::step::Step;
use crate::{
    Actor, Entry, Namespace, Outcome, Permission, PermissionSet, Position, Principal, PrincipalId,
    PrincipalName, Stamp, State, TokenId,
};

const WALL: u64 = 1_700_000_000_000;

fn name(text: &str) -> PrincipalName {
    PrincipalName::new(text).unwrap()
}

fn user(text: &str) -> Principal {
    Principal::User(name(text))
}

fn secret(number: u64) -> TokenSecret {
    TokenSecret { id: TokenId::new(&format!("{number:012}")).unwrap(), hash: SecretHash::new([7; 32]) }
}

fn key(number: u64) -> NewToken {
    NewToken { secret: secret(number), label: String::new(), not_after_ms: None }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn bind(subject: &str, role: &str) -> Bind {
    Bind {
        subject: subject.parse().unwrap(),
        role: name(role),
        namespaces: Namespaces::All,
        names: Vec::new(),
        not_before_ms: None,
        not_after_ms: None,
        on_end: OnEnd::Keep,
        reason: String::new(),
    }
}

fn rule(permissions: &[&str], names: &[&str]) -> Rule {
    let sets = permissions.iter().map(|text| PermissionSet::parse(text).unwrap());
    Rule { permissions: sets.fold(PermissionSet::default(), PermissionSet::union), names: patterns(names) }
}

fn role(text: &str, rules: Vec<Rule>) -> Command {
    Command::PutRole(PutRole { name: name(text), rules })
}

fn create(principal: Principal, token: NewToken, narrowing: Option<Narrowing>) -> Command {
    Command::CreateToken(CreateToken { principal, token, narrowing })
}

#[derive(Default)]
struct Policy {
    state: State,
    now_ms: u64,
    wall_ms: u64,
    tokens: u64,
}

impl Policy {
    /// A cluster with the administrator `root`.
    fn new() -> (Self, Actor) {
        let mut policy = Self { wall_ms: WALL, ..Self::default() };
        policy.pass(0);
        let root = policy.bootstrap("root");
        (policy, root)
    }

    fn bootstrap(&mut self, admin: &str) -> Actor {
        let (token, recovery) = (secret(900_000 + self.tokens), self.state.access_guarded());
        let not_after_wall_ms = self.wall_ms + 1_000;
        let id = token.id;
        let open = OpenBootstrap { token, ttl_ms: 1_000, not_after_wall_ms, recovery, enforce: false };
        self.ask(Actor::Node, Command::OpenBootstrap(open)).unwrap();
        self.tokens += 1;
        let key = key(self.tokens);
        let credential = Some(key.secret.id);
        let bootstrap = Bootstrap { bootstrap: id, admin: name(admin), key };
        self.ask(Actor::Node, Command::Bootstrap(bootstrap)).unwrap();
        Actor::Caller { principal: self.id(&user(admin)), credential }
    }

    fn pass(&mut self, ms: u64) {
        (self.now_ms, self.wall_ms) = (self.now_ms + ms, self.wall_ms + ms);
        self.at(self.now_ms, self.wall_ms);
    }

    fn at(&mut self, now_ms: u64, wall_ms: u64) {
        let entry = Entry { stamp: Stamp { now_ms, wall_ms }, requests: Vec::new() };
        self.state.apply(self.state.revision() + 1, &entry);
        self.state.validate().unwrap();
    }

    #[expect(clippy::needless_pass_by_value, reason = "commands are made for the call")]
    fn ask(&mut self, actor: Actor, command: Command) -> Outcome {
        let revision = self.state.revision() + 1;
        self.state.advance(revision);
        let before = self.state.hash();
        let mut step = Step::new(&mut self.state);
        let outcome = run(&mut step, Position { index: revision, ordinal: 0 }, &actor, &command);
        let changes = step.into_changes();
        self.state.validate().unwrap();
        if outcome.is_err() {
            assert!(changes.is_empty() && self.state.hash() == before, "a refusal changes nothing");
        }
        outcome
    }

    fn refused(&mut self, actor: Actor, command: Command) -> String {
        self.ask(actor, command).unwrap_err().code().to_string()
    }

    fn bound(&mut self, actor: Actor, bind: Bind) -> BindingId {
        match self.ask(actor, Command::Bind(bind)) {
            Ok(crate::Reply::Access(Reply::Bound(Bound { binding }))) => binding,
            other => panic!("{other:?}"),
        }
    }

    fn id(&self, principal: &Principal) -> PrincipalId {
        self.state.principal_id(principal).unwrap()
    }

    /// Makes a user with a key.
    fn user(&mut self, text: &str) -> Actor {
        let put = PutPrincipal { principal: user(text), description: String::new() };
        self.ask(Actor::Node, Command::PutPrincipal(put)).unwrap();
        self.key_of(text, None)
    }

    fn key_of(&mut self, text: &str, narrowing: Option<Narrowing>) -> Actor {
        self.tokens += 1;
        let key = key(self.tokens);
        let credential = Some(key.secret.id);
        self.ask(Actor::Node, create(user(text), key, narrowing)).unwrap();
        Actor::Caller { principal: self.id(&user(text)), credential }
    }

    fn may(&self, actor: Actor, permission: Permission) -> bool {
        self.state.would_authorise(&actor, permission, &Namespace::default(), None).is_ok()
    }
}

#[test]
fn bootstrap_token_makes_one_administrator() {
    let mut policy = Policy { wall_ms: WALL, ..Policy::default() };
    policy.pass(0);
    let token = secret(1);
    let open = |recovery| {
        let token = token.clone();
        Command::OpenBootstrap(OpenBootstrap {
            token,
            ttl_ms: 1_000,
            not_after_wall_ms: WALL + 1_000,
            recovery,
            enforce: false,
        })
    };
    policy.ask(Actor::Node, open(false)).unwrap();
    let bootstrap = |admin: &str, number| {
        Command::Bootstrap(Bootstrap { bootstrap: token.id, admin: name(admin), key: key(number) })
    };
    let anonymous = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
    policy.ask(anonymous, bootstrap("ann", 2)).unwrap();
    assert_eq!(policy.refused(anonymous, bootstrap("eve", 3)), "already_bootstrapped");
    assert_eq!(policy.refused(anonymous, open(true)), "permission_denied", "only nodes open one");
    assert_eq!(policy.refused(Actor::Node, open(false)), "already_bootstrapped");
    let ann = Actor::Caller { principal: policy.id(&user("ann")), credential: Some(key(2).secret.id) };
    assert!(policy.may(ann, Permission::AccessEscalate));
    assert!(policy.state.access_guarded());
    policy.ask(Actor::Node, open(true)).unwrap();
    policy.pass(1_000);
    assert_eq!(policy.refused(anonymous, bootstrap("eve", 3)), "already_bootstrapped", "it is over");
}

#[test]
fn secured_cluster_lets_in_nobody_but_its_first_administrator() {
    let mut policy = Policy { wall_ms: WALL, ..Policy::default() };
    policy.pass(0);
    let open = |number, recovery, enforce| {
        let (token, not_after_wall_ms) = (secret(number), WALL + 1_000);
        Command::OpenBootstrap(OpenBootstrap { token, ttl_ms: 1_000, not_after_wall_ms, recovery, enforce })
    };
    policy.ask(Actor::Node, open(1, false, true)).unwrap();
    assert_eq!(policy.state.access_mode(), Mode::Enforce);
    assert!(!policy.state.access_guarded(), "there is no administrator yet");
    let anonymous = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
    let all = Permission::ALL.into_iter();
    let allowed: Vec<Permission> = all.filter(|permission| policy.may(anonymous, *permission)).collect();
    assert!(allowed.is_empty(), "{allowed:?}");
    let put = PutPrincipal { principal: user("eve"), description: String::new() };
    assert_eq!(policy.refused(anonymous, Command::PutPrincipal(put)), "permission_denied");
    assert_eq!(policy.refused(anonymous, Command::SetMode(SetMode { mode: Mode::Off })), "permission_denied");
    policy.ask(Actor::Node, open(2, false, true)).unwrap();
    let bootstrap = |number, admin| {
        let bootstrap = secret(number).id;
        Command::Bootstrap(Bootstrap { bootstrap, admin: name(admin), key: key(10 + number) })
    };
    assert_eq!(policy.refused(anonymous, bootstrap(1, "eve")), "already_bootstrapped", "it was replaced");
    policy.ask(anonymous, bootstrap(2, "ann")).unwrap();
    let ann = Actor::Caller { principal: policy.id(&user("ann")), credential: Some(key(12).secret.id) };
    assert!(policy.may(ann, Permission::AccessEscalate) && policy.state.access_guarded());
    policy.ask(ann, Command::SetMode(SetMode { mode: Mode::Off })).unwrap();
    for recovery in [false, true] {
        let refused = policy.refused(Actor::Node, open(3, recovery, true));
        assert_eq!(refused, "already_bootstrapped", "only an administrator changes the mode now");
    }
}

#[test]
fn access_is_enforced_from_the_first_administrator_on() {
    let mut policy = Policy { wall_ms: WALL, ..Policy::default() };
    policy.pass(0);
    let anonymous = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
    let put =
        |text| Command::PutPrincipal(PutPrincipal { principal: user(text), description: String::new() });
    policy.ask(anonymous, put("ann")).unwrap();
    assert_eq!(policy.refused(anonymous, Command::SetMode(SetMode { mode: Mode::Enforce })), "last_admin");
    policy.bootstrap("root");
    assert_eq!(policy.state.access_mode(), Mode::Off);
    assert_eq!(policy.refused(anonymous, put("bob")), "permission_denied");
    let read = |policy: &Policy, permission| {
        policy.state.authorise(&anonymous, permission, &Namespace::default(), None).is_ok()
    };
    assert!(read(&policy, Permission::LockAcquire) && !read(&policy, Permission::AccessRead));
}

#[test]
fn giver_must_hold_what_it_gives() {
    let (mut policy, root) = Policy::new();
    let lead = policy.user("lead");
    policy.user("bob");
    policy.ask(root, role("writer", vec![rule(&["access:write"], &["**"])])).unwrap();
    policy.ask(root, role("orders", vec![rule(&["lock:*"], &["orders/**"])])).unwrap();
    policy.ask(root, role("order", vec![rule(&["lock:acquire"], &["orders/eu/**", "orders/1"])])).unwrap();
    policy.ask(root, role("home", vec![rule(&["lock:acquire"], &["orders/{principal}"])])).unwrap();
    policy.bound(root, bind("user/lead", "writer"));
    let ends = WALL + 10_000;
    let (shop, other) = (Namespace::new("shop").unwrap(), Namespace::new("other").unwrap());
    let in_shop = Namespaces::Listed(vec![shop.clone()]);
    policy.bound(
        root,
        Bind { namespaces: in_shop.clone(), not_after_ms: Some(ends), ..bind("user/lead", "orders") },
    );
    let given = Bind { namespaces: in_shop.clone(), not_after_ms: Some(ends), ..bind("user/bob", "order") };
    for refused in [
        Bind { namespaces: Namespaces::All, ..given.clone() },
        Bind { namespaces: Namespaces::Listed(vec![shop, other]), ..given.clone() },
        Bind { not_after_ms: None, ..given.clone() },
        Bind { not_after_ms: Some(ends + 1), ..given.clone() },
        Bind { role: name("editor"), ..given.clone() },
        Bind { role: name("admin"), ..given.clone() },
        Bind { role: name("writer"), not_after_ms: Some(ends), ..bind("user/bob", "viewer") },
    ] {
        let expected = if refused.role == name("writer") { None } else { Some("escalation_refused") };
        let got = policy.ask(lead, Command::Bind(refused.clone())).err();
        assert_eq!(got.map(|error| error.code().as_str()), expected, "{refused:?}");
    }
    let binding = policy.bound(lead, given.clone());
    policy.bound(lead, Bind { role: name("home"), ..given.clone() });
    policy.bound(lead, Bind { role: name("orders"), names: patterns(&["orders/2"]), ..given.clone() });
    let extend = ExtendBinding { binding, not_after_ms: Some(ends + 1), reason: String::new() };
    assert_eq!(policy.refused(lead, Command::ExtendBinding(extend)), "escalation_refused");
    let wider = role("order", vec![rule(&["lock:acquire"], &["**"])]);
    assert_eq!(policy.refused(lead, wider.clone()), "escalation_refused", "bob has the role");
    policy.ask(lead, role("order", vec![rule(&["lock:read"], &["orders/3"])])).unwrap();
    policy.ask(root, wider).unwrap();
}

#[test]
fn membership_and_foreign_credentials_are_rights() {
    let (mut policy, root) = Policy::new();
    let lead = policy.user("lead");
    policy.user("bob");
    policy.ask(root, role("clerk", vec![rule(&["access:write", "access:keys"], &["**"])])).unwrap();
    policy.bound(root, bind("user/lead", "clerk"));
    let group = |members: &[&str]| {
        Command::PutGroup(PutGroup {
            name: name("ops"),
            members: members.iter().map(|text| user(text)).collect(),
        })
    };
    policy.ask(lead, group(&["bob"])).unwrap();
    policy.bound(root, bind("group/ops", "operator"));
    assert_eq!(policy.refused(lead, group(&["bob", "lead"])), "escalation_refused");
    policy.ask(lead, group(&[])).unwrap();
    assert_eq!(policy.refused(lead, group(&["bob"])), "escalation_refused");
    policy.ask(root, group(&["bob"])).unwrap();
    assert_eq!(policy.refused(lead, create(user("bob"), key(500), None)), "escalation_refused");
    assert_eq!(policy.refused(lead, create(user("root"), key(500), None)), "escalation_refused");
    let set =
        |text| SetPassword { principal: user(text), phc: PasswordHash::new("x"), expected_version: None };
    assert_eq!(policy.refused(lead, Command::SetPassword(set("root"))), "escalation_refused");
    policy.ask(lead, Command::SetPassword(set("lead"))).unwrap();
    let bob = policy.key_of("bob", None);
    assert_eq!(policy.refused(bob, create(user("lead"), key(501), None)), "permission_denied");
    assert_eq!(policy.refused(bob, create(user("nobody"), key(501), None)), "permission_denied");
    assert_eq!(
        policy.refused(bob, create(user("bob"), key(501), None)),
        "permission_denied",
        "without an end"
    );
    let own = NewToken { not_after_ms: Some(WALL + 9_000), ..key(501) };
    policy.ask(bob, create(user("bob"), own, None)).unwrap();
}

#[test]
fn narrowed_key_never_widens_itself() {
    let (mut policy, root) = Policy::new();
    let narrowing = Narrowing { names: patterns(&["orders/**"]), ..Narrowing::default() };
    let narrow = policy.key_of("root", Some(narrowing));
    assert!(policy.may(root, Permission::AccessWrite) && !policy.may(narrow, Permission::AccessWrite));
    assert!(policy.may(narrow, Permission::LockAcquire));
    let own = NewToken { not_after_ms: Some(WALL + 9_000), ..key(500) };
    assert_eq!(policy.refused(narrow, create(user("root"), own, None)), "permission_denied");
    let password =
        SetPassword { principal: user("root"), phc: PasswordHash::new("x"), expected_version: None };
    assert_eq!(policy.refused(narrow, Command::SetPassword(password)), "permission_denied");
    assert_eq!(policy.refused(narrow, Command::Bind(bind("user/root", "viewer"))), "permission_denied");
}

#[test]
fn rotation_needs_what_a_new_key_needs() {
    let (mut policy, root) = Policy::new();
    let (ann, bob) = (policy.user("ann"), policy.user("bob"));
    let narrowing = Narrowing { names: patterns(&["orders/**"]), ..Narrowing::default() };
    let narrow = policy.key_of("ann", Some(narrowing.clone()));
    let rotate =
        |token, number| Command::RotateToken(RotateToken { token, new: secret(number), overlap_ms: 0 });
    let id = |actor: Actor| match actor {
        Actor::Caller { credential: Some(token), .. } => token,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        policy.refused(narrow, rotate(id(narrow), 500)),
        "permission_denied",
        "it would last for ever"
    );
    for unknown in [id(ann), secret(999).id] {
        assert_eq!(policy.refused(bob, rotate(unknown, 500)), "permission_denied", "bob learns of no key");
    }
    assert_eq!(policy.refused(root, rotate(secret(999).id, 500)), "token_not_found");
    let taken =
        RotateToken { token: id(ann), new: TokenSecret { id: id(bob), ..secret(500) }, overlap_ms: 0 };
    assert_eq!(policy.refused(ann, Command::RotateToken(taken)), "invalid_argument", "an id that is in use");
    // Without an end like the old one, which nobody has to allow again.
    policy.ask(ann, rotate(id(narrow), 501)).unwrap();
    let made = policy.state.token(secret(501).id).unwrap();
    assert_eq!((made.not_after_ms, made.narrowing.as_ref()), (None, Some(&narrowing)));
    assert!(policy.state.token(id(narrow)).is_none(), "without an overlap the old one ends at once");
    policy.ask(root, rotate(id(ann), 502)).unwrap();
    policy.ask(root, rotate(id(root), 503)).unwrap();
    assert_eq!(
        policy.refused(root, rotate(secret(503).id, 504)),
        "token_revoked",
        "the old key is of no use"
    );
    let root = Actor::Caller { principal: root.principal(), credential: Some(secret(503).id) };
    let phc = PasswordHash::new("phc");
    let password = SetPassword { principal: user("ann"), phc, expected_version: None };
    policy.ask(Actor::Node, Command::SetPassword(password)).unwrap();
    let login = OpenLogin { principal: user("ann"), password_version: 1, token: secret(600), ttl_ms: 5_000 };
    policy.ask(Actor::Node, Command::OpenLogin(login)).unwrap();
    assert_eq!(policy.refused(root, rotate(secret(600).id, 504)), "invalid_argument", "a login is no key");
}

#[test]
fn last_administrator_stays() {
    let (mut policy, root) = Policy::new();
    let Actor::Caller { principal, credential: Some(token) } = root else { panic!("root is a caller") };
    let binding = policy.state.bindings_of(principal).next().unwrap().id;
    let ways = [
        Command::DeletePrincipal(DeletePrincipal { principal: user("root"), end: true }),
        Command::SuspendPrincipal(SuspendPrincipal { principal: user("root"), end: true }),
        Command::Unbind(Unbind { binding }),
        Command::ExtendBinding(ExtendBinding {
            binding,
            not_after_ms: Some(WALL + 9_000),
            reason: String::new(),
        }),
        Command::DeleteToken(DeleteToken { token }),
    ];
    for actor in [root, Actor::Node] {
        for way in &ways {
            assert_eq!(policy.refused(actor, way.clone()), "last_admin", "{way:?}");
        }
    }
    // None of these is another administrator.
    policy.user("ann");
    policy.bound(root, Bind { not_after_ms: Some(WALL + 9_000), ..bind("user/ann", "admin") });
    policy.bound(root, Bind { names: patterns(&["a/**"]), ..bind("user/ann", "admin") });
    policy
        .ask(root, Command::PutPrincipal(PutPrincipal { principal: user("bob"), description: String::new() }))
        .unwrap();
    policy.bound(root, bind("user/bob", "admin"));
    assert_eq!(policy.refused(root, ways[0].clone()), "last_admin", "bob has no credential");
    let narrowing = Narrowing { names: patterns(&["a/**"]), ..Narrowing::default() };
    policy.key_of("bob", Some(narrowing));
    assert_eq!(policy.refused(root, ways[0].clone()), "last_admin", "bob's key is narrowed");
    let members = |members: Vec<Principal>| Command::PutGroup(PutGroup { name: name("admins"), members });
    policy.ask(root, members(vec![user("ann")])).unwrap();
    policy.bound(root, bind("group/admins", "admin"));
    policy.ask(root, ways[0].clone()).unwrap();
    assert_eq!(policy.refused(Actor::Node, members(Vec::new())), "last_admin");
    let delete = Command::DeleteGroup(DeleteGroup { name: name("admins") });
    assert_eq!(policy.refused(Actor::Node, delete), "last_admin");
}

#[test]
fn suspension_beats_every_right() {
    let (mut policy, root) = Policy::new();
    let ann = policy.user("ann");
    policy.bound(root, bind("user/ann", "admin"));
    assert!(policy.may(ann, Permission::AccessWrite));
    policy
        .ask(ann, Command::SuspendPrincipal(SuspendPrincipal { principal: user("root"), end: true }))
        .unwrap();
    assert!(!policy.may(root, Permission::LockRead));
    assert_eq!(
        policy.refused(root, Command::PutGroup(PutGroup { name: name("g"), members: vec![] })),
        "principal_suspended"
    );
    let own = NewToken { not_after_ms: Some(WALL + 9_000), ..key(500) };
    assert_eq!(policy.refused(root, create(user("root"), own, None)), "principal_suspended");
    policy.ask(ann, Command::ResumePrincipal(ResumePrincipal { principal: user("root") })).unwrap();
    assert!(policy.may(root, Permission::AccessWrite));
}

#[test]
fn login_follows_its_password() {
    let (mut policy, _) = Policy::new();
    policy.user("ann");
    let set = |expected_version| {
        Command::SetPassword(SetPassword {
            principal: user("ann"),
            phc: PasswordHash::new("phc"),
            expected_version,
        })
    };
    let login = |password_version, number| {
        let (principal, token) = (user("ann"), secret(number));
        Command::OpenLogin(OpenLogin { principal, password_version, token, ttl_ms: 5_000 })
    };
    assert_eq!(policy.refused(Actor::Node, login(0, 700)), "password_changed", "there is none");
    policy.ask(Actor::Node, set(Some(0))).unwrap();
    policy.ask(Actor::Node, login(1, 700)).unwrap();
    let ann = Actor::Caller { principal: policy.id(&user("ann")), credential: Some(secret(700).id) };
    assert_eq!(policy.refused(ann, set(Some(7))), "password_changed");
    policy.ask(Actor::Node, login(1, 701)).unwrap();
    policy.ask(ann, set(Some(1))).unwrap();
    assert!(policy.state.token(secret(700).id).is_some(), "the login that changed it stays");
    assert!(policy.state.token(secret(701).id).is_none());
    assert_eq!(policy.refused(Actor::Node, login(1, 702)), "password_changed");
    let mut limited = 0;
    for number in 800..860 {
        limited += u64::from(policy.ask(Actor::Node, login(2, number)).is_err());
    }
    assert_eq!(limited, 11);
    policy.pass(5_000);
    assert_eq!(policy.state.tokens_of(policy.id(&user("ann"))).count(), 1, "only the key is left");
}

#[test]
fn anonymous_callers_only_read() {
    let (mut policy, root) = Policy::new();
    for role in ["viewer", "editor", "admin"] {
        assert_eq!(policy.refused(root, Command::Bind(bind("anonymous", role))), "invalid_argument");
    }
    policy.ask(root, role("public", vec![rule(&["lock:read"], &["public/**"])])).unwrap();
    policy.bound(root, bind("anonymous", "public"));
    let anonymous = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
    assert!(policy.may(anonymous, Permission::LockRead) && !policy.may(anonymous, Permission::LockList));
    let more = role("public", vec![rule(&["lock:acquire"], &["public/**"])]);
    assert_eq!(policy.refused(root, more), "invalid_argument", "through the role neither");
    let holder = policy.state.bindings_of(PrincipalId::ANONYMOUS).next().unwrap().holder.clone();
    assert_eq!(policy.state.subject_of(&holder), Subject::Anonymous);
}

#[test]
fn secrets_are_not_printed() {
    let (mut policy, _) = Policy::new();
    let phc = PasswordHash::new("$argon2id$secret");
    let set = SetPassword { principal: user("root"), phc, expected_version: None };
    policy.ask(Actor::Node, Command::SetPassword(set.clone())).unwrap();
    let printed = format!("{:?} {:?} {set:?}", policy.state, key(1));
    assert!(printed.contains("[redacted]"));
    assert!(!printed.contains("argon2id") && !printed.contains("7, 7, 7"));
}
