//! Agents that live in an app: leases and wake-ups.
