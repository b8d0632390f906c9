//! Rule: every use case asks for a permit.

use std::collections::BTreeSet;

use syn::visit::Visit;

use crate::source::{Finding, Source};

/// The folder of the use cases.
const FOLDER: &str = "api/src/service/";
/// The type whose methods are the use cases.
const SERVICE: &str = "Service";
/// The method that gives a permit.
const ADMIT: &str = "admit";
/// Methods that wait for the end of the service and touch no state.
const LIFECYCLE: [&str; 2] = ["draining", "drained"];
/// Methods that find out who calls, before there is a call: they answer nothing of the state but that.
const IDENTITY: [&str; 3] = ["authenticate", "renew", "identity_lost"];

/// Checks that every public `async` method of the service calls `admit`, or another method that does.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut methods = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(FOLDER) && !source.is_test_file()) {
        let mut found = Methods::default();
        found.visit_file(&source.syntax);
        methods.extend(found.methods.into_iter().map(|method| (source, method)));
    }
    let mut admitted = BTreeSet::from([ADMIT.to_owned()]);
    loop {
        let before = admitted.len();
        for (_, method) in &methods {
            if method.calls.iter().any(|call| admitted.contains(call)) {
                admitted.insert(method.name.clone());
            }
        }
        if admitted.len() == before {
            break;
        }
    }
    let unasked = methods.iter().filter(|(_, method)| {
        let name = method.name.as_str();
        let is_other = LIFECYCLE.contains(&name) || IDENTITY.contains(&name);
        method.is_use_case && !admitted.contains(name) && !is_other
    });
    let message = |name: &str| format!("use case {name} asks for no permit: let permit = self.admit(…)?");
    unasked.map(|(source, method)| source.finding(method.line, message(&method.name))).collect()
}

/// A method of the service.
struct Method {
    name: String,
    line: usize,
    /// Whether fronts call it.
    is_use_case: bool,
    /// The methods that it calls.
    calls: BTreeSet<String>,
}

#[derive(Default)]
struct Methods {
    methods: Vec<Method>,
}

impl<'ast> Visit<'ast> for Methods {
    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let syn::Type::Path(of) = &*block.self_ty else { return };
        if block.trait_.is_some() || !of.path.is_ident(SERVICE) {
            return;
        }
        for item in &block.items {
            let syn::ImplItem::Fn(method) = item else { continue };
            let mut calls = Calls::default();
            calls.visit_block(&method.block);
            self.methods.push(Method {
                name: method.sig.ident.to_string(),
                line: method.sig.ident.span().start().line,
                is_use_case: matches!(method.vis, syn::Visibility::Public(_))
                    && method.sig.asyncness.is_some(),
                calls: calls.names,
            });
        }
    }
}

#[derive(Default)]
struct Calls {
    names: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.names.insert(call.method.to_string());
        syn::visit::visit_expr_method_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let sources = [Source::parse("api/src/service/lock.rs", text).unwrap()];
        check(&sources).into_iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
    }

    #[test]
    fn use_case_without_permit_is_found() {
        let text = "impl Service {\n  pub async fn take(&self) { let p = self.admit(c, &T, [])?; p.read().await }\n  \
            pub async fn hold(&self) { self.take().await }\n  pub async fn drained(&self) {}\n  \
            pub(crate) async fn inner(&self) {}\n  pub fn now(&self) {}\n  pub async fn peek(&self) { self.state.read() }\n}\n\
            impl Watch { pub async fn next(&self) {} }\n";
        let found = found(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("7: use case peek"), "{found:?}");
    }
}
