//! Handles panics. A panic is a defect and is reported on standard error. A panic that affects only one
//! client's request or connection lets the node continue (`batuta_api::client_work` marks such work). Any
//! other panic ends the process: a node that continues without its consensus, its log or one of its tasks
//! looks alive and is not.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use batuta_cli::lines::{Lines, Stream};
use batuta_config::validated::LogFormat;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// Exit code of a process that ends because of its own defect; the commands use the same code.
pub(crate) const DEFECT: u8 = 70;

/// How long to wait for a reader that does not read.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// From now on a panic writes a line in this format, and ends the process unless it happened in a client's
/// work.
pub(crate) fn end_the_process(lines: Lines, format: LogFormat) {
    std::panic::set_hook(Box::new(move |info| {
        let ends = !batuta_api::client_work::is_current();
        // Not through the subscriber: the panic may have come out of it.
        lines.write(line(info, format, ends).into_bytes());
        if ends {
            lines.flush(FLUSH_WITHIN);
            std::process::exit(i32::from(DEFECT));
        }
    }));
}

/// From now on a panic ends the process, whichever thread or task it is in: a keeper of a lock that lost one
/// of its tasks would look as if it still kept the lock.
pub(crate) fn end_the_command() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(lines) = Lines::for_people(Stream::Error) {
            lines.write(line(info, LogFormat::Text, true).into_bytes());
            lines.flush(FLUSH_WITHIN);
        }
        std::process::exit(i32::from(DEFECT));
    }));
}

fn line(info: &PanicHookInfo, format: LogFormat, ends: bool) -> String {
    let mut timestamp = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let reason = info.payload_as_str().unwrap_or("a value that is not text");
    let message = if ends {
        "a part of this process failed; the process ends"
    } else {
        "a client's request or connection failed; the node continues"
    };
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    match format {
        LogFormat::Text => {
            let trace = trace.map(|trace| format!("\n{trace}")).unwrap_or_default();
            format!("{timestamp} ERROR {message} panic={reason:?} thread={thread:?} place={place:?}{trace}\n")
        }
        LogFormat::Json => {
            let fields = serde_json::json!({
                "message": message, "panic": reason, "thread": thread, "place": place, "backtrace": trace,
            });
            let line = serde_json::json!({"timestamp": timestamp, "level": "ERROR", "fields": fields});
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// Names, in the child process of a test, the place that is to panic.
    const WHERE: &str = "TEST_PANIC";

    /// Body of the child process. Without the variable this test does nothing.
    #[test]
    fn started_by_others() {
        let Some(place) = std::env::var_os(WHERE) else { return };
        let lines = Lines::for_people(Stream::Error).unwrap();
        let format = if place == "json" { LogFormat::Json } else { LogFormat::Text };
        end_the_process(lines.clone(), format);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        match place.to_str() {
            Some("thread" | "json") => {
                std::thread::Builder::new()
                    .name("consensus".to_owned())
                    .spawn(|| panic!("no \"sense\""))
                    .unwrap();
            }
            Some("task") => drop(runtime.spawn(async { panic!("no task") })),
            Some("client") => {
                let work = batuta_api::client_work::client_work(async { panic!("no client") });
                assert!(runtime.block_on(runtime.spawn(work)).is_err());
                lines.flush(FLUSH_WITHIN);
                std::process::exit(7);
            }
            place => unreachable!("{place:?}"),
        }
        std::thread::sleep(Duration::from_mins(2));
    }

    /// The exit code of a child process in which `place` panics, and its output.
    fn panicked(place: &str, stderr: Stdio) -> (Option<i32>, String) {
        let begun = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::tests::started_by_others", "--nocapture"])
            .env(WHERE, place)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let code = child.wait().unwrap().code();
        assert!(begun.elapsed() < Duration::from_mins(1), "it ended by itself");
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (code, said)
    }

    #[test]
    fn panic_in_the_background_ends_the_process() {
        let (code, said) = panicked("thread", Stdio::piped());
        assert_eq!(code, Some(70), "{said}");
        for part in
            ["ERROR", r#"panic="no \"sense\"""#, r#"thread="consensus""#, "panics.rs:", "the process ends"]
        {
            assert!(said.contains(part), "{part} in {said}");
        }
        let (code, said) = panicked("task", Stdio::piped());
        assert_eq!(code, Some(70), "{said}");
        assert!(said.contains("no task"), "{said}");
    }

    #[test]
    fn panic_is_one_line_of_json() {
        let (code, said) = panicked("json", Stdio::piped());
        assert_eq!(code, Some(70), "{said}");
        let line: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
        assert_eq!(
            (line["level"].as_str(), line["fields"]["thread"].as_str()),
            (Some("ERROR"), Some("consensus"))
        );
    }

    #[test]
    fn panic_ends_the_process_without_a_reader() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(panicked("thread", full.into()).0, Some(70));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(panicked("task", writer.into()).0, Some(70));
        // A full pipe with a reader that does not read.
        let (_reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        assert_eq!(panicked("thread", writer.into()).0, Some(70));
    }

    #[test]
    fn panic_for_a_client_leaves_the_process_alone() {
        let (code, said) = panicked("client", Stdio::piped());
        assert_eq!(code, Some(7), "{said}");
        assert!(said.contains("the node continues") && said.contains("no client"), "{said}");
    }
}
