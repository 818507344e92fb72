//! The program `conveyor`.

fn main() -> std::process::ExitCode {
    conveyor::main()
}
