//! What one photo looks like to an encoder.

use serde::{Deserialize, Serialize};

/// How an upright photo becomes an [`Input`]: resize, centre crop, `/255`, subtract `mean`, divide by `std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Pixels of the shorter side after resizing.
    pub resize_short_side: u32,
    /// Pixels a side of the centre square that is kept; the network's input.
    pub crop: u32,
    /// Subtracted from red, green and blue, each in 0 to 1.
    pub mean: [f32; 3],
    /// Then divided by.
    pub std: [f32; 3],
}

/// One photo as a network takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Pixels a side.
    pub side: u32,
    /// `3 * side * side` numbers: the red plane, the green, the blue; rows from the top.
    pub values: Vec<f32>,
}
