//! `batuta dev`: a whole cluster on loopback. Each node is a child process, so that a single node can be
//! killed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use batuta_cli::lines::{Lines, Stream};
use batuta_cli::shell::quoted;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::access::admin_key::{self, Admin, AdminError};
use crate::dev_data::{self, PeerPorts};
use crate::ready::{self, Ready, ReadyNode};
use crate::signals;

/// How long a cluster may take to become ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long a node may take to stop after a TERM before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(12);
/// How long to wait at the end for a reader that does not read.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// Nodes of a new cluster.
const NODES: u16 = 3;
/// Ports of a node start this many above those of the previous node.
const PORT_STEP: u16 = 10;

/// Arguments of `batuta dev`.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// How many nodes: 1, 3 or 5 [default: as many as the existing data belongs to, or 3].
    #[arg(long, value_parser = parse_nodes)]
    nodes: Option<u16>,
    /// Keep the data here instead of in a temporary directory that is deleted with the cluster.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// REST port of the first node; each further node uses a port 10 higher; 0 = any free port for every
    /// node.
    #[arg(long, default_value_t = 8080)]
    rest_port: u16,
    /// gRPC port of the first node; further nodes as for --rest-port.
    #[arg(long, default_value_t = 9090)]
    grpc_port: u16,
    /// WebSocket port of the first node; further nodes as for --rest-port.
    #[arg(long, default_value_t = 8081)]
    ws_port: u16,
    /// Write the addresses of the nodes to this file (JSON) once the cluster is ready.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Enforce access: makes the administrator user/admin, and writes its key to a file in the data directory.
    #[arg(long)]
    secure: bool,
    /// Log level of the nodes: error, warn, info, debug or trace.
    #[arg(long, default_value = "warn")]
    log_level: String,
}

/// Why a dev cluster failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("node {name} stopped before the cluster was ready ({status}); its output is above")]
    NodeStopped { name: String, status: ExitStatus },
    #[error("the cluster was not ready within {0:?}; the output of the nodes is above")]
    NotReady(Duration),
    #[error(transparent)]
    Data(#[from] dev_data::DataError),
    #[error(transparent)]
    Admin(#[from] AdminError),
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
    let peer_ports = dev_data::peer_ports(&data_dir, args.nodes, NODES)?;
    let exists = admin_key::exists(&data_dir).map_err(io(data_dir.display().to_string()))?;
    let admin = Admin::prepare(&data_dir, args.secure, exists)?;
    let mut nodes = start_all(&args, &data_dir, &peer_ports, &admin)?;
    let output = Lines::for_people(Stream::Output).map_err(io("a thread for standard output"))?;
    let errors = Lines::for_people(Stream::Error).map_err(io("a thread for standard error"))?;
    let outcome = serve(&args, admin, &mut nodes, &output, &errors).await;
    stop_all(&mut nodes, &errors).await;
    output.flush(FLUSH_WITHIN);
    errors.flush(FLUSH_WITHIN);
    outcome
}

async fn serve(
    args: &DevArgs,
    admin: Admin,
    nodes: &mut [Node],
    output: &Lines,
    errors: &Lines,
) -> Result<(), DevError> {
    let stop = signals::stop_requested();
    tokio::pin!(stop);
    let ready = tokio::select! {
        () = &mut stop => return Ok(()),
        ready = async {
            let ready = wait_until_ready(nodes).await?;
            let token_file = admin.make(&ready.nodes[0].grpc).await?;
            Ok::<_, DevError>(Ready { token_file, ..ready })
        } => ready?,
    };
    if let Some(path) = &args.ready_file {
        ready::write(path, &ready).map_err(io(path.display().to_string()))?;
    }
    output.write(announcement(&ready).into_bytes());
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = sleep(Duration::from_millis(200)) => {}
        }
        for node in nodes.iter_mut().filter(|node| !node.reported) {
            if let Some(status) = node.child.try_wait().map_err(io(node.name.clone()))? {
                node.reported = true;
                errors.line(&format!(
                    "node {} (pid {}) stopped: {status}. To start it again:\n  {}",
                    node.name, node.pid, node.command_line
                ));
            }
        }
    }
}

fn start_all(
    args: &DevArgs,
    data_dir: &Path,
    peer_ports: &PeerPorts,
    admin: &Admin,
) -> Result<Vec<Node>, DevError> {
    let data_dir = data_dir.to_str().ok_or_else(|| dev_data::DataError::NotUtf8(data_dir.to_owned()))?;
    let data_dir = Path::new(data_dir);
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
    for (i, peer_port) in (0..).zip(peer_ports) {
        let name = format!("n{}", i + 1);
        let ready_file = data_dir.join(format!("{name}.ready"));
        if ready_file.exists() {
            std::fs::remove_file(&ready_file).map_err(io(ready_file.display().to_string()))?;
        }
        let mut arguments = vec![
            "server".to_owned(),
            format!("--name={name}"),
            format!("--data-dir={}", data_dir.join(&name).display()),
            format!("--rest=127.0.0.1:{}", port(args.rest_port, i)?),
            format!("--grpc=127.0.0.1:{}", port(args.grpc_port, i)?),
            format!("--ws=127.0.0.1:{}", port(args.ws_port, i)?),
            format!("--peer=127.0.0.1:{peer_port}"),
            format!("--peers={}", peers.join(",")),
            format!("--log-level={}", args.log_level),
            format!("--ready-file={}", ready_file.display()),
        ];
        arguments.extend(admin.arguments());
        nodes.push(start(name, ready_file, &arguments)?);
    }
    Ok(nodes)
}

fn start(name: String, ready_file: PathBuf, arguments: &[String]) -> Result<Node, DevError> {
    let program = std::env::current_exe().map_err(io("own program"))?;
    let words: Vec<String> = [program.to_string_lossy().as_ref()]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .map(quoted)
        .collect();
    let command_line = words.join(" ");
    // A node ends when its standard input ends, so no node outlives this process, however it ends. A process
    // group of its own keeps the terminal's Ctrl-C from reaching the node before this process stops it in
    // order.
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
                token_file: None,
            });
        }
        if Instant::now() >= deadline {
            return Err(DevError::NotReady(READY_WITHIN));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn announcement(ready: &Ready) -> String {
    let first = &ready.nodes[0];
    // All of the addresses: the user may kill one of the nodes as an experiment.
    let endpoints: Vec<&str> = ready.nodes.iter().map(|node| node.grpc.as_str()).collect();
    let nodes =
        ready.nodes.iter().fold(String::new(), |mut nodes, ReadyNode { name, rest, grpc, pid, .. }| {
            // Writing to a String cannot fail.
            let _ = writeln!(nodes, "  {name}  pid {pid:<8} REST {rest}  gRPC {grpc}");
            nodes
        });
    let path = ready.token_file.as_ref().map(|path| path.display().to_string()).map(|path| quoted(&path));
    let (token, header) = match path {
        None => (String::new(), String::new()),
        Some(path) => (
            format!("  export BATUTA_TOKEN_FILE={path}   # the key of user/{}\n", admin_key::ADMIN),
            format!("-H \"authorization: Bearer $(cat {path})\" "),
        ),
    };
    format!(
        "Batuta cluster {id} is ready: {count} node(s).\n\n{nodes}\n\
         \x20 OpenAPI   {rest}/openapi.json   Swagger UI   {rest}/docs\n\
         \x20 GraphQL   {graphql}   (interactive page in a browser)\n\
         \x20 WebSocket {ws}{path}\n\n\
         Try, in a second terminal:\n\
         \x20 export BATUTA_ENDPOINTS={endpoints}\n{token}\
         \x20 batuta lock acquire orders/42 --ttl 30s\n\
         \x20 curl -X POST {rest}/api/v1/locks {header}-H 'content-type: application/json' \
         -d '{{\"name\":\"orders/43\",\"ttl_ms\":30000}}'\n\n\
         Ctrl-C stops all nodes.\n",
        id = ready.cluster_id,
        count = ready.nodes.len(),
        rest = first.rest,
        endpoints = endpoints.join(","),
        graphql = first.graphql,
        ws = first.ws,
        path = batuta_api::ws::PATH,
    )
}

/// Ends the standard input of every node, which tells the nodes to stop.
async fn stop_all(nodes: &mut [Node], errors: &Lines) {
    for node in nodes.iter_mut() {
        drop(node.child.stdin.take());
    }
    for node in nodes.iter_mut() {
        if timeout(STOP_WITHIN, node.child.wait()).await.is_err() {
            errors.line(&format!("node {} did not stop within {STOP_WITHIN:?}; killing it", node.name));
            if let Err(error) = node.child.kill().await {
                errors.line(&format!("node {} could not be killed: {error}", node.name));
            }
        }
    }
}
