//! The calls of registers, which are part of `batuta.v1.LockService`.

use batuta_proto::v1;

use super::{Front, OfSession, consistency};
use crate::ApiError;
use crate::service::CallContext;
use crate::service::parse::parse_name;

impl OfSession for v1::AdvanceRegisterRequest {}
impl OfSession for v1::GetRegisterRequest {}
impl OfSession for v1::DeleteRegisterRequest {}

impl Front {
    pub(super) async fn advance_register(
        &self,
        context: &CallContext,
        message: v1::AdvanceRegisterRequest,
    ) -> Result<v1::AdvanceRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let at = self.service.advance_register(context, name, message.fencing_token).await?;
        Ok(v1::AdvanceRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }

    pub(super) async fn get_register(
        &self,
        context: &CallContext,
        message: v1::GetRegisterRequest,
    ) -> Result<v1::GetRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let at = self.service.get_register(context, name, consistency).await?;
        Ok(v1::GetRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }

    pub(super) async fn delete_register(
        &self,
        context: &CallContext,
        message: v1::DeleteRegisterRequest,
    ) -> Result<v1::DeleteRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let at = self.service.delete_register(context, name).await?;
        Ok(v1::DeleteRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }
}
