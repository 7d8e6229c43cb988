//! The order of the checks, and running them.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use crate::walk::{files, root};
use crate::{functions, tidy};

/// Runs the simulator, optimised, with the arguments that follow.
pub(crate) fn sim() -> Result<(), String> {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let fixed = ["run", "--quiet", "--release", "--locked", "-p", "slotward-sim", "--"];
    cargo(&[&fixed[..], &arguments.iter().map(String::as_str).collect::<Vec<_>>()].concat(), &[])
}

/// The product is built without the switch that breaks rules: no crate it stands on asks for it.
fn no_plants() -> Result<(), String> {
    let tree = ["tree", "--locked", "-p", "slotward", "-e", "normal,features", "-f", "{p} {f}"];
    let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let output = command.args(tree).current_dir(root()).output();
    let output = output.map_err(|error| format!("cargo tree: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("slotward-failover") {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    match text.lines().find(|line| line.contains("plants")) {
        None => Ok(()),
        Some(line) => Err(format!("the product is built with planted bugs: {}", line.trim())),
    }
}

/// Every check; the process tests come last, so that their closing line ends the output.
pub(crate) fn ci() -> Result<(), String> {
    step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step("tidy", tidy::tidy)?;
    step("no plants in the product", no_plants)?;
    step("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
    })?;
    step("unit tests", unit_tests)?;
    step("release build", || cargo(&["build", "--release", "--locked", "-p", "slotward"], &[]))?;
    step("process tests", process_tests)
}

/// Writes the generated pages again: the tests that check them do it when told to.
pub(crate) fn docs() -> Result<(), String> {
    let crates: Vec<String> = files("crates", &["docs.rs"])?
        .iter()
        .filter(|file| file.path.ends_with("/tests/docs.rs"))
        .filter_map(|file| Some(format!("slotward-{}", file.path.split('/').nth(1)?)))
        .collect();
    for package in crates {
        cargo(&["test", "-p", &package, "--test", "docs"], &[("UPDATE", "1")])?;
    }
    // The page of commands is what a running node says about them.
    cargo(&["build", "--release", "--locked", "-p", "slotward"], &[])?;
    let mut command = Command::new(python()?);
    command.args(["-m", "pytest", "-q", "tests/test_docs.py"]).env("UPDATE", "1");
    finish(command)
}

/// Rewrites what `ci` would complain about.
pub(crate) fn fix() -> Result<(), String> {
    cargo(
        &["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"],
        &[],
    )?;
    cargo(&["fmt", "--all"], &[])?;
    docs()?;
    let list = root().join(functions::LIST);
    let before = fs::read_to_string(&list).unwrap_or_default();
    let lowered = functions::lowered(&files("crates", &[".rs"])?, &before);
    fs::write(&list, lowered).map_err(|error| format!("{}: {error}", list.display()))
}

fn unit_tests() -> Result<(), String> {
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output();
    if nextest.is_ok_and(|output| output.status.success()) {
        cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"], &[])
    } else {
        cargo(
            &["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"],
            &[],
        )
    }
}

fn process_tests() -> Result<(), String> {
    let mut command = Command::new(python()?);
    command.args(["-m", "pytest", "tests", "-q"]).args(env::args().skip(2));
    finish(command)
}

/// The Python that has what the process tests need.
fn python() -> Result<PathBuf, String> {
    let python = root().join(".venv/bin/python");
    if python.exists() {
        Ok(python)
    } else {
        Err("there is no .venv; `make test` makes it".to_owned())
    }
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments).envs(environment.iter().copied());
    finish(command)
}

fn finish(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let status =
        command.current_dir(root()).status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed ({status}): {shown}")) }
}

fn step(name: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let _ = writeln!(std::io::stderr(), "== {name}");
    let begun = Instant::now();
    let result = run();
    if name != "process tests" {
        let seconds = begun.elapsed().as_secs();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        let _ = writeln!(std::io::stderr(), "== {name}: {outcome} ({seconds} s)");
    }
    result
}
