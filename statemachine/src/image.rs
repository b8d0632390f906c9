//! Converts the state to a stream of plain records for snapshots, and back to an equal state.
//!
//! Indexes are not written: locks, queues, deadlines and counters follow from the records and are rebuilt.

use std::sync::Arc;

use crate::cluster::Raised;
use crate::image_error::ImageError;
use crate::job::Job as _;
use crate::jobs::jobs;
use crate::level::LEVEL_MIN;
use crate::retries::{Answer, Ended, Keyed, Remembered};
use crate::step::Step;
use crate::{Limits, LockId, Namespace, Outcome, Position, PrincipalId, SessionId, State};

/// The part of an image that exists once per state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Log index of the last applied entry.
    pub revision: u64,
    /// Cluster time, in milliseconds.
    pub now_ms: u64,
    /// Wall clock of the last applied entry, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The limits in force.
    pub limits: Limits,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The node id that is allocated next.
    pub next_node_id: u64,
    /// The last issued fencing token.
    pub last_token: u64,
    /// The level of the cluster.
    pub level: u32,
    /// The first version of Batuta with this level; empty while the level was never raised.
    pub level_version: String,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RememberedReply {
    /// The outcome itself.
    Outcome(Outcome),
    /// An acquisition, whose current state is the answer.
    Acquisition(LockId),
}

/// An answer, or the end of an acquisition, that is remembered for retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryRecord {
    /// The end of an acquisition that remembered answers refer to.
    Ended {
        /// The acquisition.
        lock_id: LockId,
        /// How it ended.
        ended: Ended,
    },
    /// An answer remembered under a session's sequence.
    Sequence {
        /// The session.
        session: SessionId,
        /// The sequence.
        sequence: u64,
        /// Hash of the request.
        fingerprint: u64,
        /// The revision of the entry that executed the request.
        revision: u64,
        /// The answer.
        reply: RememberedReply,
    },
    /// An answer remembered under an idempotency key.
    Idempotency {
        /// Whose key it is.
        principal: PrincipalId,
        /// The namespace of the key.
        namespace: Namespace,
        /// The key.
        key: String,
        /// Hash of the request.
        fingerprint: u64,
        /// The position of the request in the log.
        position: Position,
        /// Cluster time of the request, in milliseconds.
        at_ms: u64,
        /// The answer.
        reply: RememberedReply,
    },
}

macro_rules! records {
    ($($Job:ident = $module:ident),*) => {
        /// A record of an image. Records come in the order of the variants, so that a record only refers to earlier ones.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ImageRecord {
            $(#[doc = concat!("A record of [`crate::", stringify!($module), "`].")] $Job(crate::$module::Record),)*
            /// An answer remembered for retries.
            Retry(RetryRecord),
        }

        $(impl From<crate::$module::Record> for ImageRecord {
            fn from(record: crate::$module::Record) -> Self {
                Self::$Job(record)
            }
        })*

        impl From<RetryRecord> for ImageRecord {
            fn from(record: RetryRecord) -> Self {
                Self::Retry(record)
            }
        }

        impl State {
            /// Makes the records of the image, one at a time.
            pub fn image_records(&self) -> impl Iterator<Item = ImageRecord> {
                let records = std::iter::empty();
                $(let records = records.chain(crate::$module::$Job::records(self).map(ImageRecord::$Job));)*
                records.chain(self.retry_records().map(ImageRecord::Retry))
            }
        }

        fn restore(step: &mut Step<'_>, record: ImageRecord) -> Result<(), ImageError> {
            match record {
                $(ImageRecord::$Job(record) => crate::$module::$Job::restore(step, record),)*
                ImageRecord::Retry(record) => restore_retry(step, record),
            }
        }
    };
}
jobs!(records);

impl RememberedReply {
    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Outcome(outcome) => Self::Outcome(outcome.as_ref().clone()),
            Answer::Acquisition(lock_id) => Self::Acquisition(*lock_id),
        }
    }

    fn into_answer(self) -> Answer {
        match self {
            Self::Outcome(outcome) => Answer::Outcome(Arc::new(outcome)),
            Self::Acquisition(lock_id) => Answer::Acquisition(lock_id),
        }
    }
}

impl State {
    /// Makes the header of the image.
    #[must_use]
    pub fn image_header(&self) -> ImageHeader {
        ImageHeader {
            revision: self.revision,
            now_ms: self.now_ms,
            wall_ms: self.wall_ms,
            limits: self.limits.clone(),
            cluster_id: self.cluster.cluster_id.clone(),
            next_node_id: self.cluster.next_node_id,
            last_token: self.token_high_water(),
            level: self.level(),
            level_version: self.level_version().to_owned(),
        }
    }

    fn retry_records(&self) -> impl Iterator<Item = RetryRecord> {
        let ended = self.retries.tracked.iter().filter_map(|(lock_id, tracked)| {
            Some(RetryRecord::Ended { lock_id: *lock_id, ended: tracked.ended.clone()? })
        });
        let sequences = self.session.windows().flat_map(|(session, window)| {
            window.answers.iter().map(move |(sequence, remembered)| RetryRecord::Sequence {
                session,
                sequence: *sequence,
                fingerprint: remembered.fingerprint,
                revision: remembered.revision,
                reply: RememberedReply::of(&remembered.answer),
            })
        });
        let keys =
            self.retries.all_keyed().map(|((principal, namespace, key), keyed)| RetryRecord::Idempotency {
                principal: *principal,
                namespace: namespace.clone(),
                key: key.clone(),
                fingerprint: keyed.remembered.fingerprint,
                position: keyed.position,
                at_ms: keyed.at_ms,
                reply: RememberedReply::of(&keyed.remembered.answer),
            });
        ended.chain(sequences).chain(keys)
    }

    /// Builds the state from an image. `validate` is [`Self::validate`] or equivalent to it.
    ///
    /// # Errors
    /// [`ImageError`] when the records contradict each other. Such a state is never served.
    pub fn from_image(
        header: ImageHeader,
        records: impl IntoIterator<Item = ImageRecord>,
        validate: impl FnOnce(&Self) -> Result<(), String>,
    ) -> Result<Self, ImageError> {
        let mut state = Self {
            revision: header.revision,
            now_ms: header.now_ms,
            wall_ms: header.wall_ms,
            limits: header.limits,
            ..Self::default()
        };
        (state.cluster.cluster_id, state.cluster.next_node_id) = (header.cluster_id, header.next_node_id);
        if header.level > LEVEL_MIN {
            state.cluster.raised = Some(Raised { level: header.level, version: header.level_version });
        }
        state.lock.restore_last_token(header.last_token);
        let mut step = Step::new(&mut state);
        let mut ends = Vec::new();
        for record in records {
            match record {
                ImageRecord::Retry(RetryRecord::Ended { lock_id, ended }) => ends.push((lock_id, ended)),
                record => restore(&mut step, record)?,
            }
        }
        for (lock_id, ended) in ends {
            restore_end(&mut step, lock_id, ended)?;
        }
        validate(&state).map_err(ImageError)?;
        Ok(state)
    }
}

/// Restores the end of an acquisition, once everything that refers to it is restored.
fn restore_end(step: &mut Step<'_>, lock_id: LockId, ended: Ended) -> Result<(), ImageError> {
    let tracked = step.state.retries.tracked.get_mut(&lock_id);
    let tracked = tracked.ok_or_else(|| ImageError(format!("{lock_id} ended, but nothing refers to it")))?;
    tracked.ended = Some(ended);
    Ok(())
}

fn restore_retry(step: &mut Step<'_>, record: RetryRecord) -> Result<(), ImageError> {
    match record {
        RetryRecord::Ended { lock_id, ended } => return restore_end(step, lock_id, ended),
        RetryRecord::Sequence { session, sequence, fingerprint, revision, reply } => {
            let answer = reply.into_answer();
            step.state.retries.track(&answer);
            let window = step.state.session.window_mut(session);
            let window =
                window.ok_or_else(|| ImageError(format!("sequence {sequence} of unknown {session}")))?;
            window.answers.insert(sequence, Remembered { fingerprint, revision, answer });
        }
        RetryRecord::Idempotency { principal, namespace, key, fingerprint, position, at_ms, reply } => {
            let remembered =
                Remembered { fingerprint, revision: position.index, answer: reply.into_answer() };
            let key = (principal, step.intern(&namespace), key);
            step.state.retries.insert_keyed(key, Keyed { remembered, position, at_ms });
        }
    }
    Ok(())
}
