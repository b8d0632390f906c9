//! Runs the commands of the documents and compares the output with what the documents show.

use batuta_tests::{Cluster, Terminal, program, snippets};

const PAGES: &[(&str, &str, usize)] = &[
    ("README.md", include_str!("../../README.md"), 10),
    ("docs/api-rest.md", include_str!("../../docs/api-rest.md"), 10),
    ("docs/api-grpc.md", include_str!("../../docs/api-grpc.md"), 0),
    ("docs/api-graphql.md", include_str!("../../docs/api-graphql.md"), 2),
    ("docs/api-websocket.md", include_str!("../../docs/api-websocket.md"), 0),
    ("docs/elections.md", include_str!("../../docs/elections.md"), 14),
];

/// Placeholders in the documents for the reader's own programs.
const PROGRAMS: [&str; 5] = ["./report.sh", "./deploy.sh", "./train.sh", "./serve.sh", "psql"];

/// Runs the commands of a page in order, as a reader would in one terminal.
async fn run(page: &str, text: &str, at_least: usize, mut terminal: Terminal) {
    let found = snippets(text);
    assert!(found.len() >= at_least, "{page}: only {} commands were found", found.len());
    let typed = tokio::task::spawn_blocking(move || {
        for snippet in found {
            snippet.run(&mut terminal);
        }
    });
    typed.await.unwrap_or_else(|error| panic!("{page}: {error}"));
}

/// The terminal of a reader of a page about a cluster of three nodes.
fn terminal(cluster: &Cluster, more: Vec<(String, String)>) -> Terminal {
    let shown = ["127.0.0.1:8080", "127.0.0.1:8090", "127.0.0.1:8100"];
    let addresses = cluster.nodes.iter().map(batuta_tests::Node::rest_address);
    let mut substitutions: Vec<(String, String)> =
        shown.into_iter().map(str::to_owned).zip(addresses).collect();
    substitutions.extend(programs());
    substitutions.extend(more);
    Terminal::new(program(), cluster.endpoints().join(","), substitutions)
}

fn programs() -> Vec<(String, String)> {
    PROGRAMS.iter().map(|program| (format!(" {program}"), " true".to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_documents_answer_as_shown() {
    for (page, text, at_least) in PAGES {
        if *at_least == 0 {
            assert!(snippets(text).is_empty(), "{page} has commands");
            continue;
        }
        // Every page starts with an empty cluster at the addresses of `batuta dev`.
        let mut cluster = Cluster::start(3).await;
        // The leader is the hardest node to lose.
        let leader = cluster.leader().await;
        let pid = cluster.nodes[leader].process_id().expect("runs");
        let kill = ("kill -9 PID".to_owned(), format!("kill -9 {pid}"));
        run(page, text, *at_least, terminal(&cluster, vec![kill])).await;
        if text.contains("kill -9 PID") {
            cluster.nodes[leader].kill();
        }
        cluster.converged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_manual_work() {
    let mut cluster = Cluster::start(3).await;
    let fourth = cluster.add("n4");
    cluster.launch_joining(fourth);
    cluster.nodes[fourth].ready().await;
    let stays = [0, 1, fourth];
    let endpoints: Vec<String> = stays.map(|place| cluster.nodes[place].grpc.clone()).into();
    let mut substitutions = programs();
    for (shown, place) in [("10.0.0.1:9090", 0), ("10.0.0.2:9090", 1)] {
        substitutions.push((shown.to_owned(), cluster.nodes[place].grpc_address()));
    }
    let text = include_str!("../../docs/cli.md");
    run("docs/cli.md", text, 14, Terminal::new(program(), endpoints.join(","), substitutions)).await;
    // The operations page has removed this node.
    cluster.nodes[2].kill();
    cluster.converged().await;
}

/// The page begins with a cluster in which nobody has to say who they are, and ends with one in which access is enforced.
#[tokio::test(flavor = "multi_thread")]
async fn three_teams_share_a_cluster_as_the_access_page_says() {
    let cluster = Cluster::start(3).await;
    let folder = tempfile::tempdir().expect("a folder for the reader");
    let terminal = terminal(&cluster, Vec::new()).in_folder(folder.path());
    run("docs/access.md", include_str!("../../docs/access.md"), 20, terminal).await;
}

/// Only validates the arguments: a node started by this command would write outside a temporary directory.
#[test]
fn start_command_of_the_operations_page_is_valid() {
    let lines = include_str!("../../docs/operations.md").lines();
    let mut lines = lines.skip_while(|line| !line.starts_with("    batuta server "));
    let mut command = String::new();
    for line in &mut lines {
        command.push_str(line.trim().trim_end_matches('\\'));
        if !line.ends_with('\\') {
            break;
        }
    }
    let arguments = command.strip_prefix("batuta server ").expect("the page shows how a node is started");
    let output = std::process::Command::new(program())
        .args(["config", "validate"])
        .args(arguments.split_whitespace())
        .output()
        .expect("the program under test runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
