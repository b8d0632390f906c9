//! The commands of the documents do what the documents say.

use batuta_tests::{Cluster, program, snippets};

const PAGES: &[(&str, &str, usize)] = &[
    ("README.md", include_str!("../../README.md"), 8),
    ("docs/api-rest.md", include_str!("../../docs/api-rest.md"), 10),
    ("docs/api-grpc.md", include_str!("../../docs/api-grpc.md"), 0),
    ("docs/api-graphql.md", include_str!("../../docs/api-graphql.md"), 0),
    ("docs/api-websocket.md", include_str!("../../docs/api-websocket.md"), 0),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_documents_answer_as_shown() {
    for (page, text, at_least) in PAGES {
        let found = snippets(text);
        assert!(found.len() >= *at_least, "{page}: only {} commands were found", found.len());
        if found.is_empty() {
            continue;
        }
        // Every page begins with an empty cluster, at the addresses of `batuta dev`.
        let cluster = Cluster::start(3).await;
        let mut substitutions: Vec<(String, String)> = cluster
            .nodes
            .iter()
            .zip(["127.0.0.1:8080", "127.0.0.1:8090", "127.0.0.1:8100"])
            .map(|(node, shown)| (shown.to_owned(), node.rest_address()))
            .collect();
        substitutions.push(("./report.sh".to_owned(), "true".to_owned()));
        let endpoints = cluster.endpoints().join(",");
        for snippet in found {
            let substitutions = substitutions.clone();
            let endpoints = endpoints.clone();
            tokio::task::spawn_blocking(move || snippet.run(program(), &endpoints, &substitutions))
                .await
                .unwrap_or_else(|error| panic!("{page}: {error}"));
        }
        cluster.converged().await;
    }
}
