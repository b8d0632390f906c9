//! Lines on standard output or standard error, written by a thread of their own.
//!
//! A line that cannot be written (a closed pipe, a full disk) is lost and counted. A reader that does not read fills a bounded queue,
//! behind which lines are lost and counted too. Neither ends, blocks or panics whoever writes. As soon as lines get through again, the
//! number of the lost ones is said once, at the place where they are missing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, isatty, tcgetattr, tcgetpgrp};

/// Bytes that may wait for a reader.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How often the number of lost lines is said while more are lost all the time.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// How long to wait before writing again where writing would block and does not.
const WRITE_AGAIN: Duration = Duration::from_millis(10);

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Stream {
    /// The descriptor itself: the standard library's handles have locks, which a blocked write would hold.
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        }
    }
}

/// Says on the writing thread how many lines were lost. It may add a line.
type SayLost = Box<dyn Fn(&Lines, u64) + Send>;

/// The way to a stream. A clone is another way to the same one.
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
    /// Of all lines in the queue and of the one being written.
    bytes: usize,
    lost: u64,
}

impl Lines {
    /// Starts the thread. `say_lost` is called there when lines were lost and one was written again.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(stream: Stream, say_lost: impl Fn(&Self, u64) + Send + 'static) -> io::Result<Self> {
        Self::start_over(stream.descriptor(), Box::new(say_lost))
    }

    /// As [`Self::start`]; lost lines are said in a line for people.
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

    /// Has a line written; its end is added.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").into_bytes());
    }

    /// Has whole lines written, in one piece. Never blocks: what there is no room for is lost and counted.
    pub fn write(&self, lines: Vec<u8>) {
        let mut queue = self.queue();
        // The one line that is longer than all the room there is still gets through an empty queue.
        if queue.bytes > 0 && queue.bytes + lines.len() > QUEUE_BYTES_MAX {
            queue.lost += 1;
            return;
        }
        queue.bytes += lines.len();
        queue.lines.push_back(lines);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything is written or lost, but no longer than this.
    pub fn flush(&self, within: Duration) {
        let waits = |queue: &mut Queue| queue.bytes > 0;
        drop(self.shared.emptied.wait_timeout_while(self.queue(), within, waits));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock can panic between two changes that belong together.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread owns.
struct Writer {
    lines: Lines,
    descriptor: BorrowedFd<'static>,
    is_terminal: bool,
    /// The last line was written in part: the next one must not go on in it.
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

    /// The next line. It counts among the bytes of the queue until it is written.
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

    /// Writes a line, as long as that takes.
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
                // Whoever shares the descriptor has made it non-blocking.
                Err(Errno::AGAIN) => std::thread::sleep(WRITE_AGAIN),
                Err(error) => {
                    self.torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether the terminal stops background jobs that write (`stty tostop`) and this is one.
    fn would_stop_the_process(&self) -> bool {
        self.is_terminal
            && tcgetattr(self.descriptor).is_ok_and(|modes| modes.local_modes.contains(LocalModes::TOSTOP))
            && tcgetpgrp(self.descriptor).is_ok_and(|foreground| foreground != getpgrp())
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
