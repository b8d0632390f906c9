//! Rule: every invariant that ARCHITECTURE.md names has an existing test.

use syn::visit::Visit;

use crate::source::{Finding, Source};

/// The heading of the invariants.
const HEADING: &str = "## Named invariants";

/// Checks that each item under the heading, `- *Name.* …`, ends with `` test: `path::function` ``, and that the function is a test.
pub(crate) fn check(path: &str, page: &str, sources: &[Source]) -> Vec<Finding> {
    let finding = |line: usize, message: String| Finding { path: path.to_owned(), line, message };
    let items = items(page);
    if items.is_empty() {
        return vec![finding(1, format!("no invariants under {HEADING:?}"))];
    }
    let mut findings = Vec::new();
    for (line, text) in items {
        let named: Vec<&str> =
            text.split("test: `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
        if named.is_empty() {
            findings.push(finding(line, "the invariant names no test: `path::function`".to_owned()));
        }
        for test in named {
            if !exists(test, sources) {
                findings.push(finding(line, format!("there is no test {test}")));
            }
        }
    }
    findings
}

/// The items under the heading, each with its first line.
fn items(page: &str) -> Vec<(usize, String)> {
    let mut items: Vec<(usize, String)> = Vec::new();
    let lines = page.lines().enumerate().skip_while(|(_, line)| *line != HEADING).skip(1);
    for (number, line) in lines.take_while(|(_, line)| !line.starts_with("## ")) {
        if line.starts_with("- ") {
            items.push((number + 1, line.to_owned()));
        } else if let (Some((_, text)), true) = (items.last_mut(), line.starts_with("  ")) {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    items
}

fn exists(test: &str, sources: &[Source]) -> bool {
    let Some((path, function)) = test.rsplit_once("::") else { return false };
    sources.iter().filter(|source| source.path == path).any(|source| {
        let mut search = Search { function, found: false };
        search.visit_file(&source.syntax);
        search.found
    })
}

struct Search<'a> {
    function: &'a str,
    found: bool,
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
        };
        self.found |= function.sig.ident == self.function && function.attrs.iter().any(is_test);
    }

    /// Visits `proptest! { … }`, which contains its tests as tokens.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let named = format!("fn {} ", self.function);
        self.found |= call.path.is_ident("proptest") && call.tokens.to_string().contains(&named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(items: &str) -> Vec<usize> {
        let text = "#[tokio::test]\nasync fn real() {}\nfn helper() {}\nproptest! { #[test] fn many (x in 0..1) {} }";
        let sources = [Source::parse("a/tests/b.rs", text).unwrap()];
        let page = format!("# Title\n{HEADING}\n{items}\n## Next\n- free\n");
        check("ARCHITECTURE.md", &page, &sources).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_invariant_names_a_test_that_exists() {
        assert_eq!(lines("- *A.* words\n  test: `a/tests/b.rs::real`"), [0_usize; 0]);
        assert_eq!(lines("- *A.* test: `a/tests/b.rs::many`"), [0_usize; 0]);
        assert_eq!(lines("- *A.* words"), [3]);
        assert_eq!(lines("- *A.* test: `a/tests/b.rs::gone`"), [3]);
        assert_eq!(lines("- *A.* test: `a/tests/b.rs::helper`"), [3]);
        assert_eq!(lines("- *A.* test: `a/tests/b.rs::real`\n- *B.* test: `c.rs::real`"), [4]);
        assert_eq!(lines(""), [1]);
    }
}
