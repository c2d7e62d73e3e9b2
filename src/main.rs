//! The `talmirror` command.

fn main() -> std::process::ExitCode {
    talmirror::cli::main(std::env::args_os())
}
