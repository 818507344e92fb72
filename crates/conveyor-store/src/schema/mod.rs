//! The shape of the ledger on both engines: creation, upgrade, repair, refusal, additions.
