//! Rule: every error code in the source is documented.

use syn::visit::Visit;

use crate::source::{Finding, Source};

/// The file that lists the codes, and the function that returns their text.
const FILE: &str = "statemachine/src/code.rs";
const FUNCTION: &str = "as_str";

/// Checks that every text that [`FUNCTION`] can return has a heading in the page.
pub(crate) fn check(sources: &[Source], page: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == FILE) {
        let mut codes = Codes::default();
        codes.visit_file(&source.syntax);
        for (code, line) in codes.found {
            let documented = page.lines().any(|text| text.trim_end() == format!("## {code}"));
            if !documented && !source.is_test_line(line) {
                findings.push(source.finding(line, format!("error code {code:?} is not in docs/errors.md")));
            }
        }
    }
    findings
}

#[derive(Default)]
struct Codes {
    inside: bool,
    found: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Codes {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let outside = std::mem::replace(&mut self.inside, function.sig.ident == FUNCTION);
        syn::visit::visit_item_fn(self, function);
        self.inside = outside;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let outside = std::mem::replace(&mut self.inside, function.sig.ident == FUNCTION);
        syn::visit::visit_impl_item_fn(self, function);
        self.inside = outside;
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        if self.inside {
            self.found.push((literal.value(), literal.span().start().line));
        }
    }

    // Texts in attributes are not codes.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_its_heading_is_found() {
        let text = "impl E {\n  /// Words.\n  fn as_str(&self) -> &str {\n    match self {\n      A => \"known\",\n      B => \"new\" } }\n  fn text(&self) -> &str { \"free\" }\n}";
        let sources = [Source::parse(FILE, text).unwrap()];
        let found = check(&sources, "# Errors\n\n## known\n\nnew\n");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].message.contains("\"new\"")), (6, true));
    }
}
