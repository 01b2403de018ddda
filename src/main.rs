//! The command `zone`: runs unmodified programs in zones of their own, without any privilege.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(picozone::cli::main())
}
