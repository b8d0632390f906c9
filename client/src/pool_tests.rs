//! Tests which node is asked.

use super::*;

fn pool(endpoints: &[&str]) -> Arc<Pool> {
    let endpoints: Vec<String> = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
    Arc::new(Pool::new(&endpoints, Credentials::none()).expect("addresses"))
}

fn seen(cluster_id: &str, leader_id: Option<u64>, members: &[&str]) -> Sight {
    let members = (1..)
        .zip(members)
        .map(|(node_id, grpc)| Member { node_id, grpc: (*grpc).to_owned(), ..Default::default() })
        .collect();
    Sight { cluster_id: cluster_id.to_owned(), leader_id, members }
}

fn order(pool: &Pool, count: usize) -> Vec<String> {
    let mut asked: Vec<String> = Vec::new();
    for _ in 0..count {
        let times =
            |url: &str| u32::try_from(asked.iter().filter(|other| *other == url).count()).unwrap_or(0);
        let url = pool.next(times).url.to_string();
        asked.push(url);
    }
    asked
}

#[tokio::test]
async fn no_endpoint_and_wrong_ones_are_refused() {
    assert!(Pool::new(&[], Credentials::none()).is_err());
    let error =
        Pool::new(&["a:1".to_owned(), "https://b:1".to_owned()], Credentials::none()).expect_err("no TLS");
    assert!(error.message.contains("https://b:1"), "{error}");
}

#[tokio::test]
async fn silent_node_is_tried_last() {
    let pool = pool(&["a:1", "b:1", "c:1"]);
    assert_eq!(order(&pool, 4), ["http://a:1", "http://b:1", "http://c:1", "http://a:1"]);
    pool.silent("http://a:1");
    assert_eq!(*pool.preferred().url, *"http://b:1");
    let expected = ["b", "c", "b", "c", "b", "c", "a"].map(|host| format!("http://{host}:1"));
    assert_eq!(order(&pool, 7), expected);
    pool.heard("http://a:1");
    assert_eq!(order(&pool, 3), ["http://b:1", "http://c:1", "http://a:1"]);
}

#[tokio::test]
async fn members_follow_the_given_nodes_until_removed() {
    let pool = pool(&["given:1", "b:1"]);
    let unproven = pool.learn(&seen("c", Some(3), &["a:1", "b:1", "d:1"])).expect("the leader is new");
    assert_eq!(*unproven.url, *"http://d:1");
    assert_eq!(order(&pool, 4), ["http://given:1", "http://b:1", "http://a:1", "http://d:1"]);
    assert!(pool.learn(&seen("c", Some(2), &["a:1", "b:1", "d:1"])).is_none(), "given, so proven");
    assert_eq!(*pool.preferred().url, *"http://b:1");
    pool.learn(&seen("c", None, &["b:1", "e:1"]));
    assert_eq!(order(&pool, 3), ["http://b:1", "http://e:1", "http://given:1"]);
    pool.learn(&seen("another", Some(1), &["x:1"]));
    pool.learn(&seen("", Some(1), &["x:1"]));
    assert_eq!(pool.count(), 3, "another cluster, or none, has nothing to say");
    pool.learn(&seen("c", Some(1), &["https://b:1", "b:1"]));
    assert_eq!(pool.count(), 2, "what is no address is nobody");
}
