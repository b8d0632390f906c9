//! Reads passwords: from a prompt without echo, or from standard input.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _};

use crate::failure::{Failure, exit};

/// The most bytes of passwords on standard input, with their line ends.
const BYTES_MAX: u64 = 1_024;

/// A password; `Debug` shows nothing of it.
#[derive(PartialEq, Eq)]
pub(super) struct Password(String);

impl Password {
    /// The text, for the request that needs it.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A password to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// The words of the prompt.
    pub(super) prompt: &'static str,
    /// Whether to ask twice, because nobody sees a typing error.
    pub(super) twice: bool,
}

/// Asks for passwords. From standard input, when it is not a terminal or `from_stdin`, each is one line.
pub(super) async fn ask<const N: usize>(
    questions: [Question; N],
    from_stdin: bool,
) -> Result<[Password; N], Failure> {
    let asked = tokio::task::spawn_blocking(move || {
        if from_stdin || !io::stdin().is_terminal() {
            lines(io::stdin().lock())
        } else {
            let answers: Result<Vec<Password>, Failure> = questions.into_iter().map(prompt).collect();
            answers?.try_into().map_err(|_| missing(N))
        }
    });
    asked.await.map_err(|error| Failure::new(exit::INTERNAL, "internal", error.to_string()))?
}

fn prompt(question: Question) -> Result<Password, Failure> {
    let ask = |words: &str| {
        let answer = rpassword::prompt_password(words);
        answer.map_err(|error| Failure::usage(format!("no password can be read from the terminal: {error}")))
    };
    let password = ask(&format!("{}: ", question.prompt))?;
    if question.twice && ask(&format!("{} again: ", question.prompt))? != password {
        return Err(Failure::usage("the two passwords are not the same"));
    }
    Ok(Password(password))
}

/// Takes one password from each line.
fn lines<const N: usize>(input: impl io::BufRead) -> Result<[Password; N], Failure> {
    let read: Result<Vec<String>, _> = input.take(BYTES_MAX).lines().take(N).collect();
    // The error could quote the bytes.
    let read = read.map_err(|_| Failure::usage("standard input is not UTF-8, or cannot be read"))?;
    let passwords: Vec<Password> = read.into_iter().map(Password).collect();
    passwords.try_into().map_err(|_| missing(N))
}

fn missing(count: usize) -> Failure {
    let lines = if count == 1 { "a line".to_owned() } else { format!("{count} lines") };
    Failure::usage(format!("standard input must have {lines}: one for each password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_password() {
        let of = |text: &str| lines::<1>(text.as_bytes()).map(|[password]| password.into_text());
        for (text, password) in
            [("correct horse\n", "correct horse"), ("a\r\n", "a"), ("a", "a"), (" a b \nc", " a b ")]
        {
            assert_eq!(of(text).expect("a line"), password);
        }
        assert_eq!(of("").expect_err("no line").exit, 2);
        let [old, new] = lines::<2>("old\nnew\n".as_bytes()).expect("two lines");
        assert_eq!((old.into_text(), new.into_text()), ("old".to_owned(), "new".to_owned()));
        let failure = lines::<2>("only\n".as_bytes()).expect_err("one line");
        assert!(failure.message.contains("2 lines") && !failure.message.contains("only"), "{failure}");
        assert!(lines::<1>(&b"\xff\xff\n"[..]).is_err());
    }

    #[test]
    fn password_is_never_shown() {
        assert_eq!(format!("{:?}", Password("correct horse".to_owned())), "[redacted]");
    }
}
