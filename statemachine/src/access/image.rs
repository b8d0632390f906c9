//! The table of access as records of a snapshot, and back.

use imbl::OrdSet;

use crate::access::binding::insert_binding;
use crate::access::table::Holder;
use crate::access::token::insert_token;
use crate::access::{BindingRecord, GroupRecord, Mode, PrincipalRecord, RoleRecord, TokenKind, TokenRecord};
use crate::image_error::ImageError;
use crate::step::Step;
use crate::{PrincipalId, State};

/// What access has once, and not for each principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsRecord {
    /// The mode.
    pub mode: Mode,
    /// Whether there was an administrator.
    pub guarded: bool,
    /// The number of changes that could alter or take away a right.
    pub access_revision: u64,
}

/// A record of access, as snapshots store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The mode and its kin. A state in which access was never used has no such record.
    Settings(SettingsRecord),
    /// A principal.
    Principal(PrincipalRecord),
    /// A group, after its members.
    Group(GroupRecord),
    /// A role that is not built in.
    Role(RoleRecord),
    /// A binding, after its holder and its role.
    Binding(BindingRecord),
    /// A credential, after its principal.
    Token(TokenRecord),
}

pub(super) fn records(state: &State) -> impl Iterator<Item = Record> {
    let table = &state.access;
    let (mode, guarded, access_revision) = (table.mode, table.guarded, table.revision);
    let used = mode != Mode::default() || guarded || access_revision != 0;
    let settings = used.then_some(Record::Settings(SettingsRecord { mode, guarded, access_revision }));
    let principals = table.principals.values().map(|entry| Record::Principal(entry.record.clone()));
    let groups = table.groups.keys().filter_map(|name| table.group_record(name)).map(Record::Group);
    let roles = table.roles.values().map(|role| Record::Role(role.record.clone()));
    let bindings = table.bindings.values().map(|binding| Record::Binding(binding.as_ref().clone()));
    let tokens = table.tokens.values().map(|token| Record::Token(token.as_ref().clone()));
    settings.into_iter().chain(principals).chain(groups).chain(roles).chain(bindings).chain(tokens)
}

pub(super) fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
    let table = &mut step.state.access;
    match record {
        Record::Settings(SettingsRecord { mode, guarded, access_revision }) => {
            (table.mode, table.guarded, table.revision) = (mode, guarded, access_revision);
        }
        Record::Principal(record) => table.insert_principal(record),
        Record::Group(GroupRecord { name, members }) => {
            if let Some(unknown) = members.iter().find(|id| table.principal(**id).is_none()) {
                return Err(ImageError(format!("group/{name} has the unknown member {unknown}")));
            }
            table.set_members(&name, members.into_iter().collect::<OrdSet<_>>());
        }
        Record::Role(record) => table.set_role(record),
        Record::Binding(record) => {
            let known = match &record.holder {
                Holder::Principal(id) => *id == PrincipalId::ANONYMOUS || table.principal(*id).is_some(),
                Holder::Group(name) => table.groups.contains_key(name),
            };
            if !known || table.role(&record.role).is_none() {
                return Err(ImageError(format!("{} has an unknown subject or role", record.id)));
            }
            insert_binding(step, record);
        }
        Record::Token(record) => {
            let bootstrap = matches!(record.kind, TokenKind::Bootstrap { .. });
            if bootstrap != (record.principal == PrincipalId::ANONYMOUS)
                || (!bootstrap && table.principal(record.principal).is_none())
            {
                return Err(ImageError(format!("credential {} has an unknown principal", record.secret.id)));
            }
            insert_token(step, record);
        }
    }
    Ok(())
}
