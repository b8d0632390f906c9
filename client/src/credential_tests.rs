//! Tokens and the files that they come from.

use std::path::PathBuf;

use super::*;
use crate::tests::TokenFile;

fn authorization(credentials: &Credentials) -> Option<String> {
    let mut request = Request::new(());
    credentials.sign(&mut request);
    let header = request.metadata().get("authorization")?;
    assert!(!format!("{request:?}").contains(header.to_str().expect("text")), "it is sensitive");
    Some(header.to_str().expect("text").to_owned())
}

#[test]
fn token_is_never_shown() {
    let token = Token::new("btk_secret");
    let credential = Credential::Token(token.clone());
    let credentials = Credentials::open(&credential).expect("a token");
    for shown in [format!("{token:?}"), format!("{credential:?}"), format!("{credentials:?}")] {
        assert!(!shown.contains("btk_secret"), "{shown}");
    }
    assert_eq!(authorization(&credentials).as_deref(), Some("Bearer btk_secret"));
    assert_eq!(authorization(&Credentials::none()), None);
    let error = Credentials::open(&Credential::Token(Token::new("geheim\n"))).expect_err("no header");
    assert!(error.code == "invalid_argument" && !error.message.contains("geheim"), "{error}");
}

#[test]
fn file_without_a_token_is_refused() {
    let missing = Credential::File(PathBuf::from("/nowhere/token"));
    let error = Credentials::open(&missing).expect_err("no file");
    assert!(error.code == "invalid_argument" && error.message.contains("/nowhere/token"), "{error}");
    for (text, problem) in [("", "empty"), (" \n", "empty"), (&*"x".repeat(9_000), "longer")] {
        let file = TokenFile::new(text);
        let error = Credentials::open(&file.credential()).expect_err("no token");
        assert!(error.message.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn file_is_read_again_when_its_token_is_refused() {
    let file = TokenFile::new("btk_old\n");
    let credentials = Credentials::open(&file.credential()).expect("a token");
    let sent = credentials.generation();
    assert!(!credentials.replaced(sent).await, "the file is as before");
    file.write("");
    assert!(!credentials.replaced(sent).await, "the file is being replaced");
    assert_eq!(authorization(&credentials).as_deref(), Some("Bearer btk_old"));
    file.write("btk_new\n");
    assert!(credentials.replaced(sent).await);
    assert_eq!(authorization(&credentials).as_deref(), Some("Bearer btk_new"));
    assert!(credentials.replaced(sent).await, "another call was refused with the old token too");
    assert!(!credentials.replaced(credentials.generation()).await);
}

#[tokio::test]
async fn fixed_token_is_never_replaced() {
    let credentials = Credentials::open(&Credential::Token(Token::new("btk_a"))).expect("a token");
    assert!(!credentials.replaced(credentials.generation()).await);
}

#[tokio::test]
async fn open_stream_learns_of_a_new_token() {
    let file = TokenFile::new("btk_old");
    let credentials = Credentials::open(&file.credential()).expect("a token");
    let mut followed = credentials.follow();
    followed.borrow_and_update();
    file.write("btk_new");
    followed.changed().await.expect("the client is there");
    assert_eq!(followed.borrow().text(), "btk_new");
}
