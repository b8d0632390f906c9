//! `batuta access recover`: opens a token that makes an administrator, with the disk of a member. It belongs to the node, not to the
//! commands that talk to a cluster: it needs no credential, and no address.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use batuta_api::access::Secret;
use batuta_api::access::token::{Token, TokenKind};
use batuta_cli::write_out;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches as _};

use super::private_file;
use super::recovery::{ANSWER, Answer, REQUEST, Request};

/// How long the node may take to answer. It looks every second, and opens the token within ten.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What to do with the token.
const ADVICE: &str = "
This token makes one administrator within 15 minutes. Keep it in a file that only you can read, and run

  batuta access bootstrap --token-file FILE --admin NAME

";

/// Arguments of `batuta access recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// The data directory of a member that runs on this machine.
    #[arg(long)]
    data_dir: PathBuf,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    Answer { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("{} is no data directory of a member: it has no file `identity`", .0.display())]
    NoMember(PathBuf),
    #[error("a token cannot be drawn: {0}")]
    Random(std::io::Error),
    #[error(
        "no node took the request within {ANSWER_WITHIN:?}; is a node running on {path}, and is it of this version?", path = .0.display()
    )]
    Silent(PathBuf),
    #[error("the node refused: {0}")]
    Refused(String),
}

/// Adds the command to those of `batuta access`.
pub(crate) fn added(command: Command) -> Command {
    // It asks the node through its data directory, so the options of clients mean nothing to it.
    let of_clients = command.get_arguments().filter(|option| option.is_global_set());
    let of_clients: Vec<Arg> = of_clients.map(|option| option.clone().hide(true)).collect();
    let recover = RecoverArgs::augment_args(Command::new("recover").args(of_clients))
        .about("Opens a token that makes an administrator, when all others are locked out")
        .long_about(
            "Opens a token that makes an administrator within 15 minutes, for a cluster without one or whose administrators are all locked \
             out. Run it on the machine of a member, as a user who may write to its data directory; the node must run and follow a leader. \
             The nodes' audits record it. `access.recovery = false` in a node's configuration turns it off.",
        )
        .after_help("Example:\n  batuta access recover --data-dir /var/lib/batuta");
    if command.find_subcommand("access").is_some() {
        command.mut_subcommand("access", |access| access.subcommand(recover))
    } else {
        let access = Command::new("access").about("Shows and changes who may do what");
        command.subcommand(access.subcommand_required(true).arg_required_else_help(true).subcommand(recover))
    }
}

/// The arguments, if the command line is this command.
pub(crate) fn asked(matches: &ArgMatches) -> Option<Result<RecoverArgs, clap::Error>> {
    let (_, access) = matches.subcommand().filter(|(name, _)| *name == "access")?;
    let (_, recover) = access.subcommand().filter(|(name, _)| *name == "recover")?;
    Some(RecoverArgs::from_arg_matches(recover))
}

/// Asks the node, and prints the token once it is open: alone on standard output, so that it can be sent to a file.
pub(crate) fn run(args: &RecoverArgs) -> Result<(), Box<dyn Error>> {
    let token = recover(&args.data_dir, ANSWER_WITHIN)?;
    let line = Secret::new(format!("{}\n", token.text().expose()));
    write_out(line.expose().as_bytes()).map_err(|error| format!("standard output: {error}"))?;
    // The token is printed; without a reader of standard error only the advice is lost.
    let _ = std::io::stderr().write_all(ADVICE.as_bytes());
    Ok(())
}

/// Draws a token, and returns it once the node has opened it.
fn recover(data_dir: &Path, within: Duration) -> Result<Token, RecoverError> {
    if !data_dir.join("identity").exists() {
        return Err(RecoverError::NoMember(data_dir.to_owned()));
    }
    let token = Token::generate(TokenKind::Bootstrap).map_err(RecoverError::Random)?;
    let request = Request::new(&token.stored());
    let path = data_dir.join(REQUEST);
    let failed = |source| RecoverError::Io { path: path.clone(), source };
    let text = serde_json::to_string(&request).map_err(|error| failed(error.into()))?;
    private_file::replace(&path, &text).map_err(failed)?;
    match answer(data_dir, &request.id, within) {
        Ok(Answer { refused: Some(why), .. }) => Err(RecoverError::Refused(why)),
        Ok(_) => Ok(token),
        Err(error) => {
            // Nobody else may find it later and open a token that is lost.
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Waits for the answer to a request.
fn answer(data_dir: &Path, id: &str, within: Duration) -> Result<Answer, RecoverError> {
    let path = data_dir.join(ANSWER);
    let unreadable =
        |source: Box<dyn Error + Send + Sync>| RecoverError::Answer { path: path.clone(), source };
    let asked = Instant::now();
    while asked.elapsed() < within {
        if let Some(text) = private_file::read(&path).map_err(|error| unreadable(error.into()))? {
            let answer: Answer =
                serde_json::from_str(text.expose()).map_err(|error| unreadable(error.into()))?;
            // One to an earlier request may still be there.
            if answer.id == id {
                let _ = std::fs::remove_file(&path);
                return Ok(answer);
            }
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Err(RecoverError::Silent(data_dir.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<ArgMatches, clap::Error> {
        added(Command::new("batuta")).try_get_matches_from(words)
    }

    #[test]
    fn command_joins_those_of_access() {
        let words = ["batuta", "access", "recover", "--data-dir", "/var/lib/batuta"];
        let args = asked(&parsed(&words).unwrap()).unwrap().unwrap();
        assert_eq!(args.data_dir, Path::new("/var/lib/batuta"));
        assert!(parsed(&words[..3]).is_err(), "the directory is needed");
        let access = Command::new("access").subcommand(Command::new("status"));
        let merged = added(Command::new("batuta").subcommand(access));
        merged.clone().debug_assert();
        let status = merged.clone().try_get_matches_from(["batuta", "access", "status"]).unwrap();
        assert!(asked(&status).is_none());
        assert!(asked(&merged.try_get_matches_from(words).unwrap()).is_some());
    }

    #[test]
    fn silent_node_leaves_no_request_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(matches!(recover(path, Duration::ZERO), Err(RecoverError::NoMember(_))));
        std::fs::write(path.join("identity"), "").unwrap();
        let earlier = "{\"id\":\"abcDEF012345\",\"not_after_ms\":1}";
        std::fs::write(path.join(ANSWER), earlier).unwrap();
        let refused = recover(path, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(refused, RecoverError::Silent(_)), "{refused}");
        assert!(!path.join(REQUEST).exists());
    }

    #[test]
    fn answer_of_the_node_is_told() {
        for (answer, expected) in [
            ("\"not_after_ms\":5", Ok(())),
            ("\"refused\":\"no leader\"", Err("the node refused: no leader")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("identity"), "").unwrap();
            let node = directory.path().to_owned();
            let node = std::thread::spawn(move || {
                let path = node.join(REQUEST);
                loop {
                    if let Ok(text) = std::fs::read_to_string(&path) {
                        let request: Request = serde_json::from_str(&text).unwrap();
                        let answer = format!("{{\"id\":\"{}\",{answer}}}", request.id);
                        private_file::replace(&node.join(ANSWER), &answer).unwrap();
                        return request;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let told = recover(directory.path(), Duration::from_secs(20));
            let request = node.join().unwrap();
            match (told, expected) {
                (Ok(token), Ok(())) => assert_eq!(Request::new(&token.stored()), request),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
                (told, _) => panic!("{told:?}"),
            }
            assert!(!directory.path().join(ANSWER).exists());
        }
    }
}
