//! Changes a lock while it is held.

use batuta_client::Client;
use batuta_client::v1::{DowngradeRequest, Grant, ResizeRequest, SetMetadataRequest};
use serde_json::json;

use super::render;
use crate::failure::Failure;
use crate::output::{Answer, fields};

pub(super) async fn downgrade(
    client: &Client,
    id: String,
    name: Option<String>,
    session: String,
) -> Result<Answer, Failure> {
    let request = DowngradeRequest {
        lock_id: id,
        name: name.unwrap_or_default(),
        session_id: session,
        ..DowngradeRequest::default()
    };
    let answer = client.downgrade(request).await?;
    changed(answer.grant, answer.revision)
}

pub(super) async fn set_metadata(
    client: &Client,
    name: String,
    token: u64,
    metadata: String,
) -> Result<Answer, Failure> {
    let request =
        SetMetadataRequest { name, fencing_token: token, metadata, ..SetMetadataRequest::default() };
    let answer = client.set_metadata(request).await?;
    changed(answer.grant, answer.revision)
}

pub(super) async fn resize(client: &Client, name: String, capacity: u32) -> Result<Answer, Failure> {
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

fn changed(grant: Option<Grant>, revision: u64) -> Result<Answer, Failure> {
    Ok(render::granted(&grant.ok_or_else(|| Failure::without("the grant"))?, revision))
}
