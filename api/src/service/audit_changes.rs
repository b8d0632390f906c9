//! Writes changes into the audit of this node, from the entries that it applies: the same lines on every node, with who made each change.
//!
//! Invariant: from the first look on, every change of access gets a line, or lies in a stretch of revisions that a line of kind `gap` names.
//! After a crash, changes of the last seconds may have two lines, which have the same revision.
//!
//! The history is looked at every [`LOOK_INTERVAL`], and nothing wakes this task in between: what locks do costs it one comparison a change.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batuta_raft::{History, Replica};
use batuta_statemachine::lock::{self, ReleaseReason};
use batuta_statemachine::{Change, ChangeKind, PrincipalId, State};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::watch::{AccessFacts, Event as Watched, Facts};
use crate::access::audit::{Audit, Event, Kind};

/// How often the history is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the place is saved from which a restarted node goes on. The audit syncs its lines more often than this.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// The file with that place, beside the files of the audit.
const FILE: &str = "followed";

/// How far the changes of a cluster are in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    dir: PathBuf,
    cluster_id: String,
    revision: u64,
}

impl Followed {
    /// Reads the place of an earlier start, if it belongs to this cluster.
    fn read(dir: &Path, cluster_id: &str) -> Option<Self> {
        let text = fs::read_to_string(dir.join(FILE)).ok()?;
        let (of, revision) = text.trim_end().split_once(' ')?;
        let revision = revision.parse().ok().filter(|_| of == cluster_id)?;
        Some(Self { dir: dir.to_owned(), cluster_id: cluster_id.to_owned(), revision })
    }

    /// Saves the place for the next start, once the lines before it are on the disk.
    ///
    /// # Errors
    /// The file cannot be written; then the next start writes some lines again.
    pub fn save(&self) -> io::Result<()> {
        let new = self.dir.join(format!("{FILE}.new"));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{} {}", self.cluster_id, self.revision)?;
        drop(file);
        fs::rename(new, self.dir.join(FILE))
    }
}

/// Follows the changes that this node applies until `stop`, and records them. Returns how far it came, to be saved once the audit is synced;
/// `None` when the node never had a cluster.
pub async fn audit_changes(
    replica: Replica,
    audit: Audit,
    dir: PathBuf,
    stop: CancellationToken,
) -> Option<Followed> {
    let mut follower: Option<Follower> = None;
    loop {
        let stopped = stop.is_cancelled();
        if follower.is_none()
            && let Some(cluster_id) = replica.view().cluster_id()
        {
            follower = Some(Follower::new(&dir, cluster_id.to_owned(), &replica.history(), audit.clone()));
        }
        if let Some(follower) = &mut follower {
            follower.look(&replica.history(), |id| name_of(&replica.view(), id));
            follower.save_now_and_then();
        }
        if stopped {
            return follower.map(|follower| follower.at);
        }
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
}

struct Follower {
    audit: Audit,
    at: Followed,
    /// The place at the last save. Its lines are synced by the next one.
    settled: u64,
    save_at: Instant,
    saving: Option<JoinHandle<()>>,
}

impl Follower {
    fn new(dir: &Path, cluster_id: String, history: &History, audit: Audit) -> Self {
        // A node that never followed this cluster begins with what it applies; what a snapshot brought it is before its time.
        let at = Followed::read(dir, &cluster_id).unwrap_or_else(|| Followed {
            dir: dir.to_owned(),
            cluster_id,
            revision: history.floor(),
        });
        let settled = at.revision;
        Self { audit, at, settled, save_at: Instant::now() + SAVE_INTERVAL, saving: None }
    }

    /// Records the changes after the last look.
    fn look(&mut self, history: &History, name_of: impl Fn(PrincipalId) -> String) {
        let seen = &mut self.at.revision;
        if history.revision() <= *seen {
            return;
        }
        if history.floor() > *seen {
            self.audit.record(gap(*seen + 1, history.floor()));
            *seen = history.floor();
        }
        for entry in history.after(*seen).into_iter().flatten() {
            if entry.changes.iter().any(is_recorded) {
                let told = entry.changes.iter().zip(Watched::of(&entry));
                for (_, watched) in told.filter(|(change, _)| is_recorded(change)) {
                    self.audit.record(event(entry.revision, &watched, &name_of));
                }
            }
        }
        *seen = history.revision();
    }

    /// Saves the place, unless the disk is still busy with the last save or the audit is not written.
    fn save_now_and_then(&mut self) {
        let busy = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        if busy || Instant::now() < self.save_at || self.audit.health().failure.is_some() {
            return;
        }
        self.save_at = Instant::now() + SAVE_INTERVAL;
        let saved = Followed { revision: self.settled, ..self.at.clone() };
        self.settled = self.at.revision;
        if saved.revision < self.settled {
            self.saving = Some(tokio::task::spawn_blocking(move || {
                if let Err(error) = saved.save() {
                    tracing::debug!(%error, "the place in the changes was not saved; a restart writes some lines again");
                }
            }));
        }
    }
}

/// Whether the audit records a change: those of access and of the cluster, and locks that an operator takes away.
fn is_recorded(change: &Change) -> bool {
    match &change.kind {
        ChangeKind::Access(_) | ChangeKind::Cluster(_) => true,
        ChangeKind::Lock(lock::Change::LockReleased { reason, .. }) => {
            matches!(reason, ReleaseReason::Forced { .. })
        }
        ChangeKind::Lock(_) | ChangeKind::Session(_) | ChangeKind::Register(_) => false,
    }
}

/// Who made a change, as lines name it. One that was deleted since has its id only.
fn name_of(state: &State, id: PrincipalId) -> String {
    state.principal(id).map_or_else(|| id.to_string(), |record| record.principal.to_string())
}

/// The line of a change: what it is about in `names`, and in `why` the kind of change and its reason.
fn event(revision: u64, watched: &Watched, name_of: impl Fn(PrincipalId) -> String) -> Event {
    let mut words = vec![watched.kind.as_str().to_owned()];
    words.extend(watched.reason.map(str::to_owned));
    let mut names: Vec<String> = watched.names().map(ToString::to_string).collect();
    let mut principal = None;
    match &watched.facts {
        Facts::Access(facts) => {
            principal = facts.made_by.map(name_of);
            names = names_of(facts);
            words.extend(facts.credential_kind.map(str::to_owned));
            words.extend(facts.mode.map(str::to_owned));
            words.extend(facts.suspended.then(|| "suspended".to_owned()));
            words.extend(facts.deleted.then(|| "deleted".to_owned()));
        }
        Facts::Grant { words: Some(reason), .. } => words.push(format!("({reason})")),
        Facts::Node { node_id, node_name } => names.push(format!("{node_name} ({node_id})")),
        Facts::Level { level, .. } => words.push(level.to_string()),
        Facts::Grant { .. }
        | Facts::SessionOpened { .. }
        | Facts::SessionEnded
        | Facts::Wait(_)
        | Facts::Capacity { .. }
        | Facts::Register { .. }
        | Facts::Cluster => {}
    }
    Event {
        principal,
        namespace: watched.namespace.as_ref().map(ToString::to_string),
        names,
        why: Some(words.join(" ")),
        revision: Some(revision),
        ..Event::new(Kind::Change)
    }
}

/// What a change of access is about.
fn names_of(facts: &AccessFacts) -> Vec<String> {
    let subject = facts.subject.clone();
    let role = facts.role.as_ref().map(|role| format!("role/{role}"));
    let binding = facts.binding_id.clone();
    let credential = facts.credential_id.as_ref().map(|id| format!("credential/{id}"));
    [subject, role, binding, credential].into_iter().flatten().collect()
}

/// The line that stands for changes which this node can no longer tell.
fn gap(from: u64, until: u64) -> Event {
    let why = format!(
        "changes of the revisions {from} to {until} may be missing: this node took them over with a snapshot, or could not keep up; the audit of \
         another node has them"
    );
    Event { why: Some(why), revision: Some(until), ..Event::new(Kind::Gap) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_raft::RevisionChanges;
    use batuta_statemachine::access::{self, End, Mode, TokenKind};
    use batuta_statemachine::{Position, Principal, PrincipalName, TokenId, cluster, session};

    use super::*;
    use crate::access::audit::AuditOptions;

    const BY: PrincipalId = PrincipalId(Position { index: 3, ordinal: 0 });

    fn word(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    fn entry(kinds: Vec<ChangeKind>) -> RevisionChanges {
        let change = |(ordinal, kind)| Change { revision: 9, ordinal, namespace: None, kind };
        let changes = (0..).zip(kinds).map(change).collect();
        RevisionChanges { revision: 9, now_ms: 1, wall_ms: 2, changes }
    }

    fn told(kind: access::Change) -> Event {
        let entry = entry(vec![ChangeKind::Access(kind)]);
        let watched = Watched::of(&entry).next().unwrap();
        event(9, &watched, |id| if id == BY { "user/root".to_owned() } else { id.to_string() })
    }

    #[test]
    fn line_says_what_changed_and_who_made_it() {
        let token = TokenId::new("abcDEF012345").unwrap();
        let (principal, by) = (Principal::User(word("ann")), Some(BY));
        let subject = "group/ops".parse().unwrap();
        let binding = access::BindingId(Position { index: 4, ordinal: 0 });
        for (change, principal, names, why) in [
            (
                access::Change::BindingEnded {
                    binding,
                    subject,
                    role: word("editor"),
                    reason: End::Revoked,
                    by,
                },
                Some("user/root"),
                vec!["group/ops".to_owned(), "role/editor".to_owned(), binding.to_string()],
                "binding_ended revoked",
            ),
            (
                access::Change::TokenCreated {
                    token,
                    kind: TokenKind::Bootstrap { recovery: true },
                    principal: Principal::Anonymous,
                    by: None,
                },
                None,
                vec!["anonymous".to_owned(), format!("credential/{token}")],
                "token_created bootstrap",
            ),
            (
                access::Change::PrincipalChanged { id: BY, principal, suspended: true, by },
                Some("user/root"),
                vec!["user/ann".to_owned()],
                "principal_changed suspended",
            ),
            (
                access::Change::AccessModeChanged { mode: Mode::Enforce, by },
                Some("user/root"),
                Vec::new(),
                "access_mode_changed enforce",
            ),
        ] {
            let event = told(change);
            assert_eq!(event.principal.as_deref(), principal);
            assert_eq!((event.names, event.why.as_deref(), event.revision), (names, Some(why), Some(9)));
        }
    }

    #[test]
    fn ordinary_changes_are_not_recorded() {
        let session = batuta_statemachine::SessionId(Position { index: 1, ordinal: 0 });
        let opened = session::Change::SessionOpened { session, ttl_ms: 1, metadata: String::new() };
        let kinds = vec![
            ChangeKind::Session(opened),
            ChangeKind::Cluster(cluster::Change::LimitsChanged),
            ChangeKind::Access(access::Change::AccessModeChanged { mode: Mode::Off, by: None }),
        ];
        let entry = Arc::new(entry(kinds));
        let recorded: Vec<bool> = entry.changes.iter().map(is_recorded).collect();
        assert_eq!(recorded, [false, true, true]);
    }

    #[test]
    fn place_belongs_to_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Followed::read(dir.path(), "c0ffee"), None);
        let place = Followed { dir: dir.path().to_owned(), cluster_id: "c0ffee".to_owned(), revision: 7 };
        place.save().unwrap();
        assert_eq!(Followed::read(dir.path(), "c0ffee"), Some(place));
        assert_eq!(Followed::read(dir.path(), "decaf"), None, "another cluster has other revisions");
        for damaged in ["", "c0ffee", "c0ffee x", "c0ffee 7 8"] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(Followed::read(dir.path(), "c0ffee"), None, "{damaged:?}");
        }
        assert!(place_in_a_missing_directory(dir.path()).save().is_err());
    }

    fn place_in_a_missing_directory(dir: &Path) -> Followed {
        Followed { dir: dir.join("gone"), cluster_id: "c0ffee".to_owned(), revision: 7 }
    }

    #[tokio::test]
    async fn missing_history_is_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (audit, writer) =
            Audit::start(AuditOptions::new(dir.path().to_owned(), "n1".to_owned())).unwrap();
        let mut follower = Follower::new(dir.path(), "c0ffee".to_owned(), &History::default(), audit);
        follower.look(&History::default(), |id| id.to_string());
        follower.audit.record(gap(5, 9));
        writer.stop();
        let lines = fs::read_to_string(dir.path().join("audit-1.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 1, "an empty history has nothing to say: {lines}");
        assert!(lines.contains("\"kind\":\"gap\"") && lines.contains("the revisions 5 to 9"), "{lines}");
    }
}
