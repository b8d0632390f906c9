//! The commands behind `batuta lock|elect|session|cluster|access|…`: the client half of the binary. They learn everything from a
//! cluster, through `batuta-client`.

mod access;
mod cluster;
mod completion;
mod credential;
mod duration;
mod election;
mod failure;
mod health;
mod help;
pub mod lines;
mod lock;
mod output;
mod reading;
mod register;
mod remedy;
mod run;
mod session;
pub mod shell;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use batuta_client::{Client, Credential, Node};
use clap::{Args, Subcommand, ValueEnum};

use crate::failure::Failure;
pub use crate::help::tailored;
pub use crate::output::{Reader, write_out};
pub use crate::run::{GUARD, Ignored, run_guard};

/// The exit codes, as shown by `--help`.
const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the answer is no: `lock check` (not the newest token), `health` (not ready), `access can` (not allowed)
    2  the command line or an argument is wrong
    3  there is no such lock, session, register, member, principal, group, role, grant or credential
    4  the cluster refused; the error's code says why
   69  the cluster could not be reached, or cannot do it now, or is not a Batuta cluster; nothing was done
   70  a defect of Batuta
   71  no answer in time: it is unknown whether the request took effect
   73  the lock was not acquired, or the candidate was not elected
   74  standard output or the file of logins could not be written; what was created was given back
   75  `lock run`, `elect run`: the lock or leadership was lost, or may not have been held to the end
  126  `lock run`, `elect run`: the command cannot be executed
  127  `lock run`, `elect run`: there is no such command
Otherwise `lock run` and `elect run` end with their command's exit code, or 128 and the signal that ended it.";

/// The options shared by all commands that talk to a cluster.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// gRPC addresses of nodes: host:port or http://host:port, separated by commas. One is enough; with several, the
    /// command also works when the first node is down.
    #[arg(
        long,
        global = true,
        env = "BATUTA_ENDPOINTS",
        value_name = "URL,…",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9090",
        value_parser = endpoint,
        hide_env_values = true,
        help_heading = "Cluster"
    )]
    endpoints: Vec<String>,
    /// The namespace of all names, sessions, locks and elections [env: `BATUTA_NAMESPACE`] [default: default].
    // The variable is read in `namespace()`: commands with an option of this name of their own must not see its value.
    #[arg(long, global = true, value_name = "NAMESPACE", help_heading = "Cluster")]
    namespace: Option<String>,
    /// The file with the token to send, read again when the token is refused. Without it, `BATUTA_TOKEN`,
    /// `BATUTA_TOKEN_FILE` and the login of `batuta login` count, in this order.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    token_file: Option<PathBuf>,
    /// How long to try to get an answer, including retries, in addition to the time spent waiting for a lock or an election.
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, help_heading = "Cluster")]
    timeout: Duration,
    /// The format of answers, and of errors on standard error.
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table, help_heading = "Cluster")]
    output: Format,
}

/// The format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    Table,
    /// JSON for programs, with the fields of the API in `snake_case`.
    Json,
}

/// The commands that talk to a cluster.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Takes, holds, shows and releases locks.
    #[command(subcommand, after_help = EXIT_CODES)]
    Lock(Box<lock::LockCommand>),
    /// Campaigns for, holds, shows and follows the leadership of elections.
    #[command(subcommand, after_help = EXIT_CODES)]
    Elect(Box<election::ElectCommand>),
    /// Opens, keeps alive, shows and closes sessions.
    #[command(subcommand, after_help = EXIT_CODES)]
    Session(session::SessionCommand),
    /// Reads and advances high-water registers, for resources that cannot remember a fencing token themselves.
    #[command(subcommand, after_help = EXIT_CODES)]
    Register(register::RegisterCommand),
    /// Shows and changes the cluster itself.
    #[command(subcommand, after_help = EXIT_CODES)]
    Cluster(cluster::ClusterCommand),
    /// Prints every change as it happens, one per line, until it is stopped. Continues when the node it uses fails.
    #[command(after_help = EXIT_CODES)]
    Watch(watch::WatchArgs),
    /// Shows and changes who may do what: users, groups, roles, grants, keys, the audit.
    #[command(subcommand, after_help = EXIT_CODES)]
    Access(Box<access::AccessCommand>),
    /// Logs in with a password, which is asked for, and keeps the login for later commands.
    #[command(after_help = EXIT_CODES)]
    Login(access::LoginArgs),
    /// Ends the login of `batuta login`, at the cluster and on this machine.
    #[command(after_help = EXIT_CODES)]
    Logout,
    /// Shows who you are and which grants you have.
    #[command(name = "whoami", after_help = EXIT_CODES)]
    WhoAmI,
    /// Reports whether nodes are ready: exit code 0 when they are, 1 when not.
    #[command(after_help = EXIT_CODES)]
    Health(health::HealthArgs),
    /// Prints the completion script of a shell.
    Completion(completion::CompletionArgs),
}

/// Runs a command, prints its result or failure, and returns the exit code.
pub async fn run(global: Global, command: Command, clap_command: clap::Command) -> ExitCode {
    match dispatch(&global, command, clap_command).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            print_failure(global.output, &failure);
            ExitCode::from(failure.exit)
        }
    }
}

async fn dispatch(global: &Global, command: Command, clap_command: clap::Command) -> Result<u8, Failure> {
    let answer = match command {
        Command::Lock(command) => match *command {
            lock::LockCommand::Run(args) => return lock::run(global, args).await,
            command => {
                let client = global.connect().await?;
                let answer = lock::answer(&client, command).await?;
                return answer.print_or_give_back(global.output, &client).await;
            }
        },
        Command::Elect(command) => match *command {
            election::ElectCommand::Run(args) => return election::run(global, args).await,
            election::ElectCommand::Observe(args) => return election::observe(global, args).await,
            command => {
                let client = global.connect().await?;
                let answer = election::answer(&client, command).await?;
                return answer.print_or_give_back(global.output, &client).await;
            }
        },
        Command::Session(command) => {
            let client = global.connect().await?;
            let answer = session::answer(&client, command).await?;
            return answer.print_or_give_back(global.output, &client).await;
        }
        Command::Register(command) => register::answer(&global.connect().await?, command).await?,
        Command::Cluster(command) => cluster::answer(global, command).await?,
        Command::Watch(args) => return watch::run(global, args).await,
        Command::Access(command) => return access::run(global, *command).await,
        Command::Login(args) => access::login(global, args).await?,
        Command::Logout => access::logout(global).await?,
        Command::WhoAmI => access::who_am_i(&global.connect().await?).await?,
        Command::Health(args) => health::answer(global, args).await,
        Command::Completion(args) => return completion::print(&args, clap_command),
    };
    answer.print(global.output)
}

impl Global {
    /// The endpoint that is used for requests to a single node.
    pub(crate) fn first_endpoint(&self) -> &str {
        // clap refuses an empty list: the option has a default, and its elements are not empty.
        self.endpoints.first().map_or("", String::as_str)
    }

    /// Connects with the credential of the command.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_as(self.credential()?).await
    }

    /// Connects with another credential.
    pub(crate) async fn connect_as(&self, credential: Credential) -> Result<Client, Failure> {
        let client = Client::builder()
            .endpoints(self.endpoints.iter().cloned())
            .namespace(self.namespace()?)
            .credential(credential)
            .timeout(self.timeout);
        Ok(client.connect().await?)
    }

    /// A handle on one node, with the credential of the command.
    pub(crate) fn node(&self, endpoint: &str) -> Result<Node, Failure> {
        Ok(Node::at(endpoint, self.timeout)?.credential(&self.credential()?)?)
    }

    /// The namespace of the command: `--namespace`, then `BATUTA_NAMESPACE`, then `default`.
    fn namespace(&self) -> Result<String, Failure> {
        match (&self.namespace, std::env::var_os("BATUTA_NAMESPACE")) {
            (Some(namespace), _) => Ok(namespace.clone()),
            (None, None) => Ok("default".to_owned()),
            (None, Some(value)) => {
                let not_text = |value: std::ffi::OsString| {
                    Failure::usage(format!("BATUTA_NAMESPACE is not UTF-8: {}", value.display()))
                };
                value.into_string().map_err(not_text)
            }
        }
    }
}

/// Writes a failure to standard error. When that fails, it cannot be reported anywhere.
pub(crate) fn print_failure(format: Format, failure: &Failure) {
    let text = match format {
        Format::Json => format!("{:#}\n", failure.to_json()),
        Format::Table => failure.to_text(),
    };
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Parses an endpoint for the client. Any scheme but `http` is refused, never ignored.
fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    batuta_client::endpoint_url(text).map(|_| text.to_owned()).map_err(|error| error.message)
}

#[cfg(test)]
mod tests;
