//! Quotes words for command lines that people paste into a shell.

/// Quotes a word of a command line if a shell would read it differently.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_=./:,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for (word, expected) in [
            ("--name=n4", "--name=n4"),
            ("--data-dir=/my data", "'--data-dir=/my data'"),
            ("it's", r"'it'\''s'"),
            ("[::1]:7070", "'[::1]:7070'"),
            ("$(x)", "'$(x)'"),
            ("~", "'~'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
