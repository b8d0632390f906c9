//! Compares the tables of `docs/access.md` with the permissions and the operations of the code.

use batuta_api::service::operation::{self, Needs};
use batuta_statemachine::Permission;

const PAGE: &str = include_str!("../../docs/access.md");

/// The rows of the tables under a heading, each without its first `| `.
fn rows(heading: &str) -> Vec<&'static str> {
    let lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let rows: Vec<&str> = lines
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `"))
        .collect();
    assert!(!rows.is_empty(), "docs/access.md has no table under {heading:?}");
    rows
}

#[test]
fn page_tells_what_each_operation_needs() {
    let rows = rows("## What each operation needs");
    for operation in operation::ALL {
        let needs = match operation.needs {
            Needs::Nothing => "nothing".to_owned(),
            Needs::Identity => "identity".to_owned(),
            Needs::Permission(permission) => format!("`{permission}`"),
        };
        let row = format!("{}` | {needs} |", operation.name);
        let found = rows.iter().filter(|line| line.starts_with(&row)).count();
        assert_eq!(found, 1, "rows of docs/access.md that begin with: | `{row}");
    }
    let named = |row: &&str| row.split('`').next().is_some_and(|name| operation::named(name).is_some());
    let unknown: Vec<_> = rows.into_iter().filter(|row| !named(row)).collect();
    assert!(unknown.is_empty(), "docs/access.md has rows of operations that do not exist: {unknown:?}");
}

#[test]
fn page_lists_each_permission() {
    let rows = rows("## Permissions");
    for permission in Permission::ALL {
        let begin = format!("{permission}` |");
        let end = if permission.is_privileged() { "| yes |" } else { "| |" };
        let found = rows.iter().filter(|row| row.starts_with(&begin) && row.ends_with(end)).count();
        assert_eq!(found, 1, "rows of docs/access.md like: | `{begin} … {end}");
    }
}
