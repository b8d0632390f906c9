//! gRPC-Web, as a browser speaks it: over HTTP/1.1, trailers in the body.

use batuta_tests::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_works_over_http_1_1() {
    let cluster = Cluster::start(1).await;
    // An empty message: no flags, length 0.
    let answer = reqwest::Client::builder()
        .http1_only()
        .build()
        .expect("a client")
        .post(format!("{}/batuta.v1.ClusterService/GetStatus", cluster.nodes[0].grpc))
        .header("content-type", "application/grpc-web+proto")
        .body(vec![0_u8; 5])
        .send()
        .await
        .expect("answers");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc-web+proto");
    let body = answer.bytes().await.expect("a body");
    let message_bytes = u32::from_be_bytes(body[1..5].try_into().expect("four bytes")) as usize;
    assert!(message_bytes > 0, "the status is not empty");
    let trailers = &body[5 + message_bytes..];
    assert_eq!(trailers[0], 0x80, "a frame of trailers ends the body");
    assert!(String::from_utf8_lossy(&trailers[5..]).contains("grpc-status:0"), "{trailers:?}");
}
