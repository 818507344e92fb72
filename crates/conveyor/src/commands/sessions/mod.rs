//! Registered sessions and what they wrote.
