//! The commands `batuta register …`. A high-water register keeps the highest fencing token for a resource that cannot keep it itself.

use batuta_client::Client;
use batuta_client::v1::{AdvanceRegisterRequest, DeleteRegisterRequest, GetRegisterRequest};
use clap::Subcommand;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Answer, fields};
use crate::reading::Read;

/// The subcommands of `batuta register`.
#[derive(Subcommand, Debug)]
pub enum RegisterCommand {
    /// Advances a register to a token. Refused (`token_superseded`, exit code 4) when the register has seen a newer token.
    #[command(
        after_help = "Example:\n  batuta register advance disks/7 \"$BATUTA_LOCK_TOKEN\" && write-to-disk"
    )]
    Advance {
        /// The register.
        name: String,
        /// The fencing token of the client that is about to write.
        token: u64,
    },
    /// Reads a register.
    Get {
        /// The register.
        name: String,
        #[command(flatten)]
        read: Read,
    },
    /// Deletes a register, which then accepts every token again.
    Delete {
        /// The register.
        name: String,
    },
}

pub(crate) async fn answer(client: &Client, command: RegisterCommand) -> Result<Answer, Failure> {
    let (high_water, revision) = match command {
        RegisterCommand::Advance { name, token } => {
            let answer =
                client.advance_register(AdvanceRegisterRequest { name, fencing_token: token }).await?;
            (answer.high_water, answer.revision)
        }
        RegisterCommand::Get { name, read } => {
            let answer = client.register(GetRegisterRequest { name, consistency: read.wire() }).await?;
            (answer.high_water, answer.revision)
        }
        RegisterCommand::Delete { name } => {
            let answer = client.delete_register(DeleteRegisterRequest { name }).await?;
            (answer.high_water, answer.revision)
        }
    };
    let text = fields([("high_water", high_water.to_string()), ("revision", revision.to_string())]);
    Ok(Answer::new(json!({"high_water": high_water, "revision": revision}), text))
}
