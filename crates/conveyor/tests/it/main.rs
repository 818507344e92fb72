//! Every command on both engines: output, exit codes, rows, refusals. One test binary, so that
//! the program is linked once.

mod db_doctor;
mod dispatch;
mod follow;
mod harness;
mod ingest;
mod queue;
mod rollouts;
mod shell;
mod tail;
mod tasks;
