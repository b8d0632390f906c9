//! Random histories with a power cut at a random moment: everything acknowledged is there, and nothing is invented.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use batuta_raft::disk::{Disk, SimDisk};
use batuta_raft::log::{Done, Log, LogOptions, LogState};
use bytes::Bytes;
use proptest::prelude::*;

const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 128 << 10, existing: false };

#[derive(Debug, Clone)]
enum Call {
    Append(Vec<u16>),
    Vote(u64),
    Truncate(u64),
    Purge(u64),
    Committed(u64),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => proptest::collection::vec(0_u16..9000, 1..6).prop_map(Call::Append),
        2 => any::<u64>().prop_map(Call::Vote),
        2 => (0_u64..6).prop_map(Call::Truncate),
        2 => (0_u64..40).prop_map(Call::Purge),
        1 => any::<u64>().prop_map(Call::Committed),
    ]
}

/// A naive model of what the log must contain.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    first: u64,
    entries: Vec<Bytes>,
    vote: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    /// Entries written so far; makes every payload different.
    written: u64,
}

fn payload(written: u64, length: u16) -> Bytes {
    let mut bytes = written.to_le_bytes().to_vec();
    bytes.resize(8 + usize::from(length), written.to_le_bytes()[0]);
    bytes.into()
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Makes the call on the log and on the model.
    fn make(&mut self, call: &Call, log: &Log, done: Done) {
        match call {
            Call::Append(lengths) => {
                let mut entries = Vec::new();
                for length in lengths {
                    let bytes = payload(self.written, *length);
                    self.written += 1;
                    entries.push((self.next(), bytes.clone()));
                    self.entries.push(bytes);
                }
                log.append(entries, done);
            }
            Call::Vote(vote) => {
                let vote = Bytes::copy_from_slice(&vote.to_le_bytes());
                self.vote = Some(vote.clone());
                log.save_vote(vote, done);
            }
            Call::Truncate(back) => {
                let from = self.next().saturating_sub(*back).max(self.first);
                self.entries.truncate(usize::try_from(from - self.first).expect("small"));
                log.truncate(from, done);
            }
            Call::Purge(ahead) => {
                let index = self.first + ahead;
                let gone = usize::try_from(ahead + 1).expect("small").min(self.entries.len());
                self.entries.drain(..gone);
                self.first = index + 1;
                let id = Bytes::copy_from_slice(&index.to_le_bytes());
                self.purged = Some((index, id.clone()));
                log.purge(index, id, done);
            }
            Call::Committed(id) => {
                log.note_committed(Bytes::copy_from_slice(&id.to_le_bytes()));
                done(Ok(()));
            }
        }
    }

    fn is(&self, log: &Log, state: &LogState) -> bool {
        // An empty log has no start: it begins at the next entry that is appended.
        let range = if self.entries.is_empty() {
            state.entries.is_empty()
        } else {
            state.entries == (self.first..self.next())
        };
        if !range || state.vote != self.vote || state.purged != self.purged {
            return false;
        }
        let found = log.read(self.first..self.next(), usize::MAX).expect("what is there can be read");
        found.iter().map(|(_, bytes)| bytes).eq(&self.entries)
    }
}

/// A cheap random source that decides which sectors survive.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 8 == 0
    }
}

/// Opens a log over the disk. `inline`: a task makes the small writes; otherwise the log's thread makes all writes.
fn open(disk: &SimDisk, inline: bool) -> Log {
    let disk = Arc::new(disk.clone()) as Arc<dyn Disk>;
    if !inline {
        return Log::open(disk, OPTIONS).expect("opens").0;
    }
    let (log, inline, _) = Log::open_inline(disk, OPTIONS).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
    std::thread::spawn(move || runtime.block_on(inline.run()));
    log
}

/// Opens the log, makes the calls, cuts the power after `cut_after` changes of the disk, and returns the surviving disk and model.
fn round(
    disk: &SimDisk,
    model: &Model,
    calls: &[Call],
    (burst, inline): (usize, bool),
    cut_after: u64,
    seed: u64,
) -> (SimDisk, Model) {
    let log = open(disk, inline);
    assert!(model.is(&log, &log.state()), "the log is not what was there before");
    disk.power_off_after(cut_after);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut states = vec![model.clone()];
    for (number, call) in calls.iter().enumerate() {
        let mut next = states[number].clone();
        let (sender, receiver) = mpsc::channel();
        let count = Arc::clone(&acknowledged);
        // A note of the committed position is not acknowledged: it is written with the next group.
        let counts = !matches!(call, Call::Committed(_));
        next.make(
            call,
            &log,
            Box::new(move |result| {
                if result.is_ok() && counts {
                    count.fetch_max(number + 1, Ordering::SeqCst);
                }
                // Nobody receives the result of most calls.
                let _ = sender.send(result.is_ok());
            }),
        );
        states.push(next);
        // The calls of a burst share groups; the test waits between bursts.
        if number % burst == burst - 1 && !receiver.recv().expect("every call is answered") {
            break;
        }
    }
    drop(log);
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    let mut bits = Bits(seed | 1);
    let left = disk.after_power_cut(|| bits.next());
    let log = open(&left, inline);
    let state = log.state();
    let found = states.iter().enumerate().rev().find(|(_, model)| model.is(&log, &state));
    let Some((reached, model)) = found else {
        panic!(
            "after the cut the log is {state:?}, which no history gives; {acknowledged} calls were acknowledged"
        );
    };
    // The newest matching state counts: states may repeat, and an equal older one proves no loss.
    assert!(reached >= acknowledged, "{acknowledged} calls were acknowledged, the log has {reached}");
    let model = Model { written: states.last().expect("the first").written, ..model.clone() };
    drop(log);
    (left, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_in_power_cuts(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(call(), 1..40), (1_usize..8, any::<bool>()), 0_u64..120, any::<u64>()),
            1..4,
        ),
    ) {
        let mut disk = SimDisk::new();
        let mut model = Model::default();
        for (calls, how, cut_after, seed) in rounds {
            (disk, model) = round(&disk, &model, &calls, how, cut_after, seed);
        }
        let log = open(&disk, false);
        prop_assert!(model.is(&log, &log.state()));
    }
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    for inline in [false, true] {
        fail_a_sync(inline);
    }
}

fn fail_a_sync(inline: bool) {
    let disk = SimDisk::new();
    let log = open(&disk, inline);
    disk.fail_syncs_after(3);
    let (sender, receiver) = mpsc::channel();
    for index in 0..10 {
        let sender = sender.clone();
        let done: Done =
            Box::new(move |result| sender.send((index, result.is_ok())).expect("the test waits"));
        log.append(vec![(index, payload(index, 100))], done);
        // One call at a time, so that each has its own sync.
        let (answered, ok) = receiver.recv().expect("every call is answered");
        assert_eq!((answered, ok), (index, index < 3));
    }
    drop(log);
}
