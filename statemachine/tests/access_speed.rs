//! How long a decision takes: `cargo test --release -p batuta-statemachine --test access_speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use batuta_statemachine::access::{
    Bind, CreateToken, Mode, Namespaces, NewToken, OnEnd, Pattern, PutPrincipal, PutRole, Rule, SecretHash,
    SetMode, TokenSecret,
};
use batuta_statemachine::{
    Actor, Command, Entry, Name, Namespace, Permission, PermissionSet, Principal, PrincipalName, Request,
    Stamp, State, TokenId,
};

const PRINCIPALS: u64 = 1_000;
const DECISIONS: u32 = 1_000_000;

fn word(text: &str) -> PrincipalName {
    PrincipalName::new(text).unwrap()
}

fn ask(state: &mut State, command: impl Into<Command>) {
    let stamp = Stamp { now_ms: 1, wall_ms: 1_000_000 };
    let entry = Entry { stamp, requests: vec![Request::new(None, command)] };
    state.apply(state.revision() + 1, &entry).outcomes.remove(0).unwrap();
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

/// Gives a principal a key and three roles of four rules each.
fn add(state: &mut State, number: u64) -> Actor {
    let principal = Principal::User(word(&format!("u{number}")));
    ask(state, PutPrincipal { principal: principal.clone(), description: String::new() });
    let id = TokenId::new(&format!("{number:012}")).unwrap();
    let secret = TokenSecret { id, hash: SecretHash::new([0; 32]) };
    let token = NewToken { secret, label: String::new(), not_after_ms: None };
    ask(state, CreateToken { principal: principal.clone(), token, narrowing: None });
    for role in ["r0", "r1", "r2"] {
        ask(state, bind(&principal.to_string(), role));
    }
    Actor::Caller { principal: state.principal_id(&principal).unwrap(), credential: Some(id) }
}

#[test]
#[ignore = "a measurement"]
fn decision_time() {
    let mut state = State::default();
    for role in 0..3 {
        let rule = |number| Rule {
            permissions: PermissionSet::parse("lock:*").unwrap(),
            names: vec![Pattern::new(&format!("team{role}/service{number}/**")).unwrap()],
        };
        ask(&mut state, PutRole { name: word(&format!("r{role}")), rules: (0..4).map(rule).collect() });
    }
    let actors: Vec<Actor> = (0..PRINCIPALS).map(|number| add(&mut state, number)).collect();
    ask(&mut state, bind("user/u0", "admin"));
    ask(&mut state, SetMode { mode: Mode::Enforce });
    let (namespace, name) = (Namespace::default(), Name::new("team2/service3/orders/42").unwrap());
    let started = Instant::now();
    for actor in actors.iter().cycle().take(DECISIONS as usize) {
        let decided = state.authorise(black_box(actor), Permission::LockAcquire, &namespace, Some(&name));
        assert!(decided.is_ok());
    }
    println!("{:?} a decision", started.elapsed() / DECISIONS);
}
