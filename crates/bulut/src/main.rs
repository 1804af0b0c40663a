//! The program: hands its arguments to the command line and returns the exit code, so that destructors run.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(bulut::cli::run(std::env::args_os()))
}
