//! High-water registers over WebSocket.

use super::op::{Beside, CallScope, Op, done, run};
use crate::contract::ReadQuery;
use crate::contract::register::{AdvanceRegisterRequest, DeleteRegisterRequest, RegisterAnswer};
use crate::service::parse;
use crate::service::register::{ADVANCE_REGISTER, DELETE_REGISTER, GET_REGISTER};

/// The operations of registers.
pub(super) const OPS: &[Op] = &[
    Op::of::<AdvanceRegisterRequest, RegisterAnswer>(&ADVANCE_REGISTER, |fields| {
        let AdvanceRegisterRequest { name, fencing_token } = fields.read()?;
        let name = parse::parse_name("name", &name)?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<RegisterAnswer, _>(service.advance_register(&context, name, fencing_token.into()).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<ReadQuery, RegisterAnswer>(&GET_REGISTER, |mut fields| {
        let name = fields.name()?;
        let ReadQuery { consistency } = fields.read()?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<RegisterAnswer, _>(service.get_register(&context, name, consistency).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<DeleteRegisterRequest, RegisterAnswer>(&DELETE_REGISTER, |fields| {
        let DeleteRegisterRequest { name } = fields.read()?;
        let name = parse::parse_name("name", &name)?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<RegisterAnswer, _>(service.delete_register(&context, name).await?)
        }))
    }),
];
