//! `batuta dev`: a whole cluster on loopback, each node a child process, so that one of them can be killed.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use batuta_cli::shell::quoted;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::ready::{self, Ready, ReadyNode};
use crate::signals;

/// How long a cluster may take to be ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long a node may take to stop after a TERM before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(12);
/// The largest cluster.
const NODES_MAX: usize = 5;
/// Ports of one node start this many above those of the node before.
const PORT_STEP: u16 = 10;

/// What `batuta dev` takes.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = parse_nodes)]
    nodes: u16,
    /// Keep the data here instead of in a temporary directory that goes with the cluster.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// REST port of the first node; the others follow in steps of 10; 0 = any free port for every node.
    #[arg(long, default_value_t = 8080)]
    rest_port: u16,
    /// gRPC port of the first node; likewise.
    #[arg(long, default_value_t = 9090)]
    grpc_port: u16,
    /// WebSocket port of the first node; likewise.
    #[arg(long, default_value_t = 8081)]
    ws_port: u16,
    /// Write where the nodes answer into this file (JSON) once the cluster is ready.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Log level of the nodes: error, warn, info, debug or trace.
    #[arg(long, default_value = "warn")]
    log_level: String,
}

/// Why a dev cluster did not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("node {name} stopped before the cluster was ready ({status}); what it said stands above")]
    NodeStopped { name: String, status: ExitStatus },
    #[error("the cluster was not ready within {0:?}; what the nodes said stands above")]
    NotReady(Duration),
    #[error(
        "the data in {dir} belong to a cluster of {found} nodes, --nodes says {asked}: start it with --nodes {found}, or use another \
         --data-dir"
    )]
    OtherNodes { dir: String, found: usize, asked: u16 },
    #[error("no free port for the peers between 15000 and 32000; free some, or stop other clusters")]
    NoPort,
    #[error("port {base} + {offset} for node {node} is over 65535; choose a lower first port")]
    PortRange { base: u16, offset: u16, node: u16 },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DevError {
    let what = what.into();
    move |source| DevError::Io { what, source }
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

/// A node of the dev cluster.
struct Node {
    name: String,
    child: Child,
    pid: u32,
    ready_file: PathBuf,
    command_line: String,
    reported: bool,
}

/// Runs the cluster until Ctrl-C or TERM, or until every node is gone.
pub(crate) async fn run(args: DevArgs) -> Result<(), DevError> {
    let mut temporary = None;
    let data_dir = if let Some(directory) = &args.data_dir {
        directory.clone()
    } else {
        let made =
            tempfile::Builder::new().prefix("batuta-dev-").tempdir().map_err(io("temporary directory"))?;
        temporary.insert(made).path().to_owned()
    };
    std::fs::create_dir_all(&data_dir).map_err(io(data_dir.display().to_string()))?;
    let mut nodes = start_all(&args, &data_dir)?;
    let outcome = serve(&args, &mut nodes).await;
    stop_all(&mut nodes).await;
    outcome
}

async fn serve(args: &DevArgs, nodes: &mut [Node]) -> Result<(), DevError> {
    let stop = signals::stop_requested();
    tokio::pin!(stop);
    let ready = tokio::select! {
        () = &mut stop => return Ok(()),
        ready = wait_until_ready(nodes) => ready?,
    };
    if let Some(path) = &args.ready_file {
        ready::write(path, &ready).map_err(io(path.display().to_string()))?;
    }
    announce(&ready);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = sleep(Duration::from_millis(200)) => {}
        }
        for node in nodes.iter_mut().filter(|node| !node.reported) {
            if let Some(status) = node.child.try_wait().map_err(io(node.name.clone()))? {
                node.reported = true;
                eprintln!(
                    "node {} (pid {}) stopped: {status}. To start it again:\n  {}",
                    node.name, node.pid, node.command_line
                );
            }
        }
    }
}

/// The ports in the file beside the data, if it is there.
fn kept_ports(path: &Path) -> Option<Vec<u16>> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.split_whitespace().filter_map(|port| port.parse().ok()).collect())
}

/// How many nodes the data directory has data of, as their names say.
fn nodes_with_data(data_dir: &Path) -> usize {
    let has_data = |node: &usize| data_dir.join(format!("n{node}")).join("identity").exists();
    (1..=NODES_MAX).rev().find(has_data).unwrap_or_default()
}

/// The peers' ports are kept beside the data, so that a cluster started again finds its members.
fn peer_ports(data_dir: &Path, nodes: u16) -> Result<Vec<u16>, DevError> {
    let path = data_dir.join("dev-peer-ports");
    let kept = kept_ports(&path);
    let found = kept.as_ref().map_or_else(|| nodes_with_data(data_dir), Vec::len);
    if found != 0 && found != usize::from(nodes) {
        return Err(DevError::OtherNodes { dir: data_dir.display().to_string(), found, asked: nodes });
    }
    if let Some(ports) = kept.filter(|ports| !ports.is_empty()) {
        return Ok(ports);
    }
    // Below the range the kernel gives to outgoing connections, so that nobody takes the port before the node binds it.
    let mut found: Vec<u16> = Vec::new();
    for _ in 0..2000 {
        let mut random = [0_u8; 2];
        getrandom::fill(&mut random).map_err(|error| DevError::Io {
            what: "random port".to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let port = 15_000 + u16::from_le_bytes(random) % 17_000;
        if !found.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
        if found.len() == usize::from(nodes) {
            let text: Vec<String> = found.iter().map(u16::to_string).collect();
            std::fs::write(&path, text.join(" ")).map_err(io(path.display().to_string()))?;
            return Ok(found);
        }
    }
    Err(DevError::NoPort)
}

fn start_all(args: &DevArgs, data_dir: &Path) -> Result<Vec<Node>, DevError> {
    let peer_ports = peer_ports(data_dir, args.nodes)?;
    let peers: Vec<String> =
        peer_ports.iter().enumerate().map(|(i, port)| format!("n{}=127.0.0.1:{port}", i + 1)).collect();
    let port = |base: u16, node: u16| match base {
        0 => Ok(0),
        _ => base.checked_add(node * PORT_STEP).ok_or(DevError::PortRange {
            base,
            offset: node * PORT_STEP,
            node: node + 1,
        }),
    };
    let mut nodes = Vec::new();
    for i in 0..args.nodes {
        let name = format!("n{}", i + 1);
        let ready_file = data_dir.join(format!("{name}.ready"));
        if ready_file.exists() {
            std::fs::remove_file(&ready_file).map_err(io(ready_file.display().to_string()))?;
        }
        let arguments: Vec<OsString> = [
            "server".into(),
            format!("--name={name}"),
            format!("--data-dir={}", data_dir.join(&name).display()),
            format!("--rest=127.0.0.1:{}", port(args.rest_port, i)?),
            format!("--grpc=127.0.0.1:{}", port(args.grpc_port, i)?),
            format!("--ws=127.0.0.1:{}", port(args.ws_port, i)?),
            format!("--peer=127.0.0.1:{}", peer_ports[usize::from(i)]),
            format!("--peers={}", peers.join(",")),
            format!("--log-level={}", args.log_level),
            format!("--ready-file={}", ready_file.display()),
        ]
        .map(OsString::from)
        .into();
        nodes.push(start(name, ready_file, &arguments)?);
    }
    Ok(nodes)
}

fn start(name: String, ready_file: PathBuf, arguments: &[OsString]) -> Result<Node, DevError> {
    let program = std::env::current_exe().map_err(io("own program"))?;
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    let command_line = words.join(" ");
    // A node ends when its standard input does: however this process ends, no node outlives it.
    // Its own process group keeps the terminal's Ctrl-C from reaching it before this process stops it in order.
    let child = Command::new(&program)
        .args(arguments)
        .arg("--stop-with-stdin")
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(io(command_line.clone()))?;
    let pid = child.id().unwrap_or_default();
    Ok(Node { name, child, pid, ready_file, command_line, reported: false })
}

async fn wait_until_ready(nodes: &mut [Node]) -> Result<Ready, DevError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let mut found: Vec<Ready> = Vec::new();
        for node in nodes.iter_mut() {
            if let Some(status) = node.child.try_wait().map_err(io(node.name.clone()))? {
                return Err(DevError::NodeStopped { name: node.name.clone(), status });
            }
            found.extend(ready::read(&node.ready_file).map_err(io(node.ready_file.display().to_string()))?);
        }
        if found.len() == nodes.len() {
            let cluster_id = found[0].cluster_id.clone();
            return Ok(Ready {
                cluster_id,
                nodes: found.into_iter().flat_map(|ready| ready.nodes).collect(),
            });
        }
        if Instant::now() >= deadline {
            return Err(DevError::NotReady(READY_WITHIN));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn announce(ready: &Ready) {
    println!("Batuta cluster {} is ready: {} node(s).\n", ready.cluster_id, ready.nodes.len());
    for ReadyNode { name, rest, grpc, pid, .. } in &ready.nodes {
        println!("  {name}  pid {pid:<8} REST {rest}  gRPC {grpc}");
    }
    let first = &ready.nodes[0];
    println!("\n  OpenAPI   {}/openapi.json   Swagger UI   {}/docs", first.rest, first.rest);
    println!("  GraphQL   {}   (a page to ask with in a browser)", first.graphql);
    println!("  WebSocket {}{}", first.ws, batuta_api::ws::PATH);
    println!("\nTry, in a second terminal:");
    let endpoints: Vec<&str> = ready.nodes.iter().map(|node| node.grpc.as_str()).collect();
    println!("  export BATUTA_ENDPOINTS={}", endpoints.join(","));
    println!("  batuta lock acquire orders/42 --ttl 30s");
    println!(
        "  curl -X POST {}/api/v1/locks -H 'content-type: application/json' -d '{{\"name\":\"orders/43\",\"ttl_ms\":30000}}'",
        first.rest
    );
    println!("\nCtrl-C stops all nodes.");
}

/// The end of a node's standard input tells it that all nodes stop.
async fn stop_all(nodes: &mut [Node]) {
    for node in nodes.iter_mut() {
        drop(node.child.stdin.take());
    }
    for node in nodes.iter_mut() {
        if timeout(STOP_WITHIN, node.child.wait()).await.is_err() {
            eprintln!("node {} did not stop within {STOP_WITHIN:?}; killing it", node.name);
            if let Err(error) = node.child.kill().await {
                eprintln!("node {} could not be killed: {error}", node.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(dir: &Path, nodes: u16) -> String {
        peer_ports(dir, nodes).expect_err("other data are there").to_string()
    }

    #[test]
    fn data_of_another_number_of_nodes_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let ports = peer_ports(dir.path(), 3).expect("ports");
        assert_eq!(peer_ports(dir.path(), 3).expect("the same"), ports);
        for nodes in [1, 5] {
            assert!(refused(dir.path(), nodes).contains("--nodes 3"));
        }
        // Without the file, the nodes' directories say it.
        std::fs::remove_file(dir.path().join("dev-peer-ports")).expect("removed");
        for name in ["n1", "n3"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
            std::fs::write(dir.path().join(name).join("identity"), "").expect("written");
        }
        assert!(refused(dir.path(), 1).contains("--nodes 3"));
        assert_eq!(peer_ports(dir.path(), 3).expect("other ports").len(), 3);
    }
}
