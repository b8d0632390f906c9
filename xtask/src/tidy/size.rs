//! Rule: files and functions stay small enough to read.

use syn::spanned::Spanned as _;
use syn::visit::Visit;

use crate::source::{Finding, Source};

/// The most lines of code in a file.
const FILE_LINES_MAX: usize = 500;
/// The most lines of a function, from its signature to its end.
const FUNCTION_LINES_MAX: usize = 70;

/// Checks a file and its functions; tests may be of any size.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if source.is_test_file() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = source.code_lines();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines of code, more than {FILE_LINES_MAX}: split the file by concept");
        findings.push(source.finding(1, message));
    }
    let mut functions = Functions::default();
    functions.visit_file(&source.syntax);
    for (name, first, last) in functions.found {
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX && !source.is_test_line(first) {
            let message =
                format!("fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}: take it apart");
            findings.push(source.finding(first, message));
        }
    }
    findings
}

#[derive(Default)]
struct Functions {
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        if is_one_match(block) {
            return;
        }
        let (first, last) = (signature.span().start().line, block.span().end().line);
        self.found.push((signature.ident.to_string(), first, last));
    }
}

/// Whether a function is a single `match`, which may be long: splitting it would only hide a missing variant.
fn is_one_match(block: &syn::Block) -> bool {
    let [syn::Stmt::Expr(expression, None)] = block.stmts.as_slice() else { return false };
    match expression {
        syn::Expr::Match(_) => true,
        // `Ok(match … )`
        syn::Expr::Call(call) => call.args.len() == 1 && matches!(call.args[0], syn::Expr::Match(_)),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text).unwrap()).len()
    }

    #[test]
    fn only_code_counts() {
        let text = "//! Words.\n\n/// More\n/// words.\nfn f() {\n    // Why.\n    g(\"a\nb\");\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        assert_eq!(Source::parse("a/src/b.rs", text).unwrap().code_lines(), 4);
    }

    #[test]
    fn long_file_is_found_unless_it_is_a_test() {
        let lines = |count| "const A: u8 = 1;\n".repeat(count);
        assert_eq!(findings("a/src/b.rs", &lines(500)), 0);
        assert_eq!(findings("a/src/b.rs", &lines(501)), 1);
        assert_eq!(findings("a/tests/b.rs", &lines(501)), 0);
    }

    #[test]
    fn long_function_of_one_match_is_allowed() {
        let arms = "        1 => g(),\n".repeat(100);
        let table =
            |open: &str, close: &str| format!("fn f() {{\n    {open}match x {{\n{arms}    }}{close}\n}}\n");
        assert_eq!(findings("a/src/b.rs", &table("", "")), 0);
        assert_eq!(findings("a/src/b.rs", &table("Ok(", ")")), 0);
        assert_eq!(findings("a/src/b.rs", &table("let y = ", ";")), 1);
        assert_eq!(findings("a/src/b.rs", &table("g();\n", "")), 1);
    }

    #[test]
    fn long_function_is_found_unless_it_is_a_test() {
        let function = |lines| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        assert_eq!(findings("a/src/b.rs", &function(68)), 0);
        assert_eq!(findings("a/src/b.rs", &function(69)), 1);
        assert_eq!(findings("a/src/b.rs", &format!("struct S;\nimpl S {{\n{}}}", function(69))), 1);
        assert_eq!(findings("a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(69))), 0);
    }
}
