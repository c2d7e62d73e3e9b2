//! The `talmirror-cache` command.

fn main() -> std::process::ExitCode {
    talmirror::cache::main(std::env::args_os())
}
