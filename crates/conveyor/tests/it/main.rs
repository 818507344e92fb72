//! Every command on both engines: output, exit codes, rows, refusals. One test binary, so that
//! the program is linked once.

mod harness;
mod shell;
mod tasks;
