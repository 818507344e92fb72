//! Every command on both engines: output, exit codes, rows, refusals. One test binary, so that
//! the program is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod app_heartbeat;
mod app_loop;
mod app_wakeup;
mod bind;
mod blank;
mod codex_review;
mod compaction;
mod continuation;
mod create;
mod criteria;
mod cycle;
mod db_doctor;
mod declarations;
mod discover;
mod dispatch;
mod dispatchers;
mod disposable;
mod doctor;
mod documents;
mod epilogue;
mod finish_task;
mod follow;
mod gates;
mod harness;
mod hints;
mod inbox;
mod ingest;
mod install_skills;
mod legacy;
mod manager_config;
mod matrix;
mod mutation_audit;
mod open;
mod output;
mod panes;
mod poolers;
mod push;
mod queue;
mod reading;
mod reconcile;
mod register;
mod reviewer;
mod rollouts;
mod sessions;
mod shell;
mod slash;
mod spawn;
mod start;
mod stop;
mod tail;
mod tasks;
mod terminals;
mod texts;
mod transcripts;
mod typing;
mod versions;
mod watch;
