//! The room as a whole, on a real file system, with a store of its own.

mod live;
mod odd;
mod offline;
mod world;
