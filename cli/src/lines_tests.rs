//! Pipes whose readers close, do not read, or start reading late.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

/// Leaks a descriptor, because the writing thread never ends.
fn leaked(descriptor: impl Into<OwnedFd>) -> BorrowedFd<'static> {
    let descriptor: &'static OwnedFd = Box::leak(Box::new(descriptor.into()));
    descriptor.as_fd()
}

fn over(descriptor: impl Into<OwnedFd>) -> Lines {
    let say_lost = |lines: &Lines, lost| lines.line(&format!("lost {lost}"));
    Lines::start_over(leaked(descriptor), Box::new(say_lost)).unwrap()
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().unwrap()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_arrive_in_order() {
    let (reader, writer) = pipe();
    let lines = over(writer);
    (0..100).for_each(|number| lines.line(&number.to_string()));
    let read: Vec<String> = BufReader::new(reader).lines().take(100).map(Result::unwrap).collect();
    assert_eq!(read, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    lines.flush(PATIENCE);
    assert_eq!(lines.queue().bytes, 0);
}

#[test]
fn closed_pipe_loses_and_counts_lines() {
    let (reader, writer) = pipe();
    drop(reader);
    let lines = over(writer);
    (0..10).for_each(|_| lines.line("nobody reads this"));
    lines.flush(PATIENCE);
    assert_eq!(lines.queue().lost, 10);
}

#[test]
fn full_disk_loses_and_counts_lines() {
    let lines = over(File::options().write(true).open("/dev/full").unwrap());
    (0..10).for_each(|_| lines.line("no room"));
    lines.flush(PATIENCE);
    assert_eq!(lines.queue().lost, 10);
}

#[test]
fn reader_that_does_not_read_blocks_nobody() {
    let (reader, writer) = pipe();
    let lines = over(writer);
    let long = "x".repeat(999);
    let count = 2 * QUEUE_BYTES_MAX / 1000;
    let begun = Instant::now();
    (0..count).for_each(|_| lines.line(&long));
    lines.flush(Duration::from_millis(10));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let lost = lines.queue().lost;
    assert!(lost > 0, "the queue is bounded");
    // Once the reader reads, it gets the kept lines, and then the number of lost lines.
    let mut reader = BufReader::new(reader).lines().map(Result::unwrap);
    let kept = reader.by_ref().take_while(|line| *line == long).count();
    // Every line was either kept or counted as lost.
    assert_eq!(kept as u64 + lost, count as u64);
    assert_eq!(lines.queue().lost, 0);
}

#[test]
fn lost_lines_are_reported_once_writing_works() {
    let (mut reader, writer) = pipe();
    let lines = over(writer);
    lines.queue().lost = 7;
    lines.line("it works again");
    lines.line("and again");
    lines.flush(PATIENCE);
    wait_for("the lost lines are reported", || lines.queue().lost == 0);
    lines.flush(PATIENCE);
    let mut text = vec![0; "it works again\nand again\nlost 7\n".len()];
    reader.read_exact(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("lost 7\n").count(), 1, "{text}");
}

#[test]
fn non_blocking_descriptor_is_waited_for() {
    let (reader, writer) = pipe();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let lines = over(writer);
    let long = "x".repeat(999);
    (0..200).for_each(|_| lines.line(&long));
    assert_eq!(
        BufReader::new(reader).lines().map(Result::unwrap).take(200).filter(|line| *line == long).count(),
        200
    );
    assert_eq!(lines.queue().lost, 0);
}
