use std::time::Duration;

use batuta_raft::RevisionChanges;
use batuta_statemachine::lock::{Grant, LockRequest, Mode, OwnerRecord};
use batuta_statemachine::{
    Change, ChangeKind, LockId, Name, Namespace, Position, PrincipalId, ReleaseReason, SessionId, cluster,
    lock, session,
};

use super::hub::{Hub, Next, Registered};
use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn session(index: u64) -> SessionId {
    SessionId(Position { index, ordinal: 0 })
}

fn released(names: &[&str], session: Option<SessionId>) -> ChangeKind {
    let requests = names.iter().map(|text| LockRequest { name: name(text), mode: Mode::Exclusive }).collect();
    let grant = Grant {
        lock_id: LockId(Position { index: 1, ordinal: 0 }),
        namespace: Namespace::default(),
        requests,
        owner: OwnerRecord { principal: PrincipalId::ANONYMOUS, session, label: "".into() },
        token: 1,
        count: 0,
        granted_revision: 1,
        granted_wall_ms: 0,
        ttl_ms: None,
        deadline_ms: None,
        lock_delay_ms: 0,
        metadata: "".into(),
    };
    ChangeKind::Lock(lock::Change::LockReleased { grant: Arc::new(grant), reason: ReleaseReason::Released })
}

fn entry(revision: u64, namespace: Option<&str>, kinds: Vec<ChangeKind>) -> RevisionChanges {
    let namespace = namespace.map(|text| Namespace::new(text).expect("valid"));
    let change = |(ordinal, kind)| Change { revision, ordinal, namespace: namespace.clone(), kind };
    RevisionChanges { revision, now_ms: 0, wall_ms: 0, changes: (0..).zip(kinds).map(change).collect() }
}

/// Takes batches as (revision, number of changes), until the queue is empty or ends.
fn drain(registered: &Registered) -> (Vec<(u64, usize)>, Next) {
    let mut batches = Vec::new();
    loop {
        match registered.slot.pop() {
            Next::Batch(batch) => batches.push((batch.revision, batch.events.len())),
            end => return (batches, end),
        }
    }
}

#[test]
fn watchers_get_exactly_what_their_filter_selects() {
    let filter = |names, session, areas: &[Area]| Filter {
        names,
        session,
        areas: areas.to_vec(),
        ..Filter::default()
    };
    let of = Some(session(7));
    // A filter, and how many changes of each of the revisions 1 to 5 it selects.
    let cases = [
        (filter(Names::Any, None, &[]), [1, 2, 1, 0, 1]),
        (filter(Names::Any, None, &[Area::Lock]), [1, 1, 0, 0, 1]),
        (filter(Names::Any, None, &[Area::Cluster]), [0, 0, 1, 0, 0]),
        (filter(Names::Prefix("orders/".to_owned()), None, &[]), [1, 0, 0, 0, 1]),
        (filter(Names::Prefix("orders/4".to_owned()), None, &[]), [1, 0, 0, 0, 1]),
        (filter(Names::Prefix("orders/422".to_owned()), None, &[]), [0, 0, 0, 0, 0]),
        (filter(Names::Prefix("größe".to_owned()), None, &[]), [0, 0, 0, 0, 1]),
        (filter(Names::Exact(name("orders/42")), None, &[]), [1, 0, 0, 0, 1]),
        (filter(Names::Exact(name("orders/4")), None, &[]), [0, 0, 0, 0, 0]),
        (filter(Names::Any, of, &[]), [0, 2, 0, 0, 0]),
        (filter(Names::Any, of, &[Area::Session]), [0, 1, 0, 0, 0]),
        (filter(Names::Prefix("b".to_owned()), of, &[]), [0, 1, 0, 0, 0]),
        (filter(Names::Exact(name("orders/42")), of, &[]), [0, 0, 0, 0, 0]),
        (Filter { kinds: vec![Kind::SessionEnded], ..Filter::default() }, [0, 1, 0, 0, 0]),
    ];
    let hub = Arc::new(Hub::new(0, 100, 100, Arc::default()));
    let ended = ChangeKind::Session(session::Change::SessionEnded {
        session: session(7),
        reason: batuta_statemachine::SessionEnd::Closed,
    });
    let watchers: Vec<Registered> =
        cases.iter().map(|(filter, _)| hub.register(filter.clone(), None, 0).expect("room")).collect();
    hub.dispatch(&entry(1, Some("default"), vec![released(&["orders/42"], None)]));
    hub.dispatch(&entry(2, Some("default"), vec![released(&["b"], of), ended]));
    hub.dispatch(&entry(3, None, vec![ChangeKind::Cluster(cluster::Change::LimitsChanged)]));
    hub.dispatch(&entry(4, Some("other"), vec![released(&["orders/42"], None)]));
    hub.dispatch(&entry(5, Some("default"), vec![released(&["orders/42", "größe/1"], None)]));
    for ((filter, counts), watcher) in cases.iter().zip(&watchers) {
        let expected: Vec<(u64, usize)> =
            (1..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
        assert_eq!(drain(watcher).0, expected, "{filter:?}");
    }
    drop(watchers);
    assert_eq!(hub.len(), 0);
    assert!(
        format!("{hub:?}").contains("exact: {}, session: {}, prefix: {}, any: {}, cluster: {}"),
        "{hub:?}"
    );
}

#[test]
fn slow_watcher_is_cut_off_after_a_whole_revision() {
    let hub = Arc::new(Hub::new(0, 100, 3, Arc::default()));
    let slow = hub.register(Filter::default(), None, 0).expect("room");
    let quick = hub.register(Filter::default(), None, 0).expect("room");
    let two = || vec![released(&["a"], None), released(&["b"], None)];
    for revision in 1..=4 {
        hub.dispatch(&entry(revision, Some("default"), two()));
        assert_eq!(drain(&quick).0, [(revision, 2)]);
    }
    assert_eq!(hub.listening(), 1, "a watcher that is cut off is no longer served");
    let (batches, end) = drain(&slow);
    assert_eq!(batches, [(1, 2)], "two changes fit, four do not");
    assert!(matches!(end, Next::Lagged));
    assert_eq!(slow.progress(), None, "it does not have everything");
    assert_eq!(quick.progress(), Some(4));
    let large = hub.register(Filter::default(), None, 0).expect("room");
    hub.dispatch(&entry(5, Some("default"), [two(), two()].concat()));
    assert_eq!(drain(&large).0, [(5, 4)], "a revision larger than the queue still arrives, whole");
}

#[test]
fn slow_watcher_is_bounded_in_bytes() {
    let hub = Arc::new(Hub::new(0, 100, 1_000_000, Arc::default()));
    let slow = hub.register(Filter::default(), None, 0).expect("room");
    let mut large = released(&["a"], None);
    if let ChangeKind::Lock(lock::Change::LockReleased { grant, .. }) = &mut large {
        Arc::make_mut(grant).metadata = "m".repeat(7 << 20).into();
    }
    for revision in 1..=3 {
        hub.dispatch(&entry(revision, Some("default"), vec![large.clone()]));
    }
    let (batches, end) = drain(&slow);
    assert_eq!(batches, [(1, 1), (2, 1)]);
    assert!(matches!(end, Next::Lagged));
}

#[test]
fn skipped_changes_are_reported_to_every_watcher() {
    let hub = Arc::new(Hub::new(0, 100, 10, Arc::default()));
    let watcher = hub.register(Filter::default(), None, 0).expect("room");
    hub.dispatch(&entry(1, Some("default"), vec![released(&["a"], None)]));
    hub.skip_to(50);
    hub.dispatch(&entry(51, Some("default"), vec![released(&["a"], None)]));
    let (batches, end) = drain(&watcher);
    assert_eq!(batches, [(1, 1)], "nothing from after the gap");
    assert!(matches!(end, Next::Skipped { oldest_revision: 51 }), "{end:?}");
}

#[test]
fn watchers_are_limited() {
    let hub = Arc::new(Hub::new(0, 1, 10, Arc::default()));
    let first = hub.register(Filter::default(), None, 0).expect("room");
    assert_eq!(hub.register(Filter::default(), None, 0).expect_err("full").code().as_str(), "overloaded");
    drop(first);
    assert!(hub.register(Filter::default(), None, 0).is_ok());
}

#[test]
fn watcher_of_a_future_revision_gets_nothing_before() {
    let hub = Arc::new(Hub::new(3, 10, 10, Arc::default()));
    let watcher = hub.register(Filter::default(), Some(5), 0).expect("room");
    for revision in 4..=6 {
        hub.dispatch(&entry(revision, Some("default"), vec![released(&["a"], None)]));
    }
    assert_eq!(drain(&watcher).0, [(6, 1)]);
}

#[tokio::test]
async fn change_wakes_a_sleeping_watcher() {
    let hub = Arc::new(Hub::new(0, 10, 10, Arc::default()));
    let watcher = hub.register(Filter::default(), None, 0).expect("room");
    let slot = Arc::clone(&watcher.slot);
    let woken = tokio::spawn(std::future::poll_fn(move |context| {
        slot.listen(context);
        if matches!(slot.pop(), Next::Batch(_)) { Poll::Ready(()) } else { Poll::Pending }
    }));
    tokio::task::yield_now().await;
    hub.dispatch(&entry(1, Some("default"), vec![released(&["a"], None)]));
    tokio::time::timeout(Duration::from_secs(30), woken).await.expect("woken").expect("ran");
}

#[test]
fn filters_are_read_from_words() {
    let parse = |areas: &str, kinds: &str, prefix, name, session_id| {
        let (areas, kinds) = (words("areas", areas)?, words("kinds", kinds)?);
        FilterRequest { areas, kinds, prefix, name, session_id }.read(Namespace::default())
    };
    let filter = parse("lock, session", "lock_granted", "a/", "", "s-3.0").expect("valid");
    assert_eq!(filter.areas, [Area::Lock, Area::Session]);
    assert_eq!(filter.kinds, [Kind::LockGranted]);
    assert_eq!(filter.names, Names::Prefix("a/".to_owned()));
    assert_eq!(filter.session, Some(session(3)));
    for (areas, kinds, prefix, name, session_id, field) in [
        ("locks", "", "", "", "", "areas"),
        ("", "granted", "", "", "", "kinds"),
        ("", "", "a", "b", "", "name"),
        ("", "", "", "/", "", "name"),
        ("", "", "", "", "x", "session_id"),
    ] {
        let error = parse(areas, kinds, prefix, name, session_id).expect_err("invalid");
        assert_eq!(error.field(), Some(field), "{error}");
    }
    for kind in Kind::ALL {
        assert!(Filter { areas: vec![kind.area()], ..Filter::default() }.wants(kind.area()));
    }
}

#[test]
fn rested_hub_resumes_at_the_applied_revision() {
    let hub = Arc::new(Hub::new(0, 10, 10, Arc::default()));
    assert!(hub.rest(), "nobody watches");
    assert_eq!(hub.wake(7), 7, "a call waits");
    assert!(hub.rest());
    let watcher = hub.register(Filter::default(), None, 20).expect("room");
    assert_eq!(watcher.revision, 20);
    assert_eq!(hub.wake(25), 20, "the changes since it registered are sent");
    hub.dispatch(&entry(21, Some("default"), vec![released(&["a"], None)]));
    assert_eq!(drain(&watcher).0, [(21, 1)]);
    assert!(!hub.rest(), "somebody watches");
    let later = hub.register(Filter::default(), None, 30).expect("room");
    assert_eq!(later.revision, 21, "the hub reports its progress while it works");
}
