//! Integration tests: a real daemon, a real client, a temporary world.

mod model_based;
