//! Changing a lock while it is held.

use batuta_client::Client;
use batuta_client::v1::{DowngradeRequest, Grant, ResizeRequest, SetMetadataRequest};
use serde_json::json;

use super::{LockCommand, render};
use crate::failure::{Failure, exit};
use crate::output::{Answer, fields};

pub(super) async fn answer(client: &Client, command: LockCommand) -> Result<Answer, Failure> {
    match command {
        LockCommand::Downgrade { id, name, session } => {
            let request = DowngradeRequest {
                lock_id: id,
                name: name.unwrap_or_default(),
                session_id: session,
                ..DowngradeRequest::default()
            };
            let answer = client.downgrade(request).await?;
            changed(answer.grant, answer.revision)
        }
        LockCommand::SetMetadata { name, token, metadata } => {
            let request =
                SetMetadataRequest { name, fencing_token: token, metadata, ..SetMetadataRequest::default() };
            let answer = client.set_metadata(request).await?;
            changed(answer.grant, answer.revision)
        }
        LockCommand::Resize { name, capacity } => {
            let answer = client.resize(ResizeRequest { name, capacity }).await?;
            let json = json!({
                "name": answer.name,
                "capacity": answer.capacity,
                "permits_held": answer.permits_held,
                "revision": answer.revision,
            });
            let text = fields([
                ("name", answer.name),
                ("capacity", answer.capacity.to_string()),
                ("permits_held", answer.permits_held.to_string()),
                ("revision", answer.revision.to_string()),
            ]);
            Ok(Answer::new(json, text))
        }
        _ => Err(Failure::new(exit::INTERNAL, "internal", "the command changes no lock")),
    }
}

fn changed(grant: Option<Grant>, revision: u64) -> Result<Answer, Failure> {
    Ok(render::granted(&grant.ok_or_else(|| Failure::without("the grant"))?, revision))
}
