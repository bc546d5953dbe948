//! The eight ways in which a picture can lie.

use serde::{Deserialize, Serialize};

/// What is done to a picture: a transposition where the sides change places, then mirrorings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turn {
    /// Nothing.
    Upright,
    /// Left and right change places.
    Mirrored,
    /// Turned by 180 degrees.
    UpsideDown,
    /// Above and below change places.
    Flipped,
    /// Turned by 90 degrees to the right.
    Right,
    /// Turned by 90 degrees to the left.
    Left,
    /// Mirrored on the diagonal from the upper left.
    Transposed,
    /// Mirrored on the other diagonal.
    Transversed,
}

impl Turn {
    /// All of them, upright first.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::Mirrored,
        Self::UpsideDown,
        Self::Flipped,
        Self::Right,
        Self::Left,
        Self::Transposed,
        Self::Transversed,
    ];

    /// Says whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Right | Self::Left | Self::Transposed | Self::Transversed)
    }

    /// Says whether letters become unreadable.
    pub fn is_mirrored(self) -> bool {
        matches!(self, Self::Mirrored | Self::Flipped | Self::Transposed | Self::Transversed)
    }

    /// Returns whether left and right change places, and whether above and below do, after the sides did.
    pub(super) fn mirrors(self) -> (bool, bool) {
        match self {
            Self::Upright | Self::Transposed => (false, false),
            Self::Mirrored | Self::Right => (true, false),
            Self::Flipped | Self::Left => (false, true),
            Self::UpsideDown | Self::Transversed => (true, true),
        }
    }
}
