//! What the documents promise must exist: invariants name their tests, errors their cause.

use crate::Findings;

/// Each line of ARCHITECTURE.md that names a test (`test: name`) must name a function that exists; each named
/// invariant must have such a line.
pub(crate) fn check_invariants(architecture: &str, functions: &[String]) -> Findings {
    let mut findings = Findings::new();
    let mut invariants = 0;
    for (number, line) in (1..).zip(architecture.lines()).filter(|(_, line)| line.starts_with("- **")) {
        invariants += 1;
        let tests: Vec<&str> =
            line.split("`test: ").skip(1).filter_map(|rest| rest.split('`').next()).collect();
        if tests.is_empty() {
            findings.push(format!(
                "ARCHITECTURE.md:{number}: the invariant names no test (`test: function_name`)"
            ));
        }
        for test in tests.iter().filter(|test| !functions.iter().any(|known| known == *test)) {
            findings.push(format!("ARCHITECTURE.md:{number}: there is no test {test}"));
        }
    }
    if invariants == 0 {
        findings.push("ARCHITECTURE.md: no invariants found (lines that start with '- **')".to_owned());
    }
    findings
}

/// Every code the state machine refuses with has a section in docs/errors.md.
pub(crate) fn check_error_codes(errors: &str, rejections: &str) -> Findings {
    let arrow = |line: &&str| line.contains("=> \"");
    let code = |line: &str| line.split("=> \"").nth(1)?.split('"').next().map(str::to_owned);
    rejections
        .lines()
        .filter(arrow)
        .filter_map(code)
        .filter(|code| !errors.contains(&format!("`{code}`")))
        .map(|code| format!("docs/errors.md: no section for the error code `{code}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{check_error_codes, check_invariants};

    #[test]
    fn an_invariant_names_a_test_that_exists() {
        let known = ["holds".to_owned()];
        assert!(check_invariants("- **Pure.** It is. `test: holds`", &known).is_empty());
        assert_eq!(check_invariants("- **Pure.** It is. `test: gone`", &known).len(), 1);
        assert_eq!(check_invariants("- **Pure.** It is.", &known).len(), 1);
        assert_eq!(check_invariants("nothing", &known).len(), 1);
    }

    #[test]
    fn every_error_code_is_documented() {
        let source = "Self::A { .. } => \"lock_held\",\n";
        assert!(check_error_codes("## `lock_held`", source).is_empty());
        assert_eq!(check_error_codes("## `other`", source).len(), 1);
    }
}
