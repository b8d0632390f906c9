//! Finds source files, and parses them as syntax and as tokens with lines.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A token that is not a group, or the delimiter of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

/// A parsed file.
pub(crate) struct Source {
    /// The path from the root of the workspace.
    pub(crate) path: String,
    pub(crate) syntax: syn::File,
    /// The tokens, without documentation and without code that is compiled only for tests.
    pub(crate) tokens: Vec<Token>,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let failed = |line, error: String| Finding { path: path.to_owned(), line, message: error };
        let syntax =
            syn::parse_file(text).map_err(|error| failed(error.span().start().line, error.to_string()))?;
        let stream: TokenStream =
            text.parse().map_err(|error: proc_macro2::LexError| failed(1, error.to_string()))?;
        let mut tests = TestModules::default();
        tests.visit_file(&syntax);
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        tokens.retain(|token| !tests.lines.iter().any(|lines| lines.contains(&token.first_line)));
        Ok(Self { path: path.to_owned(), syntax, tokens, test_lines: tests.lines })
    }

    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }

    /// Whether the line belongs to a module that is compiled only for tests.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.split('/').any(|part| part == "tests") || self.path.ends_with("/tests.rs")
    }

    /// The number of lines with code.
    pub(crate) fn code_lines(&self) -> usize {
        self.tokens.iter().flat_map(|token| token.first_line..=token.last_line).collect::<BTreeSet<_>>().len()
    }
}

/// The lines of modules under `#[cfg(test)]`.
#[derive(Default)]
struct TestModules {
    lines: Vec<RangeInclusive<usize>>,
}

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| match &attribute.meta {
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
            _ => false,
        };
        if module.attrs.iter().any(is_test) {
            let span = module.span();
            self.lines.push(span.start().line..=span.end().line);
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if is_punct(&tree, '#') {
            trees.next_if(|next| is_punct(next, '!'));
            if trees.next_if(is_documentation).is_some() {
                continue;
            }
        }
        let span = tree.span();
        let mut push =
            |text: String, first_line, last_line| tokens.push(Token { text, first_line, last_line });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned(), span.start().line, span.start().line);
                flatten(group.stream(), tokens);
                tokens.push(Token {
                    text: close.to_owned(),
                    first_line: span.end().line,
                    last_line: span.end().line,
                });
            }
            other => push(other.to_string(), span.start().line, span.end().line),
        }
    }
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether a token tree is `[doc = "…"]`, the form that the lexer gives to documentation comments.
fn is_documentation(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

/// Lists all Rust files of a crate's folder, in order, without those of crates inside it.
pub(crate) fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.join("Cargo.toml").exists() {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
