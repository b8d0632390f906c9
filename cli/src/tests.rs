//! Tests of the whole command line.

use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Parser, Debug)]
#[command(name = "batuta")]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn parsed(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(["batuta"].into_iter().chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound() {
    Line::command().debug_assert();
}

#[test]
fn every_command_of_the_manual_is_understood() {
    let manual = include_str!("../../docs/cli.md");
    let examples: Vec<&str> = manual
        .split("```sh\n")
        .skip(1)
        .flat_map(|block| block.split("```").next().unwrap_or_default().lines())
        .filter_map(|line| line.strip_prefix("batuta "))
        // Lines that need a shell are left out here; `tests/tests/docs.rs` runs all lines against a cluster.
        .filter(|line| !line.contains(['"', '$', '|', '&']))
        .collect();
    assert!(examples.len() > 20, "{examples:?}");
    for example in examples {
        let words = ["batuta"].into_iter().chain(example.split_whitespace());
        if let Err(error) = Line::try_parse_from(words) {
            panic!("{example}: {error}");
        }
    }
}

#[test]
fn the_manual_lists_every_exit_code() {
    let manual = include_str!("../../docs/cli.md");
    for line in EXIT_CODES.lines() {
        let Ok(code) = line.split_whitespace().next().unwrap_or_default().parse::<u8>() else { continue };
        assert!(manual.contains(&format!("\n| {code} |")), "{code}");
    }
    for code in [
        failure::exit::DONE,
        failure::exit::NO,
        failure::exit::USAGE,
        failure::exit::NOT_FOUND,
        failure::exit::REFUSED,
        failure::exit::UNAVAILABLE,
        failure::exit::INTERNAL,
        failure::exit::UNKNOWN,
        failure::exit::NOT_ACQUIRED,
        failure::exit::OUTPUT,
        failure::exit::LOST,
        failure::exit::NOT_EXECUTABLE,
        failure::exit::NO_COMMAND,
    ] {
        assert!(EXIT_CODES.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    for line in [
        "--endpoints a:1,http://b:2 --namespace x --timeout 3s -o json lock get y",
        "lock get y --endpoints a:1,http://b:2 --namespace x --timeout 3s -o json",
        "lock --endpoints a:1 --endpoints http://b:2 --output json get y --timeout 3s --namespace x",
    ] {
        let global = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).global;
        assert_eq!(global.endpoints, ["a:1", "http://b:2"], "{line}");
        assert_eq!((global.namespace.as_deref(), global.output), (Some("x"), Format::Json), "{line}");
        assert_eq!(global.timeout, Duration::from_secs(3), "{line}");
    }
    for line in [
        "health --endpoints=",
        "health --endpoints a:1,,b:2",
        "health --endpoints a:1,https://b:2",
        "health --endpoints ftp://b:2",
        "health --endpoints a",
        "health -o yaml",
        "health --timeout 3",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn namespaces_of_a_grant_are_those_it_names() {
    for (line, expected) in [
        ("access grant user/a editor --reason r", "namespaces: []"),
        ("access grant user/a editor --reason r --namespace x --namespace y", r#"namespaces: ["x", "y"]"#),
        ("--namespace x access grant user/a editor --reason r", r#"namespaces: ["x"]"#),
        ("access key create --label l", "namespaces: []"),
        ("access key create --label l --namespace x", r#"namespaces: ["x"]"#),
    ] {
        let parsed = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let shown = format!("{:?}", parsed.command);
        assert!(shown.contains(expected), "{line}: {shown}");
    }
}

#[test]
fn commands_of_access_are_understood() {
    for line in [
        "login ann --for 1h --password-stdin",
        "logout",
        "whoami --token-file f",
        "access status",
        "access mode observe",
        "access bootstrap --token-file f --admin ann",
        "access can lock:acquire a --principal service/w --namespace x",
        "access explain cluster:read",
        "access report --clear",
        "access audit --follow --limit 3",
        "access user put ann --description d",
        "access user ls --limit 5",
        "access user password",
        "access user password ann --password-stdin",
        "access service suspend w --keep-sessions",
        "access group put g user/a service/w",
        "access role put r --rule lock:read=a/**",
        "access grants group/g",
        "access extend b-1.0 --for 8h",
        "access ungrant b-1.0",
        "access key rotate abc --overlap 1h",
        "access key ls --principal user/a",
        "access key rm abc",
    ] {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for line in [
        "login",
        "login ann --password x",
        "login ann --token x",
        "access mode loud",
        "access bootstrap --admin",
        "access service password w",
        "access role put r",
        "access extend b-1.0",
        "access audit --limit 0",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn pages_are_bounded() {
    assert!(parsed("lock list --limit 1000 --cursor c").is_ok());
    for line in ["lock list --limit 0", "lock list --limit 1001"] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn completion_knows_the_commands() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Line::command(), "batuta", &mut script);
        let script = String::from_utf8(script).expect("text");
        assert!(
            ["transfer-leader", "force-release", "proclaim", "candidates-cursor"]
                .iter()
                .all(|word| script.contains(word)),
            "{shell}"
        );
    }
}

/// Collects the help of a command and of its subcommands, each with its path.
fn helps(command: &mut clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    found.push((path.to_owned(), command.render_long_help().to_string()));
    for subcommand in command.get_subcommands_mut().filter(|subcommand| subcommand.get_name() != "help") {
        let path = format!("{path} {}", subcommand.get_name());
        helps(subcommand, path.trim(), found);
    }
}

#[test]
fn help_shows_only_what_a_command_uses() {
    let mut line = tailored(Line::command());
    line.build();
    let mut found = Vec::new();
    helps(&mut line, "", &mut found);
    assert!(found.len() > 30, "{}", found.len());
    for (path, help) in found {
        let (cluster, namespace, token) = match path.split(' ').next() {
            // The overview shows all shared options.
            Some("" | "lock" | "elect" | "session" | "register" | "watch" | "access") => (true, true, true),
            Some("cluster" | "health" | "whoami") => (true, false, true),
            Some("login" | "logout") => (true, false, false),
            _ => (false, false, false),
        };
        for (option, shown) in [
            ("--endpoints", cluster),
            ("--timeout", cluster),
            ("--output", cluster),
            ("--namespace", namespace),
            ("--token-file", token),
        ] {
            assert_eq!(help.contains(&format!("{option} <")), shown, "{option} of {path:?}: {help}");
        }
    }
}

#[test]
fn options_hidden_from_help_are_accepted() {
    for line in [
        "health --namespace x",
        "--namespace x health",
        "cluster --namespace x limits get",
        "completion bash -o json",
    ] {
        let words = ["batuta"].into_iter().chain(line.split_whitespace());
        let matches = tailored(Line::command()).try_get_matches_from(words);
        let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
        let global = <Line as clap::FromArgMatches>::from_arg_matches(&matches).expect("complete").global;
        let (namespace, output) = (global.namespace.as_deref(), global.output);
        assert!(namespace == Some("x") || output == Format::Json, "{line}: {namespace:?}");
    }
}
