//! The commands `batuta access …`, `login`, `logout` and `whoami`: who may do what.

mod audit;
mod binding;
mod key;
mod login;
pub(crate) mod logins;
mod password;
mod policy;
mod principal;
mod render;
mod role;

use batuta_client::Client;
use clap::Subcommand;

pub(crate) use self::login::{LoginArgs, login, logout, who_am_i};
use crate::Global;
use crate::failure::Failure;
use crate::output::Answer;
use crate::reading::Page;

/// The subcommands of `batuta access`.
#[derive(Subcommand, Debug)]
pub enum AccessCommand {
    /// Shows the mode of access, and how much there is.
    Status,
    /// Sets the mode: off enforces nothing, observe counts what would be denied, enforce denies it.
    Mode {
        /// The mode.
        #[arg(value_enum)]
        mode: policy::ModeName,
    },
    /// Makes the first administrator with the one-time token in --token-file, and prints its key.
    ///
    /// The key is printed alone on standard output, and only once. The token is void from then on.
    #[command(after_help = "Example:
  batuta access bootstrap --token-file /var/lib/batuta/bootstrap-token --admin ann > ann.key")]
    Bootstrap {
        /// The name of the administrator, a user.
        #[arg(long, value_name = "NAME")]
        admin: String,
    },
    /// Tells whether a principal may do something: exit code 0 when it may, 1 when not.
    #[command(after_help = "Examples:
  batuta access can lock:acquire orders/42
  batuta access can lock:acquire orders/42 --namespace shop --principal service/worker")]
    Can(policy::Question),
    /// Tells whether a principal may do something, and which binding allows it or what is missing.
    Explain(policy::Question),
    /// Shows which calls the nodes at the endpoints would have denied in mode observe.
    Report {
        /// Begin a new report.
        #[arg(long)]
        clear: bool,
    },
    /// Prints the audit of the node at the first endpoint, oldest lines first.
    Audit(audit::AuditArgs),
    /// Makes, shows and suspends users.
    #[command(subcommand)]
    User(principal::UserCommand),
    /// Makes, shows and suspends service accounts.
    #[command(subcommand)]
    Service(principal::PrincipalCommand),
    /// Makes and shows groups.
    #[command(subcommand)]
    Group(role::GroupCommand),
    /// Makes and shows roles.
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Gives a role to a user, a service account, a group or anonymous callers.
    #[command(after_help = "Examples:
  batuta access grant group/orders editor --namespace orders --reason 'team orders'
  batuta access grant user/ravi operator --for 8h --end-sessions --reason 'on call'")]
    Grant(binding::GrantArgs),
    /// Lists grants, oldest first.
    Grants {
        /// Only those of this subject: user/NAME, service/NAME, group/NAME or anonymous.
        #[arg(default_value = "", hide_default_value = true)]
        subject: String,
        #[command(flatten)]
        page: Page,
    },
    /// Changes when a grant ends.
    Extend(binding::ExtendArgs),
    /// Takes a grant away.
    Ungrant {
        /// The grant's id.
        id: String,
    },
    /// Makes, rotates, shows and deletes keys and logins.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Runs a command whose answer is printed as it is.
pub(crate) async fn run(global: &Global, command: AccessCommand) -> Result<u8, Failure> {
    let answer = match command {
        AccessCommand::Audit(args) => return audit::run(global, args).await,
        AccessCommand::Bootstrap { admin } => key::bootstrap(global, admin).await?,
        AccessCommand::Report { clear } => policy::report(global, clear).await?,
        AccessCommand::Key(command) => {
            let client = global.connect().await?;
            return key::answer(&client, command).await?.print_or_give_back(global.output, &client).await;
        }
        command => answer(&global.connect().await?, command).await?,
    };
    answer.print(global.output)
}

async fn answer(client: &Client, command: AccessCommand) -> Result<Answer, Failure> {
    match command {
        AccessCommand::Status => policy::status(client).await,
        AccessCommand::Mode { mode } => policy::set_mode(client, mode).await,
        AccessCommand::Can(question) => policy::check(client, question, policy::Told::Answer).await,
        AccessCommand::Explain(question) => policy::check(client, question, policy::Told::Reasons).await,
        AccessCommand::User(command) => principal::user(client, command).await,
        AccessCommand::Service(command) => principal::answer(client, principal::Kind::Service, command).await,
        AccessCommand::Group(command) => role::group(client, command).await,
        AccessCommand::Role(command) => role::role(client, command).await,
        AccessCommand::Grant(args) => binding::grant(client, args).await,
        AccessCommand::Grants { subject, page } => binding::list(client, subject, page).await,
        AccessCommand::Extend(args) => binding::extend(client, args).await,
        AccessCommand::Ungrant { id } => binding::unbind(client, id).await,
        AccessCommand::Key(command) => key::answer(client, command).await,
        AccessCommand::Audit(_) | AccessCommand::Bootstrap { .. } | AccessCommand::Report { .. } => {
            Err(Failure::usage("this command asks nodes one by one"))
        }
    }
}
