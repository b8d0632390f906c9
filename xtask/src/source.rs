//! Rules of single files: length of files and functions, and what the pure core must not call.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Findings;

/// Most lines of code of a file, blank lines, comments and its test module not counted.
const FILE_LINES_MAX: usize = 500;
/// Most lines of a function, its signature included.
const FUNCTION_LINES_MAX: usize = 70;
/// What would make apply impure, and what to use instead.
const BANNED_IN_CORE: &[(&str, &str)] = &[
    ("std::time", "time enters through the Stamp of an entry"),
    ("SystemTime", "time enters through the Stamp of an entry"),
    ("Instant", "time enters through the Stamp of an entry"),
    ("HashMap", "its order differs from node to node; use imbl::OrdMap or BTreeMap"),
    ("HashSet", "its order differs from node to node; use imbl::OrdSet or BTreeSet"),
    ("std::fs", "the core does no I/O"),
    ("std::env", "what changes an outcome is in the log or in the state"),
    ("std::net", "the core does no I/O"),
    ("std::thread", "the core is single-threaded"),
    ("tokio", "the core is synchronous"),
    ("tracing", "the core writes no log; the caller does"),
    ("println!", "the core writes no log; the caller does"),
    ("eprintln!", "the core writes no log; the caller does"),
    ("rand::", "the core draws no randomness; ids come from the log position"),
];

/// Checks one file.
pub(crate) fn check(path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    let Ok(file) = syn::parse_file(text) else {
        return vec![format!("{path}: is not Rust that can be parsed")];
    };
    let code = code_lines(text, &file);
    // A test is a story, told in one piece.
    let is_test = path.contains("/tests/") || path.ends_with("tests.rs");
    if !is_test && code.len() > FILE_LINES_MAX {
        findings.push(format!(
            "{path}: {} lines of code, at most {FILE_LINES_MAX}; split it by concept",
            code.len()
        ));
    }
    let mut functions = Functions::default();
    functions.visit_file(&file);
    for (name, first, last) in functions.found {
        let lines = last - first + 1;
        if !is_test && lines > FUNCTION_LINES_MAX {
            findings.push(format!("{path}:{first}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    if path.starts_with("statemachine/src") {
        for (number, line) in code {
            for (banned, instead) in BANNED_IN_CORE.iter().filter(|(banned, _)| line.contains(banned)) {
                findings.push(format!("{path}:{number}: {banned} in the pure core; {instead}"));
            }
        }
    }
    findings
}

/// The names of all functions of a file.
pub(crate) fn functions(text: &str) -> Vec<String> {
    let mut functions = Functions { with_tests: true, ..Functions::default() };
    if let Ok(file) = syn::parse_file(text) {
        functions.visit_file(&file);
    }
    functions.found.into_iter().map(|(name, ..)| name).collect()
}

/// Numbered lines that are code: not blank, not a comment, not in a test module.
fn code_lines<'a>(text: &'a str, file: &syn::File) -> Vec<(usize, &'a str)> {
    let tests: Vec<(usize, usize)> = file
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) if is_test(&module.attrs) => {
                Some((module.span().start().line, module.span().end().line))
            }
            _ => None,
        })
        .collect();
    let code = |(number, line): &(usize, &str)| {
        let line = line.trim();
        let in_tests = tests.iter().any(|(first, last)| number >= first && number <= last);
        !line.is_empty() && !line.starts_with("//") && !in_tests
    };
    (1..).zip(text.lines()).filter(code).collect()
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

#[derive(Default)]
struct Functions {
    with_tests: bool,
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, last: usize) {
        self.found.push((signature.ident.to_string(), signature.span().start().line, last));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if self.with_tests || !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.add(&function.sig, function.span().end().line);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.add(&function.sig, function.span().end().line);
        visit::visit_impl_item_fn(self, function);
    }

    /// Macros such as `proptest!` hide functions from the parser; their names are found in the tokens.
    fn visit_macro(&mut self, call: &'a syn::Macro) {
        if self.with_tests {
            let mut tokens = call.tokens.clone().into_iter();
            while let Some(token) = tokens.next() {
                if token.to_string() == "fn"
                    && let Some(name) = tokens.next()
                {
                    self.found.push((name.to_string(), 0, 0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{check, functions};

    #[test]
    fn long_files_and_functions_are_found() {
        let long = format!("fn long() {{\n{}}}\n", "    call();\n".repeat(70));
        assert_eq!(check("api/src/a.rs", &long).len(), 1);
        let many = "const A: u8 = 1;\n".repeat(501);
        assert_eq!(check("api/src/a.rs", &many).len(), 1);
        let commented = format!("{}fn short() {{}}\n", "// words\n\n".repeat(600));
        assert!(check("api/src/a.rs", &commented).is_empty());
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(600));
        assert!(check("api/src/a.rs", &tests).is_empty());
    }

    #[test]
    fn the_core_is_pure() {
        let clock = "fn now() { std::time::Instant::now(); }\n";
        assert_eq!(check("statemachine/src/a.rs", clock).len(), 2);
        assert!(check("raft/src/a.rs", clock).is_empty());
        assert!(check("statemachine/src/a.rs", "// std::time is banned\nfn ok() {}\n").is_empty());
    }

    #[test]
    fn functions_in_macros_are_known() {
        assert_eq!(
            functions("proptest! { #[test] fn holds(a in 0..1) {} }\nfn other() {}"),
            ["holds", "other"]
        );
    }
}
