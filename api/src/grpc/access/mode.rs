//! The calls about the mode, the report and the audit.

use batuta_proto::v1;

use super::convert::{access_response, missing_message, mode_of};
use crate::ApiError;
use crate::grpc::Front;
use crate::service::CallContext;

impl Front {
    pub(super) async fn get_access(
        &self,
        context: &CallContext,
        v1::GetAccessRequest {}: v1::GetAccessRequest,
    ) -> Result<v1::GetAccessResponse, ApiError> {
        Ok(access_response(&self.service.get_access(context).await?))
    }

    pub(super) async fn set_access_mode(
        &self,
        context: &CallContext,
        message: v1::SetAccessModeRequest,
    ) -> Result<v1::GetAccessResponse, ApiError> {
        let mode = mode_of(message.mode)?;
        Ok(access_response(&self.service.set_access_mode(context, mode).await?))
    }

    pub(super) async fn get_access_report(
        &self,
        context: &CallContext,
        message: v1::GetAccessReportRequest,
    ) -> Result<v1::GetAccessReportResponse, ApiError> {
        let at = self.service.access_report(context, message.clear).await?;
        Ok(v1::GetAccessReportResponse {
            missing: at.value.missing.into_iter().map(missing_message).collect(),
            other_calls: at.value.other_calls,
            revision: at.revision,
        })
    }

    pub(super) async fn read_audit(
        &self,
        context: &CallContext,
        message: v1::ReadAuditRequest,
    ) -> Result<v1::ReadAuditResponse, ApiError> {
        let v1::ReadAuditRequest { cursor, limit } = message;
        let page = self.service.read_audit(context, &cursor, Some(limit)).await?.value;
        Ok(v1::ReadAuditResponse { lines: page.lines, next_cursor: page.next, end: page.end })
    }
}
