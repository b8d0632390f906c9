//! The trace of a run, line by line. The same seed must give the same lines.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};

/// How many of the newest lines are kept, to be shown with a failure.
const KEPT: usize = 80;

/// The lines of a run.
pub(crate) struct Trace {
    print: bool,
    newest: VecDeque<String>,
    lines: u64,
    digest: DefaultHasher,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        // A hasher without a random key, because the digest is compared between processes.
        Self { print, newest: VecDeque::new(), lines: 0, digest: DefaultHasher::new() }
    }

    pub(crate) fn push(&mut self, line: String) {
        if self.print {
            println!("{line}");
        }
        self.digest.write(line.as_bytes());
        self.lines += 1;
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(line);
    }

    pub(crate) fn newest(&self) -> impl Iterator<Item = &String> {
        self.newest.iter()
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }
}
