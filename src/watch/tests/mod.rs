//! The room as a whole, on a real file system, with a store of its own.

mod costs;
mod fallback;
mod live;
mod mounts;
mod odd;
mod offline;
mod omissions;
mod races;
mod silent;
mod world;
