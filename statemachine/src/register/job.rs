//! Implements the job trait for registers.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::job::Job;
use crate::lock::LockKey;
use crate::register::{Command, Record};
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Permission, Position, State, access};

/// The job of registers, as [`crate::jobs`] lists it.
pub(crate) struct Register;

impl Job for Register {
    type Command = Command;
    type Record = Record;

    fn apply(step: &mut Step<'_>, _: Position, command: &Command) -> Outcome {
        match command {
            Command::AdvanceRegister(command) => command.apply(step).map(Into::into),
            Command::DeleteRegister(command) => command.apply(step).map(Into::into),
        }
    }

    fn authorise(state: &State, actor: &Actor, command: &Command) -> Result<(), access::Refusal> {
        let (permission, namespace, name) = match command {
            Command::AdvanceRegister(advance) => {
                (Permission::RegisterAdvance, &advance.namespace, &advance.name)
            }
            Command::DeleteRegister(delete) => (Permission::RegisterDelete, &delete.namespace, &delete.name),
        };
        state.authorise(actor, permission, namespace, Some(name))
    }

    fn adds(state: &State, command: &Command) -> bool {
        match command {
            Command::AdvanceRegister(command) => state.register(&command.namespace, &command.name).is_none(),
            Command::DeleteRegister(_) => false,
        }
    }

    fn records(state: &State) -> impl Iterator<Item = Record> {
        state.register.high_water.iter().map(|(key, high_water)| Record {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            high_water: *high_water,
        })
    }

    fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
        let key = LockKey { namespace: step.intern(&record.namespace), name: record.name };
        step.account(&key.namespace, |usage| usage.register.registers += 1);
        step.state.register.high_water.insert(key, record.high_water);
        Ok(())
    }

    fn deadlines(_: &State) -> impl Iterator<Item = (u64, Due)> {
        std::iter::empty()
    }

    fn count(state: &State, count: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage))) {
        for key in state.register.high_water.keys() {
            count(&key.namespace, |usage| usage.register.registers += 1);
        }
    }
}

impl State {
    /// Checks that no register is higher than the last token.
    pub(crate) fn validate_registers(&self) -> Result<(), String> {
        for (key, high_water) in &self.register.high_water {
            if !(1..=self.token_high_water()).contains(high_water) {
                return Err(format!("register {}: token {high_water} was never given", key.name));
            }
        }
        Ok(())
    }
}
