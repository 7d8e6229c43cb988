//! `cargo xtask`: what the repository checks about itself.
//!
//! `ci` runs every check and writes nothing but build outputs; `tidy` is the part about the text
//! of the sources; `fix` and `docs` rewrite what `ci` would complain about. Depends on none of our
//! crates, so that it still works when they do not build.

mod edges;
mod functions;
mod run;
mod tidy;
mod walk;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  ci    every check, as `make test` runs it; writes nothing
  sim   the control plane under seeds: a story of one, or many (`cargo xtask sim --help`)
  tidy  crate edges, module headers, forbidden words, function lengths, links
  docs  write the generated pages under docs/ again
  fix   format, apply clippy's suggestions, write pages and function lengths again
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "ci" => run::ci(),
        "sim" => run::sim(),
        "tidy" => tidy::tidy(),
        "docs" => run::docs(),
        "fix" => run::fix(),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            ExitCode::FAILURE
        }
    }
}
