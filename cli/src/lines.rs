//! Writes lines to standard output or standard error on a separate thread.
//!
//! A line that cannot be written (a closed pipe, a full disk) is lost and counted. When a reader does not read, a bounded queue fills up,
//! and further lines are lost and counted, too. In neither case does the caller end, block or panic. As soon as lines can be written
//! again, the number of lost lines is reported once, at the place where they are missing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, isatty, tcgetattr, tcgetpgrp};

/// Most bytes in the queue.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How often the number of lost lines is reported while lines keep getting lost.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// How long to wait before another attempt when a non-blocking write would block.
const WRITE_AGAIN: Duration = Duration::from_millis(10);

/// The stream to which lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Stream {
    /// Returns the raw descriptor. The standard library's handles have locks, which a blocked write would hold.
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        }
    }
}

/// Called on the writing thread with the number of lost lines. It may add a line.
type SayLost = Box<dyn Fn(&Lines, u64) + Send>;

/// A handle to the writing thread of a stream. Clones share the thread.
#[derive(Debug, Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of all lines in the queue and of the line being written.
    bytes: usize,
    lost: u64,
}

impl Lines {
    /// Starts the thread. `say_lost` is called there once a line could be written after lines were lost.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(stream: Stream, say_lost: impl Fn(&Self, u64) + Send + 'static) -> io::Result<Self> {
        Self::start_over(stream.descriptor(), Box::new(say_lost))
    }

    /// Like [`Self::start`], but reports lost lines in a line for people.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn for_people(stream: Stream) -> io::Result<Self> {
        Self::start(stream, |lines, lost| {
            lines.line(&format!("batuta: {lost} line(s) could not be written here"));
        })
    }

    fn start_over(descriptor: BorrowedFd<'static>, say_lost: SayLost) -> io::Result<Self> {
        let lines = Self { shared: Arc::default() };
        let writer =
            Writer { lines: lines.clone(), descriptor, is_terminal: isatty(descriptor), torn: false };
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || writer.run(&say_lost))?;
        Ok(lines)
    }

    /// Queues a line; the line end is added.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").into_bytes());
    }

    /// Queues whole lines, to be written in one piece. Never blocks: lines without room in the queue are lost and counted.
    pub fn write(&self, lines: Vec<u8>) {
        let mut queue = self.queue();
        // A line longer than the whole queue is still accepted by an empty queue.
        if queue.bytes > 0 && queue.bytes + lines.len() > QUEUE_BYTES_MAX {
            queue.lost += 1;
            return;
        }
        queue.bytes += lines.len();
        queue.lines.push_back(lines);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything is written or lost, at most this long.
    pub fn flush(&self, within: Duration) {
        let waits = |queue: &mut Queue| queue.bytes > 0;
        drop(self.shared.emptied.wait_timeout_while(self.queue(), within, waits));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock can panic halfway through a change.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the writing thread.
struct Writer {
    lines: Lines,
    descriptor: BorrowedFd<'static>,
    is_terminal: bool,
    /// Whether the last line was written only in part, so that the next one must start on a new line.
    torn: bool,
}

impl Writer {
    fn run(mut self, say_lost: &SayLost) {
        let mut said: Option<Instant> = None;
        loop {
            let line = self.next();
            let written = self.put(&line).is_ok();
            let mut queue = self.lines.queue();
            let mut lost = 0;
            if !written {
                queue.lost += 1;
            } else if queue.lines.is_empty() || said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                lost = std::mem::take(&mut queue.lost);
            }
            drop(queue);
            if lost > 0 {
                said = Some(Instant::now());
                say_lost(&self.lines, lost);
            }
            self.lines.queue().bytes -= line.len();
            self.lines.shared.emptied.notify_all();
        }
    }

    /// Waits for the next line. Its bytes count until it is written.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.lines.queue();
        loop {
            match queue.lines.pop_front() {
                Some(line) => return line,
                None => {
                    queue = self.lines.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Writes a line, however long that takes.
    fn put(&mut self, line: &[u8]) -> Result<(), Errno> {
        if self.would_stop_the_process() {
            return Err(Errno::IO);
        }
        if self.torn {
            self.put_all(b"\n")?;
            self.torn = false;
        }
        self.put_all(line)
    }

    fn put_all(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match rustix::io::write(self.descriptor, bytes) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // Another process that shares the descriptor has made it non-blocking.
                Err(Errno::AGAIN) => std::thread::sleep(WRITE_AGAIN),
                Err(error) => {
                    self.torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether the terminal stops background jobs that write (`stty tostop`) and this process is one.
    fn would_stop_the_process(&self) -> bool {
        self.is_terminal
            && tcgetattr(self.descriptor).is_ok_and(|modes| modes.local_modes.contains(LocalModes::TOSTOP))
            && tcgetpgrp(self.descriptor).is_ok_and(|foreground| foreground != getpgrp())
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
