//! The same program under its old name.

fn main() -> std::process::ExitCode {
    conveyor::main()
}
