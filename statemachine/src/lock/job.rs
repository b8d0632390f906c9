//! Implements the job trait for locks.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::job::Job;
use crate::level::LEVEL_MIN;
use crate::lock::image::{self, Record};
use crate::lock::promote::promote;
use crate::lock::{By, Command, GrantRef, Mode, Release, permit};
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Position, State, access};

/// The job of locks, as [`crate::jobs`] lists it.
pub(crate) struct Lock;

impl Job for Lock {
    type Command = Command;
    type Record = Record;

    fn apply(step: &mut Step<'_>, position: Position, command: &Command) -> Outcome {
        match command {
            Command::Acquire(command) => command.apply(step, position).map(Into::into),
            Command::CancelWait(command) => command.apply(step).map(Into::into),
            Command::WithdrawWaits(command) => Ok(command.apply(step).into()),
            Command::Release(command) => Ok(command.apply(step)?.into()),
            Command::Extend(command) => command.apply(step).map(Into::into),
            Command::ForceRelease(command) => command.apply(step).map(Into::into),
            Command::Downgrade(command) => command.apply(step).map(Into::into),
            Command::SetMetadata(command) => command.apply(step).map(Into::into),
            Command::Resize(command) => command.apply(step).map(Into::into),
        }
    }

    fn authorise(state: &State, actor: &Actor, command: &Command) -> Result<(), access::Refusal> {
        permit::authorise(state, actor, command)
    }

    fn level(command: &Command) -> u32 {
        match command {
            Command::Downgrade(_)
            | Command::SetMetadata(_)
            | Command::Resize(_)
            | Command::Release(Release { grant: GrantRef { by: By::Leader { .. }, .. }, .. }) => 2,
            Command::Release(release) if release.grant.session.is_some() => 2,
            Command::Acquire(acquire)
                if acquire.requests.iter().any(|request| request.mode == Mode::Election) =>
            {
                2
            }
            Command::Acquire(_)
            | Command::CancelWait(_)
            | Command::WithdrawWaits(_)
            | Command::Release(_)
            | Command::Extend(_)
            | Command::ForceRelease(_) => LEVEL_MIN,
        }
    }

    fn adds(state: &State, command: &Command) -> bool {
        match command {
            Command::Acquire(acquire) => !acquire.stands_already(state),
            Command::CancelWait(_)
            | Command::WithdrawWaits(_)
            | Command::Release(_)
            | Command::Extend(_)
            | Command::ForceRelease(_)
            | Command::Downgrade(_)
            | Command::SetMetadata(_)
            | Command::Resize(_) => false,
        }
    }

    fn settle(step: &mut Step<'_>) {
        promote(step);
    }

    fn records(state: &State) -> impl Iterator<Item = Record> {
        state.lock_records()
    }

    fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
        image::restore(step, record)
    }

    fn deadlines(state: &State) -> impl Iterator<Item = (u64, Due)> {
        let table = &state.lock;
        let waits = table.waits.iter().map(|(id, wait)| (wait.deadline_ms, Due::Wait(*id)));
        let grants =
            table.grants.iter().filter_map(|(id, grant)| Some((grant.deadline_ms?, Due::Grant(*id))));
        let delays = table
            .by_key
            .iter()
            .filter_map(|(key, lock)| Some((lock.delayed_until_ms()?, Due::Delay(Box::new(key.clone())))));
        waits.chain(grants).chain(delays)
    }

    fn count(state: &State, count: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage))) {
        let table = &state.lock;
        table.grants.values().for_each(|grant| count(&grant.namespace, |usage| usage.lock.grants += 1));
        table.waits.values().for_each(|wait| count(&wait.namespace, |usage| usage.lock.waits += 1));
        table.by_key.keys().for_each(|key| count(&key.namespace, |usage| usage.lock.locks += 1));
    }
}
