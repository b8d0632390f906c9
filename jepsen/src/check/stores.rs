//! Updates of the two stores. The store that checks tokens must keep every update it accepted. The store that ignores tokens must lose
//! some, or the run did not try hard enough to prove anything.

use crate::history::Event;

/// The note with the summary of the stores.
pub const NOTE: &str = "stores";

pub(super) fn check(events: &[Event]) -> Option<(Vec<String>, String)> {
    let value = &events.iter().rfind(|event| event.f == NOTE)?.value;
    let of = |store: &str, field: &str| value[store][field].as_u64().unwrap_or_default();
    let (taken, kept) = (of("fenced", "taken"), of("fenced", "kept"));
    let lost = of("blind", "taken").saturating_sub(of("blind", "kept"));
    let mut problems = Vec::new();
    if kept != taken || taken == 0 {
        problems.push(format!("the store that checks tokens took {taken} updates and has {kept}"));
    }
    if lost == 0 {
        problems.push("the store that ignores tokens lost nothing: this run sees no lost update".to_owned());
    }
    Some((
        problems,
        format!(
            "{kept} of {taken} updates kept with tokens; {lost} of {} lost without",
            of("blind", "taken")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::Kind;

    #[test]
    fn lost_update_and_blind_harness_are_found() {
        let problems = |kept: u64, blind: u64| {
            let value = json!({"fenced": {"taken": 9, "kept": kept}, "blind": {"taken": 9, "kept": blind}});
            let note = Event { f: NOTE.to_owned(), value, ..Event::new(Kind::Note) };
            check(&[note]).unwrap().0.len()
        };
        assert_eq!((problems(9, 8), problems(8, 8), problems(9, 9)), (0, 1, 1));
        assert!(check(&[]).is_none());
    }
}
