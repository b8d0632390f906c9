//! Runs a few seeds with every test run; `cargo xtask sim` runs many.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the simulation starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn same_seed_gives_the_same_trace() {
    let (first, second) = (sim(&["--seed", "1", "--trace"]), sim(&["--seed", "1", "--trace"]));
    assert!(first.status.success(), "{}", text(&first));
    assert!(first.stdout.len() > 100_000, "a run prints its trace: {} bytes", first.stdout.len());
    let differs = first.stdout.split(|byte| *byte == b'\n').zip(second.stdout.split(|byte| *byte == b'\n'));
    for (line, (one, other)) in differs.enumerate() {
        assert!(
            one == other,
            "line {line}: {:?} {:?}",
            String::from_utf8_lossy(one),
            String::from_utf8_lossy(other)
        );
    }
    assert_eq!(first.stdout, second.stdout);
    let third = sim(&["--seed", "2", "--trace"]);
    assert_ne!(first.stdout, third.stdout, "another seed is another run");
}

#[test]
fn few_seeds_keep_every_promise() {
    let output = sim(&["--seeds", "4", "--from", "100"]);
    assert!(output.status.success(), "{}", text(&output));
}
