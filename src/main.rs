//! Parses, runs, and exits with the code that says how it went.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfence::cli::main()
}
