//! The audit of this node: its thread, and the changes that go into it from applied entries.

use std::io;
use std::path::Path;
use std::time::Duration;

use batuta_api::access::audit::{Audit, AuditOptions, AuditWriter, Event, Kind, Level};
use batuta_api::service::audit_changes::{Followed, audit_changes};
use batuta_config::NodeConfig;
use batuta_config::validated::AuditLevel;
use batuta_raft::Replica;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the last lines may take at the end. A disk that hangs must not keep the process.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// The running audit.
pub(crate) struct NodeAudit {
    audit: Audit,
    writer: AuditWriter,
    changes: JoinHandle<Option<Followed>>,
    stop: CancellationToken,
}

impl NodeAudit {
    /// Starts the audit, unless the configuration turns it off.
    pub(crate) fn start(config: &NodeConfig, replica: &Replica) -> io::Result<Option<Self>> {
        if !config.audit.enabled {
            return Ok(None);
        }
        let options = options(config);
        let dir = options.dir.clone();
        let (audit, writer) = Audit::start(options)?;
        audit.record(started(config, &dir));
        let stop = CancellationToken::new();
        let changes = tokio::spawn(audit_changes(replica.clone(), audit.clone(), dir, stop.clone()));
        Ok(Some(Self { audit, writer, changes, stop }))
    }

    /// Another handle to record with.
    pub(crate) fn handle(&self) -> Audit {
        self.audit.clone()
    }

    /// Records the last changes, writes and syncs what waits, and ends the thread.
    pub(crate) async fn stop(self) {
        let Self { audit, writer, changes, stop } = self;
        stop.cancel();
        let stopped = timeout(STOP_WITHIN, async {
            let followed = changes.await.ok().flatten();
            let written = tokio::task::spawn_blocking(move || writer.stop()).await.is_ok();
            let healthy = audit.health().failure.is_none();
            followed.filter(|_| written && healthy)
        });
        match stopped.await {
            Ok(Some(followed)) => {
                if let Err(error) = followed.save() {
                    tracing::warn!(%error, "how far the audit followed the changes was not saved; the next start writes some lines again");
                }
            }
            Ok(None) => {}
            Err(_) => tracing::error!(within = ?STOP_WITHIN, "the audit was not written to its end"),
        }
    }
}

fn options(config: &NodeConfig) -> AuditOptions {
    let level = match config.audit.level {
        AuditLevel::Privileged => Level::Privileged,
        AuditLevel::Writes => Level::Writes,
        AuditLevel::All => Level::All,
    };
    AuditOptions {
        level,
        file_bytes_max: config.audit.file_bytes_max,
        files_max: config.audit.files_max,
        ..AuditOptions::new(config.audit.dir.clone(), config.node.name.clone())
    }
}

/// The line of a start, with the settings that concern access.
fn started(config: &NodeConfig, dir: &Path) -> Event {
    let why = format!(
        "batuta {} starts; access.recovery = {}, audit.level = {}, audit.on_failure = {}, audit.dir = {}",
        env!("CARGO_PKG_VERSION"),
        config.access.recovery,
        config.audit.level.as_str(),
        config.audit.on_failure.as_str(),
        dir.display()
    );
    Event { why: Some(why), ..Event::new(Kind::Config) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[(&str, &str)]) -> NodeConfig {
        let own = [("node.name", "n1"), ("cluster.peers", "n1=127.0.0.1:7070")];
        let flags: Vec<(String, String)> =
            own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        batuta_config::load(None, &[], &flags).unwrap().config
    }

    #[test]
    fn configuration_becomes_options() {
        let set = [
            ("audit.dir", "/audit"),
            ("audit.level", "writes"),
            ("audit.file_bytes_max", "100000"),
            ("audit.files_max", "7"),
        ];
        let options = options(&config(&set));
        assert_eq!((options.dir.as_path(), options.node.as_str()), (Path::new("/audit"), "n1"));
        assert_eq!((options.level, options.file_bytes_max, options.files_max), (Level::Writes, 100_000, 7));
    }

    #[test]
    fn words_of_the_levels_are_those_of_the_audit() {
        for level in [AuditLevel::Privileged, AuditLevel::Writes, AuditLevel::All] {
            let configured = config(&[("audit.level", level.as_str())]);
            assert_eq!(Level::parse(level.as_str()), Some(options(&configured).level));
        }
    }

    #[test]
    fn start_is_recorded_with_what_concerns_access() {
        let why = started(&config(&[("access.recovery", "false")]), Path::new("/audit")).why.unwrap();
        assert!(why.contains("access.recovery = false") && why.contains("audit.dir = /audit"), "{why}");
    }
}
