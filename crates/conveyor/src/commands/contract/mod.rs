//! The supervision contract: what the manager may do, what "done" means, what both sides said.

pub mod acknowledge;
pub mod compact;
pub mod continuation;
pub mod continuation_reviewer;
pub mod criteria;
pub mod criteria_plan;
pub mod epilogue;
pub mod handoff;
mod interview;
pub mod manager_config;
pub mod manager_permission;
pub mod manager_recipes;
pub mod record_decision;
