//! `batuta cluster join`: prints the command that starts a new node and makes it join.

use std::collections::BTreeSet;
use std::net::IpAddr;

use batuta_client::Client;
use batuta_client::v1::{Member, MemberRole};
use clap::Args;
use serde_json::json;

use crate::failure::{Failure, exit};
use crate::output::Answer;
use crate::shell::quoted;

/// A member without contact to the leader for longer than this is not offered as an address to join through, in milliseconds.
const SILENT_MS_MAX: u64 = 5_000;
/// The flag and the default port of each API of a node.
const PORTS: [(&str, u16); 4] = [("peer", 7070), ("rest", 8080), ("grpc", 9090), ("ws", 8081)];
/// The distance between the ports of nodes on one machine.
const PORT_STEP: u16 = 10;

const OPEN: &str =
    "\n\n# --insecure: this version has neither authentication nor TLS. Keep the ports in a trusted network.";

/// The arguments of `batuta cluster join`.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// The new node's name. The name of a member that lost its disk replaces that member.
    name: String,
    /// The new node's data directory, on its machine [default: the name].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The address at which other nodes and clients reach the new node's machine.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
}

pub(super) async fn answer(client: &Client, args: &JoinArgs) -> Result<Answer, Failure> {
    // Only the leader knows which members are alive; the client asks it first if there is one.
    let members = client.status().await?.members;
    let command = command_line(&members, args)?;
    let text = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let note = if is_loopback(&args.host) { "" } else { OPEN };
    Ok(Answer::new(json!({"command": command, "command_line": text}), format!("{text}{note}")))
}

fn command_line(members: &[Member], args: &JoinArgs) -> Result<Vec<String>, Failure> {
    let living = members.iter().filter(|member| {
        let is_leader = member.role() == MemberRole::Leader;
        is_leader || member.last_contact_ms.is_some_and(|silent_ms| silent_ms <= SILENT_MS_MAX)
    });
    // A member that is replaced under its name cannot be joined through.
    let peers: Vec<&str> =
        living.filter(|member| member.name != args.name).map(|member| member.peer.as_str()).collect();
    if peers.is_empty() {
        return Err(Failure::new(exit::UNAVAILABLE, "no_leader", "no leader says which members are alive"));
    }
    let mut words: Vec<String> = ["batuta", "server"].map(str::to_owned).to_vec();
    words.push(format!("--name={}", args.name));
    words.push(format!("--data-dir={}", args.data_dir.as_deref().unwrap_or(&args.name)));
    for (flag, port) in free_ports(members, args) {
        words.push(format!("--{flag}={}:{port}", bracketed(&args.host)));
    }
    if !is_loopback(&args.host) {
        words.push("--insecure".to_owned());
    }
    words.push(format!("--join={}", peers.join(",")));
    Ok(words)
}

/// The default ports, or the first ports after them that no other member on the same machine uses.
fn free_ports(members: &[Member], args: &JoinArgs) -> Vec<(&'static str, u16)> {
    let host = bracketed(&args.host);
    let taken: BTreeSet<u16> = members
        .iter()
        .filter(|member| member.name != args.name)
        .flat_map(|member| [&member.peer, &member.rest, &member.grpc, &member.ws])
        .filter_map(|address| {
            let (on, port) = address.split("://").last()?.trim_end_matches('/').rsplit_once(':')?;
            (on == host).then(|| port.parse().ok())?
        })
        .collect();
    let shifted = |step: u16| PORTS.map(|(flag, port)| (flag, port + step * PORT_STEP));
    let free = (0..u16::MAX / PORT_STEP / 2)
        .map(shifted)
        .find(|ports| ports.iter().all(|(_, port)| !taken.contains(port)));
    // With thousands of nodes on one machine, any free ports will do.
    free.unwrap_or(PORTS.map(|(flag, _)| (flag, 0))).to_vec()
}

fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Quotes a word for a shell.
#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, step: u16, role: MemberRole, last_contact_ms: Option<u64>) -> Member {
        Member {
            name: name.to_owned(),
            role: role.into(),
            peer: format!("127.0.0.1:{}", 15_000 + step),
            rest: format!("http://127.0.0.1:{}", 8080 + step),
            grpc: format!("http://127.0.0.1:{}", 9090 + step),
            ws: format!("ws://127.0.0.1:{}", 8081 + step),
            last_contact_ms,
            ..Member::default()
        }
    }

    fn three() -> Vec<Member> {
        vec![
            member("n1", 0, MemberRole::Leader, None),
            member("n2", 10, MemberRole::Follower, Some(120)),
            member("n3", 20, MemberRole::Follower, Some(90_000)),
        ]
    }

    fn args(name: &str, host: &str) -> JoinArgs {
        JoinArgs { name: name.to_owned(), data_dir: None, host: host.to_owned() }
    }

    fn line(members: &[Member], args: &JoinArgs) -> String {
        command_line(members, args).expect("a command line").join(" ")
    }

    #[test]
    fn node_on_a_shared_machine_gets_other_ports() {
        assert_eq!(
            line(&three(), &args("n4", "127.0.0.1")),
            "batuta server --name=n4 --data-dir=n4 --peer=127.0.0.1:7100 --rest=127.0.0.1:8110 \
             --grpc=127.0.0.1:9120 --ws=127.0.0.1:8111 --join=127.0.0.1:15000,127.0.0.1:15010"
        );
    }

    #[test]
    fn node_on_its_own_machine_gets_default_ports() {
        let args = JoinArgs { data_dir: Some("/var/lib/batuta".to_owned()), ..args("n4", "10.0.0.4") };
        assert_eq!(
            line(&three(), &args),
            "batuta server --name=n4 --data-dir=/var/lib/batuta --peer=10.0.0.4:7070 --rest=10.0.0.4:8080 \
             --grpc=10.0.0.4:9090 --ws=10.0.0.4:8081 --insecure --join=127.0.0.1:15000,127.0.0.1:15010"
        );
        assert!(
            line(&three(), &super::JoinArgs { host: "fd00::4".to_owned(), ..args })
                .contains("--peer=[fd00::4]:7070")
        );
    }

    #[test]
    fn replaced_member_keeps_its_ports() {
        assert_eq!(
            line(&three(), &args("n2", "127.0.0.1")).split(" --join=").last(),
            Some("127.0.0.1:15000")
        );
    }

    #[test]
    fn join_needs_a_leader() {
        let seen =
            [member("n1", 0, MemberRole::Follower, None), member("n2", 10, MemberRole::Candidate, None)];
        let failure = command_line(&seen, &args("n4", "127.0.0.1")).expect_err("no leader");
        assert_eq!((failure.code.as_str(), failure.exit), ("no_leader", 69));
    }
}
