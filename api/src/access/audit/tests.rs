//! What the audit promises, with real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;

use batuta_statemachine::{Permission, TokenId};
use serde_json::Value;

use super::event::{BoundedEvent, Chain, Entry, append_line};
use super::files::path_of;
use super::*;

/// 2026-11-30T12:00:00Z.
const NOON_MS: u64 = 1_796_040_000_000;
const DAY_MS: u64 = 86_400_000;

fn options(dir: &Path) -> AuditOptions {
    AuditOptions {
        sync_interval: Duration::from_millis(20),
        ..AuditOptions::new(dir.to_owned(), "n1".to_owned())
    }
}

fn event(why: &str) -> Event {
    Event { why: Some(why.to_owned()), ..Event::new(Kind::Denied) }
}

fn bounded(why: &str) -> BoundedEvent {
    event(why).bounded()
}

/// Runs the audit over a directory, and records events at given instants.
fn recorded(options: AuditOptions, events: impl IntoIterator<Item = (u64, String)>) {
    let (audit, writer) = Audit::start(options).unwrap();
    for (at_ms, why) in events {
        audit.queue.push(at_ms, bounded(&why));
    }
    writer.stop();
}

fn values(dir: &Path) -> Vec<Value> {
    let page = read_page(dir, None, usize::MAX).unwrap();
    page.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn words(dir: &Path) -> Vec<String> {
    let word = |line: &Value| match line["kind"].as_str() {
        Some("denied") => line["why"].as_str().unwrap_or_default().to_owned(),
        Some("gap") => format!("gap {}", line["lost"]),
        kind => kind.unwrap_or_default().to_owned(),
    };
    values(dir).iter().map(word).collect()
}

fn until(mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not reached in 20 seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn line_has_its_fields_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let full = Event {
        principal: Some("user/ann".to_owned()),
        credential: Some(TokenId::new("abcDEF012345").unwrap()),
        ip: Some("2001:db8::1".parse().unwrap()),
        front: Some("rest"),
        request_id: Some("r-1".to_owned()),
        user_agent: Some("curl/8".to_owned()),
        permission: Some(Permission::LockForceRelease),
        namespace: Some("default".to_owned()),
        names: vec!["orders/42".to_owned()],
        decision: Some(Decision::Allowed),
        why: Some("b-7.0".to_owned()),
        revision: Some(9),
        ..Event::new(Kind::Privileged)
    };
    let (audit, writer) = Audit::start(options(dir.path())).unwrap();
    audit.queue.push(NOON_MS, full.bounded());
    writer.stop();
    assert_eq!(audit.health(), AuditHealth { lines_written: 1, ..AuditHealth::default() });
    let lines = read_page(dir.path(), None, 10).unwrap().lines;
    let expected = format!(
        "{{\"at\":\"2026-11-30T12:00:00.000Z\",\"node\":\"n1\",\"seq\":1,\"kind\":\"privileged\",\"principal\":\"user/ann\",\
         \"credential\":\"abcDEF012345\",\"ip\":\"2001:db8::1\",\"front\":\"rest\",\"request_id\":\"r-1\",\"user_agent\":\"curl/8\",\
         \"permission\":\"lock:force_release\",\"namespace\":\"default\",\"names\":[\"orders/42\"],\"decision\":\"allowed\",\
         \"why\":\"b-7.0\",\"revision\":9,\"prev\":\"{}\"}}",
        "0".repeat(64)
    );
    assert_eq!(lines, [expected]);
}

#[test]
fn files_are_for_their_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("audit");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    recorded(options(&dir), [(NOON_MS, "a".to_owned())]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&path_of(&dir, 1))), (0o700, 0o600));
}

#[test]
fn texts_are_bounded_and_stay_on_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, writer) = Audit::start(options(dir.path())).unwrap();
    let hostile = "\"}\n{\"kind\":\"change\"}\r\u{0}\u{2028}é";
    audit.record(Event {
        principal: Some(hostile.to_owned()),
        user_agent: Some("é".repeat(500)),
        request_id: Some(format!("x{}", "é".repeat(500))),
        names: vec!["n".repeat(5_000); 100],
        namespace: Some(hostile.to_owned()),
        ..event(&"w".repeat(5_000))
    });
    writer.stop();
    let lines = values(dir.path());
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    let length = |field: &str| line[field].as_str().map(str::len);
    assert_eq!((line["principal"].as_str(), line["namespace"].as_str()), (Some(hostile), Some(hostile)));
    assert_eq!(
        (length("user_agent"), length("request_id"), length("why")),
        (Some(256), Some(255), Some(1024))
    );
    let names = line["names"].as_array().unwrap().len();
    assert_eq!((names, line["names_left_out"].as_u64()), (15, Some(85)));
}

#[test]
fn level_chooses_the_kinds() {
    for (word, expected) in [
        ("privileged", vec![Kind::Denied]),
        ("writes", vec![Kind::Denied, Kind::Write]),
        ("all", vec![Kind::Denied, Kind::Write, Kind::Read]),
    ] {
        let level = Level::parse(word).unwrap();
        let recorded: Vec<Kind> =
            [Kind::Denied, Kind::Write, Kind::Read].into_iter().filter(|kind| level.records(*kind)).collect();
        assert_eq!(recorded, expected, "{word}");
    }
    assert_eq!(Level::parse("none"), None);
}

#[test]
fn chain_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    recorded(options(dir.path()), ["a", "b"].map(|why| (NOON_MS, why.to_owned())));
    recorded(options(dir.path()), ["c"].map(|why| (NOON_MS, why.to_owned())));
    assert_eq!(words(dir.path()), ["a", "b", "c"]);
    assert_eq!(values(dir.path())[2]["seq"], 3);
    assert_eq!(verify(dir.path()).unwrap(), Ok(3));
}

#[test]
fn torn_line_is_cut_off_and_noted() {
    for torn in ["{\"at\":\"2026-11-30T1", "\0\0\0\0", "{\"at\":\"x\"}\n\0\0\n{", "half a line\n"] {
        let dir = tempfile::tempdir().unwrap();
        recorded(options(dir.path()), ["a", "b"].map(|why| (NOON_MS, why.to_owned())));
        let path = path_of(dir.path(), 1);
        fs::write(&path, [fs::read(&path).unwrap(), torn.into()].concat()).unwrap();
        recorded(options(dir.path()), ["c"].map(|why| (NOON_MS, why.to_owned())));
        assert_eq!(words(dir.path()), ["a", "b", "torn", "c"], "{torn:?}");
        assert_eq!(values(dir.path())[2]["bytes_cut"], torn.len(), "{torn:?}");
        assert_eq!(verify(dir.path()).unwrap(), Ok(4), "{torn:?}");
    }
}

#[test]
fn file_that_was_only_begun_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    recorded(options(dir.path()), [(NOON_MS, "a".to_owned())]);
    fs::write(path_of(dir.path(), 2), "{\"at").unwrap();
    recorded(options(dir.path()), [(NOON_MS, "b".to_owned())]);
    assert_eq!(words(dir.path()), ["a", "torn", "b"]);
    assert_eq!(verify(dir.path()).unwrap(), Ok(3));
}

#[test]
fn last_line_is_found_before_a_long_tear() {
    let dir = tempfile::tempdir().unwrap();
    recorded(options(dir.path()), [(NOON_MS, "a".to_owned())]);
    let path = path_of(dir.path(), 1);
    fs::write(&path, [fs::read(&path).unwrap(), vec![0; 3 << 20]].concat()).unwrap();
    recorded(options(dir.path()), [(NOON_MS, "b".to_owned())]);
    assert_eq!(words(dir.path()), ["a", "torn", "b"]);
}

#[test]
fn file_is_followed_by_the_next_by_size_and_by_day() {
    let dir = tempfile::tempdir().unwrap();
    let small = AuditOptions { file_bytes_max: 600, files_max: 3, ..options(dir.path()) };
    recorded(small.clone(), (0..10).map(|number| (NOON_MS, format!("e{number}"))));
    let numbers = files::numbers(dir.path()).unwrap();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    assert!(numbers.iter().all(|number| fs::metadata(path_of(dir.path(), *number)).unwrap().len() <= 600));
    assert_eq!(words(dir.path()).last().unwrap(), "e9");
    assert!(verify(dir.path()).unwrap().is_ok(), "the chain goes from file to file");

    let dir = tempfile::tempdir().unwrap();
    let days = [NOON_MS, NOON_MS + DAY_MS, NOON_MS, NOON_MS + DAY_MS, NOON_MS + 2 * DAY_MS];
    recorded(options(dir.path()), days.map(|at_ms| (at_ms, "x".to_owned())));
    let lines =
        [1, 2, 3].map(|number| fs::read_to_string(path_of(dir.path(), number)).unwrap().lines().count());
    assert_eq!(lines, [1, 3, 1], "a clock that is set back begins no file");
    recorded(options(dir.path()), [(NOON_MS + 3 * DAY_MS, "x".to_owned())]);
    assert_eq!(files::numbers(dir.path()).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn full_queue_loses_events_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("audit");
    // A file where the directory should be: nothing can be written.
    fs::write(&blocked, "").unwrap();
    let (audit, writer) = Audit::start(AuditOptions { queue_events_max: 3, ..options(&blocked) }).unwrap();
    until(|| audit.health().failure.is_some());
    for number in 0..10 {
        audit.queue.push(NOON_MS + number, bounded(&format!("e{number}")));
    }
    assert_eq!(audit.health().events_lost, 7);
    fs::remove_file(&blocked).unwrap();
    until(|| audit.health().lines_written == 4);
    audit.queue.push(NOON_MS + 20, bounded("after"));
    writer.stop();
    assert_eq!(words(&blocked), ["e0", "e1", "e2", "gap 7", "after"]);
    let gap = &values(&blocked)[3];
    assert_eq!(
        (&gap["from"], &gap["until"]),
        (&"2026-11-30T12:00:00.003Z".into(), &"2026-11-30T12:00:00.009Z".into())
    );
    assert_eq!(verify(&blocked).unwrap(), Ok(5));
    assert_eq!(audit.health(), AuditHealth { lines_written: 5, events_lost: 7, failure: None });
}

#[test]
fn bytes_of_the_queue_are_bounded() {
    let queue = Queue::new(1_000, 4_000);
    for number in 0..100 {
        queue.push(number, bounded(&"x".repeat(500)));
    }
    let taken = queue.take(Some(Duration::ZERO), || 0).entries;
    assert!((3..10).contains(&taken.len()), "{}", taken.len());
    assert!(matches!(taken.back(), Some(Entry::Gap(..))));
    assert_eq!(queue.health().events_lost, 100 - taken.len() as u64 + 1);
    queue.push(100, bounded(&"x".repeat(500)));
    assert_eq!(queue.take(None, || 0).entries.len(), 1, "there is room again");
}

/// Every write to /dev/full fails as on a full disk.
#[test]
fn full_disk_keeps_events_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/dev/full", path_of(dir.path(), 1)).unwrap();
    let (audit, writer) = Audit::start(options(dir.path())).unwrap();
    audit.queue.push(NOON_MS, bounded("a"));
    until(|| audit.health().failure.is_some());
    audit.queue.push(NOON_MS, bounded("b"));
    fs::remove_file(path_of(dir.path(), 1)).unwrap();
    until(|| audit.health().lines_written == 2);
    writer.stop();
    assert_eq!(words(dir.path()), ["a", "b"]);
    assert_eq!(audit.health().events_lost, 0);
}

#[test]
fn directory_that_is_taken_away_leaves_a_gap() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("audit");
    let (audit, writer) = Audit::start(options(&dir)).unwrap();
    audit.queue.push(NOON_MS, bounded("a"));
    until(|| audit.health().lines_written == 1);
    std::thread::sleep(Duration::from_millis(60));
    fs::remove_dir_all(&dir).unwrap();
    audit.queue.push(NOON_MS, bounded("b"));
    until(|| path_of(&dir, 1).exists() && audit.health().lines_written == 3);
    audit.queue.push(NOON_MS, bounded("c"));
    writer.stop();
    assert_eq!(words(&dir), ["gap 1", "c"]);
    assert_eq!(values(&dir)[0]["seq"], 3, "no number is used twice");
    assert_eq!(verify(&dir).unwrap(), Ok(2));
}

#[test]
fn stop_without_a_disk_ends_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("audit");
    fs::write(&blocked, "").unwrap();
    let (audit, writer) = Audit::start(options(&blocked)).unwrap();
    audit.record(event("a"));
    writer.stop();
    assert_eq!(audit.health().events_lost, 1);
}

#[test]
fn pages_follow_their_cursor() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        read_page(&dir.path().join("none"), None, 10).unwrap(),
        Page { is_end: true, ..Page::default() }
    );
    let small = AuditOptions { file_bytes_max: 600, files_max: 4, ..options(dir.path()) };
    recorded(small.clone(), (0..7).map(|number| (NOON_MS, format!("e{number}"))));
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = read_page(dir.path(), after, 2).unwrap();
        found.extend(
            page.lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["why"].clone()),
        );
        assert!(page.lines.len() <= 2 && !page.is_pruned);
        after = page.next;
        if page.is_end {
            break;
        }
    }
    assert_eq!(found, (0..7).map(|number| Value::from(format!("e{number}"))).collect::<Vec<_>>());
    let end = read_page(dir.path(), after, 10).unwrap();
    assert_eq!((end.lines.len(), end.next, end.is_end), (0, after, true));
    assert_eq!(after.unwrap().to_string().parse(), Ok(after.unwrap()));
    recorded(small, (7..30).map(|number| (NOON_MS, format!("e{number}"))));
    let page = read_page(dir.path(), Some(Cursor { file: 1, lines: 1 }), 1).unwrap();
    assert!(page.is_pruned && page.lines.len() == 1);
    for text in ["", "1", "1:", ":1", "a:1", "1:1:1", "-1:0"] {
        assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
    }
}

#[test]
fn line_that_is_being_written_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    recorded(options(dir.path()), [(NOON_MS, "a".to_owned())]);
    let path = path_of(dir.path(), 1);
    fs::write(&path, [fs::read(&path).unwrap(), b"{\"at\"".into()].concat()).unwrap();
    assert_eq!(words(dir.path()), ["a"]);
}

#[test]
fn change_shows_in_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    recorded(options(dir.path()), ["a", "b", "c", "d"].map(|why| (NOON_MS, why.to_owned())));
    let path = path_of(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |text: String| {
        fs::write(&path, text).unwrap();
        verify(dir.path()).unwrap().unwrap_err().line
    };
    assert_eq!(broken(text.replace("\"why\":\"b\"", "\"why\":\"x\"")), 3, "changed");
    assert_eq!(broken(format!("{}\n{}\n{}\n", lines[0], lines[2], lines[3])), 2, "taken out");
    assert_eq!(broken(format!("{}\n{}\n", lines[0], lines[0])), 2, "repeated");
    assert_eq!(broken("x\n".to_owned()), 1);
}

#[test]
fn lines_that_landed_are_not_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(Queue::new(10, 1 << 20));
    let mut writer = Writer::new(options(dir.path()), queue);
    writer.write_pending().unwrap();
    writer.pending.extend(["a", "b", "c"].map(|why| Entry::Event(NOON_MS, bounded(why))));
    // The first two lines are on the disk, and half of the third, although the write failed.
    let (mut bytes, mut chain) = (Vec::new(), Chain::default());
    for entry in &writer.pending {
        append_line(&mut bytes, &mut chain, "n1", entry).unwrap();
    }
    fs::write(path_of(dir.path(), 1), &bytes[..bytes.len() - 10]).unwrap();
    writer.files = None;
    writer.write_pending().unwrap();
    assert_eq!(words(dir.path()), ["a", "b", "torn", "c"]);
    assert_eq!(verify(dir.path()).unwrap(), Ok(4));
}
