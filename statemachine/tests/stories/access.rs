//! Stories of access: what ends when, what is covered, what stays behind.

use batuta_statemachine::access::{
    Bind, BindingId, Change, CreateToken, DeletePrincipal, End, Mode, Namespaces, Narrowing, NewToken, OnEnd,
    Pattern, PutGroup, PutPrincipal, PutRole, Reply, RotateToken, Rule, Scope, SecretHash, SetMode,
    SuspendPrincipal, TokenCreated, TokenSecret, Unbind,
};
use batuta_statemachine::{
    Actor, ChangeKind, Command, Entry, Namespace, Permission, PermissionSet, Principal, PrincipalId,
    PrincipalName, Request, Stamp, State, TokenId,
};

use super::name;

const WALL: u64 = 1_700_000_000_000;

#[derive(Default)]
struct Story {
    state: State,
    now_ms: u64,
    wall_ms: u64,
    tokens: u64,
    changes: Vec<ChangeKind>,
}

fn word(text: &str) -> PrincipalName {
    PrincipalName::new(text).unwrap()
}

fn user(text: &str) -> Principal {
    Principal::User(word(text))
}

fn namespace(text: &str) -> Namespace {
    Namespace::new(text).unwrap()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
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
        reason: "story".to_owned(),
    }
}

fn role(text: &str, permission: &str, names: &[&str]) -> PutRole {
    let rule = Rule { permissions: PermissionSet::parse(permission).unwrap(), names: patterns(names) };
    PutRole { name: word(text), rules: vec![rule] }
}

impl Story {
    /// A cluster that enforces access, with the administrator `root`.
    fn new() -> Self {
        let mut story = Self { wall_ms: WALL, ..Self::default() };
        story.user("root");
        story.bind(bind("user/root", "admin"));
        story.ask(SetMode { mode: Mode::Enforce });
        story
    }

    fn ask(&mut self, command: impl Into<Command>) -> Option<Reply> {
        self.apply(vec![Request::new(None, command)]).map(|reply| match reply {
            batuta_statemachine::Reply::Access(reply) => reply,
            other => panic!("{other:?}"),
        })
    }

    fn apply(&mut self, requests: Vec<Request>) -> Option<batuta_statemachine::Reply> {
        let entry = Entry { stamp: Stamp { now_ms: self.now_ms, wall_ms: self.wall_ms }, requests };
        let mut applied = self.state.apply(self.state.revision() + 1, &entry);
        self.state.validate().unwrap();
        self.changes = applied.changes.into_iter().map(|change| change.kind).collect();
        applied.outcomes.pop().map(|outcome| outcome.unwrap())
    }

    fn at(&mut self, now_ms: u64, wall_ms: u64) {
        (self.now_ms, self.wall_ms) = (now_ms, WALL + wall_ms);
        self.apply(Vec::new());
    }

    fn user(&mut self, text: &str) -> Actor {
        self.ask(PutPrincipal { principal: user(text), description: String::new() });
        self.key(text, None, None)
    }

    fn key(&mut self, text: &str, not_after: Option<u64>, narrowing: Option<Narrowing>) -> Actor {
        self.tokens += 1;
        let id = TokenId::new(&format!("{:012}", self.tokens)).unwrap();
        let secret = TokenSecret { id, hash: SecretHash::new([1; 32]) };
        let not_after_ms = not_after.map(|not_after| WALL + not_after);
        let token = NewToken { secret, label: String::new(), not_after_ms };
        self.ask(CreateToken { principal: user(text), token, narrowing });
        Actor::Caller { principal: self.state.principal_id(&user(text)).unwrap(), credential: Some(id) }
    }

    fn bind(&mut self, bind: Bind) -> BindingId {
        match self.ask(bind) {
            Some(Reply::Bound(bound)) => bound.binding,
            other => panic!("{other:?}"),
        }
    }

    /// The code of the refusal to take a lock, or `ok`.
    fn takes(&self, actor: Actor, lock: &str) -> &'static str {
        self.decided(actor, Permission::LockAcquire, &Namespace::default(), lock)
    }

    fn decided(&self, actor: Actor, permission: Permission, at: &Namespace, lock: &str) -> &'static str {
        match self.state.authorise(&actor, permission, at, Some(&name(lock))) {
            Ok(()) => "ok",
            Err(refusal) => batuta_statemachine::Rejection::from(refusal).code().as_str(),
        }
    }

    fn restored(&self) -> State {
        let records = self.state.image_records().collect::<Vec<_>>();
        State::from_image(self.state.image_header(), records, State::validate).unwrap()
    }
}

#[test]
fn key_ends_by_cluster_time_or_wall_time() {
    let mut story = Story::new();
    story.user("ann");
    story.bind(bind("user/ann", "editor"));
    let key = story.key("ann", Some(1_000), None);
    assert_eq!(story.takes(key, "a"), "ok");
    story.at(10, 1_000);
    assert_eq!(story.takes(key, "a"), "token_expired", "every node was down for a second");
    story.at(20, 500);
    assert_eq!(story.takes(key, "a"), "ok", "one clock was ahead for a moment");
    let revision = story.state.access_revision();
    story.at(1_000, 500);
    assert_eq!(story.takes(key, "a"), "token_revoked", "cluster time deletes it");
    let ended = |change: &ChangeKind| {
        matches!(change, ChangeKind::Access(Change::TokenEnded { reason: End::Expired, .. }))
    };
    assert!(story.changes.iter().any(ended), "{:?}", story.changes);
    assert_eq!(story.state.access_revision(), revision + 1);
    story.at(1_000, 0);
    assert_eq!(story.takes(key, "a"), "token_revoked", "a clock set back revives nothing");
}

#[test]
fn rotated_key_overlaps_with_its_successor() {
    let mut story = Story::new();
    story.user("ann");
    story.bind(bind("user/ann", "editor"));
    let old = story.key("ann", Some(10_000), None);
    story.at(4_000, 4_000);
    let Actor::Caller { principal, credential: Some(token) } = old else { panic!("a key") };
    let new = TokenSecret { id: TokenId::new("rotated00000").unwrap(), hash: SecretHash::new([2; 32]) };
    let revision = story.state.access_revision();
    let made = story.ask(RotateToken { token, new: new.clone(), overlap_ms: 1_000 });
    // It lasts as long as the old one did from its beginning on.
    let not_after_ms = Some(WALL + 14_000);
    assert_eq!(made, Some(Reply::TokenCreated(TokenCreated { token: new.id, not_after_ms })));
    assert_ne!(story.state.access_revision(), revision, "the old one ends earlier now");
    let successor = Actor::Caller { principal, credential: Some(new.id) };
    assert_eq!([old, successor].map(|key| story.takes(key, "a")), ["ok", "ok"]);
    assert_eq!(story.restored().hash(), story.state.hash());
    story.at(4_500, 5_000);
    assert_eq!(story.takes(old, "a"), "token_expired", "by wall time");
    story.at(5_000, 4_900);
    assert_eq!([old, successor].map(|key| story.takes(key, "a")), ["token_revoked", "ok"]);
    // What ends earlier than the overlap stays so.
    let short = story.key("ann", Some(6_000), None);
    let Actor::Caller { credential: Some(token), .. } = short else { panic!("a key") };
    let new = TokenSecret { id: TokenId::new("rotated00001").unwrap(), hash: SecretHash::new([2; 32]) };
    story.ask(RotateToken { token, new, overlap_ms: 60_000 });
    assert_eq!(story.state.token(token).unwrap().not_after_ms, Some(WALL + 6_000));
}

#[test]
fn binding_lasts_from_not_before_to_not_after() {
    let mut story = Story::new();
    let ann = story.user("ann");
    let (not_before_ms, not_after_ms) = (Some(WALL + 1_000), Some(WALL + 2_000));
    story.bind(Bind { not_before_ms, not_after_ms, ..bind("user/ann", "editor") });
    assert_eq!(story.takes(ann, "a"), "permission_denied");
    story.at(1_000, 999);
    assert_eq!(story.takes(ann, "a"), "permission_denied");
    story.at(1_001, 1_000);
    assert_eq!(story.takes(ann, "a"), "ok");
    story.at(1_002, 2_000);
    assert_eq!(story.takes(ann, "a"), "permission_denied", "by wall time");
    story.at(2_000, 1_500);
    assert_eq!(story.takes(ann, "a"), "permission_denied", "by cluster time");
    let ended = |change: &ChangeKind| matches!(change, ChangeKind::Access(Change::BindingEnded { .. }));
    assert!(story.changes.iter().any(ended));
}

#[test]
fn rules_cover_whole_segments_and_the_own_name() {
    let mut story = Story::new();
    let [ann, bob] = ["ann", "bob"].map(|text| story.user(text));
    story.ask(role("orders", "lock:acquire", &["orders/**", "home/{principal}/**", "one"]));
    story.bind(bind("user/ann", "orders"));
    for (lock, expected) in [
        ("orders/42", "ok"),
        ("orders/a/b", "ok"),
        ("orders", "permission_denied"),
        ("ordersx/1", "permission_denied"),
        ("home/ann/1", "ok"),
        ("home/bob/1", "permission_denied"),
        ("home/ann", "permission_denied"),
        ("one", "ok"),
        ("one/more", "permission_denied"),
    ] {
        assert_eq!(story.takes(ann, lock), expected, "{lock}");
        assert_eq!(story.takes(bob, lock), "permission_denied", "{lock}");
        let scope = story.state.scope(&ann, Permission::LockAcquire, &Namespace::default());
        assert_eq!(scope.admits(&name(lock)), expected == "ok", "{lock}");
    }
    let shop = namespace("shop");
    story.bind(Bind {
        namespaces: Namespaces::Listed(vec![shop.clone()]),
        names: patterns(&["orders/eu/**"]),
        ..bind("user/bob", "orders")
    });
    assert_eq!(story.decided(bob, Permission::LockAcquire, &shop, "orders/eu/1"), "ok");
    assert_eq!(story.decided(bob, Permission::LockAcquire, &shop, "orders/us/1"), "permission_denied");
    assert_eq!(story.takes(bob, "orders/eu/1"), "permission_denied", "in another namespace");
}

#[test]
fn rights_in_a_namespace_are_none_over_the_cluster() {
    let mut story = Story::new();
    let ann = story.user("ann");
    let shop = namespace("shop");
    let listed = Namespaces::Listed(vec![shop.clone()]);
    story.bind(Bind { namespaces: listed.clone(), ..bind("user/ann", "admin") });
    assert_eq!(story.decided(ann, Permission::LockForceRelease, &shop, "a"), "ok");
    for permission in [Permission::ClusterRead, Permission::ClusterLimits, Permission::AccessWrite] {
        assert_eq!(story.decided(ann, permission, &shop, "a"), "permission_denied", "{permission}");
    }
    story.bind(Bind { names: patterns(&["a/**"]), ..bind("user/ann", "admin") });
    assert_eq!(story.decided(ann, Permission::ClusterRead, &shop, "a"), "permission_denied");
    let refusal =
        story.state.authorise(&ann, Permission::ClusterLimits, &shop, None).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "user/ann lacks cluster:limits for the cluster; `batuta access explain cluster:limits` tells what would give it"
    );
}

#[test]
fn narrowing_only_takes_away() {
    let mut story = Story::new();
    story.user("ann");
    story.ask(role("orders", "lock:*", &["orders/**"]));
    story.ask(role("readers", "lock:read", &["**"]));
    story.bind(bind("user/ann", "orders"));
    let narrowed = |roles: &[&str], names: &[&str]| {
        let roles = roles.iter().map(|text| word(text)).collect();
        Some(Narrowing { roles, namespaces: Namespaces::All, names: patterns(names) })
    };
    for (narrowing, lock, permission, expected) in [
        (narrowed(&[], &["**"]), "orders/1", Permission::LockAcquire, "ok"),
        (narrowed(&[], &["**"]), "other/1", Permission::LockAcquire, "permission_denied"),
        (narrowed(&[], &["orders/eu/**"]), "orders/1", Permission::LockAcquire, "permission_denied"),
        (narrowed(&[], &["orders/eu/**"]), "orders/eu/1", Permission::LockAcquire, "ok"),
        (narrowed(&["admin"], &[]), "other/1", Permission::LockAcquire, "permission_denied"),
        (narrowed(&["readers"], &[]), "orders/1", Permission::LockRead, "ok"),
        (narrowed(&["readers"], &[]), "other/1", Permission::LockRead, "permission_denied"),
        (narrowed(&["readers"], &[]), "orders/1", Permission::LockAcquire, "permission_denied"),
        (narrowed(&["gone"], &[]), "orders/1", Permission::LockRead, "permission_denied"),
    ] {
        let key = story.key("ann", None, narrowing.clone());
        let Actor::Caller { credential: Some(token), .. } = key else { panic!("a key") };
        assert_eq!(
            story.decided(key, permission, &Namespace::default(), lock),
            expected,
            "{narrowing:?} {lock}"
        );
        let scope = story.state.scope(&key, permission, &Namespace::default());
        assert_eq!(scope.admits(&name(lock)), expected == "ok", "{narrowing:?} {lock}");
        story.ask(batuta_statemachine::access::DeleteToken { token });
    }
}

#[test]
fn group_gives_its_members_what_it_has() {
    let mut story = Story::new();
    let [ann, bob] = ["ann", "bob"].map(|text| story.user(text));
    story.ask(PutGroup { name: word("ops"), members: vec![user("ann")] });
    story.bind(bind("group/ops", "editor"));
    assert_eq!([ann, bob].map(|actor| story.takes(actor, "a")), ["ok", "permission_denied"]);
    story.ask(PutGroup { name: word("ops"), members: vec![user("bob")] });
    assert_eq!([ann, bob].map(|actor| story.takes(actor, "a")), ["permission_denied", "ok"]);
    story.ask(SuspendPrincipal { principal: user("bob"), end: true });
    assert_eq!(story.takes(bob, "a"), "principal_suspended");
}

#[test]
fn later_principal_of_the_same_name_has_nothing_of_the_old() {
    let mut story = Story::new();
    let old = story.user("ann");
    story.bind(bind("user/ann", "editor"));
    story.ask(PutGroup { name: word("ops"), members: vec![user("ann")] });
    story.bind(bind("group/ops", "viewer"));
    story.ask(DeletePrincipal { principal: user("ann"), end: true });
    assert_eq!(story.takes(old, "a"), "token_revoked");
    let new = story.user("ann");
    assert_ne!(old, new);
    assert_eq!(story.takes(new, "a"), "permission_denied");
    assert_eq!(story.decided(new, Permission::LockRead, &Namespace::default(), "a"), "permission_denied");
    assert_eq!(story.takes(old, "a"), "token_revoked");
    let Actor::Caller { principal, credential: _ } = old else { panic!("a caller") };
    let Actor::Caller { credential, .. } = new else { panic!("a caller") };
    let mixed = Actor::Caller { principal, credential };
    assert_eq!(story.takes(mixed, "a"), "token_revoked", "a credential of somebody else");
}

#[test]
fn image_gives_the_same_decisions_and_hash() {
    let mut story = Story::new();
    let ann = story.user("ann");
    story.ask(role("orders", "lock:*", &["orders/**"]));
    story.ask(PutGroup { name: word("ops"), members: vec![user("ann"), user("root")] });
    story.bind(Bind { not_after_ms: Some(WALL + 5_000), ..bind("group/ops", "orders") });
    let gone = story.bind(bind("user/ann", "viewer"));
    story.bind(Bind { names: patterns(&["public/**"]), ..bind("user/ann", "viewer") });
    story.ask(Unbind { binding: gone });
    let restored = story.restored();
    assert_eq!(restored.hash(), story.state.hash());
    assert_eq!(restored.access_revision(), story.state.access_revision());
    for lock in ["orders/1", "public/1", "other"] {
        for permission in [Permission::LockAcquire, Permission::LockRead] {
            let decide =
                |state: &State| state.authorise(&ann, permission, &Namespace::default(), Some(&name(lock)));
            assert_eq!(decide(&restored), decide(&story.state), "{permission} {lock}");
        }
    }
    assert_eq!(restored.next_deadline_ms(), Some(5_000));
    assert_eq!(State::default().image_records().count(), 0, "a cluster without access stores none");
}

#[test]
fn scope_tells_all_some_or_none() {
    let mut story = Story::new();
    let [ann, bob] = ["ann", "bob"].map(|text| story.user(text));
    story.bind(bind("user/ann", "viewer"));
    let scope = |story: &Story, actor| story.state.scope(&actor, Permission::LockList, &Namespace::default());
    assert_eq!(scope(&story, ann), Scope::All);
    assert_eq!(scope(&story, bob), Scope::Nothing);
    assert_eq!(scope(&story, Actor::Node), Scope::All);
    story.bind(Bind { names: patterns(&["a/**"]), ..bind("user/bob", "viewer") });
    assert!(matches!(scope(&story, bob), Scope::Names(_)));
    assert!(scope(&story, bob).admits(&name("a/b")) && !scope(&story, bob).admits(&name("b")));
    story.ask(SetMode { mode: Mode::Observe });
    assert_eq!(scope(&story, bob), Scope::All);
    let anonymous = Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None };
    let would = |state: &State, permission| {
        state.would_authorise(&anonymous, permission, &Namespace::default(), None).is_ok()
    };
    assert!(!would(&story.state, Permission::LockAcquire), "what enforcing would refuse");
}

#[test]
fn requests_of_access_are_of_level_2() {
    let request = Request::new(None, SetMode { mode: Mode::Off });
    assert_eq!(request.level(), 2);
}
